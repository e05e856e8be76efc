"""WebSockets to the gateway: the handshake, and two engines behind one seam."""
