"""Serves a proxy: HTTP on hypercorn's Trio worker, WebSockets by themselves.

The one idea: the listeners and the streams are ours, and each request is looked at. One that asks for a WebSocket is served
without a server in between (`_front`), also on a connection that had other requests before; on all others the protocol is
hypercorn's. So connections are counted and bounded, sockets are set up for front ends that fall silent, and at the end no stream
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
import hypercorn.config
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from .._errors import InvalidInputError
from .._protocol.websocket import UpgradeRequest, parse_upgrade
from .._transport.blocks import check_trio
from .._transport.strict_http1 import StrictServerConnection, WebSocketAsked
from ._app import Proxy
from ._config import ProxyConfig
from ._front import LET_IN, serve_websocket
from ._websocket import Pinger, read_head

__all__ = ["Listening", "files_needed", "serve"]

_logger = logging.getLogger("trio_gateway.proxy")

UNREAD_SECONDS: Final = 90.0
"""How long a front end may take nothing of what was sent to it, in seconds; as long as Jupyter servers wait."""
PING_SECONDS: Final = 30.0
"""How often a front end's WebSocket is pinged, in seconds."""
LINGER_SECONDS: Final = 2.0
"""How long the rest of a body that nobody wants is taken, so that the answer to it is read, in seconds."""
_CONNECTION: Final = "trio_gateway.connection"
"""Where in the state of hypercorn's connection stands ours."""
HEAD_BYTES: Final = 16 * 1024
"""How large a request's headers may be, in bytes."""
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
    """Serve a proxy until it is told to end.

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
    context = None if certfile is None else _tls(certfile, keyfile)
    listeners = await _listen(host, port, context)
    config = _hypercorn_config(proxy)
    bound: int = _socket_of(listeners[0]).getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"{'http' if context is None else 'https'}://{shown}:{bound}{proxy.config.base_path}"
    async with trio.open_nursery() as handlers:
        pinger = Pinger(handlers, PING_SECONDS)
        handlers.start_soon(pinger.run)
        handler = _Handler(proxy, config, pinger)
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(_accept, handler, listener, handlers)
            task_status.started(Listening(url, bound))
            await until()
            accepting.cancel_scope.cancel()
        proxy.drain()
        await handler.context.terminated.set()
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
        config: hypercorn's.
        pinger: pings the WebSockets.
    """

    def __init__(self, proxy: Proxy, config: hypercorn.config.Config, pinger: Pinger) -> None:
        self._proxy = proxy
        self._pinger = pinger
        self._app = wrap_app(_Considerate(proxy), config.wsgi_max_body_size, "asgi")
        self._config = config
        self._limit = _connections_allowed(proxy.config)
        self._count = 0
        self._silent: dict[_Connection, None] = {}  # those that were let in for nothing, the longest first
        self._streams: set[trio.abc.Stream] = set()
        self._idle = trio.Event()
        self.context = WorkerContext(None)

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
        head = b""
        with trio.move_on_after(self._proxy.config.header_seconds):
            head = await read_head(stream, HEAD_BYTES)
        if not head:
            return
        request = parse_upgrade(head) if len(head) <= HEAD_BYTES else None
        if request is None:
            state = ConnectionState({_CONNECTION: connection})
            begun: Any = _Begun(stream, head)
            await _Http1Server(self._app, self._config, self.context, state, begun)
            request = begun.asked
            del begun
        if request is not None:
            conversation = self._websocket(connection, stream, request)
            del head, request  # not kept while it lives
            with connection.answering():
                await conversation

    def _websocket(self, connection: _Connection, stream: Any, request: UpgradeRequest) -> Coroutine[Any, Any, None]:
        """Return what serves a WebSocket."""
        secure = isinstance(stream, trio.SSLStream)
        peer = (stream.transport_stream if secure else stream).socket.getpeername()
        return serve_websocket(
            self._proxy,
            stream,
            request,
            secure=secure,
            client=(peer[0], peer[1]),
            max_message_size=self._proxy.config.max_message_size,
            pinger=self._pinger,
            linger=LINGER_SECONDS,
            let_in=connection.let_in,
        )

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
    the place for ever. Hypercorn has a clock of its own, which does not run after some requests that it refuses by itself.

    Args:
        silent: the connections that were let in for nothing, of which it is one; the longest so first.
        seconds: for how long it may ask for nothing.
        answer_seconds: how long one request may take that is not let in, until its answer is taken.
    """

    __slots__ = ("_answer_seconds", "_seconds", "_silent", "dropped", "scope")

    def __init__(self, silent: dict[_Connection, None], seconds: float, answer_seconds: float) -> None:
        self._silent = silent
        self._seconds = seconds
        self._answer_seconds = answer_seconds
        self.scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self.dropped = False
        silent[self] = None

    @contextmanager
    def answering(self) -> Generator[None]:
        """Give it the time of one request for the block; as much as that takes, once it is let in."""
        self.scope.deadline = trio.current_time() + self._answer_seconds
        try:
            yield
        finally:
            self.scope.deadline = trio.current_time() + self._seconds
            if not self.dropped:
                self._silent[self] = None

    def let_in(self) -> None:
        """Have it keep its place until the end of this request, however long that takes."""
        self._silent.pop(self, None)
        self.scope.deadline = math.inf


class _Http1Server(TCPServer):
    """Hypercorn's connection, that speaks HTTP/1 and nothing else, and stops where a WebSocket is asked for.

    Hypercorn changes to HTTP/2 where a request asks for it, and there its idle limit never begins: a few bytes hold a connection
    for ever. Its WebSocket has other limits than ours, and unpacks what is compressed.
    """

    async def _read_data(self) -> None:
        stream: Any = self.stream
        protocol: Any = self.protocol.protocol
        protocol.connection = StrictServerConnection(self.config.h11_max_incomplete_size, stream.refuse)
        try:
            await super()._read_data()
        except WebSocketAsked as asked:
            stream.hand_over(asked.request)
            await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """Send, as hypercorn does, but so that the end of the connection's time is the end of it also where nobody reads."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                await self.stream.send_all(event.data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):  # busy: it is being closed
                await self.protocol.handle(Closed())


