"""`run` and `open_run`: from a gateway or a kernel and a notebook to a result, and what is wrong before any kernel is started."""

from __future__ import annotations

import contextlib
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
from trio_gateway import AsyncLibraryError, InvalidInputError, KernelDiedError, KernelSpecNotFoundError, Stream, notebooks
from trio_gateway.testing import Cell, FakeGateway, FakeKernelSpec

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


async def test_where_it_runs_is_a_gateway_or_a_kernel(autojump_clock: Clock) -> None:
    with pytest.raises(InvalidInputError, match="where"):
        await notebooks.run(5, notebook_of("a"))  # type: ignore[arg-type]
    async with fake() as there, there.open() as gateway, gateway.start_kernel() as kernel:
        for name, value in {"kernel_name": "python3", "env": {"A": "b"}, "cwd": "/"}.items():
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
