"""Widgets in a run: comms and outputs are read in one order, the file holds both, and the kernel is told; on a fake gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import nbformat.v4
import pytest
import trio
import trio.testing

from tools.notebook_tools import notebook_of, texts_of
from trio_gateway import ClearOutput, DisplayData, Kernel, Message, Stream, notebooks
from trio_gateway._notebooks import document as document_module
from trio_gateway._notebooks.document import Document
from trio_gateway._notebooks.widgets import WIDGET_STATE, WIDGET_TARGET, WIDGET_VIEW
from trio_gateway.testing import Cell, FakeComm, FakeGateway

from .test_widgets import OUTPUT, SLIDER, closed, opened, told

pytestmark = pytest.mark.usefixtures("threads")

Script = Callable[[Cell], Awaitable[None]]
Clock = trio.testing.MockClock


class Process:
    """The kernel's side: what its widgets are, and what it was sent."""

    def __init__(self) -> None:
        self.fake: FakeGateway | None = None
        self.state: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.got: list[tuple[str, list[str]]] = []

    def open(self, cell: Cell, comm_id: str, state: Any, *buffers: bytes, paths: Any = ()) -> None:
        """Open a widget's comm."""
        data = {"state": state, "buffer_paths": paths}
        content = {"comm_id": comm_id, "target_name": WIDGET_TARGET, "data": data}
        cell.publish("comm_open", content, metadata={"version": "2.1.0"}, buffers=buffers)
        self.state[comm_id] = dict(state)
        assert self.fake is not None
        (kernel,) = self.fake.kernels.values()
        assert kernel.process is not None
        comm = kernel.process.comms[comm_id] = FakeComm(kernel.process, comm_id, WIDGET_TARGET, lambda: None)
        comm.on_message = self._take

    def _take(self, comm: FakeComm, message: Message) -> None:
        data = json.loads(bytes(message.content_raw))["data"]
        if data["method"] == "request_state":
            self.asked.append(comm.comm_id)
            comm.send({"method": "update", "state": self.state[comm.comm_id], "buffer_paths": []})
        else:
            self.got.append((comm.comm_id, texts(data["state"]["outputs"])))
            self.state[comm.comm_id] |= data["state"]

    def tell(self, cell: Cell, comm_id: str, state: Any) -> None:
        """Change a widget's state."""
        self.state[comm_id] |= state
        cell.publish("comm_msg", {"comm_id": comm_id, "data": {"method": "update", "state": state, "buffer_paths": []}})

    def capture(self, cell: Cell, comm_id: str, *, of: Cell | None = None) -> None:
        """Let an `Output` widget capture what a cell puts out, this one or another."""
        self.tell(cell, comm_id, {"msg_id": (of or cell)._request.msg_id})

    def release(self, cell: Cell, comm_id: str) -> None:
        """Let it capture no more."""
        self.tell(cell, comm_id, {"msg_id": ""})


@asynccontextmanager
async def on_fake(process: Process, script: Script) -> AsyncGenerator[Kernel]:
    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        process.fake = fake
        yield kernel


def state(notebook: Any) -> dict[str, Any]:
    """What a notebook holds of each model's state."""
    found = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    return {model_id: model["state"] for model_id, model in found.items()}


def shown(notebook: Any) -> list[list[str]]:
    return [texts_of(cell) for cell in notebook.cells]


def texts(outputs: Any) -> list[str]:
    return texts_of({"outputs": outputs})


async def test_the_file_holds_the_state_of_each_widget_that_lives(autojump_clock: Clock, tmp_path: Any) -> None:
    process = Process()

    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        if cell.code == "a":
            process.open(cell, "s", SLIDER)
            process.open(cell, "gone", SLIDER)
            process.open(cell, "i", {**SLIDER, "value": None}, b"png", paths=[["value"]])
        else:
            process.tell(cell, "s", {"value": 9})
            cell.publish("comm_close", {"comm_id": "gone", "data": {}})

    async with on_fake(process, script) as kernel:
        result = await notebooks.run(kernel, notebook_of("a", "b"), output=tmp_path / "out.ipynb")
    saved = nbformat.read(tmp_path / "out.ipynb", 4)
    assert saved.metadata.widgets == result.notebook.metadata.widgets
    assert set(state(saved)) == {"s", "i"}
    assert state(saved)["s"]["value"] == 9
    assert saved.metadata.widgets[WIDGET_STATE]["state"]["i"]["buffers"] == [
        {"encoding": "base64", "path": ["value"], "data": "cG5n"}
    ]


