"""Documentation: its examples run, what it names exists."""
