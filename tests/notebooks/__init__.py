"""Notebooks: their files and what is wrong in them."""
