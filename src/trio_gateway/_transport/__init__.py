"""Bytes to and from the gateway, on Trio: the only place that knows sockets, TLS, HTTP and WebSocket libraries."""
