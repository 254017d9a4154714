"""clipdiy_lab: an explainable laboratory around CLIP-DIY."""

__version__ = "0.1.0"
