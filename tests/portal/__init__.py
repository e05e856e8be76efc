"""The faces for asyncio and threads."""
