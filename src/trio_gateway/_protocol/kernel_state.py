"""What a kernel and its connection can be doing, and what each piece of news changes.

The one idea: two small machines, each a table from (state, event) to state. A pair that is not in the table changes
nothing. The docs draw these tables; the session feeds them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

__all__ = ["CONNECTION_TRANSITIONS", "KERNEL_TRANSITIONS", "ConnectionState", "KernelState", "StatusReader", "next_kernel_state"]


class KernelState(enum.Enum):
    """What a kernel is doing, as far as is known."""

    STARTING = "starting"
    """The process starts; nothing was heard of it yet."""
    IDLE = "idle"
    """It waits for requests."""
    BUSY = "busy"
    """It works on a request, ours or another client's."""
    RESTARTING = "restarting"
    """Its process ended, and the gateway starts a new one."""
    DEAD = "dead"
    """Its process ended and will not come back. Final."""
    CULLED = "culled"
    """Someone else shut it down: the gateway for idleness, or another client. Final."""

    if not TYPE_CHECKING:  # which takes it for another method than the one it stands for
        __hash__ = object.__hash__  # in C: each is there once

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self in (KernelState.DEAD, KernelState.CULLED)


_LIVING: Final = (KernelState.STARTING, KernelState.IDLE, KernelState.BUSY, KernelState.RESTARTING)

KERNEL_TRANSITIONS: Final[Mapping[tuple[KernelState, str], KernelState]] = {
    **{(state, "starting"): KernelState.STARTING for state in _LIVING},
    **{(state, "idle"): KernelState.IDLE for state in _LIVING},
    **{(state, "busy"): KernelState.BUSY for state in _LIVING},
    **{(state, "restarting"): KernelState.RESTARTING for state in _LIVING},
    **{(state, "dead"): KernelState.DEAD for state in _LIVING},
    **{(state, "culled"): KernelState.CULLED for state in _LIVING},
}


def next_kernel_state(state: KernelState, event: str) -> KernelState:
    """Return the state after `event`; unknown events, and any event after a final state, change nothing."""
    return KERNEL_TRANSITIONS.get((state, event), state)


_BESIDE_SHELL: Final = frozenset(
    {"kernel_info_request", "interrupt_request", "debug_request", "shutdown_request"}
    | {f"{verb}_subshell_request" for verb in ("create", "delete", "list")}
)
"""Requests that a kernel may have got on its control channel, and works on beside what its shell is busy with."""


class StatusReader:
    """Reads a kernel's `status` messages: which of them say what its shell does.

    A kernel says `busy` and `idle` for what comes on its control channel too, so a kernel that is asked for its info while it
    runs code says `idle` in the middle of it. What the shell works on is known by the request that the status is about.
    """

    __slots__ = ("shell",)

    shell: str
    """The id of the request that the shell works on, as far as is known; `""` for none."""

    def __init__(self) -> None:
        self.shell = ""

    def read(self, state: str, parent_id: str, parent_type: str) -> str:
        """Return the event that a status message is for the kernel's machine; `""` for none.

        Args:
            state: its `execution_state`.
            parent_id: the request it is about.
            parent_type: that request's type.
        """
        beside = parent_type in _BESIDE_SHELL
        if state == "busy":
            if not beside:
                self.shell = parent_id
        elif state == "idle":
            if beside and self.shell and self.shell != parent_id:
                return ""
            self.shell = ""  # a shell works in order: what it had before is done, whether its own `idle` came or not
        else:
            self.shell = ""
        return state


class ConnectionState(enum.Enum):
    """How the connection to a kernel's channels is doing."""

    CONNECTING = "connecting"
    """The first connection is being made."""
    CONNECTED = "connected"
    """Messages flow."""
    RECONNECTING = "reconnecting"
    """The connection broke, and is being made again with the same session."""
    CLOSED = "closed"
    """It is over: the block ended, or there is no hope. Final."""


CONNECTION_TRANSITIONS: Final[Mapping[tuple[ConnectionState, str], ConnectionState]] = {
    (ConnectionState.CONNECTING, "opened"): ConnectionState.CONNECTED,
    (ConnectionState.CONNECTED, "lost"): ConnectionState.RECONNECTING,
    (ConnectionState.RECONNECTING, "opened"): ConnectionState.CONNECTED,
    (ConnectionState.CONNECTING, "ended"): ConnectionState.CLOSED,
    (ConnectionState.CONNECTED, "ended"): ConnectionState.CLOSED,
    (ConnectionState.RECONNECTING, "ended"): ConnectionState.CLOSED,
}
