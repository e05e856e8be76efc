"""A port for a server that must be told one."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["held_port"]


@contextmanager
def held_port(*, shared: bool = True) -> Iterator[int]:
    """Give a port of loopback that nobody listens on, and that no other program is given in this block.

    Args:
        shared: whether a server of ours may listen there: one that asks for SO_REUSEADDR, as most do, can. Where the system
            does not allow that, the port is only likely to stay free.
    """
    with socket.socket() as holder:
        # Linux lets several sockets be bound while none listens, and gives a bound port to nobody who asks for just any.
        if shared:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = int(holder.getsockname()[1])
        if shared and sys.platform != "linux":
            holder.close()
        yield port
