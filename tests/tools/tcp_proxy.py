"""A TCP proxy that misbehaves on demand: it forwards, holds, cuts, resets, swallows and rewrites what passes through it.

Each connection through it is a `Link` of two `Pipe`s. A test says what goes wrong either from outside (`proxy.links[-1].reset()`)
or where it is about to happen (`proxy.on_request = ...` is called with each HTTP request before a byte of it is forwarded).
Nothing here looks at a clock; what a test has to wait for are events.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import trio

from tools.ports import held_port

__all__ = ["Link", "Pipe", "TcpProxy", "open_tcp_proxy"]

_REQUEST_LINE = re.compile(rb"([A-Z]+) ([^ \r\n]+) HTTP/1\.1\r\n")
_CHUNK = 256 * 1024


class Pipe:
    """One direction of a link. Everything in it takes effect with the next chunk that arrives."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.rewrite: Callable[[bytes], bytes] | None = None
        """Called with each chunk; what it returns goes on in its place."""
        self.forwarded: Callable[[bytes], object] = lambda data: None
        """Called with each chunk once it has gone out."""
        self.held = trio.Event()
        """Set when something has arrived that is held."""
        self.ended = trio.Event()
        """Set when the source has ended."""
        self._open = trio.Event()
        self._open.set()
        self._swallows = False
        self._remaining: int | None = None
        self._resets = False

    def hold(self) -> None:
        """Keep what comes, and read no more; whoever sends sees a peer that is slow."""
        if self._open.is_set():
            self._open = trio.Event()
            self.held = trio.Event()

    def release(self) -> None:
        """Let go of what was held, and hold no more."""
        self._open.set()

    def swallow(self) -> None:
        """Read on and throw everything away: a black hole."""
        self._swallows = True
        self.release()

    def cut_after(self, count: int, *, reset: bool = False) -> None:
        """End the link when so many more bytes have gone out: as a peer that closes, or that resets the connection."""
        self._remaining = count
        self._resets = reset

    async def run(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        """Carry bytes until the source ends."""
        while data := await source.receive_some(_CHUNK):
            if self is self.link.to_server:
                self.link.look(data)
            if not self._open.is_set():
                self.held.set()
                await self._open.wait()
            if self._swallows:
                continue
            if self.rewrite is not None:
                data = self.rewrite(data)
            if self._remaining is not None:
                data, cut = data[: self._remaining], len(data) >= self._remaining
                self._remaining -= len(data)
            else:
                cut = False
            if data:
                await sink.send_all(data)
                self.forwarded(data)
            if cut:
                self.link.end(reset=self._resets)
        self.ended.set()
        await self._open.wait()
        if not self._swallows:
            await sink.send_eof()


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: TcpProxy, number: int) -> None:
        self.proxy = proxy
        self.number = number
        """1 for the proxy's first connection."""
        self.to_server = Pipe(self)
        self.to_client = Pipe(self)
        self.requests: list[str] = []
        """Each HTTP request that began with a chunk of its own, as `"GET /path?query"`."""
        self.ended = trio.Event()
        """Set when both sides are closed."""
        self._resets = False
        self._scope = trio.CancelScope()

    def hold(self) -> None:
        """Hold both directions."""
        self.to_server.hold()
        self.to_client.hold()

    def release(self) -> None:
        """Release both directions."""
        self.to_server.release()
        self.to_client.release()

    def swallow(self) -> None:
        """Make both directions black holes."""
        self.to_server.swallow()
        self.to_client.swallow()

    def end(self, *, reset: bool = False) -> None:
        """Close both sides at once; with `reset`, each sees ECONNRESET."""
        self._resets = self._resets or reset
        self._scope.cancel()

    def reset(self) -> None:
        """Close both sides at once, with a reset."""
        self.end(reset=True)

    def look(self, data: bytes) -> None:
        """Note the request that a chunk begins, and tell the proxy's owner."""
        found = _REQUEST_LINE.match(data)
        if found is None:
            return
        request = f"{found[1].decode()} {found[2].decode()}"
        self.requests.append(request)
        self.proxy.note(self, request)

    async def run(self, client: trio.SocketStream) -> None:
        """Connect to the server and carry bytes both ways until both have ended, or the link is ended."""
        server: trio.SocketStream | None = None
        try:
            with self._scope, suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                server = await trio.open_tcp_stream(*self.proxy.target)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, self.to_server, client, server)
                    nursery.start_soon(self._carry, self.to_client, server, client)
        finally:
            for stream in (client, server):
                if stream is not None:
                    if self._resets:
                        with suppress(OSError):
                            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    stream.socket.close()
            self.ended.set()

    async def _carry(self, pipe: Pipe, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            await pipe.run(source, sink)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.end()


class TcpProxy:
    """A listener on loopback whose connections lead to one server. Made by `open_tcp_proxy`."""

    def __init__(self, target: tuple[str, int], nursery: trio.Nursery, port: int) -> None:
        self.target = target
        self.port = port
        self.links: list[Link] = []
        """Every link so far, in the order in which they were opened."""
        self.on_link: Callable[[Link], object] = lambda link: None
        """Called with each link before it connects to the server."""
        self.on_request: Callable[[Link, str], object] = lambda link, request: None
        """Called with each request, `"GET /path?query"`, before a byte of it is forwarded."""
        self._nursery = nursery
        self._listening: trio.CancelScope | None = None
        self._deaf = trio.Event()
        self._requested = trio.Event()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[str]:
        """All requests of all links."""
        return [request for link in self.links for request in link.requests]

    def note(self, link: Link, request: str) -> None:
        """Take the news of a request."""
        self.on_request(link, request)
        self._requested.set()
        self._requested = trio.Event()

    async def wait_request(self, beginning: str) -> Link:
        """Wait for a request that begins so, on whichever link, unless it was seen already; return its link."""
        while True:
            for link in self.links:
                if any(request.startswith(beginning) for request in link.requests):
                    return link
            await self._requested.wait()

    def reset_all(self) -> None:
        """Reset every link that is open."""
        for link in self.links:
            link.reset()

    async def listen(self) -> None:
        """Listen, on the same port each time."""
        (listener,) = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self._listening = trio.CancelScope()
        self._deaf = trio.Event()
        self._nursery.start_soon(self._accept_all, listener, self._listening)

    async def refuse(self) -> None:
        """Stop listening: new connections are refused, those that are open stay."""
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
            await self._deaf.wait()

    async def _accept_all(self, listener: trio.SocketListener, scope: trio.CancelScope) -> None:
        with scope:
            async with listener:
                while True:
                    try:
                        stream = await listener.accept()
                    except OSError as error:
                        if error.errno != errno.ECONNABORTED:
                            raise
                        continue
                    link = Link(self, len(self.links) + 1)
                    self.links.append(link)
                    self.on_link(link)
                    self._nursery.start_soon(link.run, stream)
        self._deaf.set()


@asynccontextmanager
async def open_tcp_proxy(url: str) -> AsyncGenerator[TcpProxy]:
    """Run a proxy in front of an `http://` server for the block; what is still open at its end is closed."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    # Held, so that nobody else listens there while the proxy refuses.
    with held_port() as port:
        async with trio.open_nursery() as nursery:
            proxy = TcpProxy((parts.hostname, parts.port or 80), nursery, port)
            await proxy.listen()
            yield proxy
            nursery.cancel_scope.cancel()
