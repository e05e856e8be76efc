"""Document sessions, and their store."""
