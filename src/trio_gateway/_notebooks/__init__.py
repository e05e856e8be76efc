"""Notebooks: their files, read and written, and what is wrong in them mended.

What lives here knows documents. It knows nothing of the command, which stands above it.
"""
