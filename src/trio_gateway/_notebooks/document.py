"""A notebook while it runs, as a value that changes: which cells run, and which output stands where.

The one idea: `current()` is always what a notebook editor would show at this moment, an update of a display that an earlier cell
made included. No kernel, no file, no Trio in here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any, Final

import nbformat

from .._models import KernelSpec
from .._outputs import DisplayData, ExecuteResult, Output, OutputGap, ShownOutput, Stream, UpdateDisplayData
from .._protocol.execution import OutputArea
from .._protocol.messages import Message
from .._values import MAX_DEPTH, as_object, as_plain_json, as_text
from .allowance import Allowance
from .reading import kernel_name_of
from .widgets import Widgets, hide_models, models_shown_in

__all__ = ["NAMESPACE", "Document", "DocumentCell", "cells_that_run"]

_from_dict: Any = nbformat.from_dict  # without annotations

_MAY_FAIL: Final = "raises-exception"
_SKIPPED: Final = "skip-execution"
_MANY_CLOSED: Final = 1000
"""From so many closed widgets on their places are looked for before the next save."""
_TIMES: Final = "execution"
_GAPS: Final = "output_gaps"
NAMESPACE: Final = "trio_gateway"
"""Below which name this library's own metadata stand."""


class DocumentCell:
    """A code cell that runs.

    Args:
        number: its place among those that run, from 1.
        index: its place in the notebook's list of cells, from 0.
        node: nbformat's cell.
    """

    number: int
    """Its place among the cells that run, from 1; 0 for one that is skipped."""
    index: int
    """Its place in the notebook's list of cells, from 0."""
    id: str | None
    """Its id; None in a notebook whose format has none."""
    source: str
    """Its code."""
    may_fail: bool
    """Whether it is tagged `raises-exception`."""
    area: OutputArea
    """Its outputs."""

    def __init__(self, number: int, index: int, node: Any) -> None:
        self.number = number
        self.index = index
        self.id = node.get("id")
        self.source = node.source
        self.may_fail = _MAY_FAIL in _tags(node)
        self.area = OutputArea()
        self.allowance: Allowance | None = None  # for what it shows
        self.captured: Allowance | None = None  # for what of it widgets show
        self.closed: set[str] = set()  # the widgets that it shows and that are closed
        self.node = node

    @property
    def dropped(self) -> int:
        """How many of its outputs were not kept, or not to their end."""
        return sum(allowance.dropped for allowance in (self.allowance, self.captured) if allowance is not None)


