"""Serves a proxy: listens, counts connections and bounds them, and ends all of them well.

The one idea: each stream that comes is a conversation in HTTP/1.1 (`_http1`) until a request asks for a WebSocket (`_front`), the
first one or the hundredth: there is one way to each. Sockets are set up for front ends that fall silent, and at the end no stream
that nobody reads holds anybody up.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import attrs
import trio

from .._config import holds_pem
from .._errors import InvalidInputError
from .._protocol.websocket import UpgradeRequest
from .._transport.blocks import check_trio
from .._transport.tls import load_chain
from ._app import Proxy
from ._config import ProxyConfig
from ._front import serve_websocket
from ._http1 import Peer, serve_http1
from ._websocket import Pinger

__all__ = ["Listening", "files_needed", "serve"]

_logger = logging.getLogger("trio_gateway.proxy")

UNREAD_SECONDS: Final = 90.0
"""How long a front end may take nothing of what was sent to it, in seconds; as long as Jupyter servers wait."""
PING_SECONDS: Final = 30.0
"""How often a front end's WebSocket is pinged, in seconds."""
LINGER_SECONDS: Final = 2.0
"""How long the rest of a body that nobody wants is taken, so that the answer to it is read, in seconds."""
EXTRA_CONNECTIONS: Final = 100
"""How many connections there may be beside WebSockets."""
_OTHER_FILES: Final = 64
"""So many files a process has open beside its connections."""


def files_needed(config: ProxyConfig) -> int:
    """Return how many files a process has open at most that serves a proxy: each front end, and its kernel's connection."""
    return 2 * (config.max_channels + EXTRA_CONNECTIONS) + _OTHER_FILES


