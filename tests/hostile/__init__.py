"""Hostile gateways, kernels and front ends."""
