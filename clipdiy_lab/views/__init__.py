"""Showing the method: pictures, figures and pages; labelled data in, no model."""
