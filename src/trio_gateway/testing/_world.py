"""What the parts of one fake share: its time, its chance, its tasks and its log.

The one idea: a part gets the world when it is made and looks nothing up, so the parts depend one way. Nothing here knows what a
gateway or a kernel is.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

import trio

from .._services import Services, open_services
from ._conversation import Conversation

__all__ = ["DATE", "World"]

DATE: Final = "2026-01-01T00:00:00.000000Z"
"""The date in every message: the fake has no calendar."""
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When a fake begins, in what its REST interface shows."""


class World:
    """One fake's time, chance, tasks and log.

    Attributes:
        conversation: what was said between the clients and the fake.
        protocol_errors: what clients sent that is neither HTTP nor WebSocket nor a kernel's message.

    Args:
        seed: where its chance begins: two worlds of one seed make the same ids.
    """

    def __init__(self, seed: int) -> None:
        self.conversation: Conversation = Conversation()
        self.protocol_errors: list[str] = []
        self._random = random.Random(seed)  # noqa: S311 - ids that can be had again
        self._pids = 1000
        self._services: Services | None = None
        self._began = 0.0

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        """Begin now, and run tasks until the block ends."""
        self.conversation.begin()
        self._began = trio.current_time()
        async with open_services() as self._services:
            yield

    def spawn(self, function: Callable[[], Awaitable[object]], name: str) -> None:
        """Run something until the fake ends."""
        assert self._services is not None, "a FakeGateway is used in its `async with` block"
        self._services.start_soon(function, name=f"fake.{name}")

    def new_hex(self) -> str:
        """Make an id of 32 hexadecimal digits."""
        return uuid.UUID(int=self._random.getrandbits(128), version=4).hex

    def new_seed(self) -> int:
        """Return where the chance of another world begins."""
        return self._random.getrandbits(32)

    def next_pid(self) -> int:
        """Make a process id."""
        self._pids += 1
        return self._pids

    def timestamp(self, moment: float) -> str:
        """Say when a moment of Trio's clock is, as the server does: without a fraction where it is 0."""
        date = _EPOCH + timedelta(seconds=moment - self._began)
        return date.isoformat().replace("+00:00", "Z")

    def http_date(self) -> str:
        """Say what time it is there, as a header does."""
        return format_datetime(_EPOCH + timedelta(seconds=trio.current_time() - self._began), usegmt=True)

    def note_cut(self, number: int) -> None:
        """Note that a connection was cut."""
        self.conversation.note(f"#{number} x", "connection cut")
