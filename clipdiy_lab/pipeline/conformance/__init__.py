"""Whether an encoder, a saliency source or a dataset of one's own keeps what the lab relies on."""
