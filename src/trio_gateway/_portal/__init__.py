"""How calls get from other worlds, asyncio and plain threads, into Trio and back. `anyio` and `blocking` are made of it."""
