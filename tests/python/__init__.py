"""Values in and out of a Python kernel, and functions called there."""
