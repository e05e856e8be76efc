"""The supervisor of one kernel's connection: connect, keep alive, and connect again.

The one idea: one task writes to the WebSocket and one reads it, and a caller's cancellation reaches neither, so no frame is
ever cut. When the connection breaks, the next one has the same `session_id`, and the gateway replays what was missed. What is
written and read is the exchange's business; the connection's owner hears three things: opened, lost, gone.

How patient it is counts from the last *progress*, a message of the kernel's or an answered ping. A link that breaks often, and
carries something each time, is connected again for as long as it does; a gateway that accepts and hangs up without a word is not.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Final, Protocol
from urllib.parse import urlsplit

import attrs
import trio

from .._errors import (
    AuthenticationError,
    ConnectionLostError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    KernelNotFoundError,
    ProtocolError,
    TokenCommandError,
)
from .._events import GatewayEvent
from .._protocol import codec, rest
from .._protocol.headers import Headers
from .._protocol.hub import says_not_running
from .._protocol.kernel_state import KernelState
from .._protocol.liveness import Liveness
from .._protocol.retry import reconnect_delay
from .._transport.addresses import SILENT_STATUS_CODES
from .._transport.connector import TLSRefusedError
from .._transport.http.client import HttpClient
from .._transport.turnstile import Turnstile
from .._transport.websocket.opening import (
    Connection,
    HandshakeRejected,
    WebSocket,
    WebSocketClosed,
    WebSocketOptions,
    connect_websocket,
)
from .heartbeat import Heartbeat, Traffic

__all__ = ["SMALLEST_LIMIT", "Exchange", "Supervised", "Supervisor", "open_channels"]

_logger = logging.getLogger("trio_gateway.session")

TOO_LARGE: Final = 1009
"""The close code of a peer that got a message larger than it takes."""
SMALLEST_LIMIT: Final = 16 * 1024
"""No gateway has a smaller limit for messages, in bytes: where we have sent less, it is not us that is meant."""
STOPPED_SECONDS: Final = 5.0
"""For how long a hub must say that a server is not running, before a session that was connected there ends, in seconds: one that
has just been started again says so of each server until its proxy knows which ones there are."""
FINAL_CLOSE_CODES: Final = frozenset({1003, 1007, TOO_LARGE, 1010})
"""Close codes after which the same conversation would end the same way: what was sent is not accepted, or is too large, and it is
not known what that was."""


class Supervised(Protocol):
    """Whose connection it is."""

    @property
    def kernel_id(self) -> str:
        """The kernel."""
        ...

    @property
    def session_id(self) -> str:
        """What the gateway buffers and replays by."""
        ...

    @property
    def connections(self) -> int:
        """How many connections there were, the present one included."""
        ...

    @property
    def kernel_state(self) -> KernelState:
        """What is known of the kernel: after a final state nobody connects again."""
        ...

    @property
    def liveness(self) -> Liveness:
        """The evidence about the connection, which the supervisor adds to and acts on."""
        ...

    def opened(self) -> None:
        """A connection was made."""
        ...

    def lost(self, reason: Exception) -> None:
        """The connection broke, or could not be made; another attempt follows."""
        ...

    def refused(self, reason: str) -> bool:
        """The gateway closed the connection because what we sent was too large: fail the request, and do not send it again.

        Args:
            reason: what the gateway said.

        Returns:
            Whether something was sent over the latest connection that it can mean.
        """
        ...

    async def is_gone(self) -> bool:
        """Ask whether the gateway itself says that it does not know the kernel. Raises nothing."""
        ...

    def gone(self) -> Exception:
        """The gateway does not know the kernel any more; return the error that says so."""
        ...


class Exchange(Traffic, Protocol):
    """What goes over the connection, in both directions."""

    def begin(self, *, v1: bool) -> None:
        """A connection was made, and this framing selected on it."""
        ...

    async def send_all(self, websocket: WebSocket) -> None:
        """Write whatever there is to write, as the one who does, until cancelled; return if the connection is over."""
        ...

    async def receive_all(self, websocket: WebSocket) -> None:
        """Read, as the one who does, until cancelled.

        Raises:
            WebSocketClosed: the connection is over, and all that came before its end was read.
        """
        ...


class Supervisor:
    """Keeps one session connected.

    Args:
        session: whose connection it is, and whom to tell what becomes of it.
        exchange: what goes over it.
        http: the gateway's HTTP client: credentials, cookies, TLS and the way to open streams.
        v1: whether to offer the v1 framing; else the legacy one is spoken.
    """

    __slots__ = ("_address", "_exchange", "_http", "_scope", "_session", "_subprotocols")

    def __init__(self, session: Supervised, exchange: Exchange, http: HttpClient, *, v1: bool = True) -> None:
        self._session = session
        self._subprotocols = [codec.V1_SUBPROTOCOL] if v1 else []
        self._exchange = exchange
        self._http = http
        self._address = 0
        self._scope: trio.CancelScope | None = None

    def why_gone(self) -> str:
        """Return why the gateway may not know a kernel any more that it was connected to; for the error that says so."""
        reason = "the gateway does not know it any more: it was culled, or shut down by someone"
        addresses = self._http.addresses
        if addresses.current != self._address:
            there, here = addresses.url_of(self._address), addresses.url
            reason += (
                f"; or {here} does not share the kernels of {there}, where it was: "
                "several addresses have to be replicas that share their kernels"
            )
        return reason

    def reconnect(self) -> None:
        """Drop the connection, if there is one; a new one is made at once."""
        if self._scope is not None:
            self._scope.cancel()

    async def keep_connected(self) -> Exception:
        """Connect again and again; return the reason why that has no sense any more."""
        session, config = self._session, self._http.config
        outage = _Outage()
        renewed = hurried = False
        while True:
            began, connections = trio.current_time(), session.connections
            try:
                closed = await self._connect(outage)
            except HandshakeRejected as rejected:
                last: Exception = self._rejection(rejected)
                if isinstance(last, KernelNotFoundError):
                    # A balancer may have no server for it, and a replica may not have heard of the kernel.
                    if await session.is_gone():
                        return session.gone()
                    text = f"kernel {session.kernel_id}: the handshake was answered 404, and the kernel is not gone"
                    last = GatewayConnectionError(text)
                if isinstance(last, AuthenticationError):
                    another: bool | Exception = False
                    with trio.CancelScope(deadline=outage.until(config.reconnect_timeout)):
                        another = not renewed and await self._ask_for_token(rejected.token)
                    if another is True:
                        renewed = True
                        continue
                    if another is False:
                        return last
                    last = another
                if outage.is_stopped(last, trio.current_time()):
                    return last
            except (GatewayConnectionError, GatewayTimeoutError, TokenCommandError) as error:
                last = error
            except GatewayError as error:
                return error
            else:
                renewed = False
                ours = closed.code == TOO_LARGE and not closed.too_large_for_us and session.refused(closed.reason)
                if closed.code in FINAL_CLOSE_CODES and not ours and not closed.too_large_for_us:
                    return self._refused(closed)
                last = GatewayConnectionError(f"kernel {session.kernel_id}: {closed}")
            if session.kernel_state.final:
                return session.gone()
            never_opened = session.connections == 0
            if never_opened and (isinstance(last, (GatewayTimeoutError, TokenCommandError)) or _is_refusal(last)):
                return last
            opened = session.connections > connections
            if opened and session.liveness.progressed:
                outage = _Outage()
            now = trio.current_time()
            outage.note_failure(now)
            pause = self._pause(outage.failures)
            if outage.failures == 1:
                # At once, for the gateway buffers for us as long as nobody else comes; but where one connection after another
                # breaks quickly, no oftener than the setting says.
                left = max(pause - (now - began), 0.0) if opened else pause
                pause = 0.0 if opened and not hurried else min(left, config.reconnect_timeout / 2)
                hurried = left > 0
            if outage.failures > config.gateway_retry_max or now + pause >= outage.until(config.reconnect_timeout):
                reason = self._gave_up(last, outage, never_opened=never_opened)
                self._tell("give_up", str(reason), outage, failed=True)
                return reason
            session.lost(last)
            self._tell("lost" if opened else "retry", f"{last}; the next attempt follows in {pause:.2g} s", outage, failed=True)
            _logger.debug(
                "reconnect_scheduled",
                extra={"gateway.kernel_id": session.kernel_id, "gateway.attempt": outage.failures, "gateway.seconds": pause},
            )
            await trio.sleep(pause)

    async def _connect(self, outage: _Outage) -> WebSocketClosed:
        """Make a connection, and keep it until it is over; return how it ended.

        Raises:
            GatewayTimeoutError: one of the limits of the configuration ran out before it was made.
            HandshakeRejected: the gateway answered with another status than 101.
            GatewayError: another reason why it could not be made.
        """
        limit = self._http.config.reconnect_timeout
        outage.attempts += 1
        # None for a first connection: a scope takes memory, and there may be very many connections.
        making = trio.CancelScope(deadline=outage.until(limit)) if outage.failures and self._session.connections else None
        with making or nullcontext():
            session = self._session
            turnstile = None if making is None else self._http.reconnects
            opening = open_channels(self._http, session.kernel_id, session.session_id, self._subprotocols, turnstile=turnstile)
            async with opening as (websocket, address):
                self._address = address
                if making is not None:
                    making.deadline = math.inf
                    await trio.lowlevel.checkpoint_if_cancelled()  # the limit and the answer came in the same moment
                self._exchange.begin(v1=websocket.subprotocol == codec.V1_SUBPROTOCOL)
                self._session.opened()
                if outage.failures:
                    self._tell("resume", "", outage, failed=False)
                return await self._pump(websocket)
        raise GatewayTimeoutError("reconnecting", limit, "reconnect_timeout", detail=f"kernel {self._session.kernel_id}")

    async def _ask_for_token(self, refused: str) -> bool | Exception:
        """Ask for a token in place of the refused one; return whether there is another, or why nobody could give one now."""
        try:
            return await self._http.renew_token(refused)
        except (TokenCommandError, GatewayTimeoutError) as error:
            return error

    def _pause(self, failures: int) -> float:
        config = self._http.config
        return reconnect_delay(
            failures,
            interval=config.gateway_retry_interval,
            interval_max=config.gateway_retry_interval_max,
            rng=random.Random(),  # noqa: S311 - jitter; made when needed, for each takes 2.5 kB
        )

    def _tell(self, action: str, message: str, outage: _Outage, *, failed: bool) -> None:
        """Report an event: a step on the way back to the kernel."""
        self._http.emit(
            GatewayEvent(
                kind="connection",
                action=action,
                status="error" if failed else "success",
                message=message,
                gateway_url=self._http.addresses.url,
                attempts=outage.attempts,
                seconds=outage.seconds(trio.current_time()),
                kernel_id=self._session.kernel_id,
            )
        )

    async def _pump(self, websocket: WebSocket) -> WebSocketClosed:
        """Send, receive and keep alive until the connection is over; return how it ended."""
        closed = WebSocketClosed(1006, "dropped by us")
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self._exchange.send_all, websocket)
            heartbeat = Heartbeat(websocket, nursery, self._session.liveness, self._exchange, self._http.timer, self._note_silent)
            with heartbeat:
                try:
                    await self._exchange.receive_all(websocket)
                except WebSocketClosed as error:
                    closed = error
            nursery.cancel_scope.cancel()
        self._scope = None
        return closed

    def _note_silent(self, heard: float) -> None:
        """The connection was given up: nothing has come since then, and nothing answers."""
        _logger.debug("link_is_dead", extra={"gateway.kernel_id": self._session.kernel_id})
        self._http.addresses.failed(self._address, heard, lambda: "a kernel's connection there has gone silent")

    def _rejection(self, rejected: HandshakeRejected) -> GatewayHTTPError:
        config, kernel_id = self._http.config, self._session.kernel_id
        address = self._http.addresses.current
        url = config.websocket_url(rest.channels_path(config.kernels_endpoint, kernel_id), address)
        status, headers = rejected.status_code, Headers(rejected.headers)
        if says_not_running("GET", urlsplit(url).path, status, headers, rejected.body):
            return HubServerNotRunningError(status, rest.reason_phrase(status), url=url)
        reason, message = rest.parse_error(status, headers, rejected.body, mask=self._http.mask)
        if status == 404:
            return KernelNotFoundError(kernel_id, url=url)
        kind = AuthenticationError if status in (401, 403) else GatewayHTTPError
        return kind(status, reason, message, method="GET", url=url)

    def _refused(self, closed: WebSocketClosed) -> Exception:
        kernel_id = self._session.kernel_id
        if closed.code == TOO_LARGE:
            why = f"close code 1009: {closed.reason}" if closed.reason else "close code 1009"
            return ProtocolError(
                f"kernel {kernel_id}: a message is too large ({why}); we accept up to "
                f"max_message_size = {self._http.config.max_message_size} bytes, and a gateway has a limit of its own"
            )
        return ProtocolError(f"kernel {kernel_id}: {closed}")

    def _gave_up(self, last: Exception, outage: _Outage, *, never_opened: bool) -> Exception:
        if never_opened or isinstance(last, HubServerNotRunningError):
            return last
        config, seconds = self._http.config, outage.seconds(trio.current_time())
        limit = "gateway_retry_max" if outage.failures > config.gateway_retry_max else "reconnect_timeout"
        # That limit's own words would say the same again.
        why = (
            last if not isinstance(last, GatewayTimeoutError) or last.setting != "reconnect_timeout" else "no connection was made"
        )
        error = ConnectionLostError(
            f"kernel {self._session.kernel_id}: gave up after {outage.failures} attempts in {seconds:.3g} s ({limit}): {why}",
            attempts=outage.failures,
            seconds=seconds,
        )
        error.__cause__ = last
        return error


@attrs.define
class _Outage:
    """How long nothing has come of trying to connect, since the last progress."""

    failures: int = 0
    """How many connections in a row broke, or could not be made, without progress; the one that broke first counts too."""
    attempts: int = 0
    """How often it was tried to make one."""
    _since: float | None = None
    _stopped_since: float | None = None

    def is_stopped(self, answer: Exception, now: float) -> bool:
        """Take note of an answer to a handshake; say whether a hub has said for long enough that the server is not running."""
        if not isinstance(answer, HubServerNotRunningError):
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = now
        return self._stopped_since is not None and now >= self._stopped_since + STOPPED_SECONDS

    def note_failure(self, now: float) -> None:
        """One more connection broke or could not be made."""
        self.failures += 1
        if self._since is None:
            self._since = now

    def until(self, limit: float) -> float:
        """Return when it has lasted for so many seconds; infinity where it has not begun."""
        return math.inf if self._since is None else self._since + limit

    def seconds(self, now: float) -> float:
        """Return how long it has lasted."""
        return 0.0 if self._since is None else now - self._since


@asynccontextmanager
async def open_channels(
    http: HttpClient, kernel_id: str, session_id: str, subprotocols: list[str], *, turnstile: Turnstile | None = None
) -> AsyncGenerator[tuple[WebSocket, int]]:
    """Open a WebSocket to a kernel with the gateway's credentials, at the first of its addresses that answers, and keep the
    cookies that come with it.

    Args:
        http: the gateway's HTTP client.
        kernel_id: the kernel.
        session_id: what the gateway buffers and replays by.
        subprotocols: the framings to offer.
        turnstile: where it waits until it is its turn to connect; None for nowhere.

    Yields:
        The WebSocket, and the number of the address.

    Raises:
        HandshakeRejected: the gateway answered with another status than 101.
        WebSocketClosed: in the block, the connection is over.
        GatewayError: another reason why it could not be made.
    """
    path = rest.channels_path(http.config.kernels_endpoint, kernel_id, session_id)
    async with nullcontext() if turnstile is None else turnstile.place():
        connection, address = await _connect_somewhere(http, path, subprotocols)
    try:
        received = [value for name, value in connection.engine.response_headers if name == "set-cookie"]
        http.store_cookies(received, http.config.websocket_url(path, address))
        yield connection.engine, address
    finally:
        await connection.close()  # noqa: ASYNC102 - it is shielded, and bounded


async def _connect_somewhere(http: HttpClient, path: str, subprotocols: list[str]) -> tuple[Connection, int]:
    """Make a connection at the first address that answers. A handshake asks for nothing, so it may be repeated."""
    config = http.config
    connect_timeout = config.connect_timeout / len(config.addresses)
    options = WebSocketOptions(config.max_message_size, connect_timeout, config.handshake_timeout, config.websocket_engine)
    way = http.addresses.start_round()
    while True:
        url = config.websocket_url(path, way.index)
        failure: Exception
        token = ""
        try:
            headers = await http.handshake_headers(url)
            token = http.token
            connection = await connect_websocket(
                url,
                connector=http.connector,
                ssl_context=http.ssl_context,
                headers=headers,
                subprotocols=subprotocols,
                options=options,
                handshakes=http.handshakes,
                mask=http.mask,
            )
        except HandshakeRejected as rejected:
            if rejected.status_code not in SILENT_STATUS_CODES:
                way.answered()
                rejected.token = token
                raise
            failure = rejected
        except (GatewayConnectionError, GatewayTimeoutError) as error:
            failure = error
        else:
            way.answered()
            return connection, way.index
        if not way.failed(failure):
            failure = way.error()
            break
        del failure
    try:
        raise failure
    finally:
        del failure, way  # else this frame and its own traceback keep each other


def _is_refusal(error: Exception) -> bool:
    """Whether the gateway understood and said no, or TLS is not to be had there, so that asking again has no sense."""
    if isinstance(error, (TLSRefusedError, HubServerNotRunningError)):
        return True
    return isinstance(error, GatewayHTTPError) and 400 <= error.status_code < 500 and error.status_code not in (408, 425, 429)
