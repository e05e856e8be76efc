"""One kernel's life: its connection, its channels, its requests, and the tasks that look after them."""
