"""`trio_gateway.blocking.notebooks`: the names of `trio_gateway.notebooks`, without `async`."""

from __future__ import annotations

import functools
import inspect
import io
import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
import trio

import trio_gateway.anyio
import trio_gateway.blocking as tg
from tools.anyio_fixtures import UNTIL_INTERRUPTED
from tools.face_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.face_tools import ListeningFake, run
from tools.notebook_tools import notebook_of, texts_of, write_notebook
from trio_gateway import notebooks as trio_notebooks
from trio_gateway._notebooks.members import MEMBERS
from trio_gateway.blocking import notebooks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASKS = "name = input('who? ')"
FUNCTIONS = {"run", "open_run", "run_many"}


@pytest.fixture
def opened(fake_gateway: ListeningFake) -> Callable[..., Any]:
    """Open the fake."""
    return functools.partial(tg.open_gateway, fake_gateway.url, auth_token=fake_gateway.token)


def names_of(module: Any) -> set[str]:
    return {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}


def test_the_names_are_those_of_the_librarys_module() -> None:
    """What has no `async` in it is the same; the functions have the same parameters and docstrings."""
    names = names_of(trio_notebooks) - {"missing_extra"}
    faces = {original.__name__ for original in MEMBERS}
    different = {name for name in names if getattr(notebooks, name, None) is not getattr(trio_notebooks, name)}
    assert different == faces | FUNCTIONS
    for name in FUNCTIONS:
        here, there = getattr(notebooks, name), getattr(trio_notebooks, name)
        assert inspect.signature(here).parameters == inspect.signature(there).parameters
        assert "Async" not in str(inspect.signature(here))
        assert "Coroutine" not in str(inspect.signature(here))
        assert inspect.getdoc(here) == inspect.getdoc(there)
        assert (here.__module__, here.__qualname__) == ("trio_gateway.blocking.notebooks", name)
        assert not inspect.iscoroutinefunction(here)


def test_a_notebook_is_run(opened: Callable[..., Any], tmp_path: Path) -> None:
    """On a kernel that is started for it and ends with it, or on one that is open and stays; from whatever holds it."""
    path = write_notebook(tmp_path / "in.ipynb", "x = 6", "x * 7")
    with opened() as gateway:
        result = notebooks.run(gateway, path, output=tmp_path / "out.ipynb", grace=0)
        assert isinstance(result, notebooks.NotebookRun)
        assert (result.status, result.name, [cell.status for cell in result.cells]) == ("ok", "in.ipynb", ["ok", "ok"])
        saved = nbformat.read(tmp_path / "out.ipynb", 4)
        assert [texts_of(cell) for cell in saved.cells] == [[], ["42"]]
        with gateway.start_kernel() as kernel:
            job = notebooks.NotebookJob(notebook_of("x = 1"), name="mine")
            result = notebooks.run(where=kernel, notebook=job, grace=0)
            assert (result.kernel_id, result.name, result.job) == (kernel.id, "mine", job)
            assert kernel.execute("x").text == "1"
        result = notebooks.run(gateway, notebook_of("1 / 0"), grace=0)
        with pytest.raises(notebooks.CellError, match="ZeroDivisionError"):
            result.raise_for_error()


def test_events_come_one_by_one(opened: Callable[..., Any]) -> None:
    """In order, and then there is a result; how far the run is can be looked at meanwhile."""
    with opened() as gateway, notebooks.open_run(gateway, notebook_of("print(1)", "2"), grace=0) as events:
        assert isinstance(events, notebooks.OpenRun)
        with pytest.raises(RuntimeError, match="not ended"):
            events.result  # noqa: B018
        kinds = []
        for event in events:
            kinds.append(type(event))
            if isinstance(event, notebooks.CellOutput) and event.cell.number == 1:
                assert texts_of(events.notebook.cells[0]) == ["1\n"]
                assert events.cells[0].started is not None
        assert kinds == [
            notebooks.RunStarted,
            *[notebooks.CellStarted, notebooks.CellOutput, notebooks.CellFinished] * 2,
            notebooks.RunFinished,
        ]
    assert events.result.status == "ok"
    with opened() as gateway, gateway.start_kernel() as kernel:
        with notebooks.open_run(kernel, notebook_of(UNTIL_INTERRUPTED, "'never'")) as events:
            for event in events:
                if isinstance(event, notebooks.CellOutput):
                    break
        with pytest.raises(trio.ClosedResourceError):
            for _ in events:
                pass
        assert kernel.execute("interrupted").text == "True"


