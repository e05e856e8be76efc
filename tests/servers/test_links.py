"""A link that is reset again and again, to a real gateway, for a session and for a relay."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

import trio_gateway
from tools.fault_tools import behind_proxy, channels_of

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

RESETS = 20
DEFAULT: dict[str, Any] = {"gateway_retry_interval": 0.1, "gateway_retry_interval_max": 30.0, "gateway_retry_max": 5}
"""The defaults, but for the first pause: here ten times as much breaks as would in as many seconds anywhere."""


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_link_that_breaks_often_is_not_a_gateway_that_is_gone(real_gateway: RunningGateway, seed: int) -> None:
    """G3, G5"""
    points = sorted(random.Random(seed).sample(range(600), RESETS))
    whole = told = lost = lost_at_last = 0
    async with behind_proxy(real_gateway, None, **DEFAULT) as (proxy, _gateway, kernel):
        for number in range(60):
            last = not points
            lines: list[int] = []
            code = f"import time\nfor i in range(10):\n    print({number} * 10 + i, flush=True)\n    time.sleep(0.005)"
            try:
                async with kernel.stream(code) as outputs:
                    async for output in outputs:
                        assert isinstance(output, trio_gateway.Stream)
                        lines += map(int, output.text.split())
                        if points and lines[-1] >= points[0]:
                            points.pop(0)
                            channels_of(proxy)[-1].reset()
            except trio_gateway.ConnectionLostError:
                lost += 1
                lost_at_last += last
            else:
                result = outputs.result
                assert lines == list(range(number * 10, number * 10 + 10)) or result.output_gaps, "lost, and nobody says so"
                told += bool(result.output_gaps)
                whole += not result.output_gaps
        print(seed, len(channels_of(proxy)) - 1, whole, told, lost, lost_at_last)
        assert not points
        assert whole + told >= 55
        assert not lost_at_last
