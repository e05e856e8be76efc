"""How one session's kernel and connection are, and whether the session is over.

The one idea: whatever is learned of the kernel is noted here, and the tasks that wait for a change are woken; nothing is called
and nothing acts. So everything above can ask how things are without knowing what found it out.
"""

from __future__ import annotations

import math

import attrs
import trio

from .._errors import GatewayConnectionError, GatewayTimeoutError, fresh
from .._protocol.kernel_state import CONNECTION_TRANSITIONS, ConnectionState, KernelState, next_kernel_state
from .._protocol.liveness import Liveness

__all__ = ["SessionStatus", "Status"]


@attrs.frozen
class Status:
    """How a kernel and its connection are."""

    kernel: KernelState
    """What the kernel is doing."""
    connection: ConnectionState
    """How the connection is doing."""


class SessionStatus:
    """What a session knows of its kernel and of its connection.

    Args:
        kernel_id: the kernel.
        ping_interval: the setting, in seconds.
        unresponsive_timeout: the setting, in seconds.
    """

    __slots__ = (
        "_changed",
        "connections",
        "current",
        "ended",
        "ended_at",
        "kernel_id",
        "liveness",
        "shutting_down",
        "told_on",
        "unheard",
        "works_on",
    )

    kernel_id: str
    """The kernel."""
    current: Status
    """What both are doing now."""
    connections: int
    """How many connections there were, the present one included."""
    ended: Exception | None
    """What ended the session, once it has ended."""
    ended_at: float | None
    """When it did, by Trio's clock."""
    shutting_down: bool
    """Whether the kernel is being shut down by us: what its goodbye says is no news then, and it is sent no more."""
    unheard: bool
    """Whether the connection before this one brought nothing."""
    told_on: int
    """The number of the connection over which the kernel last said how it is; 0 if it never did."""
    works_on: str
    """The id of the request that the kernel's shell works on, as far as it tells; `""` for none."""
    liveness: Liveness
    """The evidence that the kernel is there."""

    def __init__(self, kernel_id: str, ping_interval: float, unresponsive_timeout: float = math.inf) -> None:
        self.kernel_id = kernel_id
        self.current = Status(KernelState.STARTING, ConnectionState.CONNECTING)
        self.connections = 0
        self.ended = None
        self.ended_at = None
        self.shutting_down = False
        self.unheard = False
        self.told_on = 0
        self.works_on = ""
        self.liveness = Liveness(ping_interval, trio.current_time(), limit=unresponsive_timeout)
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def kernel(self) -> KernelState:
        """What the kernel is doing, as far as is known."""
        return self.current.kernel

    @property
    def connection(self) -> ConnectionState:
        """How the connection is doing."""
        return self.current.connection

    @property
    def over(self) -> bool:
        """Whether there is nothing left to find out: the session has ended, or the kernel is being shut down by us."""
        return self.ended is not None or self.shutting_down

    @property
    def watched(self) -> bool:
        """Whether someone waits for news of how they are."""
        return len(self._changed) > 0

    def raise_if_ended(self) -> None:
        """Raise what ended the session, if it has ended."""
        if self.ended is not None:
            raise fresh(self.ended)

    async def wait_change(self) -> None:
        """Wait until what the kernel or its connection is doing has changed. Cancellation: safe."""
        await self._changed.park()

    def change(self, *, kernel: str = "", connection: str = "") -> None:
        """Feed the two state machines, and wake those who wait for a change if there was one.

        Args:
            kernel: what happened to the kernel, as `KERNEL_TRANSITIONS` calls it; `""` for nothing.
            connection: what happened to the connection, as `CONNECTION_TRANSITIONS` calls it; `""` for nothing.
        """
        before = self.current
        kernel_after = next_kernel_state(before.kernel, kernel) if kernel else before.kernel
        connection_after = before.connection
        if connection:
            connection_after = CONNECTION_TRANSITIONS.get((before.connection, connection), before.connection)
        if kernel_after is not before.kernel or connection_after is not before.connection:
            self.current = Status(kernel_after, connection_after)
            if self._changed:
                self._changed.unpark_all()

    def opened(self) -> None:
        """Note that a connection was made."""
        self.connections += 1
        self.unheard = self.connections > 1 and not self.liveness.progressed
        self.liveness.connected(trio.current_time())
        self.change(connection="opened")

    def lost(self, reason: Exception) -> None:
        """Note that the connection broke, or that it could not be made.

        Args:
            reason: why. An attempt that did not reach the gateway says that it can't be reached.
        """
        self.liveness.lost()
        attempted = self.connection is not ConnectionState.CONNECTED
        if attempted and isinstance(reason, (GatewayConnectionError, GatewayTimeoutError)):
            self.liveness.unreachable()
        self.change(connection="lost")

    def end(self, reason: Exception) -> None:
        """Note that the session has ended, and why."""
        self.ended = reason
        self.ended_at = trio.current_time()
        self.change(connection="ended")
