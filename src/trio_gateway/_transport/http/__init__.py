"""HTTP/1.1 to the gateway: connections, retries, credentials, and the face of httpx."""
