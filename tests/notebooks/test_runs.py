"""`run` and `open_run`: from a gateway or a kernel and a notebook to a result, and what is wrong before any kernel is started."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nbformat.v4
import pytest
import trio

from tools.notebook_tools import notebook_of, texts_of, write_notebook
from trio_gateway import (
    AsyncLibraryError,
    InvalidInputError,
    KernelDiedError,
    KernelResources,
    KernelSpecNotFoundError,
    KernelUnresponsiveError,
    Stream,
    notebooks,
)
from trio_gateway._notebooks.options import KeepKernel
from trio_gateway.testing import Cell, CellError, FakeGateway, FakeKernelSpec

pytestmark = pytest.mark.usefixtures("threads")
Clock = trio.testing.MockClock


async def echo(cell: Cell) -> None:
    await trio.lowlevel.checkpoint()
    if cell.code.startswith("fail"):
        raise ValueError(cell.code)
    cell.stdout(cell.code)


def fake(script: Callable[[Cell], Awaitable[None]] = echo, **traits: Any) -> FakeGateway:
    return FakeGateway(script, **traits)


def outputs_of(notebook: Any) -> list[list[str]]:
    return [texts_of(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]


async def test_a_file_is_run_on_a_kernel_of_its_own_and_saved(tmp_path: Path, autojump_clock: Clock) -> None:
    path = write_notebook(tmp_path / "n.ipynb", "a", "b")
    before = path.read_bytes()
    async with fake() as there, there.open() as gateway:
        result = await notebooks.run(gateway, path, output=tmp_path / "out.ipynb")
        assert await gateway.kernels.list() == []
    assert (result.status, result.name, result.output) == ("ok", "n.ipynb", tmp_path / "out.ipynb")
    assert [(cell.number, cell.status, cell.execution_count) for cell in result.cells] == [(1, "ok", 1), (2, "ok", 2)]
    assert outputs_of(json.loads((tmp_path / "out.ipynb").read_text())) == outputs_of(result.notebook) == [["a"], ["b"]]
    assert path.read_bytes() == before
    assert result.kernel_id
    assert result.kernel_name == "python3"
    assert result.started <= result.finished
    assert result.job.notebook == path


async def test_an_open_kernel_stays_open_and_keeps_its_state(autojump_clock: Clock) -> None:
    async with fake() as there, there.open() as gateway, gateway.start_kernel() as kernel:
        first = await notebooks.run(kernel, notebook_of("a"))
        second = await notebooks.run(kernel, notebook_of("b"))
        assert (first.kernel_id, second.kernel_id) == (kernel.id, kernel.id)
        assert [cell.execution_count for run in (first, second) for cell in run.cells] == [1, 2]
        assert [model.id for model in await gateway.kernels.list()] == [kernel.id]


async def test_whatever_holds_a_notebook_is_run_and_stays_as_it_is(tmp_path: Path, autojump_clock: Clock) -> None:
    node = notebook_of("a")
    node.cells[0].outputs = [nbformat.v4.new_output("stream", text="old")]
    text = nbformat.v4.writes(node)
    path = tmp_path / "n.ipynb"
    path.write_text(text)
    forms = [node, json.loads(text), path, str(path), io.StringIO(text), io.BytesIO(text.encode()), notebooks.read_notebook(path)]
    async with fake() as there, there.open() as gateway, gateway.start_kernel() as kernel:
        for form in [*forms, notebooks.NotebookJob(node, name="mine")]:
            result = await notebooks.run(kernel, form)
            assert outputs_of(result.notebook) == [["a"]]
    assert result.name == "mine"
    assert node.cells[0].outputs[0].text == "old"
    assert texts_of(forms[1]["cells"][0]) == texts_of(forms[-1].notebook.cells[0]) == ["old"]


async def test_which_kernel_is_started(autojump_clock: Clock) -> None:
    async with (
        fake(kernelspecs=[FakeKernelSpec(name=name, script=echo) for name in ("python3", "other", "third")]) as there,
        there.open() as gateway,
    ):
        named, unnamed = notebook_of("a", kernel="other"), notebook_of("a", kernel=None)
        runs = [
            await notebooks.run(gateway, named),
            await notebooks.run(gateway, unnamed),
            await notebooks.run(gateway, named, kernel_name="third"),
        ]
        assert [run.kernel_name for run in runs] == ["other", "python3", "third"]
        with pytest.raises(KernelSpecNotFoundError):
            await notebooks.run(gateway, named, kernel_name="none")


async def test_an_error_in_a_cell_is_a_result(autojump_clock: Clock) -> None:
    async with fake() as there, there.open() as gateway:
        result = await notebooks.run(gateway, notebook_of("a", "fail 1", "c"))
        assert (result.status, [cell.status for cell in result.cells]) == ("error", ["ok", "error", "pending"])
        assert result.failed_cell is not None
        assert (result.failed_cell.number, result.error) == (2, result.failed_cell.error)
        with pytest.raises(notebooks.CellError, match="cell 2 \\(fail 1\\) raised ValueError: fail 1"):
            result.raise_for_error()
        result = await notebooks.run(gateway, notebook_of("a", "fail 1", "c"), on_error="continue")
        assert (result.status, [cell.status for cell in result.cells]) == ("ok", ["ok", "error", "ok"])


async def test_a_dead_kernel_is_raised_and_what_came_is_saved(tmp_path: Path, autojump_clock: Clock) -> None:
    async def script(cell: Cell) -> None:
        cell.stdout("last words")
        await cell.sleep(1)
        next(iter(there.kernels.values())).die()

    output = tmp_path / "out.ipynb"
    async with fake(script) as there, there.open() as gateway:
        with pytest.raises(KernelDiedError):
            await notebooks.run(gateway, notebook_of("a"), output=output)
        assert outputs_of(json.loads(output.read_text())) == [["last words"]]
        async with notebooks.open_run(gateway, notebook_of("a")) as run:
            with pytest.raises(KernelDiedError):
                async for event in run:
                    last = event
            assert isinstance(last, notebooks.RunFinished)
            assert (run.result.status, type(run.result.failure)) == ("failed", KernelDiedError)
            assert [event async for event in run] == []


async def test_a_kernel_that_answers_nobody_fails_the_run_and_what_came_is_saved(tmp_path: Path, autojump_clock: Clock) -> None:
    """It may be there with all that it has, and runs on where the run would leave it."""

    async def script(cell: Cell) -> None:
        cell.stdout("last words")
        await cell.sleep(10)
        next(iter(there.kernels.values())).cut_off()
        await cell.sleep(10)

    output = tmp_path / "out.ipynb"
    async with fake(script) as there, there.open(ping_interval=10, unresponsive_timeout=60) as gateway:
        async with notebooks.open_run(gateway, notebook_of("a", "b"), output=output, keep_kernel="on_error") as run:
            with pytest.raises(KernelUnresponsiveError):
                async for _ in run:
                    pass
            assert (run.result.status, type(run.result.failure)) == ("failed", KernelUnresponsiveError)
            assert [cell.status for cell in run.result.cells][1:] == ["pending"]
            assert run.result.kernel_left
        assert outputs_of(json.loads(output.read_text()))[0] == ["last words"]


@pytest.mark.parametrize("record_timing", [True, False])
@pytest.mark.parametrize("end", ["limit", "death"])
async def test_a_cell_whose_reply_never_comes_has_its_number_all_the_same(
    end: str, record_timing: bool, autojump_clock: Clock
) -> None:
    async def script(cell: Cell) -> None:
        if cell.code == "b":
            await cell.sleep(5)
            if end == "death":
                next(iter(there.kernels.values())).die()
            await cell.sleep(1000)

    async with fake(script) as there, there.open() as gateway:
        async with notebooks.open_run(gateway, notebook_of("a", "b", "c"), cell_timeout=10, record_timing=record_timing) as run:
            with pytest.raises(KernelDiedError) if end == "death" else contextlib.nullcontext():
                assert [event async for event in run]
    assert [cell.execution_count for cell in run.result.cells] == [1, 2, None]
    assert [cell.execution_count for cell in run.result.notebook.cells] == [1, 2, None]


async def test_events_are_read_while_the_run_lasts(tmp_path: Path, autojump_clock: Clock) -> None:
    output = tmp_path / "out.ipynb"
    async with fake() as there, there.open() as gateway:
        async with notebooks.open_run(gateway, notebook_of("a", "b"), output=output) as run:
            with pytest.raises(RuntimeError, match="has not ended"):
                _ = run.result
            kinds = []
            async for event in run:
                kinds.append(type(event).__name__)
                if isinstance(event, notebooks.CellFinished):
                    assert run.cells[event.cell.number - 1] == event.cell
                    assert outputs_of(run.notebook)[event.cell.number - 1] == [event.cell.source]
                elif isinstance(event, notebooks.RunFinished):
                    assert outputs_of(json.loads(output.read_text())) == [["a"], ["b"]]
                    assert event.run == run.result
        assert await gateway.kernels.list() == []
    shown = [kind for kind in kinds if kind != "RunSaved"]
    one = ["CellStarted", "CellOutput", "CellFinished"]
    assert shown == ["RunStarted", *one, *one, "RunFinished"]
    assert kinds[-2:] == ["RunSaved", "RunFinished"]


async def test_leaving_early_interrupts_saves_and_shuts_down(tmp_path: Path, autojump_clock: Clock) -> None:
    output = tmp_path / "out.ipynb"

    async def script(cell: Cell) -> None:
        cell.stdout("begun")
        await cell.sleep(1000)

    async with fake(script) as there, there.open() as gateway:
        async with notebooks.open_run(gateway, notebook_of("a", "b"), output=output) as run:
            async for event in run:
                if isinstance(event, notebooks.CellOutput):
                    break
        assert await gateway.kernels.list() == []
        assert any(request.path.endswith("/interrupt") for request in there.requests)
    assert trio.current_time() < 100
    assert outputs_of(json.loads(output.read_text()))[0][0] == "begun"


async def test_g3_what_a_run_tells_ends_with_its_block(autojump_clock: Clock) -> None:
    """Also for another task that waits for it: what was told is given, and then it says why there is no more."""

    async def script(cell: Cell) -> None:
        await cell.sleep(1000 if cell.code == "long" else 0)

    async with fake(script) as there, there.open() as gateway, trio.open_nursery() as nursery:
        ended: list[type[Exception]] = []

        async def read(run: notebooks.OpenRun) -> None:
            try:
                async for _ in run:
                    pass
            except trio.ClosedResourceError as error:
                ended.append(type(error))

        async with notebooks.open_run(gateway, notebook_of("long")) as run:
            nursery.start_soon(read, run)  # noqa: ASYNC111 - a reader that outlasts the block
            await trio.sleep(5)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [trio.ClosedResourceError]
        for _ in range(2):
            with pytest.raises(trio.ClosedResourceError, match="was left before the run had ended"):
                await anext(run)
        async with notebooks.open_run(gateway, notebook_of("1")) as run:
            assert [event async for event in run]
        assert [event async for event in run] == []


async def test_cancelling_interrupts_saves_and_shuts_down(tmp_path: Path, autojump_clock: Clock) -> None:
    output = tmp_path / "out.ipynb"

    async def script(cell: Cell) -> None:
        cell.stdout("begun")
        await cell.sleep(10)
        scope.cancel()
        await cell.sleep(1000)

    async with fake(script) as there, there.open() as gateway:
        with trio.CancelScope() as scope:
            await notebooks.run(gateway, notebook_of("a", "b"), output=output)
        assert scope.cancelled_caught
        assert await gateway.kernels.list() == []
        assert any(request.path.endswith("/interrupt") for request in there.requests)
    assert outputs_of(json.loads(output.read_text()))[0][0] == "begun"


async def test_what_the_readers_own_code_raises_comes_out_as_it_is(autojump_clock: Clock) -> None:
    async with fake() as there, there.open() as gateway:
        with pytest.raises(ZeroDivisionError):
            async with notebooks.open_run(gateway, notebook_of("a")) as run:
                async for _ in run:
                    raise ZeroDivisionError
        assert await gateway.kernels.list() == []


async def test_what_the_handler_of_input_raises_comes_out_as_it_is(autojump_clock: Clock) -> None:
    async def script(cell: Cell) -> None:
        await cell.input("? ")

    def answer(prompt: str, password: bool) -> str:
        raise ZeroDivisionError(prompt)

    async with fake(script) as there, there.open() as gateway:
        with pytest.raises(ZeroDivisionError, match="\\?"):
            await notebooks.run(gateway, notebook_of("a"), stdin=answer)
        with pytest.raises(ZeroDivisionError, match="\\?"):
            async with notebooks.open_run(gateway, notebook_of("a"), stdin=answer) as run:
                async for _ in run:
                    pass
        assert await gateway.kernels.list() == []


async def test_a_question_is_asked_when_all_before_it_was_read(autojump_clock: Clock) -> None:
    order: list[str] = []

    async def script(cell: Cell) -> None:
        cell.stdout("before;")
        await cell.sleep(1)
        cell.stdout(await cell.input("? "))

    def answer(prompt: str, password: bool) -> str:
        order.append("asked")
        return "answer"

    async with fake(script) as there, there.open() as gateway:
        async with notebooks.open_run(gateway, notebook_of("a"), stdin=answer) as run:
            async for event in run:
                if isinstance(event, notebooks.CellOutput) and isinstance(event.output, Stream):
                    await trio.sleep(60)
                    order.append(event.output.text)
    assert order == ["before;", "asked", "answer"]


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a missing file": ("missing.ipynb", {}, "notebook"),
    "a directory": (".", {}, "notebook"),
    "no JSON": (io.StringIO("{"), {}, "notebook"),
    "format 5": ({"nbformat": 5, "cells": []}, {}, "notebook"),
    "no notebook": (5, {}, "notebook"),
    "a file object that reads numbers": (type("F", (), {"read": lambda self: 5})(), {}, "notebook"),
    "code that no kernel takes": (notebook_of("a", "b\0"), {}, "notebook.cells[1].source"),
    "an output that is a directory": (notebook_of("a"), {"output": "."}, "output"),
    "an output in no directory": (notebook_of("a"), {"output": "no/such/n.ipynb"}, "output"),
    "a wrong limit": (notebook_of("a"), {"timeout": 0}, "timeout"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_named_before_any_kernel_is_started(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook, settings, field = BAD[name]
    async with fake() as there, there.open() as gateway:
        with pytest.raises(InvalidInputError) as caught:
            await notebooks.run(gateway, notebook, **settings)
        assert caught.value.field == field
        with pytest.raises(InvalidInputError):
            async with notebooks.open_run(gateway, notebook, **settings):
                pytest.fail("it was entered")
        assert there.requests == []
    assert not any(os.scandir(tmp_path))


@pytest.mark.parametrize("keep_kernel", ["never", "on_error"])
async def test_its_kernel_gets_the_resources(keep_kernel: KeepKernel, autojump_clock: Clock) -> None:
    async with fake() as there, there.open() as gateway:
        await notebooks.run(gateway, notebook_of("a"), resources=KernelResources(cpu=2), keep_kernel=keep_kernel)
        (start,) = [request for request in there.requests if str(request) == "POST /api/kernels"]
    assert start.json()["env"]["KERNEL_CPUS"] == "2"


async def test_where_it_runs_is_a_gateway_or_a_kernel(autojump_clock: Clock) -> None:
    with pytest.raises(InvalidInputError, match="where"):
        await notebooks.run(5, notebook_of("a"))  # type: ignore[arg-type]
    async with fake() as there, there.open() as gateway, gateway.start_kernel() as kernel:
        for name, value in {"kernel_name": "python3", "env": {"A": "b"}, "resources": KernelResources(cpu=1), "cwd": "/"}.items():
            with pytest.raises(InvalidInputError, match=f"{name}.*open already"):
                await notebooks.run(kernel, notebook_of("a"), **{name: value})  # type: ignore[arg-type]


async def test_what_is_mended_is_told_once(caplog: pytest.LogCaptureFixture, tmp_path: Path, autojump_clock: Clock) -> None:
    path = tmp_path / "n.ipynb"
    cell = {"cell_type": "code", "source": "a", "metadata": {}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [cell]}))
    async with fake() as there, there.open() as gateway:
        with caplog.at_level(logging.WARNING, logger="trio_gateway.notebooks"):
            assert (await notebooks.run(gateway, path)).status == "ok"
            (record,) = caplog.records
            assert record.getMessage().startswith("notebook_mended: n.ipynb: mended what breaks the notebook format: cells[0].")
            await notebooks.run(gateway, notebooks.read_notebook(path))
    assert len(caplog.records) == 1


def test_it_runs_on_trio() -> None:
    manager = notebooks.open_run(None, {})  # type: ignore[arg-type]
    with pytest.raises(AsyncLibraryError, match="open_run"):
        manager.__aenter__().send(None)
    with pytest.raises(AsyncLibraryError, match="run\\(\\)"):
        notebooks.run(None, {}).send(None)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ parameters

KERNELS = [
    FakeKernelSpec(name="python3"),  # it runs Python, and says so
    FakeKernelSpec(name="perl", script=echo, language="perl"),
    FakeKernelSpec(name="ir", script=echo, language="R"),
]


def sources_of(run: notebooks.NotebookRun) -> list[str]:
    return [cell["source"] for cell in run.notebook.cells]


async def test_parameters_are_set_by_a_cell_that_runs_like_any_other(tmp_path: Path, autojump_clock: Clock) -> None:
    notebook = notebook_of(("x = 1", ["parameters"]), "print(x)")
    before = copy.deepcopy(notebook)
    output = tmp_path / "out.ipynb"
    async with FakeGateway() as there, there.open() as gateway:
        result = await notebooks.run(gateway, notebook, parameters={"x": 2}, output=output)
        assert sources_of(result) == ["x = 1", "# Parameters\nx = 2\n", "print(x)"]
        assert texts_of(result.notebook.cells[2]) == ["2\n"]
        assert [(cell.number, cell.index, cell.status) for cell in result.cells] == [(1, 0, "ok"), (2, 1, "ok"), (3, 2, "ok")]
        assert notebook == before
        async with notebooks.open_run(gateway, output, parameters={"x": 3}) as run:
            started = [event.cell.source async for event in run if isinstance(event, notebooks.CellStarted)]
    assert started == sources_of(run.result) == ["x = 1", "# Parameters\nx = 3\n", "print(x)"]


async def test_the_language_is_that_of_the_kernel_that_runs(autojump_clock: Clock) -> None:
    """papermill takes the notebook's, also where another kernel is named."""
    own = notebook_of("a")
    own.metadata["language_info"] = {"name": "python"}
    unnamed = notebook_of("a", kernel=None)
    other = notebook_of("a", kernel="ir")
    async with FakeGateway(kernelspecs=KERNELS) as there, there.open() as gateway:

        async def code(where: Any, notebook: Any, **settings: Any) -> tuple[str, list[str]]:
            """Return what sets the parameter, and what the gateway was asked for until a kernel was started."""
            before = len(there.requests)
            run = await notebooks.run(where, notebook, parameters={"x": True}, **settings)
            asked = [request.method for request in there.requests[before:] if request.path.endswith("/kernelspecs")]
            return sources_of(run)[0].splitlines()[1], asked

        assert await code(gateway, own) == ("x = True", ["GET"]), "asked by the start, not for the language"
        assert (await code(gateway, own, kernel_name="ir"))[0] == "x = TRUE"
        assert (await code(gateway, own, kernel_name="PYTHON3"))[0] == "x = True"
        assert (await code(gateway, unnamed))[0] == "x = True"
        assert (await code(gateway, other))[0] == "x = TRUE"
        async with gateway.start_kernel("python3") as kernel:
            for notebook in (own, unnamed, other):
                assert await code(kernel, notebook) == ("x = True", [])


