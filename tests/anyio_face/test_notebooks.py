"""`trio_gateway.anyio.notebooks`: the names of `trio_gateway.notebooks`, on asyncio, on uvloop, with eager tasks, and on Trio."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import nbformat
import pytest

import trio_gateway
import trio_gateway.blocking
from tools.anyio_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.anyio_fixtures import UNTIL_INTERRUPTED
from tools.face_fixtures import *  # noqa: F403
from tools.face_tools import ASYNCIO, BACKENDS, ListeningFake, run
from tools.notebook_tools import notebook_of, texts_of, write_notebook
from trio_gateway import notebooks as trio_notebooks
from trio_gateway.anyio import notebooks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ON_EACH = pytest.mark.parametrize("backend", BACKENDS)
ON_ASYNCIO = pytest.mark.parametrize("backend", ASYNCIO)
ASKS = "name = input('who? ')"
FUNCTIONS = {"run", "open_run", "run_many"}


def names_of(module: Any) -> set[str]:
    return {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}


def test_the_names_are_those_of_the_librarys_module() -> None:
    """And are the same things, but for the functions, which have the same signatures and docstrings."""
    names = names_of(trio_notebooks) - {"missing_extra"}
    assert {name for name in names if getattr(notebooks, name, None) is not getattr(trio_notebooks, name)} == FUNCTIONS
    for name in FUNCTIONS:
        here, there = getattr(notebooks, name), getattr(trio_notebooks, name)
        assert inspect.signature(here) == inspect.signature(there)
        assert here.__doc__ == there.__doc__
    assert inspect.iscoroutinefunction(notebooks.run)


def test_it_is_this_modules_though_the_librarys_was_imported_before() -> None:
    program = (
        "import trio_gateway.notebooks\n"
        "from trio_gateway.anyio import notebooks\n"
        "assert notebooks.__name__ == 'trio_gateway.anyio.notebooks', notebooks"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@ON_EACH
def test_a_notebook_is_run(backend: str, opened: Callable[..., Any], tmp_path: Path) -> None:
    """On a kernel that is started for it and ends with it, or on one that is open and stays; from whatever holds it."""
    path = write_notebook(tmp_path / "in.ipynb", "x = 6", "x * 7")

    async def main() -> None:
        async with opened() as gateway:
            result = await notebooks.run(gateway, path, output=tmp_path / "out.ipynb", grace=0)
            assert isinstance(result, notebooks.NotebookRun)
            assert (result.status, result.name, [cell.status for cell in result.cells]) == ("ok", "in.ipynb", ["ok", "ok"])
            assert result.raise_for_error() is result
            saved = nbformat.read(tmp_path / "out.ipynb", 4)
            assert [texts_of(cell) for cell in saved.cells] == [[], ["42"]]
            async with gateway.start_kernel() as kernel:
                job = notebooks.NotebookJob(notebook_of("x = 1"), name="mine")
                result = await notebooks.run(where=kernel, notebook=job, grace=0)
                assert (result.kernel_id, result.name, result.job) == (kernel.id, "mine", job)
                assert (await kernel.execute("x")).text == "1"

    run(backend, main)


@ON_EACH
def test_an_error_in_a_cell_is_a_result(backend: str, opened: Callable[..., Any]) -> None:
    async def main() -> None:
        async with opened() as gateway:
            result = await notebooks.run(gateway, notebook_of("1 / 0", "2"), grace=0)
            assert (result.status, [cell.status for cell in result.cells]) == ("error", ["error", "pending"])
            with pytest.raises(notebooks.CellError, match=r"cell 1 \(1 / 0\) raised ZeroDivisionError") as caught:
                result.raise_for_error()
            assert isinstance(caught.value, trio_gateway.ExecutionError)

    run(backend, main)


@ON_EACH
def test_events_come_one_by_one(backend: str, opened: Callable[..., Any], tmp_path: Path) -> None:
    """In order, and then there is a result; how far the run is can be looked at meanwhile."""

    async def main() -> None:
        async with opened() as gateway:
            async with notebooks.open_run(
                gateway, notebook_of("print(1)", "2"), output=tmp_path / "o.ipynb", grace=0
            ) as opened_run:
                assert isinstance(opened_run, notebooks.OpenRun)
                with pytest.raises(RuntimeError, match="not ended"):
                    opened_run.result  # noqa: B018
                kinds = []
                async for event in opened_run:
                    kinds.append(type(event))
                    if isinstance(event, notebooks.CellOutput) and event.cell.number == 1:
                        assert texts_of(opened_run.notebook.cells[0]) == ["1\n"]
                        assert opened_run.cells[0].started is not None
                assert [kind for kind in kinds if kind is not notebooks.RunSaved] == [
                    notebooks.RunStarted,
                    *[notebooks.CellStarted, notebooks.CellOutput, notebooks.CellFinished] * 2,
                    notebooks.RunFinished,
                ]
                assert notebooks.RunSaved in kinds
                assert opened_run.result.status == "ok"
            assert [cell.status for cell in opened_run.result.cells] == ["ok", "ok"]

    run(backend, main)


@ON_EACH
def test_input_is_asked_for_in_the_callers_task(backend: str, opened: Callable[..., Any]) -> None:
    """In the one that awaits `run`, or reads events; output that came before is read before."""
    seen: list[Any] = []

    async def ask(prompt: str, password: bool) -> str:
        await anyio.lowlevel.checkpoint()
        seen.append(anyio.get_current_task().id)
        return f"{prompt}me"

    async def main() -> None:
        asked = notebook_of("print('before')\n" + ASKS, "name")
        async with opened() as gateway:
            result = await notebooks.run(gateway, asked, stdin=ask, grace=0)
            assert texts_of(result.notebook.cells[1]) == ["'who? me'"]
            async with notebooks.open_run(gateway, asked, stdin=ask, grace=0) as events:
                async for event in events:
                    if isinstance(event, notebooks.CellOutput) and event.cell.number == 1:
                        assert len(seen) == 1
            assert texts_of(events.result.notebook.cells[1]) == ["'who? me'"]
            assert len(seen) == 2
            if backend != "trio":
                assert set(seen) == {anyio.get_current_task().id}

    run(backend, main)


@ON_ASYNCIO
def test_a_function_that_is_to_answer_and_is_cancelled_is_asked_again(backend: str, opened: Callable[..., Any]) -> None:
    """The question waits for the next one that reads events."""

    async def main() -> None:
        asked: list[str] = []
        begun = asyncio.Event()

        async def ask(prompt: str, password: bool) -> str:
            asked.append(prompt)
            if len(asked) == 1:
                begun.set()
                await asyncio.Event().wait()
            return "me"

        async with opened() as gateway, notebooks.open_run(gateway, notebook_of(ASKS, "name"), stdin=ask, grace=0) as events:
            reader = asyncio.create_task(exhaust(events))
            await begun.wait()
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            await exhaust(events)
            assert texts_of(events.result.notebook.cells[1]) == ["'me'"]
            assert asked == ["who? "] * 2

    run(backend, main)


@ON_EACH
@pytest.mark.parametrize("how", ["run", "open_run", "run_many"])
def test_a_function_that_is_to_answer_is_cancelled_at_a_cells_limit(how: str, backend: str, opened: Callable[..., Any]) -> None:
    """It has its time to leave, and the run goes on."""

    async def main() -> None:
        left: list[str] = []

        async def ask(prompt: str, password: bool) -> str:
            try:
                await anyio.sleep_forever()
            finally:
                left.append(prompt)
            return "never"

        options: Any = {"stdin": ask, "cell_timeout": 0.1, "on_error": "continue", "grace": 0}
        asking = notebook_of(ASKS, "'next'")
        async with opened() as gateway:
            if how == "run":
                result = await notebooks.run(gateway, asking, **options)
            elif how == "open_run":
                async with notebooks.open_run(gateway, asking, **options) as events:
                    await exhaust(events)
                result = events.result
            else:
                async with notebooks.run_many(gateway, [asking], **options) as runs:
                    (result,) = [each async for each in runs]
        assert left == ["who? "]
        assert [cell.status for cell in result.cells] == ["timeout", "ok"]

    run(backend, main)


async def exhaust(events: Any) -> None:
    async for _ in events:
        pass


@ON_EACH
def test_what_a_function_that_is_to_answer_raises_comes_out(backend: str, opened: Callable[..., Any]) -> None:
    async def ask(prompt: str, password: bool) -> str:
        raise LookupError(prompt)

    async def main() -> None:
        async with opened() as gateway:
            with pytest.raises(LookupError, match="who"):
                await notebooks.run(gateway, notebook_of(ASKS), stdin=ask, grace=0)
            with pytest.raises(LookupError, match="who"):
                async with notebooks.open_run(gateway, notebook_of(ASKS), stdin=ask, grace=0) as events:
                    await exhaust(events)

    run(backend, main)


class HereOnly:
    """A file object that can be read in the thread that made it only."""

    def __init__(self, content: str | bytes) -> None:
        self._file = io.StringIO(content) if isinstance(content, str) else io.BytesIO(content)
        self._thread = threading.current_thread()
        self.name = "folder/mine.ipynb"

    def read(self) -> Any:
        assert threading.current_thread() is self._thread
        return self._file.read()


@ON_ASYNCIO
def test_a_file_object_is_read_where_it_is_given(backend: str, opened: Callable[..., Any]) -> None:
    text = json.dumps(notebook_of("6 * 7"))

    async def main() -> None:
        async with opened() as gateway:
            for content in (text, text.encode()):
                result = await notebooks.run(gateway, HereOnly(content), grace=0)
                assert (result.name, texts_of(result.notebook.cells[0])) == ("mine.ipynb", ["42"])
            async with notebooks.open_run(gateway, HereOnly(text), grace=0) as events:
                await exhaust(events)
            assert events.result.name == "mine.ipynb"
            result = await notebooks.run(gateway, notebooks.NotebookJob(HereOnly(text), name="job"), grace=0)
            assert (result.status, result.name) == ("ok", "job")

    run(backend, main)


@ON_EACH
def test_bad_input_is_named_before_a_kernel_is_started(
    backend: str, opened: Callable[..., Any], fake_gateway: ListeningFake, tmp_path: Path
) -> None:
    started: list[str] = []

    async def main() -> None:
        async with opened(on_event=lambda event: started.append(event.action)) as gateway:
            for notebook, options, field in (
                (tmp_path / "missing.ipynb", {}, "notebook"),
                (io.StringIO("no JSON"), {}, "notebook"),
                (notebook_of("1"), {"grace": -1}, "grace"),
                (notebook_of("1"), {"output": tmp_path}, "output"),
            ):
                with pytest.raises(trio_gateway.InvalidInputError) as caught:
                    await notebooks.run(gateway, notebook, **options)
                assert caught.value.field == field
                with pytest.raises(trio_gateway.InvalidInputError, match=field):
                    async with notebooks.open_run(gateway, notebook, **options):
                        pytest.fail("it was entered")
            with pytest.raises(TypeError, match="missing"):
                await notebooks.run(gateway)
        assert "start" not in started

    run(backend, main)


@ON_EACH
@pytest.mark.parametrize("how", ["run", "open_run"])
def test_g2_g6_cancelled_it_is_interrupted_saved_and_gone(
    backend: str, how: str, opened: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That is waited for. (The fixture sees that no kernel is left, G2.)"""
    out = tmp_path / "out.ipynb"
    caplog.set_level(logging.INFO)

    async def main() -> None:
        async with opened() as gateway:
            runs = anyio.Event()

            async def until_it_prints(prompt: str, password: bool) -> str:
                runs.set()
                return ""

            async def work() -> None:
                cells = notebook_of("'first'", "input()\n" + UNTIL_INTERRUPTED, "'never'")
                if how == "run":
                    await notebooks.run(gateway, cells, output=out, stdin=until_it_prints)
                else:
                    async with notebooks.open_run(gateway, cells, output=out, stdin=until_it_prints) as events:
                        await exhaust(events)

            async with anyio.create_task_group() as group:
                group.start_soon(work)
                await runs.wait()
                group.cancel_scope.cancel()
            first, second, third = nbformat.read(out, 4).cells
            assert (texts_of(first), third.outputs) == (["'first'"], [])
            assert second.execution_count == 2

    run(backend, main)


