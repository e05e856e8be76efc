"""The protocols without their I/O: pure functions and state machines.

No clock, no random source and no logging: `now` and the generator come in as arguments.
"""
