"""One gateway's kernels."""