class Document:
    """A notebook of nbformat 4, made ready to run: the outputs of the cells that will run are gone.

    So what is saved never mixes the outputs of two runs.

    Args:
        notebook: the notebook; it stays as it is, and shares with this one what does not change.
        max_output_bytes: how many bytes of outputs are kept of each cell; None: all.
    """

    cells: list[DocumentCell]
    """The cells that run: code cells that are not empty, and not tagged `skip-execution`."""
    skipped: list[DocumentCell]
    """The code cells that are left as they are for their tag."""
    widgets: Widgets
    """The widgets of the kernel that runs it."""

    def __init__(self, notebook: Any, max_output_bytes: int | None = None) -> None:
        self._notebook = copy.copy(notebook)
        self._notebook.metadata = copy.deepcopy(notebook.metadata)
        self._notebook.cells = list(notebook.cells)
        self.widgets = Widgets(notebook.metadata.get("widgets"))
        self._changed: set[DocumentCell] = set()
        self._changed_widgets = True
        self._displays: dict[str, dict[DocumentCell, None]] = {}  # the cells that have shown something under each id, in order
        self.cells = []
        self.skipped = []
        for index, given in enumerate(notebook.cells):
            node = self._notebook.cells[index] = copy.copy(given)
            node.metadata = copy.deepcopy(given.metadata)
            if node.cell_type != "code":
                continue
            if _SKIPPED in _tags(node):
                self.skipped.append(DocumentCell(0, index, node))
                continue
            self._forget_run(node.metadata)
            node.outputs = []
            node.execution_count = None
            if node.source.strip():
                cell = DocumentCell(len(self.cells) + 1, index, node)
                if max_output_bytes is not None:
                    cell.allowance, cell.captured = Allowance(max_output_bytes), Allowance(max_output_bytes)
                self.cells.append(cell)

    @property
    def kernel_name(self) -> str | None:
        """The kernelspec that the notebook names; None if it names none."""
        return kernel_name_of(self._notebook)

    @property
    def metadata(self) -> Any:
        """The notebook's metadata, as they are now: `note` changes them."""
        return self._notebook.metadata

    def cut(self, cell: DocumentCell, request: str, output: Output, size: int) -> Output | None:
        """Return as much of an output as there is room for; None for none.

        Args:
            cell: the cell that has caused it.
            request: the id of the cell's request.
            output: the output.
            size: how many bytes it has.
        """
        allowance = cell.captured if self.widgets.captures(request) else cell.allowance
        return output if allowance is None else allowance.cut(output, size)

    def feed(self, cell: DocumentCell, output: Output) -> bool:
        """Put an output of this cell where a notebook shows it; say whether anything that is shown may have changed.

        What is shown under a display id updates what the notebook shows under it already, in any cell.
        """
        if isinstance(output, UpdateDisplayData):
            return self._update(output)
        if isinstance(output, (DisplayData, ExecuteResult)) and output.display_id is not None:
            self._update(UpdateDisplayData(output.data, output.metadata, output.display_id, output.buffers))
            self._displays.setdefault(output.display_id, {})[cell] = None
        changed = cell.area.feed(output)
        if changed:
            self._changed.add(cell)
        return changed

    def capture(self, request: str, output: Output) -> bool:
        """Give an output to the `Output` widget that captures it, if one does; say whether that is so.

        Args:
            request: the id of the request that caused the output.
            output: the output.
        """
        if not self.widgets.capture(request, output):
            return False
        self._changed_widgets = True
        if isinstance(output, (DisplayData, ExecuteResult)) and output.display_id is not None:
            self._update(UpdateDisplayData(output.data, output.metadata, output.display_id, output.buffers))
        return True

    def take_comm(self, message: Message, *, own: bool) -> bool:
        """Take a message of a comm, or any other; say whether anything that is saved may have changed.

        Args:
            message: the message.
            own: whether one of the cells has caused it.
        """
        changed = self.widgets.feed(message, own=own)
        self._changed_widgets = self._changed_widgets or changed
        if self.widgets.closed >= _MANY_CLOSED:
            self.current()
        return changed

    def _update(self, update: UpdateDisplayData) -> bool:
        """Update what the notebook shows under a display id, also in widgets; say whether there is any."""
        changed = [place for place in self._displays.get(update.display_id or "", ()) if place.area.feed(update)]
        self._changed.update(changed)
        in_widgets = self.widgets.update_display(update)
        self._changed_widgets = self._changed_widgets or in_widgets
        return in_widgets or bool(changed)

    def note_count(self, cell: DocumentCell, execution_count: int) -> None:
        """Note which of the kernel's executions a cell is."""
        cell.node.execution_count = execution_count

    @staticmethod
    def _forget_run(metadata: Any) -> None:
        """Remove what a cell's metadata say of an earlier run."""
        metadata.pop(_TIMES, None)
        own = metadata.get(NAMESPACE)
        if isinstance(own, dict) and own.pop(_GAPS, None) is not None and not own:
            del metadata[NAMESPACE]

    def note_kernel(self, name: str, spec: KernelSpec | None, language_info: object) -> None:
        """Note which kernel runs the notebook, as JupyterLab does.

        Args:
            name: the name of its kernelspec; `""` where that is not known.
            spec: its kernelspec, as far as the gateway tells.
            language_info: what it says of its language.
        """
        language = as_plain_json(as_object(language_info))
        before = as_object(self._notebook.metadata.get("kernelspec"))
        told: dict[str, object] = {}
        if spec is not None:
            told = {"name": spec.name, "display_name": spec.display_name or spec.name, "language": spec.language}
        elif name and before.get("name") != name:
            before = {}  # it is of another kernel
            told = {"name": name, "display_name": name, "language": as_text(language.get("name"))}
        if told:
            self.note(None, "kernelspec", {**before, **{key: value for key, value in told.items() if value}})
        if isinstance(language.get("name"), str):
            self.note(None, "language_info", language)

    def note_time(self, cell: DocumentCell, what: str, when: str) -> None:
        """Note when a message about a cell was made, as Jupyter records it.

        Args:
            cell: the cell.
            what: the message, such as `"iopub.status.busy"`.
            when: the date, ISO 8601.
        """
        self.note(cell, _TIMES, {**cell.node.metadata.get(_TIMES, {}), what: when})

    def note_gaps(self, cell: DocumentCell, gaps: Iterable[OutputGap]) -> None:
        """Note why the output of a cell is not whole."""
        own = as_object(cell.node.metadata.get(NAMESPACE))
        told = [{"reason": gap.kind, "count": gap.count, "detail": gap.detail} for gap in gaps]
        self.note(cell, NAMESPACE, {**own, _GAPS: told})

    def note(self, cell: DocumentCell | None, name: str, value: object) -> None:
        """Set one entry of the metadata of a cell, or of the notebook.

        Args:
            cell: the cell; None for the notebook.
            name: the entry's name.
            value: its value, which is JSON; None to remove it.
        """
        holder: Any = self._notebook if cell is None else cell.node
        metadata = copy.copy(holder.metadata)  # another thread may be writing the one that is there
        if value is None:
            metadata.pop(name, None)
        else:
            metadata[name] = _from_dict(value)
        holder.metadata = metadata

    def current(self) -> Any:
        """Return the notebook with all outputs that have come so far, and the state of its widgets."""
        for cell in self._changed:
            outputs = [_node_of(output) for output in cell.area.outputs]
            cell.closed = hide_models(outputs, cell.closed)
            cell.node.outputs = outputs
        closed = self.widgets.take_closed()
        if closed:
            for cell in self.cells:
                cell.closed |= hide_models(cell.node.outputs, closed)
        if self._changed_widgets or (self._changed and self.widgets.depends_on_outputs):
            self._put_widgets()
        self._changed.clear()
        self._changed_widgets = False
        return self._notebook

    def _put_widgets(self) -> None:
        """Put the state of the widgets into the notebook's metadata, which are replaced: they may be being written to a file."""
        cells = [cell for cell in self._notebook.cells if cell.cell_type == "code"]
        state = self.widgets.metadata(model for cell in cells for model in models_shown_in(cell.outputs))
        metadata = copy.copy(self._notebook.metadata)
        metadata.pop("widgets", None)
        if state is not None:
            metadata["widgets"] = state
        self._notebook.metadata = metadata


def cells_that_run(notebook: Any) -> list[Any]:
    """Return the code cells of a notebook that run, in order: those that are not empty, and not tagged `skip-execution`."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip() and _SKIPPED not in _tags(cell)]


def _node_of(output: ShownOutput) -> Any:
    """Return nbformat's node of an output, such that each reader of JSON can read its file, whatever a kernel sent."""
    fields = output.to_nbformat()
    if isinstance(output, Stream) and _is_unicode(output.text):  # most of what comes, and it may be large
        return _from_dict(fields)
    try:
        text = json.dumps(fields, allow_nan=False, ensure_ascii=False)
        text.encode()
        odd = text.count("[") + text.count("{") > MAX_DEPTH  # it may be nested so deeply that nbformat can't copy it
    except (ValueError, RecursionError):
        odd = True
    return _from_dict(as_plain_json(fields) if odd else fields)


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _tags(node: Any) -> list[str]:
    tags = node.metadata.get("tags", [])
    return tags if isinstance(tags, list) else []
