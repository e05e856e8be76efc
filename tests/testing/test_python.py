"""The tiny Python: real Python in virtual time, in a kernel of the fake."""

from __future__ import annotations

import linecache
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import Cell, CellError, FakeGateway
from trio_gateway.testing._cell import CrashedError
from trio_gateway.testing._python import TinyPython

from .kit_parts import Publishes, cell

Clock = trio.testing.MockClock


@pytest.fixture
def python() -> Iterator[TinyPython]:
    """An engine of its own."""
    before = set(threading.enumerate())  # another file's kernel may live in this process
    engine = TinyPython(environ={"A": "1"}, pid=77)
    yield engine
    engine.close()
    assert not [thread for thread in threading.enumerate() if "tiny_python" in thread.name and thread not in before]
    assert not [name for name in linecache.cache if name.startswith("<cell ")]


async def run(python: TinyPython, code: str) -> Publishes:
    """Run code in a cell of its own."""
    running, publishes = cell(code)
    await python.run(running)
    return publishes


@asynccontextmanager
async def while_it_runs(python: TinyPython, code: str, *, fails: str = "") -> AsyncGenerator[tuple[Cell, Publishes]]:
    """Run code beside the block's body."""
    running, publishes = cell(code)

    async def go() -> None:
        if fails:
            with pytest.raises(CellError, match=fails):
                await python.run(running)
        else:
            await python.run(running)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go)
        await trio.sleep(1)
        yield running, publishes


# By itself --------------------------------------------------------------------------------------------------------------


async def test_names_are_kept_from_cell_to_cell(python: TinyPython) -> None:
    assert (await run(python, "x = 6\ndef f(y): return x * y")).published == []
    assert (await run(python, "f(7)")).text == "42"
    assert (await run(python, "_ + 1")).text == "43"
    assert (await run(python, "f(7);")).published == []
    assert (await run(python, "None")).published == []


async def test_streams_come_in_order_and_in_large_pieces(python: TinyPython) -> None:
    printed = await run(python, "import sys\nfor i in range(3): print(i)\nprint('e', file=sys.stderr)\nprint('o', end='')")
    assert [(said["name"], said["text"]) for _, said in printed.published] == [
        ("stdout", "0\n1\n2\n"), ("stderr", "e\n"), ("stdout", "o")
    ]  # fmt: skip
    flushed = await run(python, "print(1, flush=True)\nprint(2, sep='-')\nimport sys\nsys.stdout.flush()\nprint(3, 4, sep='-')")
    assert [said["text"] for _, said in flushed.published] == ["1\n", "2\n", "3-4\n"]
    large = await run(python, "for i in range(3): print('x' * 5000)")
    assert [len(said["text"]) for _, said in large.published] == [10_002, 5001]


async def test_what_code_sees_of_its_streams(python: TinyPython) -> None:
    seen = await run(python, "import sys\no = sys.stdout\no.isatty(), o.writable(), o.closed, o.encoding, o.write('ab')")
    assert seen.text == "ab(False, True, False, 'utf-8', 2)"
    await run(python, "sys.stdout.writelines(['a', 'b'])")
    with pytest.raises(CellError, match=r"write\(\) argument must be str, not int"):
        await run(python, "sys.stdout.write(1)")


async def test_a_process_of_its_own(python: TinyPython) -> None:
    assert (await run(python, "import os, sys\nos.getpid(), dict(os.environ), os.getenv('B', 2), sys.argv")).text == (
        "(77, {'A': '1'}, 2, [''])"
    )
    here = Path.cwd()
    await run(python, "os.chdir('/')")
    assert ((await run(python, "os.getcwd()")).text, Path.cwd()) == ("'/'", here)
    with pytest.raises(CellError, match="FileNotFoundError"):
        await run(python, "os.chdir('/there/is/no/such')")
    with pytest.raises(CellError, match="ProcessLookupError"):
        await run(python, f"os.kill({os.getpid()}, 9)")
    with pytest.raises(CellError, match="KeyboardInterrupt"):
        await run(python, "os.kill(os.getpid(), 2)")
    with pytest.raises(CellError, match="SystemExit"):
        await run(python, "exit()")


