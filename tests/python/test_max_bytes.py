"""How long what comes from a kernel may be: what is longer is refused before it is asked for."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_gateway
from trio_gateway import InvalidInputError, Kernel, ProtocolError
from trio_gateway._python import codec, file_side, files, transfer
from trio_gateway._python.link import NAME
from trio_gateway.python import Python, PythonPool, ValueTooLargeError, open_python

SIDE = f"__import__('sys').modules['{NAME}.kernel_side']"

on_real_kernels = [pytest.mark.gateway, pytest.mark.full]


class Silent:
    """A link that must not be asked for anything."""

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"it is asked for {name}")


async def fetched(answer: Mapping[str, Any], max_bytes: int | None) -> Any:
    link: Any = Silent()
    return await transfer.fetch(link, answer, what="x", token="t", on_progress=None, how={}, max_bytes=max_bytes)


@pytest.mark.parametrize("size", [1001, 2**60])
async def test_what_is_longer_is_refused_and_nothing_of_it_is_asked_for(size: int) -> None:
    """G7"""
    with pytest.raises(ValueTooLargeError) as caught:
        await fetched({"total": size, "check": 0}, 1000)
    assert (caught.value.what, caught.value.size, caught.value.max_bytes) == ("x", size, 1000)


async def test_what_came_with_the_answer_has_the_same_limit() -> None:
    encoded = codec.encode("a" * 100)
    answer = {"data": base64.b64encode(encoded.joined()).decode(), "check": encoded.checksum()}
    assert await fetched(answer, None) == await fetched(answer, encoded.total) == "a" * 100
    with pytest.raises(ValueTooLargeError):
        await fetched(answer, encoded.total - 1)


class Hostile:
    """A link without comms to a kernel that sends a long piece when it is asked for 10 bytes."""

    has_comms = False

    def __init__(self, size: int) -> None:
        self.answers: dict[str, Mapping[str, Any]] = {
            "read_file": {"total": 10, "mode": 0o600},
            "send": {"piece": base64.b64encode(bytes(size)).decode()},
        }

    async def ask(self, step: str, asked: Mapping[str, Any], *, token: str) -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return self.answers[step]


@pytest.mark.parametrize("more", [1, 40 * 1024 * 1024])
async def test_more_in_an_answer_than_goes_in_one_is_refused_and_nothing_is_made_of_it(more: int, tmp_path: Path) -> None:
    """G7"""
    inline = base64.b64encode(bytes(transfer.INLINE + more)).decode()
    link: Any = Hostile(10 + more)
    into = transfer._Into(codec.Receiver(10, 0))
    options = files.FileOptions()
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=r"^x: the kernel sent more than 32768 bytes in an answer$"):
            await fetched({"data": inline, "check": 0}, 1000)
        with pytest.raises(ProtocolError, match=r"^x: the kernel sent more than 10 bytes in an answer$"):
            await transfer.take(link, into, what="x", token="t", on_progress=None)
        with pytest.raises(ProtocolError, match=r"^there: the kernel sent more than 10 bytes in an answer$"):
            await files.copy_down(link, lambda answer, path: answer, "t", "there", str(tmp_path / "here"), options)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert names_in(tmp_path) == []


async def test_a_file_that_is_longer_than_the_kernel_said_is_no_fault_of_the_place_here(tmp_path: Path) -> None:
    writing = file_side.Writing(str(tmp_path / "here"), None, 10)
    try:
        sink = files._Downwards(writing, "there")
        await sink.feed(bytes(9))
        with pytest.raises(ProtocolError, match=r"^there: the kernel sends more than the 10 bytes that it said$"):
            await sink.feed(bytes(2))
        assert sink.received == 9
        await sink.feed(bytes(1))
        assert writing.complete
    finally:
        writing.discard()


@pytest.fixture
async def python(kernel: Kernel) -> AsyncGenerator[Python]:
    async with open_python(kernel, max_bytes=100_000) as python:
        yield python
        assert (await kernel.execute(f"print({SIDE}._boxes)")).text == "{}\n", "something is left there"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def zeros(n: int) -> bytes:
    return bytes(n)


def items(n: int, size: int) -> Iterator[bytes]:
    for _ in range(n):
        yield bytes(size)


def mixed() -> Iterator[object]:
    yield from (1, 2, 3, bytes(2_000_000), 4, bytes(3_000_000), 5)


async def mixed_async() -> AsyncGenerator[object]:
    for item in mixed():
        yield item


class TestOnARealKernel:
    pytestmark = on_real_kernels

    async def test_each_way_to_a_value_has_the_limit(self, python: Python) -> None:
        assert len(await python.pull("bytes(99_000)")) == 99_000
        with pytest.raises(ValueTooLargeError, match=r"^bytes\(100_000\): it has 1000\d\d bytes, and max_bytes allows 100000$"):
            await python.pull("bytes(100_000)")
        assert len(await python.pull("bytes(100_000)", max_bytes=None)) == 100_000
        assert len(await python.using(max_bytes=200_000).pull("bytes(100_000)")) == 100_000
        with pytest.raises(ValueTooLargeError, match=r"^'12345': it has \d\d bytes"):
            await python.pull("'12345'", max_bytes=5)
        with pytest.raises(ValueTooLargeError, match="what zeros returns"):
            await python.call(zeros, 100_000)
        assert len(await python.using(max_bytes=200_000).call(zeros, 100_000)) == 100_000

    async def test_items_that_come_together_may_have_more(self, python: Python) -> None:
        async with python.stream(items, 100, 90_000) as found:
            assert [len(item) async for item in found] == [90_000] * 100
        async with python.stream(items, 3, 3_000_000) as found:
            with pytest.raises(ValueTooLargeError, match=r"an item of items: .* allows 100000$") as caught:
                await anext(found)
            assert caught.value.max_bytes == 100_000
            with pytest.raises(StopAsyncIteration):
                await anext(found)

    @pytest.mark.parametrize("kind", [mixed, mixed_async])
    async def test_the_items_before_one_that_is_too_long_are_given(self, python: Python, kind: Callable[[], Any]) -> None:
        """G5"""
        told: list[Any] = []
        async with python.stream(kind) as found:
            with pytest.raises(ValueTooLargeError, match="allows 100000"):
                async for item in found:
                    told.append(item)  # noqa: PERF401 - those before the error count
            assert [item async for item in found] == []
        assert told == [1, 2, 3, bytes(2_000_000), 4]

    async def test_files_have_the_limit_one_by_one_and_together(self, kernel: Kernel, python: Python, tmp_path: Path) -> None:
        there = tmp_path / "there"
        there.mkdir()
        for name, size in {"a": 60_000, "b": 60_000, "c": 100_001}.items():
            (there / name).write_bytes(bytes(size))
        with pytest.raises(ValueTooLargeError, match="100001"):
            await python.download(there / "c", tmp_path / "c")
        with pytest.raises(ValueTooLargeError, match=r"the files of .*220001"):
            await python.download_all(there, tmp_path / "back")
        with pytest.raises(ValueTooLargeError, match="120000"):
            await python.download_all(there, tmp_path / "back", "[ab]")
        assert names_in(tmp_path) == ["there"]
        assert (await python.download(there / "c", tmp_path / "c", max_bytes=100_001)).size == 100_001
        # A kernel that says that its files are short, and then that they are long.
        await kernel.execute(f"side = {SIDE}\nkept = side._STEPS['find_files']")
        await kernel.execute("side._STEPS['find_files'] = lambda *_, **__: {'files': [['a', 1], ['b', 1]]}")
        try:
            with pytest.raises(ValueTooLargeError, match=r"b and the files before it: it has 120000 .* allows 100000$"):
                await python.download_all(there, tmp_path / "back")
        finally:
            await kernel.execute("side._STEPS['find_files'] = kept")  # noqa: ASYNC102 - the test's own limit bounds it
        assert names_in(tmp_path / "back") == ["a"]

    async def test_a_limit_has_to_be_one(self, kernel: Kernel, python: Python, tmp_path: Path) -> None:
        """G10"""
        for wrong in (0, -1, 1.5, True, "1"):
            limit: Any = wrong
            with pytest.raises(InvalidInputError, match="max_bytes"):
                open_python(kernel, max_bytes=limit)
            with pytest.raises(InvalidInputError, match="max_bytes"):
                python.using(max_bytes=limit)
            with pytest.raises(InvalidInputError, match="max_bytes"):
                await python.pull("1", max_bytes=limit)
            with pytest.raises(InvalidInputError, match="max_bytes"):
                await python.download("x", tmp_path / "x", max_bytes=limit)

    async def test_results_on_a_pools_kernels_have_it_too(self, gateway: trio_gateway.Gateway) -> None:
        async with gateway.open_pool(size=1) as pool:
            python = PythonPool(pool, max_bytes=1000)
            with pytest.raises(ValueTooLargeError):
                await python.call(zeros, 1000)
            assert len(await python.using(max_bytes=None).call(zeros, 1000)) == 1000
            async for n, result in python.map(zeros, [1, 1000]):
                assert (n, type(result.error)) in [(1, type(None)), (1000, ValueTooLargeError)]
