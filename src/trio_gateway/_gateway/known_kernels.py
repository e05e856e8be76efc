"""Which kernels a gateway object knows of, and which of them it uses right now.

The one idea: the roster learns from the events that tell of each action, whoever acted: a kernel is known from its start, or
from when it was attached to, until the gateway itself says that it is gone. Nothing else (an error, a silence, a list that
lacks it) makes it unknown.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from .._errors import KernelCulledError, KernelDiedError, KernelNotFoundError
from .._events import GatewayEvent
from .._kernel.session import KernelSession
from .._protocol.kernel_state import ConnectionState

__all__ = ["Roster"]

_ENDS = frozenset({"shutdown", "cull", "cleanup"})


class Roster:
    """The kernels that one gateway object started or attached to, and its sessions with them."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._sessions: dict[str, set[KernelSession]] = {}

    def __contains__(self, kernel_id: object) -> bool:
        return kernel_id in self._names

    def ids(self) -> tuple[str, ...]:
        """Return the ids of the kernels that are known, those that have been known longest first."""
        return tuple(self._names)

    def name(self, kernel_id: str) -> str | None:
        """Return the name of a known kernel's kernelspec; None where it is not known."""
        return self._names.get(kernel_id) or None

    def add(self, kernel_id: str, name: str) -> None:
        """Know a kernel from now on."""
        self._names[kernel_id] = name or self._names.get(kernel_id, "")

    def forget(self, kernel_id: str) -> None:
        """Know a kernel no more: the gateway says that it is gone."""
        self._names.pop(kernel_id, None)

    def observe(self, event: GatewayEvent) -> None:
        """Learn from what was done."""
        kernel_id = event.kernel_id
        if event.kind != "kernel" or kernel_id is None:
            return
        if event.status_code == 404 or (event.action in _ENDS and event.status == "success"):
            self.forget(kernel_id)
        elif event.action == "start" and event.status == "success":
            self.add(kernel_id, event.kernel_name or "")

    @contextmanager
    def using(self, session: KernelSession) -> Generator[None]:
        """Count a session with a kernel as ours while the block lasts."""
        sessions = self._sessions.setdefault(session.kernel_id, set())
        sessions.add(session)
        try:
            yield
        finally:
            sessions.discard(session)
            if not sessions:
                self._sessions.pop(session.kernel_id, None)

    def in_use(self, kernel_id: str) -> bool:
        """Whether an execution of ours runs in a kernel or waits to be sent to it.

        A session that has no connection just now counts: what it will be sent waits too, and can't be told from here.
        """
        return any(
            session.ended is None and (session.waits or session.status.connection is not ConnectionState.CONNECTED)
            for session in self._sessions.get(kernel_id, ())
        )

    def connections(self, kernel_id: str) -> int:
        """How many of a kernel's connections are ours."""
        sessions = self._sessions.get(kernel_id, ())
        return sum(session.status.connection is ConnectionState.CONNECTED for session in sessions)

    def how_it_ended(self, session: KernelSession) -> tuple[str, str] | None:
        """Say how a session's kernel ended without our doing, as an event's action and message, once; None if it did not."""
        ended = session.ended
        if session.kernel_id not in self or not isinstance(ended, (KernelDiedError, KernelCulledError, KernelNotFoundError)):
            return None
        self.forget(session.kernel_id)
        return "died" if isinstance(ended, KernelDiedError) else "gone", str(ended)
