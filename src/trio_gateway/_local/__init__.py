"""A Kernel Gateway process of our own, and what it leaves to nobody."""
