"""HTTP/1.1 with a front end: its requests one by one, each given to the ASGI application, until one asks for a WebSocket.

The one idea: nothing is read ahead. A request is read when the last one is answered, a body when the application asks for it; so
what a front end sends without waiting stays in its socket, and needs no queue. h11 knows the protocol; what it lets pass and two
readers could take for two different requests is refused, not interpreted (RFC 9112, section 11).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractContextManager, suppress
from email.utils import formatdate
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import attrs
import h11
import trio
import trio.abc

from .._protocol.websocket import UpgradeRequest, upgrade_request
from .._secret import SecretBytes

__all__ = ["LET_IN", "App", "Message", "Peer", "serve_http1"]

_logger = logging.getLogger("trio_gateway.proxy")

LET_IN: Final = "trio_gateway.let_in"
"""Where in a scope stands what the application calls once it knows who asks: until then the server has little patience."""
_HEAD_BYTES: Final = 16 * 1024
"""How large a request's headers may be, in bytes."""
_READ_BYTES: Final = 64 * 1024

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


@attrs.frozen
class Peer:
    """What the application learns of the connection that a request came over."""

    secure: bool
    """Whether TLS is spoken."""
    client: tuple[str, int]
    """Address and port of the front end, or of what stands before it."""
    server: tuple[str, int]
    """Address and port that it came to."""


async def serve_http1(
    app: App,
    stream: trio.abc.Stream,
    peer: Peer,
    *,
    answering: Callable[[], AbstractContextManager[None]],
    let_in: Callable[[], object],
    is_ending: Callable[[], bool],
    patience: float,
    linger: float,
) -> UpgradeRequest | None:
    """Answer requests until the connection is over, or one asks for a WebSocket. The caller closes the stream.

    Args:
        app: the ASGI application.
        stream: to the front end.
        peer: who is there.
        answering: entered while a request is answered; outside of it the caller bounds the time.
        let_in: called when the application knows who asks.
        is_ending: whether the server is about to end: then the connection ends with the answer that is on its way, or at once.
        patience: how long a request's head may take to come, and no request, in seconds; then the connection is over.
        linger: how long a body that nobody wants, or what comes behind a refusal, is taken, in seconds: the answer is read then.

    Returns:
        The request for a WebSocket, which is not answered yet; None where the connection is over.

    Cancellation: leaves half an answer; close the stream.
    """
    conversation = _Conversation(stream)
    # Asked also between two requests: an answer whose head went out before the end began has promised another one.
    while not is_ending():
        request: h11.Request | UpgradeRequest | None = None
        refused: int | None = None
        with trio.move_on_after(patience):
            try:
                request = await conversation.next_request()
            except h11.RemoteProtocolError as error:
                refused = error.error_status_hint
        if isinstance(request, UpgradeRequest):
            return request
        if request is None:
            if refused is not None:
                # The application, which writes down all else, does not see it; neither what was sent nor h11's words about it are
                # written down: a token may be in there.
                _logger.info("request_refused", extra={"proxy.status": refused, "proxy.client": peer.client[0]})
                await conversation.refuse(refused)
            break
        exchange = _Exchange(conversation, is_ending)
        scope = {**_scope(request, peer), LET_IN: let_in}
        del request  # its headers show themselves
        with answering():
            await exchange.answer(app, scope)
        if not await conversation.begin_again(linger):
            break
    await conversation.hang_up(linger)
    return None


def _scope(request: h11.Request, peer: Peer) -> Message:
    path, _, query = bytes(request.target).partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.http_version.decode("ascii"),
        "method": request.method.decode("ascii"),
        "scheme": "https" if peer.secure else "http",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": SecretBytes(query),
        "root_path": "",
        "headers": [(bytes(name), SecretBytes(value)) for name, value in request.headers],
        "client": peer.client,
        "server": peer.server,
        "state": {},
        "extensions": {},
    }


