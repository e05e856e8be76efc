"""The way into a gateway's block: what does not wait is done in Trio's thread, from any thread and at any time."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tools.face_tools import trio_threads
from trio_gateway._portal.portal import Portal
from trio_gateway._portal.thread_side import BlockingPortalCrossing


@asynccontextmanager
async def nothing() -> AsyncGenerator[None]:
    """Stand in for a gateway."""
    await trio.lowlevel.checkpoint()
    yield None


def give_portal(portal: Portal, value: object) -> Portal:
    """Give the portal, in place of what is reached by it."""
    return portal


def test_what_does_not_wait_is_done_in_trios_thread() -> None:
    with BlockingPortalCrossing(nothing(), give_portal) as portal:
        (thread,) = trio_threads()
        assert portal.run_sync(threading.current_thread) is thread
        assert portal.run_sync(trio.current_time) > 0
        assert portal.thread.inside() is False
        assert portal.run_sync(portal.thread.inside) is True
        mine = LookupError("mine")

        def fail() -> None:
            raise mine

        with pytest.raises(LookupError) as caught:
            portal.run_sync(fail)
        assert caught.value is mine


def test_in_trios_thread_it_is_done_at_once() -> None:
    """It would wait for itself otherwise."""
    with BlockingPortalCrossing(nothing(), give_portal) as portal:
        assert portal.run_sync(lambda: portal.run_sync(trio_threads)) == trio_threads()


def test_when_trio_has_ended_it_is_done_here() -> None:
    """The objects are still there, and no other thread uses them."""
    with BlockingPortalCrossing(nothing(), give_portal) as portal:
        pass
    assert portal.nursery is None
    assert portal.run_sync(threading.current_thread) is threading.current_thread()


def test_its_nursery_is_there_while_the_block_is_open() -> None:
    seen: list[Any] = []
    with BlockingPortalCrossing(nothing(), give_portal) as portal:
        seen.append(portal.run_sync(lambda: portal.nursery))
    assert isinstance(seen[0], trio.Nursery)
    assert portal.nursery is None
