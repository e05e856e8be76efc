"""Bytes to and from the gateway, on Trio: the only place that knows sockets, TLS, httpx and WebSocket libraries."""