@pytest.mark.parametrize(
    ("kernel", "parameters", "field", "shown"),
    [
        ("python3", {"a b": 1}, "parameters", "'a b' can't be used"),
        ("python3", {"a": {1}}, "parameters['a']", "'set' can't be used"),
        ("ir", {"a": [float("nan")]}, "parameters['a'][0]", "nan can't be used"),
        ("perl", {"a": 1}, "parameters", "none for a notebook in 'perl'"),
    ],
)
async def test_parameters_that_can_t_be_used_start_no_kernel(
    kernel: str, parameters: dict[str, Any], field: str, shown: str, autojump_clock: Clock
) -> None:
    async with FakeGateway(kernelspecs=KERNELS) as there, there.open() as gateway:
        with pytest.raises(InvalidInputError) as caught:
            await notebooks.run(gateway, notebook_of("a", kernel=kernel), parameters=parameters)
        assert caught.value.field == field
        assert shown in str(caught.value)
        assert [request for request in there.requests if request.method != "GET"] == []


async def test_a_kernelspec_that_there_is_not_is_told_before_parameters_are_looked_at(autojump_clock: Clock) -> None:
    """A kernel's name that is misspelled is the same error with parameters as without."""
    notebook = notebook_of("a")
    notebook.metadata["language_info"] = {"name": "python"}
    async with FakeGateway(kernelspecs=KERNELS) as there, there.open() as gateway:
        for settings in ({"kernel_name": "nope"}, {"kernel_name": "nope", "parameters": {"a b": 1}}):
            with pytest.raises(KernelSpecNotFoundError, match="no kernelspec 'nope'"):
                await notebooks.run(gateway, notebook, **settings)  # type: ignore[arg-type]
        with pytest.raises(KernelSpecNotFoundError, match="no kernelspec 'nowhere'"):
            await notebooks.run(gateway, notebook_of("a", kernel="nowhere"), parameters={"a": 1})
        assert [request for request in there.requests if request.method != "GET"] == []
        result = await notebooks.run(gateway, notebook, kernel_name="python", parameters={"a": 1})
        assert result.status == "ok", "the other name of python3"


