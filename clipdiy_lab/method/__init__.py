"""The method: mathematics on tensors; no I/O, no network, no plots."""
