"""Running the method: stages, segmenter, runs as files."""