def test_input_is_asked_for_in_the_callers_thread(opened: Callable[..., Any]) -> None:
    """In the one that calls `run`, or reads events; output that came before is read before. What is raised comes out."""
    seen: list[tuple[int, threading.Thread]] = []
    outputs: list[str] = []

    def ask(prompt: str, password: bool) -> str:
        seen.append((len(outputs), threading.current_thread()))
        return f"{prompt}me"

    def fail(prompt: str, password: bool) -> str:
        raise LookupError(prompt)

    asked = notebook_of("print('before')\n" + ASKS, "name")
    with opened() as gateway:
        result = notebooks.run(gateway, asked, stdin=ask, grace=0)
        assert texts_of(result.notebook.cells[1]) == ["'who? me'"]
        with notebooks.open_run(gateway, asked, stdin=ask, grace=0) as events:
            outputs += [
                event.output.text for event in events if isinstance(event, notebooks.CellOutput) and event.cell.number == 1
            ]
        assert texts_of(events.result.notebook.cells[1]) == ["'who? me'"]
        assert seen == [(0, threading.current_thread())] * 2
        with pytest.raises(LookupError, match="who"):
            notebooks.run(gateway, asked, stdin=fail, grace=0)
        with pytest.raises(LookupError, match="who"), notebooks.open_run(gateway, asked, stdin=fail, grace=0) as events:
            for _ in events:
                pass


def test_another_thread_may_read_and_answer(opened: Callable[..., Any]) -> None:
    seen: list[str] = []

    def ask(prompt: str, password: bool) -> str:
        seen.append(threading.current_thread().name)
        return "me"

    with opened() as gateway, notebooks.open_run(gateway, notebook_of(ASKS), stdin=ask, grace=0) as events:
        thread = threading.Thread(target=list, args=[events], name="reader")
        thread.start()
        thread.join()
    assert (seen, events.result.status) == (["reader"], "ok")


class HereOnly:
    """A file object that can be read in the thread that made it only."""

    def __init__(self, content: str | bytes) -> None:
        self._file = io.StringIO(content) if isinstance(content, str) else io.BytesIO(content)
        self._thread = threading.current_thread()

    def read(self) -> Any:
        assert threading.current_thread() is self._thread
        return self._file.read()


def test_a_file_object_is_read_where_it_is_given(opened: Callable[..., Any]) -> None:
    text = json.dumps(notebook_of("6 * 7"))
    with opened() as gateway:
        for content in (text, text.encode()):
            result = notebooks.run(gateway, HereOnly(content), grace=0)
            assert texts_of(result.notebook.cells[0]) == ["42"]
        with notebooks.open_run(gateway, HereOnly(text), grace=0) as events:
            assert sum(isinstance(event, notebooks.CellFinished) for event in events) == 1


def test_bad_input_is_named_before_a_kernel_is_started(opened: Callable[..., Any], tmp_path: Path) -> None:
    started: list[str] = []
    with opened(on_event=lambda event: started.append(event.action)) as gateway:
        with pytest.raises(tg.InvalidInputError, match=r"notebook: .*missing\.ipynb"):
            notebooks.run(gateway, tmp_path / "missing.ipynb")
        with pytest.raises(tg.InvalidInputError, match="grace"), notebooks.open_run(gateway, notebook_of("1"), grace=-1):
            pytest.fail("it was entered")
        with pytest.raises(TypeError, match="missing"):
            notebooks.run(gateway)
    assert "start" not in started


FOR_EVER = ["'first'", UNTIL_INTERRUPTED, "'never'"]


