"""The HTML page of a run: one file with pictures, data, style and script inside."""
