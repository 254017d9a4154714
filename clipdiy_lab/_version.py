"""The version of the package, below everything else, so that every room can state it."""

__version__ = "0.2.0"
