"""One HTTP/1.1 connection: h11's state machine on a stream of our connector's, as httpcore2's pool wants connections to be.

A connection is used again only if nothing is left over from the answer before: an answer never reaches a request it is not for.
Every error closes it, cancellation included, and closing never waits.
"""

from __future__ import annotations

import enum
import ssl
from collections.abc import Awaitable, Callable
from typing import Self

import h11
import httpcore2
import trio

from ..._errors import GatewayConnectionError, GatewayTimeoutError
from ..connector import close_now, describe_tls_error, socket_of

__all__ = ["BodyOverflow", "Broken", "ConnectFailed", "Connection", "NotHTTP", "NotSendable", "NotTaken"]

KEEPALIVE = 30.0
"""How long a connection may be idle, in seconds, and still be used again: less than a network or a proxy forgets it in."""
MAX_HEAD = 256 * 1024
"""The most bytes that may come before a body, answers like `100 Continue` included. One head alone may have 100 KiB."""

_MAX_ONE_HEAD = 100 * 1024
_READ_SIZE = 64 * 1024


class ConnectFailed(Exception):
    """No connection was made, so nothing was sent.

    Args:
        error: what the caller will see.
    """

    def __init__(self, error: GatewayConnectionError | GatewayTimeoutError) -> None:
        super().__init__()
        self.error = error


class Broken(Exception):
    """The connection ended before the answer did."""


class NotTaken(Broken):
    """It ended before the system had taken the whole request: no server can have read it to its end, so none acts on it."""


class NotHTTP(Exception):
    """What came is not HTTP/1.1; the message says why, and holds next to nothing of what came."""


class NotSendable(Exception):
    """The request is not HTTP/1.1. There is no message: it would show a header."""


class BodyOverflow(Exception):
    """The body is larger than allowed."""


class _State(enum.Enum):
    NEW = enum.auto()
    CONNECTING = enum.auto()
    ACTIVE = enum.auto()
    IDLE = enum.auto()
    CLOSED = enum.auto()


