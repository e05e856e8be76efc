"""A gateway process of our own."""