async def test_what_an_output_widget_captures_is_its_own_and_not_the_cells(autojump_clock: Clock) -> None:
    process = Process()

    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        if cell.code == "a":
            process.open(cell, "o", OUTPUT)
            cell.stdout("before;")
            process.capture(cell, "o")
            cell.stdout("in;")
            cell.publish("error", {"ename": "E", "evalue": "caught", "traceback": []})
            process.release(cell, "o")
            cell.stdout("after")

    events: list[Any] = []
    async with on_fake(process, script) as kernel, notebooks.open_run(kernel, notebook_of("a", "b")) as run:
        async for event in run:
            if isinstance(event, notebooks.CellOutput):
                events.append(event.output.text)
            if isinstance(event, notebooks.CellStarted) and event.cell.number == 2:
                assert texts(state(run.notebook)["o"]["outputs"]) == ["in;", "E"]
    assert shown(run.result.notebook) == [["before;after"], []]
    assert texts(state(run.result.notebook)["o"]["outputs"]) == ["in;", "E"]
    assert events == ["before;", "after"], "what a widget captures is no output of its cell"
    assert (run.result.status, run.result.cells[0].error) == ("ok", None)


async def test_the_kernel_knows_what_was_captured_when_the_next_cell_begins(autojump_clock: Clock) -> None:
    process = Process()
    at_begin: list[Any] = []

    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        at_begin.append(list(process.got))
        if cell.code == "a":
            process.open(cell, "o", OUTPUT)
        if cell.code in ("a", "c"):
            process.capture(cell, "o")
            for text in "123":
                cell.stdout(f"{cell.code}{text};")
            process.release(cell, "o")

    async with on_fake(process, script) as kernel:
        await notebooks.run(kernel, notebook_of("a", "b", "c"))
        await kernel.kernel_info()
    first = ("o", ["a1;a2;a3;"])
    assert at_begin == [[], [first], [first]]
    assert process.got[1:] == [("o", ["a1;a2;a3;c1;c2;c3;"])]


async def test_background_work_of_an_earlier_cell_is_captured_too(autojump_clock: Clock) -> None:
    process = Process()
    first: list[Cell] = []

    async def script(cell: Cell) -> None:
        first.append(cell)
        if cell.code == "a":
            process.open(cell, "o", OUTPUT)
            return
        process.capture(cell, "o", of=first[0])
        first[0].stdout("late")
        cell.stdout("mine")
        process.release(cell, "o")
        await cell.sleep(1)

    async with on_fake(process, script) as kernel:
        result = await notebooks.run(kernel, notebook_of("a", "b"))
    assert shown(result.notebook) == [[], ["mine"]]
    assert texts(state(result.notebook)["o"]["outputs"]) == ["late"]


async def test_a_widget_that_changes_in_the_background_keeps_the_run_a_moment(autojump_clock: Clock) -> None:
    process = Process()
    async with trio.open_nursery() as nursery:

        async def later(cell: Cell) -> None:
            for value in range(5):
                await trio.sleep(0.15)
                process.tell(cell, "s", {"value": value})

        async def script(cell: Cell) -> None:
            process.open(cell, "s", SLIDER)
            nursery.start_soon(later, cell)
            await trio.lowlevel.checkpoint()

        async with on_fake(process, script) as kernel:
            result = await notebooks.run(kernel, notebook_of("a"))
    assert state(result.notebook)["s"]["value"] == 4
    assert result.output_gaps == ()


async def test_what_a_widget_shows_of_a_display_is_updated_as_any(autojump_clock: Clock) -> None:
    process = Process()

    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        if cell.code == "a":
            cell.display("in the cell", display_id="d")
            process.open(cell, "o", OUTPUT)
            process.capture(cell, "o")
            cell.display("in the widget", display_id="d")
            process.release(cell, "o")
        elif cell.code == "b":
            assert shown_now() == (["in the widget"], ["in the widget"])
            cell.display("new", display_id="d", update=True)
        else:
            assert shown_now() == (["new"], ["new"])
            cell.display("shown again", display_id="d")

    def shown_now() -> tuple[list[str], list[str]]:
        return shown(run.notebook)[0], texts(state(run.notebook)["o"]["outputs"])

    async with on_fake(process, script) as kernel, notebooks.open_run(kernel, notebook_of("a", "b", "c")) as run:
        async for _ in run:
            pass
        assert run.result.status == "ok"
        assert shown_now() == (["shown again"], ["shown again"])


