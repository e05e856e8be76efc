"""Values in and out of a Python kernel, and functions called there.

`codec`, `libraries` and `kernel_side` are sent to kernels as source: they run on Python 3.9 and know nothing of the library.
"""
