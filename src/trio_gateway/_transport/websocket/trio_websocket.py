"""The engine trio-websocket. Each of its defaults is set on purpose: 1 MiB a message, 4 KiB a read.

The one idea: it wants a nursery for its reader task, and gets the services of the block; what that task raises is how the
connection ended.

It puts messages together itself, and neither lets one that is too large pass by nor minds how many fragments there are: the first
closes the connection with code 1009, and the second is looked at here.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import h11
import trio
import trio.abc
import trio_websocket
import wsproto.events
import wsproto.utilities

from ..._errors import GatewayConnectionError
from ..._protocol.frames import FragmentCount, FrameError
from ..._protocol.messages import Buffer
from ..._secret import SecretBytes
from ..._services import Services
from .engine import RECEIVE_BYTES, HandshakeRejected, PeerWords, Upgrade, WebSocketClosed

__all__ = ["TrioWebSocket"]

# Sending on a connection whose closing handshake has begun is, for wsproto, the caller's mistake.
_OVER: Final = (trio_websocket.ConnectionClosed, wsproto.utilities.LocalProtocolError)

_MAX_BODY: Final = 64 * 1024
# How it begins to say that a message was too large for us.
_TOO_LARGE: Final = "Exceeded maximum message size"


# trio-websocket logs what comes, word by word, when it is asked for DEBUG: the words of those connections that are ours too.
_told: weakref.WeakSet[PeerWords] = weakref.WeakSet()


def _mask_record(record: logging.LogRecord) -> bool:
    text = shown = record.getMessage()
    for words in list(_told):
        shown = words.mask(shown)
    if shown != text:
        record.msg, record.args = shown, ()
    return True


def _tell_log(words: PeerWords) -> None:
    if not _told:
        logging.getLogger("trio-websocket").addFilter(_mask_record)
    _told.add(words)


class _Reader:
    """Stands in for the nursery that trio-websocket wants, and hears of what its reader task raises."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._scope: trio.CancelScope | None = None
        self.ended = trio.Event()
        self.error: Exception | None = None

    async def end(self) -> None:
        """End the task, if there is one."""
        if self._scope is not None:
            self._scope.cancel()
            await self.ended.wait()

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: object) -> None:
        # There is no public way to look at what is collected; where its reader is another one, all works as well, unbounded.
        connection: Any = getattr(function, "__self__", None)
        for name, guard in (("_handle_message_event", _Fragments), ("_handle_reject_data_event", _RefusalBody)):
            if hasattr(connection, name):
                setattr(connection, name, guard(getattr(connection, name)))
        self._scope = self._services.start_soon(self._run, function, args, name="trio_gateway.websocket_reader")

    async def _run(self, function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        try:
            await function(*args)
        except Exception as error:  # noqa: BLE001 - it tells how the connection ended; the engine's users look
            self.error = error
        finally:
            self.ended.set()


class _Fragments:
    """Stands before what takes a message's fragments: it keeps each of them, also an empty one, and as many as come."""

    def __init__(self, take: Callable[[Any], Awaitable[None]]) -> None:
        self._take = take
        self._count = FragmentCount()

    async def __call__(self, event: wsproto.events.BytesMessage | wsproto.events.TextMessage) -> None:
        if event.message_finished:
            self._count = FragmentCount()
        else:
            self._count.add(len(event.data))
            if not event.data:
                return
        await self._take(event)


class _RefusalBody:
    """Stands before what takes the body of a refused handshake: it adds each piece to those before it, without end."""

    def __init__(self, take: Callable[[Any], Awaitable[None]]) -> None:
        self._take = take
        self._room = _MAX_BODY

    async def __call__(self, event: wsproto.events.RejectData) -> None:
        data = bytes(event.data[: self._room])
        self._room -= len(data)
        await self._take(wsproto.events.RejectData(data=data, body_finished=event.body_finished or not self._room))


class _Promptly(trio.abc.SendChannel[bytes | str]):
    """Stands in for the queue in which trio-websocket's reader puts messages: one that has room takes no turn of the scheduler.

    A turn for each message is half of what a flood costs. The reader still waits when the queue is full.
    """

    def __init__(self, queue: trio.MemorySendChannel[bytes | str]) -> None:
        self._queue = queue

    async def send(self, value: bytes | str) -> None:  # noqa: ASYNC910 - that is what it is for
        try:
            self._queue.send_nowait(value)
        except trio.WouldBlock:
            await self._queue.send(value)

    async def aclose(self) -> None:
        await self._queue.aclose()


class _Witness(trio.abc.Stream):
    """Stands in for a TLS stream while hands are shaken over it: trio-websocket does not tell why a stream has broken."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.error: Exception | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with self._seeing():
            return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._seeing():
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @contextmanager
    def _seeing(self) -> Generator[None]:
        try:
            yield
        except trio.BrokenResourceError as error:
            self.error = error
            raise


class TrioWebSocket:
    """The engine trio-websocket; see `WebSocket` for what it promises."""

    def __init__(self, services: Services) -> None:
        self.given_up: bool = False
        self._words = PeerWords("", str)
        self._reader = _Reader(services)
        self._connection: trio_websocket.WebSocketConnection | None = None

    async def open(self, stream: trio.abc.Stream, upgrade: Upgrade) -> None:
        """Shake hands over an open stream."""
        self._words = upgrade.words
        _tell_log(upgrade.words)
        opening = trio.CancelScope()
        witness = _Witness(stream)

        async def give_up_with_reader() -> None:
            # When the reader ends before the handshake is done, trio-websocket leaves its caller waiting.
            await self._reader.ended.wait()
            opening.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up_with_reader)
            with opening:
                self._connection = await trio_websocket.wrap_client_stream(
                    cast("trio.Nursery", self._reader),
                    cast("trio.SocketStream", witness if isinstance(stream, trio.SSLStream) else stream),
                    upgrade.host,
                    upgrade.resource,
                    subprotocols=upgrade.subprotocols or None,
                    extra_headers=[
                        (name.encode("latin-1"), SecretBytes(value.encode("latin-1"))) for name, value in upgrade.headers
                    ],
                    message_queue_size=16,
                    max_message_size=upgrade.max_message_size,
                    receive_buffer_size=RECEIVE_BYTES,
                )
                # There is no public way to ask for it; where it is called otherwise, all works as well, but slower.
                connection: Any = self._connection
                if getattr(connection, "_stream", None) is witness:
                    connection._stream = stream  # noqa: SLF001
                queue = getattr(connection, "_send_channel", None)
                if isinstance(queue, trio.MemorySendChannel):
                    connection._send_channel = _Promptly(queue)  # noqa: SLF001
            nursery.cancel_scope.cancel()
        refusal = self._refusal()
        if refusal is not None and witness.error is not None:
            refusal = self._words.refuses_certificate(witness.error) or refusal
        witness.error = None
        if refusal is not None:
            try:
                raise refusal
            finally:
                del refusal  # else this frame and its own traceback keep each other

    def _refusal(self) -> HandshakeRejected | GatewayConnectionError | None:
        """Return why the handshake came to nothing; None where it did not."""
        error = self._reader.error
        if isinstance(error, trio_websocket.ConnectionRejected):
            # trio-websocket gives (name, value) pairs of bytes.
            answered = [(_latin(name).lower(), _latin(value)) for name, value in error.headers or ()]
            return self._words.rejected(error.status_code, answered, bytes(error.body or b""))
        if isinstance(error, (h11.ProtocolError, wsproto.utilities.ProtocolError)):
            # It wants to refuse such an answer, as if it were a server, and fails with that; what came first is what was wrong.
            return self._words.nonsense(repr(error if error.__context__ is None else error.__context__))
        if self._connection is None or error is not None:
            # One that was made and has ended since is no refusal: what came before its end is there to be received.
            return self._words.broken(f": {error!r}" if error is not None else "")
        return None

    @property
    def subprotocol(self) -> str | None:
        return self._open().subprotocol or None

    @property
    def cut(self) -> int:
        return 0

    @property
    def response_headers(self) -> Sequence[tuple[str, str]]:
        return [(_latin(name).lower(), _latin(value)) for name, value in self._open().handshake_headers]

    async def receive(self) -> Sequence[bytes | str]:
        connection = self._open()
        ended: WebSocketClosed | None = None
        messages: list[bytes | str] = []
        try:
            messages.append(await connection.get_message())
        except _OVER as error:
            ended = self._closed(error)
        if ended is not None:
            try:
                raise ended  # here, where no error is handled: it would go along, with what it knows
            finally:
                del ended  # else this frame and its own traceback keep each other
        # What has come meanwhile, without a turn of the scheduler for each; there is no public way to ask for it.
        queue = getattr(connection, "_recv_channel", None)
        if queue is not None:
            with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                while True:
                    messages.append(queue.receive_nowait())
        return messages

    async def send(self, data: bytes | str | Sequence[Buffer]) -> None:
        message = data if isinstance(data, (bytes, str)) else b"".join(data)
        await self._do(functools.partial(self._open().send_message, message))

    def send_now(self, data: bytes | str | Sequence[Buffer]) -> bool:  # noqa: ARG002
        return False  # trio-websocket gives its bytes to nobody, and writes them itself

    @property
    def unfinished(self) -> bool:
        return False

    async def ping(self) -> None:
        waiting = trio.CancelScope()

        async def give_up_with_reader() -> None:
            # When the connection ends without a goodbye, trio-websocket leaves its caller waiting.
            await self._reader.ended.wait()
            waiting.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(give_up_with_reader)
                with waiting:
                    await self._open().ping()
                nursery.cancel_scope.cancel()
        except* _OVER:
            waiting.cancel()
        if waiting.cancel_called:
            raise self._words.closed(*self._last_words())

    def ping_now(self, answered: Callable[[], object]) -> bool:  # noqa: ARG002
        return False

    async def pong(self) -> None:
        await self._do(self._open().pong)

    async def _do(self, act: Callable[[], Awaitable[object]]) -> None:
        ended: WebSocketClosed | None = None
        try:
            await act()
        except _OVER as error:
            ended = self._closed(error)
        if ended is not None:
            try:
                raise ended  # here, where no error is handled: it would go along, with what it knows
            finally:
                del ended  # else this frame and its own traceback keep each other

    async def aclose(self) -> None:
        """Say goodbye; the caller bounds it and closes the stream."""
        if self._connection is not None and not self._reader.ended.is_set():
            await self._connection.aclose()

    async def end(self) -> None:
        """Wait for the end of what it does by itself; the stream was closed before."""
        await self._reader.end()

    def _open(self) -> trio_websocket.WebSocketConnection:
        assert self._connection is not None
        return self._connection

    def _closed(self, error: Exception) -> WebSocketClosed:
        code, reason = self._last_words(getattr(error, "reason", None))
        return self._words.closed(code, reason, too_large_for_us=code == 1009 and reason.startswith(_TOO_LARGE))

    def _last_words(self, reason: Any = None) -> tuple[int, str]:
        """How it ended: code and reason."""
        error = self._reader.error
        if error is not None:
            return (error.code, error.reason) if isinstance(error, FrameError) else (1002, repr(error))
        reason = self._open().closed or reason
        return (1006, "") if reason is None else (reason.code, reason.reason or "")


def _latin(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
