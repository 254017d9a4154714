"""Images, datasets and label maps: the input of the method."""
