"""What a block says to who uses it in another way than by `async with`."""

from __future__ import annotations

import asyncio  # noqa: TID251 - what is said there
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trio_gateway import AsyncLibraryError
from trio_gateway._transport.blocks import AsyncBlock, OnlyWith, block, check_trio


@block("library.open")
@asynccontextmanager
async def opener(value: int, *, then: Callable[[], object] = list) -> AsyncGenerator[int]:
    """Give a value."""
    await trio.lowlevel.checkpoint()
    try:
        yield value
    finally:
        then()


async def test_a_block_gives_what_it_gives_and_ends() -> None:
    ended: list[int] = []
    async with opener(5, then=lambda: ended.append(1)) as value:
        assert (value, ended) == (5, [])
    assert ended == [1]
    assert opener.__name__ == "opener"
    assert opener.__doc__ == "Give a value."


async def test_what_its_body_raises_goes_through_it() -> None:  # G9
    with pytest.raises(ZeroDivisionError):
        async with opener(5):
            raise ZeroDivisionError


async def test_it_is_entered_once() -> None:
    opened = opener(5)
    async with opened:
        pass
    with pytest.raises(RuntimeError, match="entered before"):
        async with opened:
            pytest.fail("it was entered before")


async def awaited(opened: Any) -> None:
    await opened


async def iterated_async(opened: Any) -> None:
    async for _ in opened:
        pass


async def iterated(opened: Any) -> None:
    list(opened)


async def entered(opened: Any) -> None:
    with opened:
        pass


@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (awaited, "library.open() is a block, and can't be awaited; write `async with library.open(...) as ...:`"),
        (iterated_async, "library.open() is a block, and can't be iterated over"),
        (iterated, "library.open() is a block, and can't be iterated over"),
        (entered, "library.open() is a block, and can't be entered by `with`, but in trio_gateway.blocking"),
    ],
)
async def test_another_use_is_told_how(misuse: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(TypeError) as caught:
        await misuse(opener(5))
    assert str(caught.value).startswith(words)


def test_it_has_nothing_of_what_is_inside() -> None:
    opened: Any = opener(5)
    assert repr(opened) == "<library.open, to be opened by `async with`>"
    with pytest.raises(AttributeError, match=r"library\.open\(\) is a block, and has no 'kernels'"):
        _ = opened.kernels
    with pytest.raises(AttributeError, match="has no attribute '_private'"):
        _ = opened._private


def test_a_block_without_a_name() -> None:
    with pytest.raises(TypeError, match=r"this is a block, and can't be awaited; write `async with \.\.\. as \.\.\.:`"):
        AsyncBlock().__await__()


async def test_a_block_of_synchronous_code_is_not_entered_here() -> None:
    opened: Any = OnlyWith()
    with pytest.raises(TypeError, match=r"it is trio_gateway\.blocking's"):
        async with opened:
            pytest.fail("it can't be entered")


async def test_on_trio_all_is_well() -> None:
    check_trio("this")


def test_without_trio_it_is_said_what_to_import() -> None:
    with pytest.raises(AsyncLibraryError, match=r"this runs on Trio, and no async library runs here: import trio_gateway\.anyio"):
        check_trio("this")


def test_elsewhere_it_is_said_what_runs_there_and_what_to_do() -> None:
    async def main() -> None:
        check_trio("this", "do that")

    with pytest.raises(AsyncLibraryError, match="this is asyncio: do that"):
        asyncio.run(main())
