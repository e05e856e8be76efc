"""A balancer before the doors of one fake: it can cut a start, and goes on with the next door."""

from __future__ import annotations

import errno
import math
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import attrs
import trio
import trio.testing

from trio_gateway.testing import FakeGateway

__all__ = ["Balancer", "ServedReplicas", "serve_replicas"]


class Balancer:
    """Passes connections on to one door; a start is cut after some seconds, and with it all connections: the next door is next.

    Args:
        doors: the doors, in the order in which they are taken.
        nursery: where it carries bytes; cancelled by its owner.
        cut_start_after: after how many seconds a start is cut; each one, as often as there is one.
    """

    def __init__(self, doors: Sequence[FakeGateway], nursery: trio.Nursery, *, cut_start_after: float = math.inf) -> None:
        self.doors = list(doors)
        self.cut_start_after = cut_start_after
        self.cuts = 0
        self.down = self.down_after_cut = False
        """Whether no connection can be made: now, or from when a start is cut."""
        self._nursery = nursery
        self._open: set[trio.abc.Stream] = set()

    @property
    def door(self) -> FakeGateway:
        """Where connections lead now."""
        return self.doors[self.cuts % len(self.doors)]

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        """Connect; for `open_gateway(connector=...)`."""
        if self.down:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        client, ours = trio.testing.memory_stream_pair()
        server = await self.door.connector(host, port)
        self._nursery.start_soon(self.serve, ours, server)
        return client

    async def serve(self, client: trio.abc.Stream, server: trio.abc.Stream) -> None:
        """Carry bytes between a client and a door, until one of them is gone."""
        self._open |= {client, server}
        try:
            async with client, server, trio.open_nursery() as nursery:
                nursery.start_soon(self._carry, server, client, nursery.cancel_scope)
                await self._carry(client, server, nursery.cancel_scope)
        finally:
            self._open -= {client, server}

    async def _carry(self, source: trio.abc.Stream, target: trio.abc.Stream, scope: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(65536):
                if data.startswith(b"POST ") and b"/api/kernels HTTP" in data and self.cut_start_after < math.inf:
                    self._nursery.start_soon(self._cut)
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def _cut(self) -> None:
        await trio.sleep(self.cut_start_after)
        self.cuts += 1
        self.down = self.down_after_cut
        for stream in list(self._open):
            await trio.aclose_forcefully(stream)


@attrs.frozen
class ServedReplicas:
    """Two replicas behind a balancer on a loopback port, in a thread of their own."""

    url: str
    token: str = attrs.field(repr=False)
    fake: FakeGateway
    """The first of them. Look at it, and change nothing."""


@contextmanager
def serve_replicas(*, start_seconds: float, cut_start_after: float) -> Iterator[ServedReplicas]:
    """Serve two replicas behind a balancer that cuts the first start, and goes on with the other one; in real time."""
    begun: queue.SimpleQueue[ServedReplicas | BaseException] = queue.SimpleQueue()
    end = threading.Event()

    async def serve() -> None:
        async with FakeGateway(start_seconds=start_seconds) as fake, fake.replica() as other, trio.open_nursery() as nursery:
            balancer = Balancer([fake, other], nursery, cut_start_after=cut_start_after)

            async def take(client: trio.SocketStream) -> None:
                await balancer.serve(client, await balancer.door.connector("", 0))

            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(partial(trio.serve_listeners, take, listeners))
            begun.put(ServedReplicas(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", fake.token, fake))
            await trio.to_thread.run_sync(end.wait)
            nursery.cancel_scope.cancel()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:  # noqa: ASYNC103, BLE001 - it is raised where they are waited for
            begun.put(error)

    thread = threading.Thread(target=run, name="replicas")
    thread.start()
    try:
        found = begun.get(timeout=60)
        if isinstance(found, BaseException):
            raise found
        yield found
    finally:
        end.set()
        thread.join(60)
