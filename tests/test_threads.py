"""Work in a thread, and where the system gives none."""

from __future__ import annotations

import errno
import threading

import pytest
import trio

from tools.failing_calls import FailingCall
from trio_gateway import _threads


def without_threads() -> FailingCall:
    """No thread can be started: the first one that is tried fails."""
    return FailingCall("thread", 1, RuntimeError(_threads.NO_THREAD))


async def test_work_is_done_in_a_thread() -> None:
    assert await _threads.run_sync(threading.get_ident) != threading.get_ident()


async def test_work_is_done_here_where_there_is_no_thread() -> None:
    calls = without_threads()
    with calls.armed(), calls.here():
        assert await _threads.run_sync(threading.get_ident) == threading.get_ident()
        assert await _threads.run_sync(threading.get_ident, limiter=trio.CapacityLimiter(1)) != threading.get_ident()


def starts_threads() -> None:
    raise RuntimeError(_threads.NO_THREAD)


async def test_what_the_work_raises_is_raised_once() -> None:
    with pytest.raises(RuntimeError, match="can't start new thread") as caught:
        await _threads.run_sync(starts_threads)
    assert caught.value.__context__ is None


async def test_other_errors_are_no_lack_of_threads() -> None:
    calls = FailingCall("thread", 1, RuntimeError("something else"))
    with calls.armed(), calls.here(), pytest.raises(RuntimeError, match="something else"):
        await _threads.run_sync(threading.get_ident)
    assert _threads.no_thread(RuntimeError("something else")) is None
    found = _threads.no_thread(RuntimeError(_threads.NO_THREAD))
    assert found is not None
    assert found.errno == errno.EAGAIN