class _Conversation:
    """h11 on a stream.

    Args:
        stream: to the front end.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        self.gone = False
        """Whether the front end takes nothing more."""
        self._stream = stream

    async def next_request(self) -> h11.Request | UpgradeRequest | None:
        """Wait for a request; None where no more comes.

        Raises:
            h11.RemoteProtocolError: it is refused.
        """
        before = len(self.http.trailing_data[0])
        while (event := self.http.next_event()) is h11.NEED_DATA:
            await self._read()
            before = len(self.http.trailing_data[0])
        if not isinstance(event, h11.Request):
            return None
        rest = self.http.trailing_data[0]
        return _checked(event, before - len(rest), rest)

    async def next_of_body(self) -> bytes | None:
        """Wait for a piece of the request's body; None where it is whole.

        Raises:
            h11.RemoteProtocolError: it is none, or the connection ended in it.
        """
        if self.http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))
        while (event := self.http.next_event()) is h11.NEED_DATA:
            await self._read()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _read(self) -> None:
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        self.http.receive_data(bytes(data))

    async def send(self, *events: h11.Event) -> None:
        """Send what is not too late to be sent."""
        data = b"".join([self.http.send(event) or b"" for event in events])
        if data and not self.gone:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.gone = True

    async def refuse(self, status: int) -> None:
        """Answer what is no request, if that is possible."""
        if self.http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            headers = [_date(), (b"content-length", b"0"), (b"connection", b"close")]
            await self.send(h11.Response(status_code=status, headers=headers), h11.EndOfMessage())

    async def begin_again(self, linger: float) -> bool:
        """Get ready for the next request, once the rest of this one's body has come; whether there may be one."""
        if self._body_is_coming() and not self.gone and self.http.our_state is h11.DONE:
            with trio.move_on_after(linger):
                while self._body_is_coming():
                    await self._read()
        if self.gone or (self.http.our_state, self.http.their_state) != (h11.DONE, h11.DONE):
            return False
        self.http.start_next_cycle()
        return True

    def _body_is_coming(self) -> bool:
        """Whether more of the body is to come; what has come of it is dropped."""
        with suppress(h11.RemoteProtocolError):
            while self.http.their_state is h11.SEND_BODY:
                if self.http.next_event() is h11.NEED_DATA:
                    return True
        return False

    async def hang_up(self, linger: float) -> None:
        """Say that nothing more comes; what is on its way from the front end is taken for a moment, or it loses its answer."""
        if self.gone:
            return
        with trio.move_on_after(linger), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):  # TLS has no such thing
                await self._stream.send_eof()
            if self._body_is_coming() or self.http.their_state is h11.ERROR:
                while await self._stream.receive_some(_READ_BYTES):
                    pass


def _date() -> tuple[bytes, bytes]:
    """Return the header that an answer has to have (RFC 9110, section 6.6.1)."""
    return b"date", formatdate(usegmt=True).encode("ascii")


def _checked(request: h11.Request, size: int, rest: bytes) -> h11.Request | UpgradeRequest:
    """Return a request, or what it asks for where that is a WebSocket.

    Args:
        request: the request.
        size: how large its head is, in bytes: h11 bounds only what came without its end.
        rest: what came behind it.

    Raises:
        h11.RemoteProtocolError: it is refused.
    """
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("HTTP/1 is spoken here", error_status_hint=505)
    if request.method != request.method.upper():
        # RFC 9110, section 9.1: `head` is not HEAD. Taken for that, it would get an answer that h11 takes for another one.
        raise h11.RemoteProtocolError("there is no method in lower case", error_status_hint=501)
    if size > _HEAD_BYTES:
        raise h11.RemoteProtocolError("the headers are too large", error_status_hint=431)
    names = {name for name, _ in request.headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        # RFC 9112, section 6.1: perhaps what stands before the proxy has read another length.
        raise h11.RemoteProtocolError("there are two lengths", error_status_hint=400)
    if b"upgrade" not in names:
        return request
    asked = upgrade_request(request, rest)
    if asked is not None:
        return asked
    words = b",".join([value for name, value in request.headers if name in {b"connection", b"upgrade"}]).lower()
    if {b"upgrade", b"websocket"} <= {word.strip() for word in words.split(b",")}:
        raise h11.RemoteProtocolError("a WebSocket is asked for in a wrong way", error_status_hint=400)
    # Nobody is led to another protocol: the request is answered in this one.
    headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
    return h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)


class _Exchange:
    """ASGI's two functions for one request.

    Args:
        conversation: the connection's.
        is_ending: whether the connection is to end with this answer.
    """

    def __init__(self, conversation: _Conversation, is_ending: Callable[[], bool]) -> None:
        self._conversation = conversation
        self._is_ending = is_ending
        self._whole = False
        self._start: tuple[int, Sequence[tuple[bytes, bytes]]] | None = None  # not sent: it goes with what follows
        self._has_body = True

    async def answer(self, app: App, scope: Message) -> None:
        """Have a request answered."""
        http = self._conversation.http
        self._has_body = scope["method"] != "HEAD"
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            _logger.exception("application_failed")
        if http.our_state is h11.SEND_RESPONSE:
            self._start = None
            await self._conversation.refuse(500)

    async def receive(self) -> Message:
        if self._whole:
            # An application finds the front end's end when it sends: nothing is read while a request is answered.
            await trio.sleep_forever()
        try:
            data = await self._conversation.next_of_body()
        except h11.RemoteProtocolError:
            self._whole = True
            return {"type": "http.disconnect"}
        self._whole = data is None
        return {"type": "http.request", "body": data or b"", "more_body": not self._whole}

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self._start = message["status"], [(bytes(name), bytes(value)) for name, value in message.get("headers") or ()]
            case "http.response.body":
                events: list[h11.Event] = []
                if self._start is not None:
                    events.append(self._response(*self._start))
                    self._start = None
                body = message.get("body") or b""
                if body and self._has_body:
                    events.append(h11.Data(body))
                if not message.get("more_body"):
                    events.append(h11.EndOfMessage())
                await self._conversation.send(*events)

    def _response(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> h11.Response:
        if status in {204, 304}:
            self._has_body = False
        # A front end that waits for a word before it sends its body will not send it now.
        closes = self._is_ending() or self._conversation.http.they_are_waiting_for_100_continue
        last = [(b"connection", b"close")] if closes else []
        return h11.Response(status_code=status, headers=[*headers, _date(), *last])
