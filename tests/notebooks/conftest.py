"""Threads in virtual time."""

from __future__ import annotations

import pytest
import trio

from tools.notebook_tools import Threads


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Threads in virtual time: for modules whose `pytestmark` uses it."""
    threads = Threads()
    monkeypatch.setattr(trio.to_thread, "run_sync", threads.run_sync)
    return threads