@pytest.mark.parametrize("how", ["run", "open_run"])
def test_g2_g6_a_limit_around_it_interrupts_saves_and_ends_the_kernel(
    how: str, opened: Callable[..., Any], tmp_path: Path
) -> None:
    """That is waited for. (The fixture sees that no kernel is left, G2.)"""
    out = tmp_path / "out.ipynb"

    def until_it_runs(events: Any) -> None:
        for event in events:
            if isinstance(event, notebooks.CellOutput) and event.cell.number == 2:
                scope.cancel()

    def cancel(prompt: str, password: bool) -> str:
        scope.cancel()
        return ""

    with opened() as gateway:
        with tg.move_on_after(1000) as scope:
            if how == "run":
                notebooks.run(gateway, notebook_of(FOR_EVER[0], "input()\n" + FOR_EVER[1], FOR_EVER[2]), output=out, stdin=cancel)
            else:
                with notebooks.open_run(gateway, notebook_of(*FOR_EVER), output=out) as events:
                    until_it_runs(events)
        assert scope.cancelled_caught
        first, second, third = nbformat.read(out, 4).cells
        assert (texts_of(first), second.execution_count, third.outputs) == (["'first'"], 2, [])
    with opened() as gateway, pytest.raises(trio.TooSlowError), tg.fail_after(0):
        notebooks.run(gateway, notebook_of("1"))


@pytest.mark.parametrize("how", ["run", "open_run"])
def test_g2_g6_ctrl_c_interrupts_saves_and_ends_the_kernel(how: str, opened: Callable[..., Any], tmp_path: Path) -> None:
    """As it comes while the thread waits: here in what the run asks of it, which is the same to those above it."""
    out = tmp_path / "out.ipynb"

    def interrupt(prompt: str, password: bool) -> str:
        raise KeyboardInterrupt

    cells = notebook_of("'first'", ASKS, "'never'")
    with opened() as gateway:
        with pytest.raises(KeyboardInterrupt):
            if how == "run":
                notebooks.run(gateway, cells, output=out, stdin=interrupt)
            else:
                with notebooks.open_run(gateway, cells, output=out, stdin=interrupt) as events:
                    list(events)
        assert gateway.kernels.list() == []
        first, second, third = nbformat.read(out, 4).cells
        assert (texts_of(first), second.execution_count, third.outputs) == (["'first'"], 2, [])


