"""Tests of a program that uses kernels, with faults: `pytest examples/test_with_faults.py`. They take milliseconds.

The gateway is in the test's process, and time is virtual. The fixtures come with the library: docs/testing.md.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway

pytestmark = pytest.mark.trio


async def total(kernel: trio_gateway.Kernel) -> int | None:
    """Compute in a kernel: the program that is tested. None where nobody knows the answer."""
    try:
        with trio.fail_after(60):
            result = await kernel.execute("print(sum(range(10)))")
    except (trio_gateway.ConnectionLostError, trio.TooSlowError):
        return None
    return None if result.output_gaps else int(result.raise_for_error().text or "")


async def test_without_a_fault(fake_gateway_kernel: trio_gateway.Kernel) -> None:
    """The kernel of the fake runs Python."""
    assert await total(fake_gateway_kernel) == 45


async def test_an_output_that_is_lost_is_noticed(
    fake_gateway: FakeGateway, fake_gateway_kernel: trio_gateway.Kernel, autojump_clock: trio.testing.MockClock
) -> None:
    """The connection breaks where the output would come: a gap says so."""
    del autojump_clock
    fake_gateway.faults.cut_at_message("iopub stream", nth=1)
    assert await total(fake_gateway_kernel) is None
    assert await total(fake_gateway_kernel) == 45  # the kernel is still there


async def test_a_start_that_the_gateway_refuses_leaves_nothing(
    fake_gateway: FakeGateway, fake_gateway_client: trio_gateway.Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    """The gateway is overloaded: the start was tried again, in virtual time, and then failed."""
    del autojump_clock
    fake_gateway.faults.answer("POST /api/kernels", 503)
    with pytest.raises(trio_gateway.GatewayHTTPError) as caught:
        async with fake_gateway_client.start_kernel():
            pass
    assert caught.value.status_code == 503
    assert fake_gateway.kernels == {}