@ON_EACH
def test_many_are_run(backend: str, opened: Callable[..., Any]) -> None:
    """Results come as they finish; events, and what asks for input, go to the task that reads results."""
    seen: list[tuple[str, str, int]] = []

    async def hear(job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append((job.name or "", type(event).__name__, anyio.get_current_task().id))

    async def ask(prompt: str, password: bool) -> str:
        seen.append(("", "asked", anyio.get_current_task().id))
        return "me"

    async def main() -> None:
        jobs = [notebooks.NotebookJob(notebook_of(f"print({n})\n" + ASKS, "1 / (name == 'me')"), name=f"{n}") for n in range(4)]
        jobs.append(notebooks.NotebookJob(notebook_of("1 / 0"), name="bad"))
        async with opened() as gateway:
            async with notebooks.run_many(gateway, jobs, limit=3, on_event=hear, stdin=ask, grace=0) as runs:
                assert isinstance(runs, notebooks.Runs)
                results = {result.name: result async for result in runs}
            assert {name: result.status for name, result in results.items()} == {**dict.fromkeys("0123", "ok"), "bad": "error"}
            assert all(results[job.name].job is job for job in jobs if job.name)
        for job in jobs:
            kinds = [kind for name, kind, _ in seen if name == job.name]
            assert (kinds[0], kinds[-1], kinds.count("RunFinished")) == ("RunStarted", "RunFinished", 1)
        assert [kind for _, kind, _ in seen].count("asked") == 4
        if backend != "trio":
            assert {task for *_, task in seen} == {anyio.get_current_task().id}

    run(backend, main)


@ON_EACH
def test_jobs_of_an_iterator_are_read_where_they_are_given(backend: str, opened: Callable[..., Any]) -> None:
    """When there is a place for one; what the iterator raises comes out."""
    here = threading.current_thread()
    text = json.dumps(notebook_of("6 * 7"))

    def given() -> Any:
        for n in range(3):
            assert threading.current_thread() is here
            yield notebooks.NotebookJob(HereOnly(text) if backend != "trio" else notebook_of("6 * 7"), name=f"{n}")

    async def waited_for() -> Any:
        for job in given():
            await anyio.lowlevel.checkpoint()
            yield job
        raise LookupError("mine")

    async def main() -> None:
        async with opened() as gateway:
            async with notebooks.run_many(gateway, given(), limit=1, grace=0) as runs:
                assert [(result.name, result.status) async for result in runs] == [(f"{n}", "ok") for n in range(3)]
            async with notebooks.run_many(gateway, list(given()), grace=0) as runs:
                assert sorted([result.name async for result in runs]) == ["0", "1", "2"]
            names = []
            with pytest.raises(LookupError, match="mine"):
                async with notebooks.run_many(gateway, waited_for(), limit=1, grace=0) as runs:
                    async for result in runs:
                        names.append(result.name)  # noqa: PERF401 - it raises
            assert names in (["0", "1", "2"], ["0", "1"])
            for nothing in ("a.ipynb", 3, notebooks.NotebookJob("a.ipynb")):
                with pytest.raises(trio_gateway.InvalidInputError, match="jobs"):
                    async with notebooks.run_many(gateway, nothing):
                        pytest.fail("it was entered")

    run(backend, main)


@ON_EACH
def test_g2_g6_many_that_are_cancelled_are_interrupted_saved_and_gone(
    backend: str, opened: Callable[..., Any], tmp_path: Path
) -> None:
    async def main() -> None:
        begun: set[Any] = set()

        def hear(job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
            if isinstance(event, notebooks.CellOutput) and event.cell.number == 2:
                begun.add(job.output)
            if len(begun) == 2:
                scope.cancel()

        jobs = [
            notebooks.NotebookJob(notebook_of(f"{n}", UNTIL_INTERRUPTED, "'never'"), output=tmp_path / f"{n}.ipynb")
            for n in range(3)
        ]
        async with opened() as gateway:
            with anyio.CancelScope() as scope:
                async with notebooks.run_many(gateway, jobs, limit=2, on_event=hear) as runs:
                    async for _ in runs:
                        pytest.fail("none ends")
            assert scope.cancelled_caught
            for n in range(2):
                first, second, third = nbformat.read(tmp_path / f"{n}.ipynb", 4).cells
                assert (texts_of(first), second.execution_count, third.outputs) == ([f"{n}"], 2, [])
            assert not (tmp_path / "2.ipynb").exists()

    run(backend, main)


@ON_EACH
def test_a_block_that_is_left_early_ends_the_run(backend: str, opened: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"

    async def main() -> None:
        async with opened() as gateway, gateway.start_kernel() as kernel:
            async with notebooks.open_run(kernel, notebook_of(UNTIL_INTERRUPTED, "'never'"), output=out) as events:
                async for event in events:
                    if isinstance(event, notebooks.CellOutput):
                        break
            assert (await kernel.execute("interrupted")).text == "True"
            first, never = nbformat.read(out, 4).cells
            assert (texts_of(first)[0].splitlines()[0], never.outputs) == ("runs", [])

    run(backend, main)


def test_a_block_says_how_it_is_opened(opened: Callable[..., Any]) -> None:
    async def main() -> None:
        async with opened() as gateway:
            with pytest.raises(TypeError, match=r"write `async with notebooks\.open_run\(\.\.\.\) as \.\.\.:`"):
                await notebooks.open_run(gateway, notebook_of("1"))  # type: ignore[misc]

    for backend in ("trio", "asyncio"):
        run(backend, main)


def test_wrong_doors(opened: Callable[..., Any], fake_gateway: ListeningFake) -> None:
    """Each is one error, which names the module to import."""

    async def on_asyncio() -> None:
        async with opened() as gateway, gateway.start_kernel() as kernel:
            for where in (gateway, kernel):
                for function in (trio_notebooks.run, trio_notebooks.open_run):
                    with pytest.raises(trio_gateway.InvalidInputError, match=r"import trio_gateway\.anyio\.notebooks"):
                        function(where, notebook_of("1"))
            with trio_gateway.blocking.open_gateway(fake_gateway.url, auth_token=fake_gateway.token) as other:
                with pytest.raises(trio_gateway.InvalidInputError, match=r"import trio_gateway\.blocking\.notebooks"):
                    await notebooks.run(other, notebook_of("1"))
                with pytest.raises(trio_gateway.InvalidInputError, match=r"import trio_gateway\.blocking\.notebooks"):
                    notebooks.open_run(other, notebook_of("1"))
                with pytest.raises(trio_gateway.InvalidInputError, match=r"import trio_gateway\.blocking\.notebooks"):
                    notebooks.run_many(other, [notebook_of("1")])
            with pytest.raises(trio_gateway.InvalidInputError, match=r"import trio_gateway\.anyio\.notebooks"):
                trio_notebooks.run_many(gateway, [notebook_of("1")])
            with pytest.raises(
                trio_gateway.InvalidInputError, match=r"an open Gateway, Fleet or KernelPool of trio_gateway\.anyio$"
            ):
                notebooks.run_many(kernel, [notebook_of("1")])  # type: ignore[arg-type]
            for nothing in ("http://127.0.0.1", None, gateway.kernels):
                with pytest.raises(
                    trio_gateway.InvalidInputError, match=r"an open Gateway, Fleet, KernelPool or Kernel of trio_gateway\.anyio"
                ):
                    await notebooks.run(nothing, notebook_of("1"))
            with pytest.raises(trio_gateway.AsyncLibraryError, match=r"import trio_gateway\.anyio\.notebooks"):
                await trio_notebooks.run(None, notebook_of("1"))  # type: ignore[arg-type]

    async def on_trio() -> None:
        async with opened() as gateway:
            with pytest.raises(trio_gateway.InvalidInputError, match="where"):
                await notebooks.run("http://127.0.0.1", notebook_of("1"))  # type: ignore[arg-type]
            assert (await trio_notebooks.run(gateway, notebook_of("1"), grace=0)).status == "ok"

    run("asyncio", on_asyncio)
    run("trio", on_trio)