async def test_a_job_has_parameters_beside_the_common_ones(autojump_clock: Clock) -> None:
    async with fake() as there, there.open() as gateway:
        job = notebooks.NotebookJob(notebook_of("a"), parameters={"x": 2, "z": 3})
        result = await notebooks.run(gateway, job, parameters={"x": 1, "y": 1})
        assert sources_of(result)[0] == "# Parameters\nx = 2\ny = 1\nz = 3\n"
        with pytest.raises(InvalidInputError, match="a mapping of names to values"):
            await notebooks.run(gateway, notebooks.NotebookJob(notebook_of("a"), parameters=[1]), parameters={"x": 1})  # type: ignore[arg-type]


async def test_what_may_not_be_meant_is_told_once_a_run(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    notebook = notebook_of(("alpha = 1", ["parameters"]))
    jobs = [notebooks.NotebookJob(notebook, parameters={"alhpa": 1}, name=name) for name in "ab"]
    async with fake() as there, there.open() as gateway:
        with caplog.at_level(logging.WARNING, logger="trio_gateway.notebooks"):
            async with notebooks.run_many(gateway, jobs, limit=1) as runs:
                assert [run.status async for run in runs] == ["ok", "ok"]
    assert [record.getMessage() for record in caplog.records] == [
        f"notebook_parameters: {name}: the cell that is tagged 'parameters' does not know alhpa" for name in "ab"
    ]


# ------------------------------------------------------------------------------------------------------ papermill's record


def record_of(notebook: Any) -> list[tuple[str, bool | None]]:
    return [(cell["metadata"]["papermill"]["status"], cell["metadata"]["papermill"]["exception"]) for cell in notebook["cells"]]


OK, FAILED, PENDING = ("completed", False), ("failed", True), ("pending", None)


async def test_the_record_stands_in_each_save(tmp_path: Path, autojump_clock: Clock) -> None:
    notebook = notebook_of("a", "b", "c")
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell("text", id="text"))
    notebook.cells[0].metadata["papermill"] = {"status": "of another run"}
    path = tmp_path / "in.ipynb"
    path.write_text(nbformat.v4.writes(notebook))
    output = tmp_path / "out.ipynb"
    saves: list[Any] = []
    async with fake() as there, there.open() as gateway:
        async with notebooks.open_run(gateway, path, output=output, parameters={"x": [1, None]}) as run:
            saves.extend([json.loads(output.read_text()) async for event in run if isinstance(event, notebooks.RunSaved)])
        record = saves[0]["metadata"]["papermill"]
        assert record["parameters"] == {"x": [1, None]}
        assert (record["input_path"], record["output_path"]) == (str(path), str(output))
        assert (record["end_time"], record["duration"], record["exception"]) == (None, None, None)
        assert record_of(saves[0]) == [("running", False), PENDING, PENDING, PENDING, PENDING]
        assert [OK, PENDING, PENDING, PENDING, PENDING] in [record_of(save) for save in saves]
        assert record_of(saves[-1]) == [OK] * 5
        assert saves[-1]["metadata"]["papermill"]["end_time"] is not None
        assert run.result.notebook.metadata.papermill == saves[-1]["metadata"]["papermill"]


