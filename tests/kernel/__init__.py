"""One kernel: its connection, its requests, its channels."""
