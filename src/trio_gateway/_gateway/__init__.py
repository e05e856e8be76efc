"""One gateway: its kernels, kernelspecs and sessions, who owns them, and how to open it."""
