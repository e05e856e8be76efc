"""The code of the scenarios does what its table says, in each language that a test can run."""

from __future__ import annotations

import subprocess

import pytest
import trio
import trio.testing

from trio_gateway.testing import CellError
from trio_gateway.testing._cell import CrashedError
from trio_gateway.testing._languages import LANGUAGES
from trio_gateway.testing._python import TinyPython

from .kit_parts import Publishes, cell

Clock = trio.testing.MockClock
PYTHON, BASH = LANGUAGES["python"], LANGUAGES["bash"]
NUMBERS = "".join(f"{number}\n" for number in range(10))


async def python(engine: TinyPython, code: str) -> Publishes:
    running, publishes = cell(code, stdin=True, ask=lambda prompt, password: running.answer(f"{prompt}ada"))
    await engine.run(running)
    return publishes


async def test_python(autojump_clock: Clock) -> None:
    engine = TinyPython()
    try:
        assert (await python(engine, PYTHON.answer)).text == "42"
        before = trio.current_time()
        assert (await python(engine, PYTHON.lines)).text == NUMBERS
        assert trio.current_time() - before == pytest.approx(1)
        with pytest.raises(CellError):
            await python(engine, PYTHON.fail)
        assert [(said["name"], said["text"]) for _, said in (await python(engine, PYTHON.both_streams)).published] == [
            ("stdout", "out\n"),
            ("stderr", "err\n"),
        ]
        before = trio.current_time()
        await python(engine, PYTHON.sleep)
        assert trio.current_time() - before == 60
        with pytest.raises(CellError):
            await python(engine, PYTHON.get_x)
        await python(engine, PYTHON.set_x)
        assert (await python(engine, PYTHON.get_x)).text == "7"
        assert (await python(engine, PYTHON.large)).text.count("x") == 3_000_000
        many = await python(engine, PYTHON.many)
        assert len(many.published) == len(many.text.splitlines()) == 6000
        assert (await python(engine, PYTHON.ask)).text == "'name? ada'"
        with pytest.raises(CrashedError):
            await python(engine, PYTHON.die)
    finally:
        engine.close()


async def test_python_waits_for_go(autojump_clock: Clock) -> None:
    engine = TinyPython()
    try:
        with pytest.raises(CellError):
            await python(engine, PYTHON.until_go)
        assert trio.current_time() == pytest.approx(30)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(python, engine, PYTHON.until_go)
            await trio.sleep(1)
            await python(engine, PYTHON.go)
        assert trio.current_time() < 32
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("code", "printed", "returned"),
    [
        (BASH.answer, "42\n", 0),
        (BASH.lines.replace("sleep 0.1", ":"), NUMBERS, 0),
        (BASH.fail, "", 1),
        (BASH.get_x, "", 1),
        (f"{BASH.set_x}\n{BASH.get_x}", "7\n", 0),
        (BASH.many, "".join(f"{number}\n" for number in range(1, 6001)), 0),
    ],
)
def test_bash(code: str, printed: str, returned: int) -> None:
    done = subprocess.run(["bash", "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (printed, returned)


def test_more_bash() -> None:
    done = subprocess.run(["bash", "-c", BASH.both_streams], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    large = subprocess.run(["bash", "-c", BASH.large], check=True, capture_output=True, text=True)
    assert large.stdout == "x" * 300_000
    assert "sleep 0.1" in BASH.lines
    assert BASH.sleep == "sleep 60"