@pytest.mark.parametrize("code", ["os._exit(1)", "os.abort()", "os.kill(os.getpid(), 9)"])
async def test_code_can_end_the_process(python: TinyPython, code: str) -> None:
    with pytest.raises(CrashedError):
        await run(python, f"import os\n{code}\nprint('after')")


async def test_errors_show_the_code_and_no_frame_of_ours(python: TinyPython) -> None:
    with pytest.raises(CellError) as caught:
        await run(python, "def f():\n    return {}['k']\nf()")
    error = caught.value
    assert (error.ename, error.evalue) == ("KeyError", "'k'")
    told = "\n".join(error.traceback)
    assert "line 2, in f" in told
    assert "return {}['k']" in told
    assert "_python.py" not in told
    for code, ename in [("1 +", "SyntaxError"), ("x = '\0'", "SyntaxError"), ("nope", "NameError")]:
        with pytest.raises(CellError, match=ename):
            await run(python, code)


async def test_sleeping_takes_virtual_time(autojump_clock: Clock, python: TinyPython) -> None:
    await run(python, "import time\ntime.sleep(3600)")
    assert trio.current_time() == 3600
    with pytest.raises(CellError, match="non-negative"):
        await run(python, "time.sleep(-1)")


@pytest.mark.parametrize("code", ["while True: pass", "while True:\n    x = 1", "import time; time.sleep(1e9)"])
async def test_it_is_interrupted(autojump_clock: Clock, python: TinyPython, code: str) -> None:
    async with while_it_runs(python, code, fails="KeyboardInterrupt") as (running, _):
        running.interrupt()
    assert trio.current_time() < 2
    assert (await run(python, "'on'")).text == "'on'"


async def test_a_cancelled_cell_is_unwound(autojump_clock: Clock, python: TinyPython) -> None:
    """As when its process ends: its clean-up runs, and what that prints or waits for comes to nothing."""
    code = "import time\ntry:\n    time.sleep(1000)\nfinally:\n    seen = 1\n    time.sleep(5)\n    seen = 2"
    with trio.move_on_after(1):
        await run(python, code)
    assert trio.current_time() == 1
    assert python.namespace["seen"] == 1


async def test_what_is_printed_comes_before_it_waits(autojump_clock: Clock, python: TinyPython) -> None:
    async with while_it_runs(python, "import time\nprint('before')\ntime.sleep(10)\nprint('after')") as (_, publishes):
        assert publishes.text == "before\n"
    assert publishes.text == "before\nafter\n"


async def test_two_cells_at_a_time_print_each_its_own(autojump_clock: Clock, python: TinyPython) -> None:
    slow = "import time\nprint('slow', end='')\ntime.sleep(10)\nprint(' and late', end='')"
    async with while_it_runs(python, slow) as (_, publishes):
        assert (await run(python, "print('quick', end='')\nslow = 1")).text == "quick"
    assert publishes.text == "slow and late"
    assert (await run(python, "slow")).text == "1"


async def test_displays(python: TinyPython) -> None:
    shown = await run(
        python, "print(1)\ndisplay({'text/html': '<b>'}, 'x')\ndisplay(2, 'x', update=True)\nclear_output(wait=True)"
    )
    assert [(msg_type, said.get("data")) for msg_type, said in shown.published] == [
        ("stream", None),
        ("display_data", {"text/html": "<b>"}),
        ("update_display_data", {"text/plain": "2"}),
        ("clear_output", None),
    ]


async def test_what_else_can_be_asked(python: TinyPython) -> None:
    await run(python, "class Thing:\n    'A thing.'\n    size = 1\nthing = Thing()")
    assert python.complete("x = thing.si", 12)["matches"] == ["thing.size"]
    assert python.complete("x = thing.si", 12)["cursor_start"] == 4
    assert python.complete("prin + 1", 4)["matches"] == ["print"]
    assert python.complete("", 0)["matches"] == []
    assert python.inspect("Thing()", 2)["data"] == {"text/plain": "A thing."}
    assert python.inspect("nope", 2)["found"] is False
    assert python.is_complete("for x in y:") == {"status": "incomplete", "indent": "    "}
    assert python.is_complete("if a:\n    f(") == {"status": "incomplete", "indent": "    "}
    assert python.is_complete("1 + 1") == {"status": "complete"}
    assert python.is_complete("1 +* 2") == {"status": "invalid"}
    assert python.evaluate("thing.size + 1") == {"status": "ok", "data": {"text/plain": "2"}, "metadata": {}}
    assert python.evaluate("nope")["ename"] == "NameError"


