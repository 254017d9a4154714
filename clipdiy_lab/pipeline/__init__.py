"""Stages, segmenter and run files: how the method is run."""