class Connection(httpcore2.AsyncConnectionInterface):
    """One connection, made when the first request is sent on it.

    Args:
        origin: the server it is to, as the pool names it.
        connect: makes the stream; raises ConnectFailed.
        max_response_size: the most bytes of a body.
    """

    def __init__(
        self, origin: httpcore2.Origin, connect: Callable[[str, int], Awaitable[trio.abc.Stream]], max_response_size: int
    ) -> None:
        self._origin = origin
        self._connect = connect
        self._max_response_size = max_response_size
        self._state = _State.NEW
        self._stream: trio.abc.Stream | None = None
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_ONE_HEAD)
        self._last_use = trio.current_time()

    # ------------------------------------------------------------------------------------------------- what the pool asks

    def can_handle_request(self, origin: httpcore2.Origin) -> bool:
        """Say whether it is a connection to this server."""
        return origin == self._origin

    def is_available(self) -> bool:
        """Say whether it can take a request."""
        return self._state is _State.IDLE

    def is_idle(self) -> bool:
        """Say whether it waits for a request."""
        return self._state is _State.IDLE

    def is_connected(self) -> bool:
        """Say whether there is a stream."""
        return self._state in {_State.ACTIVE, _State.IDLE}

    def is_closed(self) -> bool:
        """Say whether it is of no more use."""
        return self._state is _State.CLOSED

    def has_expired(self) -> bool:
        """Say whether it is idle and should be closed: for too long, or because the other side has said goodbye."""
        if self._state is not _State.IDLE:
            return False
        if trio.current_time() - self._last_use > KEEPALIVE:
            return True
        # Whatever can be read while nothing was asked is no answer.
        socket = socket_of(self._stream)
        return socket is not None and (socket.fileno() < 0 or socket.is_readable())

    def info(self) -> str:
        """Describe it."""
        return f"{self._origin}, {self._state.name}"

    async def aclose(self) -> None:
        """Close it, whatever it is doing. It does not wait."""
        self._state = _State.CLOSED
        if self._stream is not None:
            await close_now(self._stream)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    # ---------------------------------------------------------------------------------------------------------- requests

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Send a request and read the head of its answer.

        Raises:
            ConnectFailed: there is no connection.
            Broken: it ended before the answer came; `NotTaken` where the request was not sent whole either.
            NotHTTP: what came is no answer.
            NotSendable: h11 refuses the request.
        """
        if self._state is _State.NEW:
            self._state = _State.CONNECTING
        elif self._state is _State.IDLE:
            self._state = _State.ACTIVE
        else:
            raise httpcore2.ConnectionNotAvailable
        try:
            if self._stream is None:
                await self._open()
            taken = await self._send(request)
            try:
                head = await self._read_head()
            except Broken as broken:
                if taken:
                    raise
                raise NotTaken from broken
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.aclose()
            raise
        return httpcore2.Response(
            head.status_code, headers=head.headers.raw_items(), content=_Body(self, self._max_response_size)
        )

    async def _open(self) -> None:
        stream = await self._connect(self._origin.host.decode("ascii"), self._origin.port)
        if self._state is _State.CLOSED:
            # The client was closed meanwhile.
            await close_now(stream)
            raise ConnectFailed(GatewayConnectionError("the client was closed while it was connecting"))
        self._stream = stream
        self._state = _State.ACTIVE

    async def _send(self, request: httpcore2.Request) -> bool:
        """Send the request; say whether the system took all of it."""
        on_sending: Callable[[], object] | None = request.extensions["on_sending"]
        data = self._encode(request)
        if data is None:
            raise NotSendable
        assert self._stream is not None
        try:
            if on_sending is not None:
                on_sending()
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            # A server may answer and hang up before it has read everything: look what it said.
            await trio.lowlevel.checkpoint()
            return False
        except trio.ClosedResourceError:
            raise Broken from None
        return True

    def _encode(self, request: httpcore2.Request) -> memoryview | None:
        """Return the request's bytes, in something that does not show them; None where h11 refuses them."""
        body: bytes | None = request.extensions["body"]
        try:
            head = h11.Request(method=request.method, target=request.url.target, headers=request.headers)
            events: list[h11.Event] = [head, *([h11.Data(body)] if body else []), h11.EndOfMessage()]
            return memoryview(b"".join(self._h11.send(event) or b"" for event in events))
        except h11.LocalProtocolError:
            return None  # its words would show a header

    async def _read_head(self) -> h11.Response:
        # Nothing of the answer is there yet: what was left over from the one before would have closed the connection.
        received = await self._receive()
        while received <= MAX_HEAD:
            event = self._next_event()
            if isinstance(event, h11.Response):
                return event
            wants_more = event is h11.NEED_DATA
            del event  # it may echo what we sent, and an error's frames show their locals
            if wants_more:
                received += await self._receive()
        raise NotHTTP("too much comes before the answer")

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        failure: Exception
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            # With trailing data, the end of the stream is where it should not be. Behind the colon stands what came.
            failure = Broken() if self._h11.trailing_data[1] else NotHTTP(str(error).partition(":")[0])
        # Here, where no error is handled: it would go along, with what came.
        try:
            raise failure
        finally:
            del failure  # else this frame and its own traceback keep each other

    async def _receive(self) -> int:
        assert self._stream is not None
        try:
            data = await self._stream.receive_some(_READ_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            if isinstance(error.__cause__, ssl.SSLError):
                # With TLS 1.3 the other side's word on our certificate comes only now; it has not read the request.
                where = f"{self._origin.host.decode('ascii')}:{self._origin.port}"
                raise ConnectFailed(describe_tls_error(error, where)) from error
            raise Broken from error
        self._last_use = trio.current_time()
        if not data and self._h11.their_state is h11.SEND_RESPONSE:
            raise Broken
        self._h11.receive_data(bytes(data))
        return len(data)

    async def read_body(self) -> bytes | None:
        """Read a piece of the body; None at its end. An error closes the connection."""
        try:
            while True:
                event = self._next_event()
                if isinstance(event, h11.Data):
                    await trio.lowlevel.checkpoint()
                    return bytes(event.data)
                if event is not h11.NEED_DATA:
                    await trio.lowlevel.checkpoint()
                    return None
                await self._receive()
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def finish(self) -> None:
        """End with an answer: make ready for the next request if it was read to its end and nothing is left over, else close."""
        done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        if self._state is _State.ACTIVE and done and not self._h11.trailing_data[0]:
            self._h11.start_next_cycle()
            self._state = _State.IDLE
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self.aclose()


class _Body:
    """An answer's body. An iterator and no generator: one that is left early is closed by nobody."""

    def __init__(self, connection: Connection, limit: int) -> None:
        self._connection = connection
        self._left = limit

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._connection.read_body()
        if piece is None:
            raise StopAsyncIteration
        self._left -= len(piece)
        if self._left < 0:
            # Raised in here, so that each generator around this ends with it.
            with trio.CancelScope(shield=True):
                await self._connection.aclose()
            raise BodyOverflow
        return piece

    async def aclose(self) -> None:
        await self._connection.finish()
