"""G2 on the hosts: what is left there in the end was told, by its id, or nothing is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from .sites import Replicas

__all__ = ["listening", "nothing_or_told", "told"]


@contextmanager
def listening(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hear what is said of kernels for a block."""
    with caplog.at_level(logging.WARNING, "trio_gateway.kernels"):
        yield


def told(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return the ids of the kernels that were said to be left, perhaps."""
    found = [record for record in caplog.records if record.getMessage().startswith("kernel_may_be_left")]
    return {str(record.__dict__["gateway.kernel_id"]) for record in found}


async def nothing_or_told(replicas: Replicas, caplog: pytest.LogCaptureFixture) -> str:
    """Give what is left on the hosts some time to go, and check that the rest was told. Return which it is, in words."""
    await trio.to_thread.run_sync(replicas.give_kernels_time_to_end, lambda: told(caplog))
    left = {kernel_id for there in replicas.kernels().values() for kernel_id in there}
    assert left <= told(caplog), f"left, and not told: {left - told(caplog)}"
    if left:
        return "the kernel, which `kernel_may_be_left` names"
    return "nothing" + (", though `kernel_may_be_left` was said" if told(caplog) else "")
