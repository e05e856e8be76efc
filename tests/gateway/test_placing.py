"""Where a fresh kernel works: it is asked, moved only where the directory is the same one, and else it is said why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from trio_gateway import Kernel
from trio_gateway._gateway import placing
from trio_gateway._gateway.placing import ask, is_the_same, put_into_place, value_of


class Asked:
    """A kernel that evaluates expressions, in a directory of its own, on this machine or on another one."""

    def __init__(self, where: str, *, language: str = "python", answers: bool = True, other_files: bool = False) -> None:
        self.where, self.language, self.answers, self.other_files = where, language, answers, other_files
        self.delay = 0.0
        self.refuses = ""

    async def kernel_info(self) -> Mapping[str, Any]:
        await trio.sleep(self.delay)
        return {"language_info": {"name": self.language}}

    async def execute(self, code: str, **arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        assert (code, arguments.pop("silent"), arguments.pop("store_history")) == ("", True, False)
        (expression,) = arguments.pop("user_expressions").values()
        assert arguments == {}
        return SimpleNamespace(reply={"user_expressions": {"place": self.evaluate(expression)}} if self.answers else {})

    def evaluate(self, expression: str) -> dict[str, Any]:
        if "getcwd" in expression:
            return self.ok(self.where)
        if "chdir" in expression:
            if self.refuses:
                return {"status": "error", "evalue": self.refuses}
            self.where = eval(expression.partition("chdir(")[2].partition("))(")[0])
            return self.ok(None)
        marks = eval(expression)
        return self.ok([mark + 1 for mark in marks] if self.other_files else marks)

    @staticmethod
    def ok(value: object) -> dict[str, Any]:
        return {"status": "ok", "data": {"text/plain": repr(value)}}

    def as_one(self) -> Kernel:
        return cast("Kernel", self)


async def test_one_that_is_there_already_is_left(tmp_path: Path) -> None:
    kernel = Asked(str(tmp_path))
    assert await put_into_place(kernel.as_one(), str(tmp_path), limit=5) is None


async def test_one_for_which_it_is_the_same_directory_goes_there(tmp_path: Path) -> None:
    kernel = Asked("/")
    assert await put_into_place(kernel.as_one(), str(tmp_path), limit=5) is None
    assert kernel.where == str(tmp_path)


async def test_another_machines_directory_of_the_same_name_is_none(tmp_path: Path) -> None:
    kernel = Asked("/srv", other_files=True)
    reason = await put_into_place(kernel.as_one(), str(tmp_path), limit=5)
    assert reason == "it works in /srv on its own machine, which has no such directory, or another one"
    assert kernel.where == "/srv"


async def test_a_directory_that_is_not_here_can_only_be_the_kernels() -> None:
    kernel = Asked("/srv", other_files=True)
    assert await put_into_place(kernel.as_one(), "/there/only", limit=5) is None
    assert kernel.where == "/there/only"


async def test_it_is_said_where_it_can_not_go() -> None:
    kernel = Asked("/srv")
    kernel.refuses = "no such directory"
    reason = await put_into_place(kernel.as_one(), "/there/only", limit=5)
    assert reason == "it works in /srv on its own machine, and could not go there: no such directory"


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (Asked("/", language="R"), "only kernels in Python can be asked where they work, and moved"),
        (Asked("/", answers=False), "the kernel does not answer expressions"),
    ],
)
async def test_of_others_it_is_said_why_they_were_not_moved(kernel: Asked, reason: str, tmp_path: Path) -> None:
    assert await put_into_place(kernel.as_one(), str(tmp_path), limit=5) == reason


async def test_a_kernel_that_is_silent_has_its_limit(autojump_clock: MockClock) -> None:
    kernel = Asked("/")
    kernel.delay = 100
    assert await put_into_place(kernel.as_one(), "/x", limit=5) == "the kernel did not answer within 5 s"
    assert trio.current_time() == 5


async def test_a_directory_that_somebody_writes_to_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = [[1, 1, 1], [1, 2, 2], [1, 3, 3], [1, 4, 4]]
    theirs = Asked("/")
    looks: list[list[int]] = []

    def mark(_: str) -> list[int]:
        looks.append(marks[min(len(looks), 3)])
        return looks[-1]

    monkeypatch.setattr(placing, "_mark", mark)
    monkeypatch.setattr(theirs, "evaluate", lambda _: theirs.ok([1, 3, 3]))
    assert await is_the_same(theirs.as_one(), str(tmp_path))
    assert len(looks) == 4


async def test_what_is_not_here_is_the_same_as_nothing(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    kernel = Asked("/")
    kernel.evaluate = lambda _: kernel.ok([1, 2, 3])  # type: ignore[method-assign]
    assert not await is_the_same(kernel.as_one(), missing)


async def test_an_answer_that_is_none_is_none() -> None:
    assert await ask(Asked("/", answers=False).as_one(), "1") is None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"status": "error"},
        {"status": "ok"},
        {"status": "ok", "data": {"text/plain": "open('x')"}},
        {"status": "ok", "data": {"text/plain": 5}},
    ],
)
def test_what_came_to_nothing_that_can_be_written_down(answer: Any) -> None:
    assert value_of(answer) is None


def test_what_an_expression_came_to() -> None:
    assert value_of({"status": "ok", "data": {"text/plain": "['a', 1]"}}) == ["a", 1]
