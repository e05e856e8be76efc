"""One kernel's session: its connection kept alive, its messages sent and routed.

The one idea: one task writes to the WebSocket, one reads it, and both belong to a supervisor that connects, and connects
again with the same `session_id` when the connection breaks, so that the gateway replays what was missed. Callers meet
those tasks only through the outbox and through pending requests, so cancelling a caller never cuts a frame.

After a reconnect a `kernel_info_request` is sent as a barrier: shell is first-in first-out, so when its reply is there,
an earlier request without a reply has lost it, and is failed rather than left waiting (guarantee G3).
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import trio

from .._config import GatewayConfig
from .._errors import (
    AuthenticationError,
    ConnectionLostError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    KernelCulledError,
    KernelDiedError,
    KernelNotFoundError,
    KernelRestartedError,
    ProtocolError,
    fresh,
)
from .._outputs import OutputGap
from .._protocol import codec, rest
from .._protocol.kernel_state import CONNECTION_TRANSITIONS, ConnectionState, KernelState, next_kernel_state
from .._protocol.loss import DUPLICATE, MessageLedger
from .._protocol.messages import Buffer, Message, MessageFactory
from .._protocol.retry import reconnect_delay
from .._transport.api import KernelApi
from .._transport.http import HttpClient
from .._transport.services import Services
from .._transport.websocket import HandshakeRejected, WebSocket, WebSocketClosed, WebSocketOptions, open_websocket
from .pending import Pending, PendingExecution, PendingReply

__all__ = ["KernelSession"]

_logger = logging.getLogger("trio_gateway.session")

STABLE_SECONDS: Final = 10.0
"""A connection that lived this long counts as good: the next loss starts with the shortest pause again."""
GONE_CHECKS: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Pauses, in seconds, before each look whether a kernel that said goodbye is gone: the gateway takes a moment for it."""
FINAL_CLOSE_CODES: Final = frozenset({1003, 1007, 1009, 1010})
"""Close codes after which the same conversation would end the same way: what was sent is not accepted, or is too large."""