def test_many_are_run(opened: Callable[..., Any]) -> None:
    """Results come as they finish; events, what asks for input and jobs go to the thread that reads results."""
    seen: list[tuple[str, str, threading.Thread]] = []
    text = json.dumps(notebook_of("print(1)\n" + ASKS, "1 / (name == 'me')"))

    def hear(job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
        seen.append((job.name or "", type(event).__name__, threading.current_thread()))

    def ask(prompt: str, password: bool) -> str:
        seen.append(("", "asked", threading.current_thread()))
        return "me"

    def given() -> Any:
        for n in range(4):
            yield notebooks.NotebookJob(HereOnly(text), name=f"{n}")
        yield notebooks.NotebookJob(notebook_of("1 / 0"), name="bad")

    with opened() as gateway:
        for jobs in (given(), list(given())):
            seen.clear()
            with notebooks.run_many(gateway, jobs, limit=3, on_event=hear, stdin=ask, grace=0) as runs:
                assert isinstance(runs, notebooks.Runs)
                results = {result.name: result.status for result in runs}
            assert results == {**dict.fromkeys("0123", "ok"), "bad": "error"}
            for name in results:
                kinds = [kind for who, kind, _ in seen if who == name]
                assert (kinds[0], kinds[-1], kinds.count("RunFinished")) == ("RunStarted", "RunFinished", 1)
            assert [kind for _, kind, _ in seen].count("asked") == 4
            assert {thread for *_, thread in seen} == {threading.current_thread()}


def test_nothing_async_is_taken(opened: Callable[..., Any]) -> None:
    async def hear(job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
        pytest.fail("nothing awaits it")

    async def given() -> Any:
        yield notebook_of("1")

    with opened() as gateway:
        with pytest.raises(tg.InvalidInputError, match="on_event: 'an async function' can't be used; expected a plain function"):
            with notebooks.run_many(gateway, [notebook_of("1")], on_event=hear) as runs:
                list(runs)
        with notebooks.run_many(gateway, [notebook_of(ASKS)], stdin=hear, grace=0) as runs:
            (result,) = runs
        assert "stdin: 'an async function' can't be used; expected a plain function" in str(result.failure)
        with pytest.raises(tg.InvalidInputError, match="jobs: 'an async iterable' can't be used; expected a plain iterable"):
            with notebooks.run_many(gateway, given()) as runs:
                list(runs)


@pytest.mark.parametrize("how", ["limit", "ctrl-c"])
def test_g2_g6_many_that_are_cancelled_are_interrupted_saved_and_gone(
    how: str, opened: Callable[..., Any], tmp_path: Path
) -> None:
    begun: set[Any] = set()

    def hear(job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
        if isinstance(event, notebooks.CellOutput) and event.cell.number == 2:
            begun.add(job.output)
        if len(begun) == 2 and how == "limit":
            scope.cancel()
        elif len(begun) == 2:
            raise KeyboardInterrupt

    jobs = [notebooks.NotebookJob(notebook_of(f"{n}", *FOR_EVER[1:]), output=tmp_path / f"{n}.ipynb") for n in range(3)]
    with opened() as gateway:
        with suppress(KeyboardInterrupt), tg.move_on_after(1000) as scope:
            with notebooks.run_many(gateway, jobs, limit=2, on_event=hear) as runs:
                assert list(runs) == ["none ends"]
        assert scope.cancelled_caught == (how == "limit")
        assert gateway.kernels.list() == []
        for n in range(2):
            first, second, third = nbformat.read(tmp_path / f"{n}.ipynb", 4).cells
            assert (texts_of(first), second.execution_count, third.outputs) == ([f"{n}"], 2, [])


def test_many_threads(opened: Callable[..., Any]) -> None:
    results: list[Any] = []
    with opened() as gateway:
        threads = [
            threading.Thread(target=lambda n=n: results.append(notebooks.run(gateway, notebook_of(f"{n}"), grace=0)))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(texts_of(result.notebook.cells[0])[0] for result in results) == ["0", "1", "2", "3"]


def test_a_block_says_how_it_is_opened(opened: Callable[..., Any]) -> None:
    with opened() as gateway, pytest.raises(TypeError, match=r"write `with notebooks\.open_run\(\.\.\.\) as \.\.\.:`"):
        iter(notebooks.open_run(gateway, notebook_of("1")))  # type: ignore[call-overload]


def test_wrong_doors(opened: Callable[..., Any], fake_gateway: ListeningFake) -> None:
    """Each is one error, which names the module to import, and comes at the call."""
    with opened() as gateway, gateway.start_kernel() as kernel:
        for where in (gateway, kernel):
            for function in (trio_notebooks.run, trio_notebooks.open_run):
                with pytest.raises(tg.InvalidInputError, match=r"import trio_gateway\.blocking\.notebooks"):
                    function(where, notebook_of("1"))
        for nothing in ("http://127.0.0.1", None, gateway.kernels):
            with pytest.raises(
                tg.InvalidInputError, match=r"an open Gateway, Fleet, KernelPool or Kernel of trio_gateway\.blocking"
            ):
                notebooks.run(nothing, notebook_of("1"))

    async def elsewhere(module: str) -> None:
        async with trio_gateway.anyio.open_gateway(fake_gateway.url, auth_token=fake_gateway.token) as other:
            for function in (notebooks.run, notebooks.open_run):
                with pytest.raises(tg.InvalidInputError, match=rf"import {module}\.notebooks"):
                    function(other, notebook_of("1"))

    run("asyncio", lambda: elsewhere(r"trio_gateway\.anyio"))
    run("trio", lambda: elsewhere("trio_gateway"))