@pytest.mark.parametrize(
    ("cells", "settings", "expected", "exception"),
    [
        (["fail", "b"], {}, [FAILED, PENDING], True),
        (["fail", "b"], {"on_error": "continue"}, [FAILED, OK], True),
        ([("fail", ["raises-exception"]), "b"], {}, [OK, OK], None),
        (["a", ("b", ["skip-execution"]), ""], {}, [OK, OK, OK], None),
        (["exit", "b"], {}, [OK, PENDING], None),
        (["hang", "b"], {"timeout": 5}, [FAILED, PENDING], True),
        (["hang", "b"], {"cell_timeout": 5, "on_error": "continue"}, [FAILED, OK], True),
        (["a", "die", "b"], {}, [OK, FAILED, PENDING], True),
    ],
)
async def test_the_record_says_how_each_cell_ended(
    cells: list[Any], settings: dict[str, Any], expected: list[Any], exception: bool | None, tmp_path: Path, autojump_clock: Clock
) -> None:
    async def script(cell: Cell) -> None:
        if cell.code == "exit":
            raise CellError("SystemExit", "0")
        if cell.code == "hang":
            await cell.sleep(100)
        elif cell.code == "die":
            next(iter(there.kernels.values())).die()
            await trio.sleep_forever()
        await echo(cell)

    output = tmp_path / "out.ipynb"
    async with fake(script) as there, there.open() as gateway:
        with contextlib.suppress(KernelDiedError):
            await notebooks.run(gateway, notebook_of(*cells), output=output, **settings)
    saved = json.loads(output.read_text())
    assert record_of(saved) == expected
    assert saved["metadata"]["papermill"]["exception"] is exception
    assert saved["metadata"]["papermill"]["end_time"] is not None


