"""Jupyter's own tools on the library."""
