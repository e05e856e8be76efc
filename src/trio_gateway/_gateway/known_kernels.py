"""Which kernels a gateway object knows of, and which of them it uses right now.

The one idea: a kernel is known from its start, or from when it was attached to, until the gateway itself says that it is gone.
Nothing else (an error, a silence, a list that lacks it) makes it unknown. It is noted here by `KernelApi`, which all starts,
shutdowns and answers of 404 come through, and by each session that attaches. Events only inform those who listen.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import attrs

from .._errors import KernelCulledError, KernelDiedError, KernelNotFoundError
from .._kernel.session import KernelSession
from .._protocol.kernel_state import ConnectionState

__all__ = ["KnownKernels"]


@attrs.define
class _Known:
    """What is kept of a kernel."""

    name: str
    """Its kernelspec; `""` where that is not known."""
    askers: int
    """How many have it, as far as is known here: those whose start, attach or look has given it to them; and one more, who had it
    before, for a kernel that ran already."""


class KnownKernels:
    """The kernels that one gateway object started or attached to, and its sessions with them."""

    def __init__(self) -> None:
        self._kernels: dict[str, _Known] = {}
        self._sessions: dict[str, set[KernelSession]] = {}

    def __contains__(self, kernel_id: object) -> bool:
        return kernel_id in self._kernels

    def ids(self) -> tuple[str, ...]:
        """Return the ids of the kernels that are known, those that have been known longest first."""
        return tuple(self._kernels)

    def name(self, kernel_id: str) -> str | None:
        """Return the name of a known kernel's kernelspec; None where it is not known."""
        known = self._kernels.get(kernel_id)
        return None if known is None else known.name or None

    def made(self, kernel_id: str, name: str) -> None:
        """Know a kernel that a start of ours has made: who asked for it is the only one who has it."""
        self._kernels[kernel_id] = _Known(name, 1)

    def met(self, kernel_id: str, name: str) -> None:
        """Know a kernel that ran already: one more caller has it now."""
        known = self._kernels.setdefault(kernel_id, _Known(name, 1))
        known.name = name or known.name
        known.askers += 1

    def unheard(self, kernel_id: str) -> bool:
        """Take note that a start gave a kernel to somebody who never heard of it.

        Returns:
            Whether nobody else has it: a start of ours made it, and nobody has met it since.
        """
        known = self._kernels.get(kernel_id)
        if known is None:
            return False
        known.askers -= 1
        return known.askers == 0

    def forget(self, kernel_id: str) -> None:
        """Know a kernel no more: the gateway says that it is gone."""
        self._kernels.pop(kernel_id, None)

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

        A session that has no connection just now counts: what it will be sent waits too, and is not seen from here.
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
