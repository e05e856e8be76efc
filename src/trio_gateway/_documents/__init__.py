"""Which document has which kernel: document sessions, and the database that keeps them."""
