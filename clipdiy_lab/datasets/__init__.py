"""What the method looks at: images, datasets, label maps."""
