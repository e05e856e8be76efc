"""The library for synchronous code."""