class KernelSession:
    """The life of one kernel's connection. Made by whoever owns its services; see `_gateway.ownership`.

    Args:
        kernel_id: the kernel.
        session_id: this client's session, unique to it; the gateway buffers and replays by it.
        http: the gateway's HTTP client, whose credentials and cookies the handshake shares.
        services: the nursery that owns the session's tasks.
    """

    def __init__(self, kernel_id: str, *, session_id: str, http: HttpClient, services: Services) -> None:
        self.kernel_id = kernel_id
        self.session_id = session_id
        self.api = KernelApi(http)
        self.kernel_state = KernelState.STARTING
        self.connection_state = ConnectionState.CONNECTING
        self.connections = 0
        self.ended: Exception | None = None
        self.ledger = MessageLedger(session_id)
        self._http = http
        self._services = services
        self._factory = MessageFactory(session_id, config_username(http.config))
        self._outbox: deque[Pending | Message] = deque()
        self._outbox_filled = trio.Event()
        self._pending: dict[str, Pending] = {}
        self._v1 = True
        self._shutting_down = False
        self._restarting = False
        self._connection_scope: trio.CancelScope | None = None
        self._running = trio.CancelScope()
        self._opened_once = trio.Event()
        self._random = random.Random()  # noqa: S311 - jitter

    @property
    def config(self) -> GatewayConfig:
        """The gateway's configuration."""
        return self._http.config

    # Requests ---------------------------------------------------------------------------------------------------

    def make(
        self,
        channel: str,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> Message:
        """Make a message of this session. Raises InvalidInputError if it can't be written as JSON."""
        date = datetime.now(UTC).isoformat()  # noqa: TID251 - a header tells people when; nothing is decided by it
        return self._factory.make(channel, msg_type, content, date=date, metadata=metadata, buffers=buffers)

    def submit(self, pending: Pending) -> None:
        """Queue a request and route its answers to it from now on. Raises what ended the session, if it has ended."""
        if self.ended is not None:
            raise fresh(self.ended)
        self._pending[pending.message.msg_id] = pending
        self._outbox.append(pending)
        self._outbox_filled.set()

    def withdraw(self, pending: Pending) -> bool:
        """Take a request back if sending it has not begun; say whether that was so."""
        if pending.sent:
            return False
        with suppress(ValueError):
            self._outbox.remove(pending)
        return True

    def forget(self, pending: Pending) -> None:
        """Route nothing to this request any more."""
        self._pending.pop(pending.message.msg_id, None)

    async def request(self, channel: str, msg_type: str, content: Mapping[str, Any]) -> Message:
        """Send a request and wait for its reply.

        Raises:
            KernelError: the kernel ended or was restarted.
            ConnectionLostError: the answer was lost with the connection.

        Cancellation: the request is withdrawn if it was not sent yet; else its reply is ignored.
        """
        pending = PendingReply(self.make(channel, msg_type, content))
        self.submit(pending)
        try:
            await pending.wait_settled()
        finally:
            if not pending.settled:
                self.withdraw(pending)
            self.forget(pending)
        if pending.failure is not None:
            raise fresh(pending.failure)
        assert pending.reply is not None
        return pending.reply

    async def settle_without_idle(self, pending: PendingExecution) -> None:
        """End an execution that has its reply but whose `idle` is overdue: lost, as in a flood it can be.

        A `kernel_info_request` gives `idle` a last chance, for as long as the first one: whatever the kernel published
        for the execution comes before what it publishes for that.
        """
        with trio.move_on_after(self.config.idle_grace):
            try:
                await self.request("shell", "kernel_info_request", {})
            except GatewayError as error:
                _logger.debug("barrier_failed", extra={"gateway.reason": repr(error)})
        if not pending.settled:
            pending.give_up_idle()

    # The life of the connection ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and keep connected until cancelled or until there is no hope; then the session has `ended`."""
        try:
            with self._running:
                self._end(await self._keep_connected())
        finally:
            self._end(ConnectionLostError(f"the session with kernel {self.kernel_id} was closed"))

    async def wait_opened(self) -> None:
        """Wait for the first connection.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel.
            GatewayError: the connection could not be made.

        Cancellation: safe.
        """
        await self._opened_once.wait()
        if self.connections == 0 and self.ended is not None:
            raise fresh(self.ended) from self.ended.__cause__

    async def _keep_connected(self) -> Exception:
        """Connect again and again; return the reason why that has no sense any more."""
        failures = 0
        renewed = False
        while True:
            opened_at: float | None = None
            try:
                headers = await self._http.handshake_headers(self._url())
                async with open_websocket(
                    self._url(),
                    connector=self._http.connector,
                    ssl_context=self._http.ssl_context,
                    headers=headers,
                    subprotocols=[codec.V1_SUBPROTOCOL],
                    options=self._options(),
                ) as websocket:
                    opened_at = trio.current_time()
                    renewed = False
                    self._http.store_cookies(
                        [value for name, value in websocket.response_headers if name == "set-cookie"], self._url()
                    )
                    self._opened(websocket)
                    closed = await self._pump(websocket)
            except HandshakeRejected as rejected:
                error = self._rejection(rejected)
                if isinstance(error, KernelNotFoundError):
                    return self._gone()
                if isinstance(error, AuthenticationError):
                    if renewed or not await self._http.renew_token():
                        return error
                    renewed = True
                    continue
                last: Exception = error
            except (GatewayConnectionError, GatewayTimeoutError) as error:
                last = error
            except GatewayError as error:
                return error
            else:
                if closed.code in FINAL_CLOSE_CODES:
                    return self._refused(closed)
                last = GatewayConnectionError(f"kernel {self.kernel_id}: {closed}")
            if self.kernel_state.final:
                return self._gone()
            if opened_at is not None and trio.current_time() - opened_at >= STABLE_SECONDS:
                failures = 0
            failures += 1
            if self.connections == 0 and (isinstance(last, GatewayTimeoutError) or _is_refusal(last)):
                return last
            if failures > self.config.gateway_retry_max:
                return self._gave_up(last, failures)
            self._advance_connection("lost")
            _logger.debug("reconnect_scheduled", extra={"gateway.kernel_id": self.kernel_id, "gateway.attempt": failures})
            await trio.sleep(
                reconnect_delay(
                    failures,
                    interval=self.config.gateway_retry_interval,
                    interval_max=self.config.gateway_retry_interval_max,
                    rng=self._random,
                )
                if self.connections == 0 or opened_at is None or failures > 1
                else 0.0
            )

    def _url(self) -> str:
        return self.config.websocket_url(rest.channels_path(self.config.kernels_endpoint, self.kernel_id, self.session_id))

    def _options(self) -> WebSocketOptions:
        config = self.config
        return WebSocketOptions(config.max_message_size, config.connect_timeout, config.handshake_timeout)

    def _opened(self, websocket: WebSocket) -> None:
        self.connections += 1
        self._v1 = websocket.subprotocol == codec.V1_SUBPROTOCOL
        self._advance_connection("opened")
        self._opened_once.set()
        if self.connections > 1 and any(pending.sent for pending in self._pending.values()):
            for pending in self._pending.values():
                if isinstance(pending, PendingExecution) and pending.sent and not pending.settled:
                    pending.execution.note_gap(
                        OutputGap("reconnected", None, "the connection broke; output in flight then may be missing")
                    )
            self._services.start_soon(self._fail_what_was_lost, self.connections, name="trio_gateway.barrier")

    async def _fail_what_was_lost(self, connection: int) -> None:
        """Send the barrier and fail every earlier request whose reply did not come before the barrier's."""
        try:
            await self.request("shell", "kernel_info_request", {})
        except GatewayError:
            return  # lost again, and the next connection has a barrier of its own; or the session has ended
        for pending in list(self._pending.values()):
            if pending.sent and pending.connection < connection and not pending.replied and pending.message.channel == "shell":
                pending.fail(
                    ConnectionLostError(
                        f"kernel {self.kernel_id}: the connection broke, and the {pending.message.msg_type} or its reply "
                        "was lost with it; it may have run, and was not sent again"
                    )
                )

    async def _pump(self, websocket: WebSocket) -> WebSocketClosed:
        """Send and receive until the connection is over; return how it ended."""
        closed = WebSocketClosed(1000, "dropped by us")
        async with trio.open_nursery() as nursery:
            self._connection_scope = nursery.cancel_scope
            nursery.start_soon(self._send_all, websocket)
            try:
                await self._receive_all(websocket)
            except WebSocketClosed as error:
                closed = error
            nursery.cancel_scope.cancel()
        self._connection_scope = None
        return closed

    async def _send_all(self, websocket: WebSocket) -> None:
        """The one task that writes messages."""
        encode = codec.encode_v1 if self._v1 else codec.encode_legacy
        while True:
            while self._outbox:
                item = self._outbox.popleft()
                message = item.message if isinstance(item, Pending) else item
                try:
                    frame = encode(message)
                except GatewayError as error:
                    if isinstance(item, Pending):
                        item.fail(error)
                    continue
                if isinstance(item, Pending):
                    item.connection = self.connections
                try:
                    await websocket.send(frame)
                except WebSocketClosed:
                    return  # the receiver takes in what had come before the end, and tells how it ended
            self._outbox_filled = trio.Event()
            await self._outbox_filled.wait()

    async def _receive_all(self, websocket: WebSocket) -> None:
        """The one task that reads messages; it never waits for a consumer."""
        while True:
            for frame in await websocket.receive():
                try:
                    message = codec.decode(frame, v1=self._v1)
                except ProtocolError as error:
                    self._note_garbage(error)
                else:
                    self.route(message)

    # Routing ----------------------------------------------------------------------------------------------------

    def route(self, message: Message) -> None:
        """Give a message to the request that caused it, and learn from it how the kernel is. Never waits."""
        try:
            number = self.ledger.observe(message)
            if number == DUPLICATE:
                return
            pending = self._pending.get(message.parent_id)
            if pending is not None:
                pending.feed(message, number)
            if message.channel == "iopub":
                self._observe(message)
        except ProtocolError as error:
            self._note_garbage(error)

    def _observe(self, message: Message) -> None:
        kind = message.header.msg_type
        if kind == "status":
            state = message.content.get("execution_state")
            before = self.kernel_state
            self.kernel_state = next_kernel_state(before, state if isinstance(state, str) else "")
            if state == "restarting":
                self.fail_sent(KernelRestartedError(self.kernel_id, "its process ended and the gateway started it again"))
            elif state == "dead" and not before.final:
                self._fail_all(self._gone())
        elif kind == "shutdown_reply" and not self._shutting_down:
            if message.content.get("restart"):
                if self._restarting:
                    return  # ours: its end is told when the gateway has answered
                self.fail_sent(KernelRestartedError(self.kernel_id, "someone restarted it"))
            else:
                self._services.start_soon(self._check_gone, name="trio_gateway.check_gone")

    async def _check_gone(self) -> None:
        """After a shutdown that we did not ask for: ask the gateway whether the kernel is gone. It leaves the socket open."""
        for pause in GONE_CHECKS:
            await trio.sleep(pause)
            if self._shutting_down or self.ended is not None:
                return
            try:
                await self.api.get(self.kernel_id)
            except KernelNotFoundError:
                self.kernel_state = next_kernel_state(self.kernel_state, "culled")
                self._end(self._gone())
                return
            except GatewayError as error:
                _logger.debug("check_failed", extra={"gateway.reason": repr(error)})

    def _note_garbage(self, error: ProtocolError) -> None:
        """A message that can't be understood is skipped, and whoever waits is told that something is missing."""
        _logger.warning("message_not_understood", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": str(error)})
        for pending in self._pending.values():
            if isinstance(pending, PendingExecution) and pending.sent:
                pending.execution.note_gap(OutputGap("lost", 1, f"a message could not be understood: {error}"))

    async def restart(self, probe_seconds: float) -> None:
        """Restart the kernel and see that it answers; whatever was sent before is failed.

        A restart says nothing on the wire to those who wait (the pending reply never comes), so we say it here.
        """
        self._restarting = True
        try:
            await self.api.restart(self.kernel_id, timeout=self.config.request_timeout_for(None))
        finally:
            self._restarting = False
        self.fail_sent(KernelRestartedError(self.kernel_id, "it was restarted by us"))
        self.kernel_state = next_kernel_state(self.kernel_state, "starting")
        with trio.move_on_after(probe_seconds):
            await self.request("control", "kernel_info_request", {})
            return
        # The gateway's side of the connection may still be tied to the old process: a new one is not.
        self.reconnect()
        await self.request("control", "kernel_info_request", {})

    def reconnect(self) -> None:
        """Drop the connection, if there is one; the supervisor makes a new one at once."""
        if self._connection_scope is not None:
            self._connection_scope.cancel()

    # Ends -------------------------------------------------------------------------------------------------------

    def note_shutdown(self) -> None:
        """Note that the kernel is being shut down by us; what its goodbye says is no news then."""
        self._shutting_down = True

    def note_dead(self) -> None:
        """Note that the kernel was shut down by us: whatever still waits is failed, and the session has ended."""
        self.kernel_state = next_kernel_state(self.kernel_state, "dead")
        self._end(KernelDiedError(self.kernel_id, "it was shut down"))

    def fail_sent(self, failure: Exception) -> None:
        """Fail every request that was sent: the kernel that had it is gone. Those still queued are for its successor."""
        for pending in list(self._pending.values()):
            if pending.sent:
                pending.fail(failure)

    def _fail_all(self, failure: Exception) -> None:
        self._outbox.clear()
        for pending in list(self._pending.values()):
            pending.fail(failure)

    def _end(self, reason: Exception) -> None:
        if self.ended is None:
            self.ended = reason
        self._advance_connection("ended")
        self._opened_once.set()
        self._fail_all(self.ended)
        self._running.cancel()

    def _advance_connection(self, event: str) -> None:
        self.connection_state = CONNECTION_TRANSITIONS.get((self.connection_state, event), self.connection_state)

    def _gone(self) -> Exception:
        if self.kernel_state is KernelState.DEAD:
            return KernelDiedError(self.kernel_id, "its process ended, and the gateway gave up restarting it")
        if self.connections == 0 and not self.kernel_state.final:
            return KernelNotFoundError(self.kernel_id)
        self.kernel_state = next_kernel_state(self.kernel_state, "culled")
        return KernelCulledError(self.kernel_id, "the gateway does not know it any more: it was culled, or shut down by someone")

    def _rejection(self, rejected: HandshakeRejected) -> GatewayHTTPError:
        url = self.config.websocket_url(rest.channels_path(self.config.kernels_endpoint, self.kernel_id))
        reason, message = rest.parse_error(rejected.status_code, dict(rejected.headers), rejected.body)
        if rejected.status_code == 404:
            return KernelNotFoundError(self.kernel_id, url=url)
        kind = AuthenticationError if rejected.status_code in (401, 403) else GatewayHTTPError
        return kind(rejected.status_code, reason, message, method="GET", url=url)

    def _refused(self, closed: WebSocketClosed) -> Exception:
        if closed.code == 1009:
            return ProtocolError(
                f"kernel {self.kernel_id}: a message is too large ({closed.reason or 'close code 1009'}); "
                f"ours may have up to max_message_size = {self.config.max_message_size} bytes, a gateway has limits of its own"
            )
        return ProtocolError(f"kernel {self.kernel_id}: {closed}")

    def _gave_up(self, last: Exception, failures: int) -> Exception:
        error = ConnectionLostError(
            f"kernel {self.kernel_id}: gave up after {failures} attempts (gateway_retry_max): {last}", attempts=failures
        )
        error.__cause__ = last
        return error


def _is_refusal(error: Exception) -> bool:
    """Whether the gateway understood and said no, so that asking again has no sense."""
    return isinstance(error, GatewayHTTPError) and 400 <= error.status_code < 500 and error.status_code not in (408, 425, 429)


def config_username(config: GatewayConfig) -> str:
    """Return the user name for message headers."""
    return config.kernel_username or "trio_gateway"