def view(model_id: str) -> dict[str, Any]:
    return {WIDGET_VIEW: {"model_id": model_id, "version_major": 2, "version_minor": 0}, "text/plain": model_id}


def models_in(outputs: Any) -> list[str]:
    return [output["data"][WIDGET_VIEW]["model_id"] for output in outputs]


async def test_a_view_of_a_widget_that_is_closed_shows_nothing(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in JupyterLab, where it goes with the widget. To an id that is not there it says that there is an error."""
    process = Process()
    monkeypatch.setattr(document_module, "_MANY_CLOSED", 2)

    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        if cell.code == "a":
            process.open(cell, "o", OUTPUT)
            for comm_id in ("bar", "inner", "stays"):
                process.open(cell, comm_id, SLIDER)
                cell.display(view(comm_id))
            process.capture(cell, "o")
            cell.display(view("inner"))
            cell.display(view("stays"))
            process.release(cell, "o")
        else:
            cell.display(view("bar"))
            for comm_id in ("bar", "inner", "bar", "nobody's"):
                cell.publish("comm_close", {"comm_id": comm_id, "data": {}})
            cell.display(view("nobody's"))

    async with on_fake(process, script) as kernel:
        result = await notebooks.run(kernel, notebook_of("a", "b"))
    assert models_in(result.notebook.cells[0].outputs) == ["", "", "stays"]
    assert models_in(result.notebook.cells[1].outputs) == ["", "nobody's"], "of what was never there nothing is known"
    assert models_in(state(result.notebook)["o"]["outputs"]) == ["", "stays"]
    assert set(state(result.notebook)) == {"o", "stays"}
    assert nbformat.v4.nbbase.validate(result.notebook) is None


# Open kernels -------------------------------------------------------------------------------------------------------


async def test_two_runs_on_an_open_kernel(autojump_clock: Clock) -> None:
    """The second shows a widget of the first, and prints into another of it."""
    process = Process()

    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        if cell.code == "a":
            for comm_id, first in (("s", {**SLIDER, "layout": "IPY_MODEL_l"}), ("l", SLIDER), ("o", OUTPUT), ("unseen", SLIDER)):
                process.open(cell, comm_id, first)
            process.capture(cell, "o")
            cell.stdout("first;")
            process.release(cell, "o")
        else:
            process.open(cell, "mine", SLIDER)
            process.capture(cell, "o")
            cell.stdout("second")
            process.release(cell, "o")
            cell.display(view("s"))
            cell.display(view("o"))

    async with on_fake(process, script) as kernel:
        first = await notebooks.run(kernel, notebook_of("a"))
        assert set(state(first.notebook)) == {"s", "l", "o", "unseen"}
        second = await notebooks.run(kernel, notebook_of("b"))
        await kernel.kernel_info()
    assert sorted(process.asked) == ["l", "o", "s", "unseen"]
    assert set(state(second.notebook)) == {"mine", "s", "l", "o"}
    assert texts(state(second.notebook)["o"]["outputs"]) == ["first;second"]
    assert process.got == [("o", ["first;"]), ("o", ["first;second"])], "the kernel knows"
    assert shown(second.notebook) == [["s", "o"]]


async def test_a_kernel_that_does_not_say_which_comms_it_has(autojump_clock: Clock) -> None:
    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        cell.stdout("x")

    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("shell comm_info_request", direction="to_kernel")
        began = trio.current_time()
        result = await notebooks.run(kernel, notebook_of("a"), grace=0)
        assert trio.current_time() < began + 1, "what it answers after that says that it won't"
    assert shown(result.notebook) == [["x"]]


async def test_a_kernel_of_ones_own_is_not_asked(autojump_clock: Clock) -> None:
    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()

    async with FakeGateway(script) as fake, fake.open() as gateway:
        await notebooks.run(gateway, notebook_of("a"))
        assert "comm_info" not in str(fake.conversation)


async def test_other_clients_widgets_are_not_the_documents(autojump_clock: Clock) -> None:
    """Neither those from before the run, nor those that are opened meanwhile."""
    process = Process()
    begun = trio.Event()

    async def script(cell: Cell) -> None:
        process.open(cell, cell.code, SLIDER)
        begun.set()
        await cell.sleep(1)

    async with on_fake(process, script) as kernel:
        assert process.fake is not None
        async with process.fake.open() as other, other.attach_kernel(kernel.id) as theirs, trio.open_nursery() as nursery:
            await theirs.execute("before")
            begun = trio.Event()

            async def meanwhile() -> None:
                await begun.wait()
                await theirs.execute("meanwhile")

            nursery.start_soon(meanwhile)
            result = await notebooks.run(kernel, notebook_of("mine", "mine too"))
    assert list(process.state) == ["before", "mine", "meanwhile", "mine too"]
    assert set(state(result.notebook)) == {"mine", "mine too"}


async def test_a_kernel_that_has_left_is_told_nothing(autojump_clock: Clock) -> None:
    process = Process()
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(0.1)
            assert process.fake is not None
            (kernel,) = process.fake.kernels.values()
            kernel.cull()

        async def script(cell: Cell) -> None:
            await trio.lowlevel.checkpoint()
            process.open(cell, "o", OUTPUT)
            process.capture(cell, "o")
            cell.stdout("x")
            nursery.start_soon(leave)

        async with on_fake(process, script) as kernel:
            result = await notebooks.run(kernel, notebook_of("a"), grace=1)
    assert result.status == "ok", "its cells have run"
    assert texts(state(result.notebook)["o"]["outputs"]) == ["x"]
    assert process.got == []


# The document -------------------------------------------------------------------------------------------------------


def old_notebook() -> Any:
    notebook = notebook_of("a", ("kept", ["skip-execution"]))
    for cell, comm_id in zip(notebook.cells, ("old", "shown"), strict=True):
        cell.outputs = [nbformat.v4.new_output("display_data", view(comm_id))]
    model = {"model_name": "M", "model_module": "m", "state": {"layout": "IPY_MODEL_layout"}}
    models = {"old": model, "shown": model, "layout": {**model, "state": {}}, "unseen": model}
    notebook.metadata["widgets"] = {WIDGET_STATE: {"version_major": 2, "version_minor": 0, "state": models}}
    return notebook


def test_old_widgets_stay_where_cells_that_do_not_run_show_them() -> None:
    given = old_notebook()
    before = json.dumps(given)
    document = Document(given)
    assert set(state(document.current())) == {"shown", "layout"}
    assert document.take_comm(opened("new", SLIDER), own=True)
    assert set(state(document.current())) == {"shown", "layout", "new"}
    assert document.take_comm(closed("shown"), own=True)
    assert set(state(document.current())) == {"new"}
    assert models_in(document.current().cells[1].outputs) == ["shown"], "a cell that does not run stays as it is"
    assert json.dumps(given) == before, "the notebook that was given stays as it is"


def test_a_document_without_widgets_says_nothing_of_them() -> None:
    notebook = notebook_of("a")
    assert "widgets" not in Document(notebook).current().metadata
    notebook.metadata["widgets"] = {WIDGET_STATE: {"state": {}}}
    assert "widgets" not in Document(notebook).current().metadata


def test_what_is_saved_follows_what_is_shown() -> None:
    document = Document(notebook_of("a"))
    (cell,) = document.cells
    document.take_comm(told("old", SLIDER), own=False)
    assert state(document.current()) == {}
    document.feed(cell, DisplayData(view("old")))
    assert set(state(document.current())) == {"old"}
    document.feed(cell, ClearOutput())
    assert state(document.current()) == {}


def test_what_is_captured_is_saved_also_when_no_comm_tells_of_a_change() -> None:
    document = Document(notebook_of("a"))
    for message in (opened("o", OUTPUT), told("o", {"msg_id": "a cell's"})):
        document.take_comm(message, own=True)
    assert state(document.current())["o"]["outputs"] == []
    assert document.capture("a cell's", Stream("stdout", "x"))
    assert texts(state(document.current())["o"]["outputs"]) == ["x"]


def test_of_widgets_that_are_closed_not_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_module, "_MANY_CLOSED", 3)
    document = Document(notebook_of("a"))
    for number in range(8):
        document.take_comm(opened(f"{number}", SLIDER), own=True)
        document.take_comm(closed(f"{number}"), own=True)
        assert document.widgets.closed < 3
