"""The explorer without widgets: what is chosen, how it is computed, what it looks like, which code makes it."""
