"""Widgets: glue between the plain classes of the views and ipywidgets; nothing is decided here."""
