"""Checks that user-defined encoders, saliency sources and datasets meet the requirements of the lab."""
