"""A kernel's process, interrupted and replaced.

The one idea: a gateway answers that it has interrupted or restarted a kernel, and that says little of the process. So a restart
is seen through until the new process answers; and when a process says goodbye, it is found out what replaces it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio

from .._api import KernelApi
from .._errors import ConnectionLostError, KernelUnresponsiveError
from .._protocol.kernel_state import ConnectionState
from .._protocol.recovery import QUESTION
from .requests import Requests
from .restart_gate import RestartGate
from .status import SessionStatus

__all__ = ["KernelProcess"]

_logger = logging.getLogger("trio_gateway.session")

INTERRUPT_SECONDS: Final = 2.0
"""How long a kernel may take to answer an `interrupt_request` before the gateway is asked to interrupt it, in seconds."""
ASK_AGAIN_SECONDS: Final = 5.0
"""After how long a restarted kernel that does not answer is asked again, in seconds."""


class Replaced(Protocol):
    """Acts on it that a new process took the old one's place."""

    def __call__(self, reason: str, told: str, *, ours: bool = False) -> None:
        """Take in why, what an event is to say of it (`""` for none), and whether it was this session's doing."""
        ...


class KernelProcess:
    """Interrupts and restarts the process of one session's kernel.

    Args:
        api: the gateway's REST interface.
        requests: asks the kernel.
        status: how the session is.
        gate: keeps code back while the process is replaced.
        interrupt_mode: asks what the kernelspec says of interrupts, `"signal"` or `"message"`.
        reconnect: drops the connection; a new one is made at once.
        on_replaced: called when a new process took the old one's place.
    """

    __slots__ = ("_api", "_gate", "_interrupt_mode", "_on_replaced", "_own_restarts", "_reconnect", "_requests", "_status")

    def __init__(
        self,
        api: KernelApi,
        requests: Requests,
        status: SessionStatus,
        gate: RestartGate,
        *,
        interrupt_mode: Callable[[], Awaitable[str]],
        reconnect: Callable[[], None],
        on_replaced: Replaced,
    ) -> None:
        self._api = api
        self._requests = requests
        self._status = status
        self._gate = gate
        self._interrupt_mode = interrupt_mode
        self._reconnect = reconnect
        self._on_replaced = on_replaced
        self._own_restarts = api.own_restarts(status.kernel_id)

    async def interrupt(self) -> None:
        """Interrupt the kernel, in the way its kernelspec says: by a message of ours, or by the gateway's signal.

        Where the message is not answered, the gateway, which knows both ways, is asked to.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel any more.
            GatewayError: as for each request to the gateway.

        Cancellation: leaves open whether the kernel is interrupted.
        """
        kernel_id = self._status.kernel_id
        if self._status.connection is ConnectionState.CONNECTED and await self._interrupt_mode() == "message":
            with trio.move_on_after(INTERRUPT_SECONDS):
                try:
                    await self._requests.request("control", "interrupt_request", {})
                except ConnectionLostError as error:
                    _logger.debug("interrupt_failed", extra={"gateway.kernel_id": kernel_id, "gateway.reason": repr(error)})
                else:
                    return
        await self._api.interrupt(kernel_id)

    async def restart(self, probe_seconds: float) -> None:
        """Restart the kernel and see that it answers; whatever was sent before is failed.

        A restart says nothing on the wire to those who wait (the pending reply mostly never comes), so we say it here. Code that
        waits for its turn is not sent to the process that is about to end.

        Args:
            probe_seconds: how long the new process may take to answer on this connection before a new one is made, in seconds.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel any more.
            KernelUnresponsiveError: the new process has not answered for as long as the setting `unresponsive_timeout` says.
            GatewayError: as for each request to the gateway.

        Cancellation: as for `Kernel.restart`.
        """
        asked = False

        def note_sending() -> None:
            nonlocal asked
            asked = True
            self._gate.farewell = False

        with self._gate.asked():
            try:
                await self._api.restart(
                    self._status.kernel_id,
                    timeout=self._api.config.request_timeout_for(None),
                    on_sending=note_sending,
                    on_restarted=self._note_own_restart,
                )
            except BaseException:
                if asked and self._gate.farewell:  # the gateway's answer did not come, but the old process has gone
                    self._note_own_restart()
                raise
        with trio.move_on_after(probe_seconds):
            await self._gate.wait()
            return
        # The gateway's side of the connection may still be tied to the old process: a new one is not.
        self._reconnect()
        limit = self._api.config.unresponsive_timeout
        with trio.move_on_after(limit) as scope:
            await self._ask_until_answered()
        if scope.cancelled_caught:
            raise KernelUnresponsiveError(self._status.kernel_id, limit)
        await self._gate.wait()

    async def _ask_until_answered(self) -> None:
        """Ask again and again: what is asked while the old connection is dropped may go with that one, and nobody answers it."""
        answered = False
        while not answered:
            with trio.move_on_after(ASK_AGAIN_SECONDS):
                try:
                    await self._requests.request("control", QUESTION, {})
                    answered = True
                except ConnectionLostError:
                    if self._status.ended is not None:
                        raise

    def note_goodbye(self) -> None:
        """The old process says that another one will take its place: by our doing, through this gateway object, or by others'."""
        if self._gate.ours:
            self._gate.farewell = True
            return
        known, self._own_restarts = self._own_restarts, self._api.own_restarts(self._status.kernel_id)
        if known != self._own_restarts:
            self._on_replaced("it was restarted through this gateway object", "")
        else:
            self._on_replaced("someone restarted it", "restarted by someone else")

    def _note_own_restart(self) -> None:
        self._own_restarts = self._api.own_restarts(self._status.kernel_id)
        self._status.change(kernel="starting")
        self._on_replaced("it was restarted by us", "", ours=True)
