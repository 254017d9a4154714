"""What the method looks through: encoders, saliency sources, prompts, weights."""