# With a client ----------------------------------------------------------------------------------------------------------


async def test_the_tiny_python_is_python(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        assert (await kernel.execute("6 * 7")).text == "42"
        result = await kernel.execute("import sys\nprint('out')\nprint('err', file=sys.stderr)\nx = 1")
        assert [type(output).__name__ for output in result.outputs] == ["Stream", "Stream"]
        assert result.text == "out\nerr\n"
        assert (await kernel.execute("x + 1;")).outputs == ()
        failed = await kernel.execute("def f():\n    return {}['k']\nf()")
        assert failed.error is not None
        assert failed.error.ename == "KeyError"
        assert any("line 2, in f" in line for line in failed.error.traceback)
        assert not any("_python.py" in line for line in failed.error.traceback)
        syntax = await kernel.execute("1 +")
        assert syntax.error is not None
        assert syntax.error.ename == "SyntaxError"
        shown = await kernel.execute("display({'text/html': '<b>'})\nclear_output(wait=True)\nprint(2)")
        assert shown.text == "2\n"
        expressions = await kernel.execute("y = 3", user_expressions={"a": "y * 2", "b": "nope"})
        assert expressions.reply["user_expressions"]["a"]["data"]["text/plain"] == "6"
        assert expressions.reply["user_expressions"]["b"]["ename"] == "NameError"
        silent = await kernel.execute("print(1)", silent=True)
        assert silent.outputs == ()
        assert (await kernel.complete("prin"))["matches"] == ["print"]
        assert (await kernel.inspect("len"))["found"] is True
        assert (await kernel.is_complete("for x in y:")) == {"status": "incomplete", "indent": "    "}
        assert (await kernel.is_complete("1 +* 2"))["status"] == "invalid"
        assert (await kernel.history())["history"][0][2] == "6 * 7"
        assert (await kernel.kernel_info())["language_info"]["name"] == "python"
        assert (await kernel.debug("evaluate", {"expression": "x"}))["success"] is False


async def test_code_sleeps_in_virtual_time(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        before = trio.current_time()
        await kernel.execute("import time\ndef f():\n    time.sleep(40)\nf()")
        assert trio.current_time() - before == 40


@pytest.mark.parametrize("code", ["while True: pass", "while True:\n    x = 1", "import time; time.sleep(1e9)", "input('?')"])
async def test_code_that_runs_for_ever_is_interrupted(autojump_clock: Clock, fake: FakeGateway, code: str) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        with trio.move_on_after(1) as scope:
            await kernel.execute(code, stdin=partial(_answer_late, 1e6))
        assert scope.cancelled_caught
        (running,) = fake.kernels.values()
        assert running.interrupts == 1
        assert running.execution_state == "idle"
        assert (await kernel.execute("'on'")).text == "'on'"


async def _answer_late(seconds: float, prompt: str, password: bool) -> str:
    await trio.sleep(seconds)
    return prompt


async def test_code_may_catch_the_interrupt_and_clean_up(autojump_clock: Clock, fake: FakeGateway) -> None:
    code = "import time\ntry:\n    time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('caught')\nfinally:\n    time.sleep(2)"
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                assert (await kernel.execute(code)).text == "caught\n"

            nursery.start_soon(run)
            await trio.sleep(1)
            await kernel.interrupt()
        assert trio.current_time() == pytest.approx(3, abs=0.1)


async def test_input_and_its_absence(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        result = await kernel.execute("'hello ' + input('who? ')", stdin=lambda prompt, password: prompt + "me")
        assert result.text == "'hello who? me'"
        refused = await kernel.execute("input()")
        assert refused.error is not None


async def test_code_that_ends_the_process(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        with pytest.raises(trio_gateway.KernelRestartedError):
            await kernel.execute("import os; os._exit(1)")
        assert (await kernel.execute("'new'")).text == "'new'"
        assert next(iter(fake.kernels.values())).restarts == 1
