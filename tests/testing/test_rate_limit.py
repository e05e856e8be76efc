"""The limits on what a kernel publishes."""

from __future__ import annotations

import pytest
import trio.testing

from trio_gateway.testing import FakeGateway
from trio_gateway.testing._rate_limit import RateLimiter

from .kit_parts import request

Clock = trio.testing.MockClock

LINE = request("stream", {"name": "stdout", "text": "x" * 70}, channel="iopub")
IDLE = request("status", {"execution_state": "idle"}, channel="iopub")
BUSY = request("status", {"execution_state": "busy"}, channel="iopub")


def test_messages_beyond_the_rate_are_dropped_and_told_once() -> None:
    limiter = RateLimiter(2, 0, 3)
    assert [limiter.judge(LINE, 0) for _ in range(6)] == [(True, "")] * 6  # 2 a second, over 3 seconds
    passes, notice = limiter.judge(LINE, 1)
    assert not passes
    assert notice.startswith("IOPub message rate exceeded.\n")
    assert limiter.judge(LINE, 2.9) == (False, "")


def test_what_was_sent_before_the_window_no_longer_counts() -> None:
    limiter = RateLimiter(1, 0, 2)
    assert limiter.judge(LINE, 0) == (True, "")
    assert limiter.judge(LINE, 1) == (True, "")
    assert not limiter.judge(LINE, 1.5)[0]
    assert limiter.judge(LINE, 2) == (True, "")
    passes, notice = limiter.judge(LINE, 2.5)
    assert (passes, bool(notice)) == (False, True)


def test_bytes_of_streams_count_and_others_do_not() -> None:
    size = len(LINE.content_raw)
    limiter = RateLimiter(0, size, 2)
    plot = request("display_data", {"data": {"image/png": "x" * 1000}}, channel="iopub")
    assert limiter.judge(plot, 0) == (True, "")
    assert limiter.judge(LINE, 0) == (True, "")
    assert limiter.judge(LINE, 0) == (True, "")
    passes, notice = limiter.judge(LINE, 1)
    assert not passes
    assert notice.startswith("IOPub data rate exceeded.\n")
    assert limiter.judge(LINE, 2) == (True, "")


def test_an_idle_kernel_begins_afresh() -> None:
    limiter = RateLimiter(1, 1000, 1)
    limiter.judge(LINE, 0)
    assert not limiter.judge(LINE, 0)[0]
    assert limiter.judge(BUSY, 0) == (True, "")
    assert not limiter.judge(LINE, 0)[0]
    assert limiter.judge(IDLE, 0) == (True, "")
    assert limiter.judge(LINE, 0) == (True, "")
    assert limiter.judge(LINE, 0)[1], "it is told again"


def test_an_idle_kernels_bytes_are_forgotten() -> None:
    limiter = RateLimiter(0, len(LINE.content_raw), 1)
    for _ in range(3):
        assert limiter.judge(LINE, 0) == (True, "")
        passes, notice = limiter.judge(LINE, 0)
        assert not passes
        assert notice
        limiter.judge(IDLE, 0)


@pytest.mark.parametrize("msg_type", ["status", "comm_open", "execute_input"])
def test_some_are_never_dropped_nor_counted(msg_type: str) -> None:
    limiter = RateLimiter(1, 0, 1)
    exempt = request(msg_type, channel="iopub")
    assert [limiter.judge(exempt, 0) for _ in range(5)] == [(True, "")] * 5
    assert limiter.judge(LINE, 0) == (True, "")
    assert not limiter.judge(LINE, 0)[0]
    assert limiter.judge(exempt, 0) == (True, "")


def test_without_limits_everything_passes() -> None:
    limiter = RateLimiter(0, 0, 3)
    assert all(limiter.judge(LINE, 0) == (True, "") for _ in range(1000))


async def test_with_a_client(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        result = await kernel.execute("for i in range(5000): print(i, flush=True)")
        assert {gap.kind: gap.count for gap in result.output_gaps} == {"rate_limited": None, "lost": 2000}
        fake.iopub_msg_rate_limit = 0
        async with gateway.attach_kernel(kernel.id) as other:
            assert (await other.execute("for i in range(5000): print(i, flush=True)")).output_gaps == ()