async def test_the_record_of_a_run_that_is_cancelled(tmp_path: Path, autojump_clock: Clock) -> None:
    output = tmp_path / "out.ipynb"

    async def script(cell: Cell) -> None:
        await cell.sleep(100 if cell.code == "b" else 1)

    async with fake(script) as there, there.open() as gateway:
        with trio.move_on_after(50):
            await notebooks.run(gateway, notebook_of("a", "b", "c"), output=output)
    assert record_of(json.loads(output.read_text())) == [OK, FAILED, PENDING]


async def test_the_record_of_a_run_that_goes_on_keeps_that_of_the_cells_before(tmp_path: Path, autojump_clock: Clock) -> None:
    output = tmp_path / "out.ipynb"
    fails = True

    async def script(cell: Cell) -> None:
        await cell.sleep(1)
        if fails and cell.code == "b":
            raise ValueError("not yet")

    notebook = notebook_of("a", "b", "c")
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell("text", id="text"))
    async with fake(script) as there, there.open() as gateway:
        first = await notebooks.run(gateway, notebook, output=output, parameters={"x": 1}, keep_kernel="on_error")
        assert record_of(first.notebook) == [OK, OK, OK, FAILED, PENDING]
        fails = False
        result = await notebooks.run(gateway, output, output=output, resume=True)
    assert [cell.status for cell in result.cells] == ["skipped", "skipped", "ok", "ok"]
    assert record_of(result.notebook) == [OK] * 5
    before, after = ([cell.metadata.papermill for cell in run.notebook.cells] for run in (first, result))
    assert after[:2] == before[:2]
    assert after[3].start_time > before[3].end_time
    assert (result.notebook.metadata.papermill.exception, result.notebook.metadata.papermill.parameters) == (None, {"x": 1})


async def test_without_timing_there_is_no_record_and_parameters_all_the_same(autojump_clock: Clock) -> None:
    notebook = notebook_of("a", ("marker", ["papermill-error-cell-tag"]))
    async with fake() as there, there.open() as gateway:
        result = await notebooks.run(gateway, notebook, parameters={"x": 1}, record_timing=False)
        assert sources_of(result) == ["# Parameters\nx = 1\n", "a", "marker"]
        assert "papermill" not in result.notebook.metadata
        assert not any("papermill" in cell.metadata for cell in result.notebook.cells)
        result = await notebooks.run(gateway, notebook)
        assert sources_of(result) == ["a"], "what papermill has put there tells of another run"
        assert len(notebook.cells) == 2
