"""Five hundred front ends at once, each executing, beside one that floods and one that floods and reads nothing.

The gateway is the benchmarks' own, in another process: what grows here is the proxy's, and that of the front ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio

import trio_gateway

from .front import PATIENCE, open_front, open_lazy_front
from .proxy_kit import serve_gateway

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="it asks for more open files, as Linux has it"),
]

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))  # the benchmarks are not installed

from benchmarks.servers import fast_gateway  # noqa: E402

FRONTS = 500
FLOOD = "# bench: print {} 100000"


@pytest.fixture
def gateway_url() -> Iterator[str]:
    """A gateway in another process, and room for as many sockets as that takes: three for each front end."""
    import resource

    wanted = 3 * FRONTS + 300
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} files may be open here: raise `ulimit -Hn` to {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted) if soft != resource.RLIM_INFINITY else soft, hard))
    try:
        with fast_gateway(Path(sys.executable)) as server:
            yield server.url
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_500_front_ends_beside_one_that_floods_and_one_that_reads_nothing(gateway_url: str) -> None:
    process = psutil.Process()
    there = 0
    answers: list[str] = []
    async with trio_gateway.open_gateway(gateway_url) as gateway, serve_gateway(gateway) as proxy:
        kernels = [(await gateway.kernels.start("python3")).id for _ in range(FRONTS + 2)]
        all_there, all_answered = trio.Event(), trio.Event()

        async def come(kernel_id: str) -> None:
            nonlocal there
            async with open_front(proxy, kernel_id) as front:
                there += 1
                if there == FRONTS:
                    all_there.set()
                await all_there.wait()
                told = await front.run_whole("1 + 1")
                answers.extend(m.content["data"]["text/plain"] for m in told if m.msg_type == "execute_result")
                if len(answers) == FRONTS:
                    all_answered.set()
                await all_answered.wait()

        with trio.fail_after(PATIENCE):
            async with open_lazy_front(proxy, kernels[-1]) as lazy, open_front(proxy, kernels[-2]) as flooding:
                before = process.memory_info().rss
                await lazy.execute(FLOOD.format(1000))  # 100 MB that it will not read
                asked = await flooding.execute(FLOOD.format(300))
                async with trio.open_nursery() as nursery:
                    for kernel_id in kernels[:FRONTS]:
                        nursery.start_soon(come, kernel_id)
                    told = await flooding.whole(asked)
                    await all_answered.wait()
                    grown = process.memory_info().rss - before
                assert proxy.app.channels >= 2
        assert sum(len(message.content["text"]) for message in told if message.msg_type == "stream") == 300 * 100_000
        assert answers == ["2"] * FRONTS
    # All connections, both their ends, and the 30 MB that were kept to be counted.
    assert grown < 30_000_000 + FRONTS * 200_000, f"what nobody reads is kept: {grown}"
