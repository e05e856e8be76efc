"""Sweeps over every point, and soaks."""
