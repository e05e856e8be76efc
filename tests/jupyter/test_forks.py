"""A process that was forked off forgets the event loops of its parent, and closes none of them."""

from __future__ import annotations

from contextvars import ContextVar

import pytest
from jupyter_core import utils

from trio_gateway.jupyter import _forks
from trio_gateway.jupyter._forks import begin_anew


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is kept of the parent's loops."""
    kept: list[object] = []
    monkeypatch.setattr(_forks, "_kept", kept)
    return kept


def test_the_parents_loops_are_forgotten_and_kept_alive(monkeypatch: pytest.MonkeyPatch, kept: list[object]) -> None:
    current: ContextVar[object] = ContextVar("current", default=None)
    loop, runner = object(), object()
    current.set(loop)
    runners = {"a thread": runner}
    monkeypatch.setattr(utils, "_loop", current)
    monkeypatch.setattr(utils, "_runner_map", runners)
    begin_anew()
    assert current.get() is None
    assert runners == {}
    assert kept == [loop, runner]
    begin_anew()
    assert kept == [loop, runner]


def test_other_names_of_jupyter_core_do_no_harm(monkeypatch: pytest.MonkeyPatch, kept: list[object]) -> None:
    monkeypatch.delattr(utils, "_loop", raising=False)
    monkeypatch.delattr(utils, "_runner_map", raising=False)
    begin_anew()
    assert kept == []


def test_jupyter_core_still_has_these_names() -> None:
    """Where it has others, what is done here does nothing any more."""
    assert isinstance(utils._loop, ContextVar)
    assert isinstance(utils._runner_map, dict)
