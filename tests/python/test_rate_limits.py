"""A gateway that limits the rate of what kernels publish: it drops pieces and calls in the middle, and what comes is right.

On the fake the kernel runs the library's own side of it, in virtual time (`tools.python_kernel`).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from python.values import same
from sweeps.test_python_sweep import KERNEL, NEW, OPERATIONS, PIECE, World, check, small
from tools.python_kernel import PythonProcess, python_spec
from trio_gateway._python import codec, transfer
from trio_gateway.python import open_python
from trio_gateway.testing import FakeGateway

pytestmark = pytest.mark.full

LIMITS: dict[str, dict[str, float]] = {
    "messages": {"iopub_msg_rate_limit": 0.5},
    "hardly any message": {"iopub_msg_rate_limit": 0.01},
    "data": {"iopub_data_rate_limit": 0.01},
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
async def test_what_comes_through_a_limit_is_right(
    autojump_clock: MockClock, operation: Callable[[World], Awaitable[None]], limit: str
) -> None:
    """G3, G5: the operation checks its value."""
    processes: list[PythonProcess] = []
    with small() as folder, trio.fail_after(1000):
        fake = FakeGateway(kernelspecs=[python_spec(processes, PIECE)], seed=1, **LIMITS[limit])  # type: ignore[arg-type]
        async with fake, fake.open() as gateway, gateway.start_kernel() as kernel, open_python(kernel) as python:
            world = World(fake, python, processes, folder)
            world.there.update(new=NEW, value=b"before")
            exec(KERNEL, world.there)
            for _ in range(3):
                await operation(world)
                world.there["calls"] = 0
            assert await python.pull("6 * 7") == 42
            check(operation, world, completed=True, left=False)


class Deaf:
    """A link over which only text comes.

    Args:
        encoded: what is fetched over it.
    """

    has_comms = True

    def __init__(self, encoded: codec.Encoded) -> None:
        self.asked_for = {True: 0, False: 0}
        self._encoded = encoded
        self.kernel = self.comms = self

    @asynccontextmanager
    async def open(self, name: str, data: Mapping[str, Any]) -> AsyncGenerator[Deaf]:
        yield self

    def receive_ready(self, limit: int) -> list[Any]:
        return []

    async def receive(self) -> Any:
        await trio.sleep_forever()

    async def ask(self, step: str, asked: Mapping[str, Any], *, token: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        start, stop = asked["start"], asked["stop"]
        self.asked_for["inline" in asked] += stop - start
        if "inline" in asked:
            return {"piece": base64.b64encode(b"".join(self._encoded.cut(start, stop))).decode()}
        return {"sent": True}


@pytest.mark.parametrize("windows", [0.1, 0.5, 1.3, 4, 30])
async def test_where_every_piece_is_dropped_few_are_asked_for(monkeypatch: pytest.MonkeyPatch, windows: float) -> None:
    """What is dropped was sent for nothing, at the cost of all who share the gateway."""
    monkeypatch.setattr(transfer, "WINDOW", 24_000)
    monkeypatch.setattr(transfer, "STEP", 1000)
    value = bytes(int(24_000 * windows))
    encoded = codec.encode(value)
    deaf: Any = Deaf(encoded)
    answer = {"total": encoded.total, "check": encoded.checksum()}
    assert await transfer.fetch(deaf, answer, what="x", token="t", on_progress=None, how={}) == value
    assert deaf.asked_for[True] == encoded.total
    assert deaf.asked_for[False] <= 2 * encoded.total


VALUE = np.random.default_rng(3).random(1_500_000)
"""12 MB: nine pieces, of which the limits let the first ones through."""


@pytest.mark.gateway
@pytest.mark.parametrize("limit", ["iopub_msg_rate_limit=1", "iopub_data_rate_limit=1000"])
async def test_on_a_real_gateway(limit: str, tmp_path: Path) -> None:
    """G3, G5"""
    from trio_gateway._local.process import run_local_gateway

    def double(array: Any) -> Any:
        for _ in range(20):
            print("x" * 1000, flush=True)
        return array * 2

    def items(array: Any) -> Any:
        for n in range(3):
            print("x" * 1000, flush=True)
            yield array + n

    async def halve(array: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return array / 2

    limits = ["limit_rate=True", limit]
    async with (
        run_local_gateway(extra_args=[f"--ZMQChannelsWebsocketConnection.{each}" for each in limits]) as process,
        trio_gateway.open_gateway(process.url, auth_token=process.token) as gateway,
        gateway.start_kernel("python3") as kernel,
        open_python(kernel) as python,
    ):
        await python.push(value=VALUE)
        for _ in range(3):
            assert same(await python.pull("value"), VALUE)
        told: list[Any] = []
        assert same(await python.using(on_output=told.append).call(double, python.name("value")), VALUE * 2)
        assert any(isinstance(each, trio_gateway.OutputGap) for each in told), "nothing was dropped"
        async with python.stream(items, python.name("value")) as found:
            assert all([same(item, VALUE + n) async for n, item in _numbered(found)])
        sent = tmp_path / "sent"
        sent.write_bytes(VALUE.tobytes())
        assert (await python.upload(sent, tmp_path / "there")).sha256 == (await python.download(sent, tmp_path / "back")).sha256
        async with python.tools(halve=halve):
            await kernel.execute("for _ in range(20): print('x' * 1000, flush=True)\nhalf = halve(value)")
        assert same(await python.pull("half"), VALUE / 2)


async def _numbered(items: Any) -> Any:
    n = 0
    async for item in items:
        yield n, item
        n += 1
