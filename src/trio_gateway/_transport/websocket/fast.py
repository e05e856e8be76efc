"""The fast WebSocket engine: frames cut straight out of what the stream gives, without a task or a queue in between.

The one idea: it is a client's shell around `WebSocketConnection`. What the server says leaves it by a `PeerWords` alone, and no
frame of a traceback holds what came.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import trio
import trio.abc

from ..._errors import GatewayConnectionError
from ..._protocol.messages import Buffer
from ..._protocol.websocket import Accepted, Answer, ClientHandshake, HungUp, Refused, Role, WebSocketConnection
from ..._services import Services
from .engine import RECEIVE_BYTES, HandshakeRejected, PeerWords, Upgrade, WebSocketClosed, find_mask
from .shell import FrameShell

__all__ = ["FastWebSocket"]

_NOBODY: Final = PeerWords("", str)


class FastWebSocket(FrameShell):
    """An engine of ours; see `WebSocket` for what it promises."""

    def __init__(self, services: Services) -> None:
        self.given_up: bool = False
        self._services = services
        self._words = _NOBODY
        self._subprotocol: str | None = None
        self._headers: Sequence[tuple[str, str]] = ()
        self._pings: dict[bytes, Callable[[], object]] = {}  # what is called when one is answered, or never will be
        self._owed_sent = None

    async def open(self, stream: trio.abc.Stream, upgrade: Upgrade) -> None:
        """Shake hands over an open stream."""
        self._words = words = upgrade.words
        handshake = ClientHandshake(secrets.token_bytes(16), upgrade.subprotocols)
        request = handshake.request(upgrade.host, upgrade.resource, upgrade.headers)
        if request is None:
            raise GatewayConnectionError(f"{words.address} can't be asked: a header can't be sent")
        broke: str | None = None
        refused: GatewayConnectionError | None = None
        answer: Answer = HungUp()
        try:
            await stream.send_all(request)
            answer = await _answer_to(handshake, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            broke = words.mask(repr(error))
            refused = words.refuses_certificate(error)
        # Here, where no error is handled: it would go along, with all that it knows of what came. And no local holds that now.
        if isinstance(answer, Accepted):
            self._subprotocol, self._headers = answer.subprotocol, answer.headers
            connection = WebSocketConnection(Role.CLIENT, upgrade.max_message_size, find_mask(), secrets.token_bytes)
            connection.open()
            self._begin(connection, stream, answer.rest)
            return
        failure: HandshakeRejected | GatewayConnectionError
        if isinstance(answer, Refused):
            failure = words.rejected(answer.status_code, answer.headers, answer.body)
        elif isinstance(answer, HungUp):
            failure = refused or words.broken(f": {broke or 'it was closed'}")
        else:
            failure = words.nonsense(answer.reason)
        del answer, handshake
        try:
            raise failure
        finally:
            del failure  # else this frame and its own traceback keep each other

    @property
    def subprotocol(self) -> str | None:
        return self._subprotocol

    @property
    def cut(self) -> int:
        return self._connection.cut

    @property
    def response_headers(self) -> Sequence[tuple[str, str]]:
        return self._headers

    async def send(self, data: bytes | str | Sequence[Buffer]) -> None:
        await self._write(self._connection.send((data,)))

    def send_now(self, data: bytes | str | Sequence[Buffer]) -> bool:
        return self._write_now((data,))

    async def ping(self) -> None:
        payload = secrets.token_bytes(8)
        answered = trio.Event()
        self._pings[payload] = answered.set
        try:
            await self._write((self._connection.ping(payload),))
            await answered.wait()
        finally:
            self._pings.pop(payload, None)
            self._connection.forget_ping(payload)
        if self._connection.closed is not None:
            raise self._ended()

    def ping_now(self, answered: Callable[[], object]) -> bool:
        payload = secrets.token_bytes(8)
        if not self._may_write_now or not self._put_now(self._connection.ping(payload)):
            self._connection.forget_ping(payload)
            return False
        self._pings[payload] = lambda: self._connection.closed is None and answered()
        return True

    async def pong(self) -> None:
        await self._write((self._connection.pong(),))

    async def aclose(self) -> None:
        """Say goodbye and wait for the answer; the caller bounds it and closes the stream."""
        with suppress(WebSocketClosed):
            self._connection.close(1000, "")
            # Not by a task: the services around may have been stopped already.
            await self._send_owed()
            while self._connection.closed is None:
                await self.receive()

    async def end(self) -> None:
        """Wait for the end of what it does by itself; the stream was closed before."""
        if self._owed_sent is not None:
            await self._owed_sent.wait()

    def _closed(self, code: int, reason: str) -> WebSocketClosed:
        return self._words.closed(code, reason)

    def _note_answered(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            note = self._pings.pop(payload, None)
            if note is not None:
                note()

    def _start_soon(self, send: Callable[[], Awaitable[None]]) -> None:
        self._services.start_soon(send, name="trio_gateway.websocket_answers")


async def _answer_to(handshake: ClientHandshake, stream: trio.abc.Stream) -> Answer:
    """Read the answer to the upgrade request."""
    while True:
        answer = handshake.receive(bytes(await stream.receive_some(RECEIVE_BYTES)))
        if answer is not None:
            return answer