class _Begun:
    """A stream of which something was read already, as hypercorn's worker uses one.

    Args:
        stream: the stream.
        data: what was read.
    """

    def __init__(self, stream: Any, data: bytes) -> None:
        self._stream = stream
        self._data = data
        self._refused = False
        self.asked: UpgradeRequest | None = None

    def refuse(self) -> None:
        """Note that what came is refused: more of it may be on its way."""
        self._refused = True

    def hand_over(self, request: UpgradeRequest) -> None:
        """Note that a WebSocket was asked for: whoever serves it closes the stream."""
        self.asked = request

    async def aclose(self) -> None:
        """Close the stream, unless it was handed over."""
        if self.asked is None:
            await self._stream.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what was read, and then what comes."""
        if self._data:
            data, self._data = self._data, b""
            return data
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        """Say that nothing more comes; after a refusal, take what still comes for a moment, or the refusal might be lost."""
        if self.asked is not None:
            return
        with suppress(AttributeError):  # TLS has no such thing
            await self._stream.send_eof()
        if self._refused:
            self._refused = False
            with trio.move_on_after(LINGER_SECONDS), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while await self._stream.receive_some(HEAD_BYTES):
                    pass


class _Considerate:
    """Ends each conversation well, on hypercorn.

    Hypercorn gives up a stream only when the application's queue has room for that news, and nobody else makes room once the
    application has said its last word: a body larger than it wanted would hold the connection for ever.

    Args:
        proxy: the application.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        whole = False

        async def receive_and_see() -> Any:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body")
            return message

        async def send_and_take(message: Any) -> None:
            kind = message["type"]
            if not kind.endswith(".body") or message.get("more_body"):
                await send(message)
            else:
                if not whole:
                    # And so might an answer: who sends a body looks for it afterwards.
                    await send({**message, "more_body": True})
                    message = {"type": kind, "body": b""}
                    with trio.move_on_after(LINGER_SECONDS):
                        while not whole:
                            await receive_and_see()
                await self._end(receive, send, message)

        connection: _Connection = scope["state"][_CONNECTION]
        scope[LET_IN] = connection.let_in
        with connection.answering():
            await self._proxy(scope, receive_and_see, send_and_take)

    async def _end(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]], message: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_take_for_ever, receive)
            await send(message)
            nursery.cancel_scope.cancel()


async def _take_for_ever(receive: Callable[[], Awaitable[Any]]) -> None:
    while True:
        await receive()


def _hypercorn_config(proxy: Proxy) -> hypercorn.config.Config:
    config = hypercorn.config.Config()
    # The log is ours (`trio_gateway.proxy`): hypercorn's own would show queries, and in them tokens.
    config.accesslog = None
    config.errorlog = logging.getLogger("trio_gateway.proxy.server")
    config.include_server_header = False
    config.keep_alive_timeout = proxy.config.header_seconds
    config.ssl_handshake_timeout = proxy.config.header_seconds
    # Messages and chunks of bodies that wait for the application.
    config.max_app_queue_size = 2
    config.h11_max_incomplete_size = HEAD_BYTES
    return config


def _tls(certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # HTTP/2 is not offered: front ends' WebSockets need HTTP/1.1, and one protocol is less to get wrong.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certfile, keyfile, password="")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidInputError("certfile", os.fspath(certfile), f"a certificate in PEM, with its key ({why})") from None
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
