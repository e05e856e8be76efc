"""Functions on a pool's kernels: one or many, on a real gateway; and on kernels that the test plays."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from trio_gateway import ConnectionLostError, InvalidInputError, KernelDiedError, KernelError, PoolClosedError
from trio_gateway._pool.pool import KernelPool
from trio_gateway._python import pools
from trio_gateway._python.pools import PythonPool
from trio_gateway.python import CallResult, RemoteError, TransferError


def half(n: int) -> float:
    if n == 3:
        raise ValueError("three")
    return n / 2


def end(path: str) -> str:
    """Kill the kernel, the first time."""
    import os

    if not os.path.exists(path):  # noqa: PTH110 - it runs in a kernel
        with open(path, "w"):  # noqa: PTH123
            pass
        os._exit(1)
    return "alive"


# On real kernels --------------------------------------------------------------------------------------------------------


@pytest.mark.gateway
@pytest.mark.full
async def test_functions_are_called_on_a_pools_kernels(gateway: trio_gateway.Gateway, tmp_path: Any) -> None:
    async with gateway.open_pool(size=2) as pool:
        python = PythonPool(pool)
        assert await python.call(half, 5) == 2.5
        with pytest.raises(RemoteError, match="three"):
            await python.call(half, n=3)
        found = [(item, result.value if result.ok else str(result.error)) async for item, result in python.map(half, range(6))]
        assert found == [(0, 0.0), (1, 0.5), (2, 1.0), (3, "ValueError: three"), (4, 2.0), (5, 2.5)]
        chunked = {item: result.ok async for item, result in python.map(half, iter(range(7)), chunk=3, as_completed=True)}
        assert chunked == {0: True, 1: True, 2: True, 3: False, 4: True, 5: True, 6: True}
        once, again = str(tmp_path / "once"), str(tmp_path / "again")
        (died,) = [result async for _, result in python.map(end, [once])]
        assert isinstance(died.error, KernelError)
        assert await python.using(repeatable=True).call(end, again) == "alive"


@pytest.mark.gateway
@pytest.mark.full
async def test_a_new_process_is_brought_what_it_needs(gateway: trio_gateway.Gateway) -> None:
    async with gateway.open_pool(size=1, reuse="restart") as pool:
        python = PythonPool(pool)
        assert [result.value async for _, result in python.map(lambda n: n + 1, [1, 2, 3], chunk=2)] == [2, 3, 4]
        processes = [await python.call(os.getpid) for _ in range(2)]
        assert len(set(processes)) == 2


# On kernels that the test plays -----------------------------------------------------------------------------------------


class Scripted:
    """A pool's kernels, and what becomes of each call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.leases = 0
        self.calls: list[Any] = []
        self.outcome: Callable[[Any], Any] = lambda item: item

        @asynccontextmanager
        async def kernel(pool: KernelPool) -> AsyncGenerator[Any]:
            await trio.lowlevel.checkpoint()
            self.leases += 1
            if self.leases > 50:
                raise PoolClosedError("the pool was drained")
            yield f"kernel {self.leases}"

        async def python(pool: PythonPool, kernel: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return self

        monkeypatch.setattr(KernelPool, "kernel", kernel)
        monkeypatch.setattr(PythonPool, "_python", python)

    async def call(self, function: Any, item: Any) -> Any:
        self.calls.append(item)
        await trio.lowlevel.checkpoint()
        outcome = self.outcome(item)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    return Scripted(monkeypatch)


@pytest.fixture
async def pool(fake_gateway: Any) -> AsyncGenerator[KernelPool]:
    async with fake_gateway.open() as gateway, gateway.open_pool(size=2, warm=0) as pool:
        yield pool


LOST = [KernelDiedError("k", "it was killed"), ConnectionLostError("k: lost"), TransferError("x", 1, 2, "it was cut")]


@pytest.mark.parametrize("lost", LOST, ids=lambda error: type(error).__name__)
async def test_a_call_is_made_again_only_where_it_may_be_repeated(
    pool: KernelPool, scripted: Scripted, lost: Exception, autojump_clock: MockClock
) -> None:
    """G4"""
    python = PythonPool(pool)
    scripted.outcome = lambda item: lost if len(scripted.calls) < 3 else item
    with pytest.raises(type(lost)):
        await python.call(len, 1)
    assert scripted.calls == [1]
    scripted.calls.clear()
    assert await python.using(repeatable=True).call(len, 1) == 1
    assert scripted.calls == [1] * pools.ATTEMPTS
    scripted.calls.clear()
    scripted.outcome = lambda item: lost
    with pytest.raises(type(lost)):
        await python.using(repeatable=True).call(len, 1)
    assert scripted.calls == [1] * pools.ATTEMPTS


async def test_an_exception_of_the_functions_is_no_reason_to_repeat_it(
    pool: KernelPool, scripted: Scripted, autojump_clock: MockClock
) -> None:
    scripted.outcome = lambda item: RemoteError("ValueError", "so")
    with pytest.raises(RemoteError):
        await PythonPool(pool, repeatable=True).call(len, 1)
    assert scripted.calls == [1]


async def test_a_chunk_goes_on_with_the_next_item_on_another_lease(
    pool: KernelPool, scripted: Scripted, autojump_clock: MockClock
) -> None:
    wrong = {2: RemoteError("ValueError", "so"), 4: KernelDiedError("k", "it was killed")}
    scripted.outcome = lambda item: wrong.get(item, item)
    found = [(item, result.ok) async for item, result in PythonPool(pool).map(len, range(6), chunk=6)]  # type: ignore[arg-type]
    assert found == [(0, True), (1, True), (2, False), (3, True), (4, False), (5, True)]
    assert scripted.calls == list(range(6)), "each once"
    assert scripted.leases == 2


async def test_a_pool_that_is_closed_is_the_result_of_the_rest(
    pool: KernelPool, scripted: Scripted, autojump_clock: MockClock
) -> None:
    scripted.leases = 50
    results = [result async for _, result in PythonPool(pool).map(len, ["a", "b", "c"], chunk=2)]
    assert [type(result.error) for result in results] == [PoolClosedError] * 3


async def test_results_that_are_closed_begin_no_more(pool: KernelPool, scripted: Scripted, autojump_clock: MockClock) -> None:
    results = PythonPool(pool).map(len, [[n] for n in range(100)], limit=2, chunk=2)
    async with aclosing(results):
        async for item, _ in results:
            assert item == [0]
            break
    assert [item async for item in results] == []
    assert len(scripted.calls) <= 8


async def test_bad_input_is_named(pool: KernelPool) -> None:
    """G10"""
    python = PythonPool(pool)
    for field, make in {
        "pool": lambda: PythonPool("no pool"),  # type: ignore[arg-type]
        "trust": lambda: PythonPool(pool, trust="yes"),  # type: ignore[arg-type]
        "dataclasses": lambda: PythonPool(pool, dataclasses=[int]),
        "repeatable": lambda: python.using(repeatable=1),  # type: ignore[arg-type]
        "on_output": lambda: python.using(on_output=5),  # type: ignore[arg-type]
        "function": lambda: python.map("len", []),  # type: ignore[call-overload]
        "items": lambda: python.map(len, "abc"),
        "limit": lambda: python.map(len, [], limit=0),
        "as_completed": lambda: python.map(len, [], as_completed=1),  # type: ignore[call-overload]
        "chunk": lambda: python.map(len, [], chunk=0),
    }.items():
        with pytest.raises(InvalidInputError, match=field):
            make()
    with pytest.raises(InvalidInputError, match="function"):
        await python.call(5)  # type: ignore[call-overload]


def test_a_result_is_a_value_or_an_error() -> None:
    assert CallResult(value=5).raise_for_error() == 5
    assert CallResult(value=None).ok
    failed: CallResult[int] = CallResult(error=KernelDiedError("k", "it was killed"))
    assert not failed.ok
    with pytest.raises(KernelDiedError) as caught:
        failed.raise_for_error()
    assert caught.value is not failed.error, "several tasks may raise it"
