"""The pure machines and functions."""