def _connections_allowed(config: ProxyConfig) -> int:
    """Return how many connections there may be: as many as the configuration says, or as the system lets this process have."""
    wanted = config.max_channels + EXTRA_CONNECTIONS
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return wanted
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY or files >= files_needed(config):
        return wanted
    allowed = max((files - _OTHER_FILES) // 2, 1)
    _logger.warning("few_open_files", extra={"proxy.files": files, "proxy.connections": allowed, "proxy.wanted": wanted})
    return allowed


@attrs.frozen
class Listening:
    """Where a proxy listens."""

    url: str
    """Its address, without token."""
    port: int
    """The port."""


async def serve(
    proxy: Proxy,
    *,
    host: str = "127.0.0.1",
    port: int = 8889,
    certfile: str | os.PathLike[str] | None = None,
    keyfile: str | os.PathLike[str] | None = None,
    until: Callable[[], Awaitable[object]] = trio.sleep_forever,
    drain_seconds: float = 10.0,
    task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a proxy until `until` returns.

    Args:
        proxy: the application, made by `create_app`.
        host: the address to listen on, or a name of this machine.
        port: the port; 0 for any that is free.
        certfile: a certificate and its chain in PEM: TLS is spoken then, and nothing else.
        keyfile: its key in PEM; None where it is in `certfile`.
        until: returns when the proxy is to end gracefully: no connection is accepted from then on, WebSockets are closed with
            code 1001, requests that run are answered.
        drain_seconds: how long that may take, in seconds; what is left then is cut.
        task_status: for `nursery.start`, which returns a `Listening` then.

    Raises:
        InvalidInputError: nobody can listen there, or the certificate can't be used.

    Cancellation: cuts all connections.
    """
    check_trio("trio_gateway.proxy.serve", "call it in a program that Trio runs, or use the command trio-gateway proxy")
    if keyfile is not None and certfile is None:
        raise InvalidInputError(
            "keyfile", os.fspath(keyfile), "None, or a certfile beside it: without a certificate no TLS is spoken"
        )
    context = None if certfile is None else _tls(certfile, keyfile)
    listeners = await _listen(host, port, context)
    bound: int = _socket_of(listeners[0]).getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"{'http' if context is None else 'https'}://{shown}:{bound}{proxy.config.base_path}"
    async with trio.open_nursery() as handlers:
        pinger = Pinger(handlers, PING_SECONDS)
        handlers.start_soon(pinger.run)
        handler = _Handler(proxy, pinger)
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(_accept, handler, listener, handlers)
            task_status.started(Listening(url, bound))
            await until()
            accepting.cancel_scope.cancel()
        proxy.drain()
        handler.end()
        with trio.move_on_after(drain_seconds):
            await handler.wait_idle()
        await handler.cut()
        handlers.cancel_scope.cancel()


async def _accept(handler: _Handler, listener: trio.abc.Listener[Any], handlers: trio.Nursery) -> None:
    await trio.serve_listeners(handler, [listener], handler_nursery=handlers)


class _Handler:
    """Speaks HTTP and WebSocket on each stream that comes.

    Args:
        proxy: the application.
        pinger: pings the WebSockets.
    """

    def __init__(self, proxy: Proxy, pinger: Pinger) -> None:
        self._proxy = proxy
        self._pinger = pinger
        self._limit = _connections_allowed(proxy.config)
        self._count = 0
        self._silent: dict[_Connection, None] = {}  # those that were let in for nothing, the longest first
        self._streams: set[trio.abc.Stream] = set()
        self._idle = trio.Event()
        self._ending = False

    async def __call__(self, stream: Any) -> None:
        if self._count >= self._limit:
            _logger.warning("too_many_connections", extra={"proxy.connections": self._count})
            if not self._silent:
                await trio.aclose_forcefully(stream)
                return
            self._drop(next(iter(self._silent)))
        self._count += 1
        self._streams.add(stream)
        seconds = self._proxy.config.header_seconds + LINGER_SECONDS
        connection = _Connection(self._silent, seconds, self._proxy.config.body_seconds + seconds)
        try:
            with connection.scope:
                await self._converse(connection, stream)
        except Exception as error:
            _logger.debug("connection_failed", exc_info=error)
        finally:
            await trio.aclose_forcefully(stream)  # noqa: ASYNC102 - it does not wait
            self._drop(connection)
            self._streams.discard(stream)
            if not self._streams:
                self._idle.set()

    def _drop(self, connection: _Connection) -> None:
        """End a connection, which counts no more from now on."""
        if not connection.dropped:
            connection.dropped = True
            connection.scope.cancel()
            self._silent.pop(connection, None)
            self._count -= 1

    async def _converse(self, connection: _Connection, stream: Any) -> None:
        secure = isinstance(stream, trio.SSLStream)
        plain = (stream.transport_stream if secure else stream).socket
        peer = Peer(secure, plain.getpeername()[:2], plain.getsockname()[:2])
        request = await serve_http1(
            self._proxy,
            stream,
            peer,
            answering=connection.answering,
            let_in=connection.let_in,
            is_ending=lambda: self._ending,
            patience=self._proxy.config.header_seconds,
            linger=LINGER_SECONDS,
        )
        if request is None:
            return
        serving = self._websocket(connection, stream, request, peer)
        del request  # not kept while it lives
        with connection.answering():
            await serving

    def _websocket(self, connection: _Connection, stream: Any, request: UpgradeRequest, peer: Peer) -> Coroutine[Any, Any, None]:
        """Return what serves a WebSocket."""
        return serve_websocket(
            self._proxy,
            stream,
            request,
            peer,
            max_message_size=self._proxy.config.max_message_size,
            pinger=self._pinger,
            linger=LINGER_SECONDS,
            let_in=connection.let_in,
        )

    def end(self) -> None:
        """End the connections that ask for nothing, and each of the others with its answer."""
        self._ending = True
        for connection in [connection for connection in self._silent if not connection.is_answering]:
            self._drop(connection)

    async def wait_idle(self) -> None:
        """Wait until no connection is left."""
        while self._streams:
            self._idle = trio.Event()
            await self._idle.wait()

    async def cut(self) -> None:
        """Close what is left, whether or not anybody reads: a write that hangs ends with its stream and no sooner."""
        for stream in list(self._streams):
            await trio.aclose_forcefully(stream)


class _Connection:
    """One front end's connection. It keeps its place for a request that was let in; else its time runs, and it makes room.

    So it does also while it is answered: a front end without the token may read its answers as slowly as it likes, and would keep
    the place for ever.

    Args:
        silent: the connections that were let in for nothing, of which it is one; the longest so first.
        seconds: for how long it may ask for nothing.
        answer_seconds: how long one request may take that is not let in, until its answer is taken.
    """

    __slots__ = ("_answer_seconds", "_seconds", "_silent", "dropped", "is_answering", "scope")

    def __init__(self, silent: dict[_Connection, None], seconds: float, answer_seconds: float) -> None:
        self._silent = silent
        self._seconds = seconds
        self._answer_seconds = answer_seconds
        self.scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self.dropped = False
        self.is_answering = False
        silent[self] = None

    @contextmanager
    def answering(self) -> Generator[None]:
        """Give it the time of one request for the block; as much as that takes, once it is let in."""
        self.scope.deadline = trio.current_time() + self._answer_seconds
        self.is_answering = True
        try:
            yield
        finally:
            self.is_answering = False
            self.scope.deadline = trio.current_time() + self._seconds
            if not self.dropped:
                self._silent[self] = None

    def let_in(self) -> None:
        """Have it keep its place until the end of this request, however long that takes."""
        self._silent.pop(self, None)
        self.scope.deadline = math.inf


def _tls(certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str] | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # the default one would write its keys where SSLKEYLOGFILE says
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # HTTP/2 is not offered: front ends' WebSockets need HTTP/1.1, and one protocol is less to get wrong.
    context.set_alpn_protocols(["http/1.1"])
    paths = {"certfile": os.fspath(certfile), "keyfile": None if keyfile is None else os.fspath(keyfile)}
    wrong = load_chain(context, ("certfile", os.fspath(certfile)), ("keyfile", paths["keyfile"]))
    if wrong is not None:
        field, expected = wrong
        shown = paths[field]
        raise InvalidInputError(field, "***" if holds_pem(shown) else shown, expected)
    return context


async def _listen(host: str, port: int, context: ssl.SSLContext | None) -> list[trio.abc.Listener[Any]]:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise InvalidInputError("port", port, "0 to 65535")
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(
            "host", f"{host}:{port}", f"an address of this machine with a port that is free ({why})"
        ) from None
    for listener in listeners:
        _set_up(listener.socket)
    if context is None:
        return [*listeners]
    return [trio.SSLListener(listener, context, https_compatible=True) for listener in listeners]


def _set_up(listening: trio.socket.SocketType) -> None:
    """Set options that each connection inherits: notice front ends that are gone without a word, or take nothing."""
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(UNREAD_SECONDS * 1000))


def _socket_of(listener: trio.abc.Listener[Any]) -> trio.socket.SocketType:
    plain = listener.transport_listener if isinstance(listener, trio.SSLListener) else listener
    assert isinstance(plain, trio.SocketListener)
    return plain.socket
