"""G4 on a real gateway: no request is sent twice, however often its connection breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trio_gateway
from tools.fault_tools import behind_proxy, channels_of
from tools.gateway_tools import each_engine

if TYPE_CHECKING:
    from conftest import RunningGateway


pytestmark = pytest.mark.gateway


@each_engine
async def test_a_request_that_is_lost_with_the_connection_fails_and_never_runs(
    real_gateway: RunningGateway, shared_kernel_id: str
) -> None:
    async with behind_proxy(real_gateway, shared_kernel_id) as (proxy, _gateway, kernel):
        await kernel.execute("ran = 0")
        link = channels_of(proxy)[-1]
        link.to_server.hold()
        with pytest.raises(trio_gateway.ConnectionLostError, match="not sent again"):
            async with trio.open_nursery() as nursery:

                async def cut() -> None:
                    await link.to_server.held.wait()
                    link.reset()

                nursery.start_soon(cut)
                try:
                    await kernel.execute("ran += 1")
                except trio_gateway.ConnectionLostError as error:
                    lost = error
            raise lost
        assert (await kernel.execute("ran")).text == "0"


@pytest.mark.full
async def test_a_thousand_requests_at_once_are_each_settled(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    async with behind_proxy(real_gateway, shared_kernel_id) as (_proxy, _gateway, kernel):
        await kernel.execute("import itertools; counter = itertools.count()")
        numbers: list[int] = []
        completed = 0

        async def execute() -> None:
            numbers.append(int((await kernel.execute("next(counter)")).text))

        async def complete() -> None:
            nonlocal completed
            assert "counter" in (await kernel.complete("counte"))["matches"]
            completed += 1

        async def parse() -> None:
            assert (await kernel.is_complete("for i in x:"))["status"] == "incomplete"

        async with trio.open_nursery() as nursery:
            for index in range(1000):
                nursery.start_soon(execute if index % 4 == 0 else complete if index % 10 == 1 else parse)
        assert sorted(numbers) == list(range(250))
        assert completed == 100
