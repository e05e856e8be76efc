"""Fleets: several gateways that are used as one."""
