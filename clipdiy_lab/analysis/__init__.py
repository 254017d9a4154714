"""Studying the method: evaluation and sweeps; xarray or pandas out."""
