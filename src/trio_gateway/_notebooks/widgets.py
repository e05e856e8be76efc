"""Widgets while a notebook runs: the state of their models, as the kernel's comms tell it, and the output that they capture.

The one idea: what a front end's widget manager knows can be had without a front end. Each comm message changes the state of one
model, and at any moment the states of the models that live are what `metadata.widgets` holds. An `Output` widget is the one model
whose state is made here and not in the kernel: for as long as it names a request as its `msg_id`, the request's outputs are its
own, and the kernel is sent what they have become.

A comm message is read as what it can be, and what can't be read changes nothing. What is kept is what the kernel's living models
hold: a model that is closed is forgotten. Sources: the schemas of "jupyter-widgets", version 2 of the messages and of the state.
No kernel, no file, no Trio in here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any, Final, cast

from .._errors import InvalidInputError
from .._outputs import ClearOutput, DisplayData, Error, ExecuteResult, Output, ShownOutput, Stream, UpdateDisplayData
from .._protocol import contents
from .._protocol.execution import OutputArea
from .._protocol.messages import Message, encode_json
from .._values import as_bundle, as_count, as_lines, as_object, as_plain_json, as_text

__all__ = ["UPDATE_LIMIT", "WIDGET_STATE", "WIDGET_TARGET", "WIDGET_VIEW", "Widgets", "hide_models", "models_shown_in"]

WIDGET_STATE: Final = "application/vnd.jupyter.widget-state+json"
"""The type of what `metadata.widgets` holds."""
WIDGET_VIEW: Final = "application/vnd.jupyter.widget-view+json"
"""The type under which an output shows a model."""
WIDGET_TARGET: Final = "jupyter.widget"
"""The target of the comms of widgets."""
UPDATE_LIMIT: Final = 8 * 1024**2
"""How many bytes of JSON an `Output` widget's outputs may have that are sent to the kernel. More than 10 MiB would, at a gateway
as it is by default, cost the connection."""

_OUTPUT_MODEL: Final = ("@jupyter-widgets/output", "OutputModel")
_REFERENCE: Final = "IPY_MODEL_"
"""What a text begins with that stands for a model in the state of another."""
_ANY_VERSION: Final = "*"
_Object = dict[str, Any]


def models_shown_in(outputs: Iterable[Any]) -> Iterator[str]:
    """Give the ids of the models that outputs of a notebook show.

    Args:
        outputs: outputs as nbformat has them; what is none shows nothing.
    """
    for output in outputs:
        model_id = as_object(as_object(as_object(output).get("data")).get(WIDGET_VIEW)).get("model_id")
        if isinstance(model_id, str):
            yield model_id


def hide_models(outputs: Iterable[Any], closed: AbstractSet[str]) -> set[str]:
    """Let outputs of a notebook show nothing in place of models that are closed, as front ends do; return which they were.

    Args:
        outputs: outputs as nbformat has them; they are changed in place.
        closed: the ids of the models.
    """
    found: set[str] = set()
    for output in outputs:
        view = as_object(as_object(as_object(output).get("data")).get(WIDGET_VIEW))
        model_id = view.get("model_id")
        if isinstance(model_id, str) and model_id in closed:
            view["model_id"] = ""  # what is shown is then hidden; of an id that is not there, an error is shown
            found.add(model_id)
    return found


class Widgets:
    """The widgets of one notebook and of the kernel that runs it.

    A model is the run's own, and is saved, when one of its cells has opened it. Any other is saved where the document shows it:
    one that has lived in an open kernel from before the run, or that another client's code has opened meanwhile, for an open
    kernel may serve many documents; and one that only the document's old `metadata.widgets` knows, for a cell that does not run
    keeps the outputs that show it.

    Args:
        saved: the document's old `metadata.widgets`, of whatever type.
    """

    def __init__(self, saved: object = None) -> None:
        self._models: dict[str, _Model] = {}
        self._saved = dict(_models_saved_in(saved))
        self._capturing: dict[str, list[str]] = {}  # by the request's id: the models that capture its output, the last one does
        self._areas: dict[str, OutputArea] = {}  # of the models that have captured something
        self._closed: set[str] = set()  # since this was asked for
        self._unsent: dict[str, None] = {}  # the models whose outputs the kernel does not know yet, in order

    # What the kernel says ---------------------------------------------------------------------------------------

    def feed(self, message: Message, *, own: bool = True) -> bool:
        """Take a message that the kernel published; say whether what is saved may have changed.

        Args:
            message: any message; only those of comms matter.
            own: whether a cell of the run has caused it.
        """
        kind = message.header.msg_type
        if kind not in ("comm_open", "comm_msg", "comm_close"):
            return False
        content = contents.look(message)
        comm_id: str = content["comm_id"]
        data: _Object = content["data"]
        state = data.get("state")
        says_state = isinstance(state, dict) and comm_id != "" and data.get("method") != "custom"
        if kind != "comm_msg":
            was_known = self._close(comm_id)
            if kind == "comm_close" or not says_state or content["target_name"] not in (WIDGET_TARGET, ""):
                return was_known
            self._models[comm_id] = _Model(own=own)
            self._closed.discard(comm_id)
        elif not says_state:
            return False
        news: _Object = dict(cast("_Object", state))
        if comm_id not in self._models:
            if "_model_name" not in news:
                return False  # a part of what nobody has told as a whole
            self._models[comm_id] = _Model(own=False)
        model = self._models[comm_id]
        capturing = model.msg_id
        if data.get("method") == "echo_update" and model.is_output:
            news.pop("outputs", None)  # what some front end has sent the kernel, and ours may be newer
        model.update(news, data.get("buffer_paths"), message.buffers)
        if "outputs" in news:
            model.area = None
            self._areas.pop(comm_id, None)
            if model.outputs_sent:  # which may reach the kernel after it has told these
                self._unsent[comm_id] = None
        if kind == "comm_msg" and model.is_output and model.msg_id != capturing:
            self._stop_capturing(capturing, comm_id)
            if model.msg_id:
                self._capturing.setdefault(model.msg_id, []).append(comm_id)
        return True

    def _close(self, comm_id: str) -> bool:
        known_to_file = self._saved.pop(comm_id, None) is not None
        model = self._models.pop(comm_id, None)
        if known_to_file or model is not None:
            self._closed.add(comm_id)
        if model is None:
            return known_to_file
        self._unsent.pop(comm_id, None)
        self._areas.pop(comm_id, None)
        self._stop_capturing(model.msg_id, comm_id)
        return True

    def _stop_capturing(self, msg_id: str, comm_id: str) -> None:
        capturing = self._capturing.get(msg_id, [])
        if comm_id in capturing:
            capturing.remove(comm_id)
            if not capturing:
                del self._capturing[msg_id]

    def questions(self, comms: object) -> list[_Object]:
        """Return what the kernel is to be asked for, so that it tells the models that it has from before the run.

        Args:
            comms: the comms that a `comm_info_reply` names, of whatever type.

        Returns:
            The contents of `comm_msg`s. The answers are messages for `feed`.
        """
        targets = {comm_id: as_object(comm).get("target_name") for comm_id, comm in as_object(comms).items()}
        unknown = [id_ for id_, target in targets.items() if target in (WIDGET_TARGET, "", None) and id_ not in self._models]
        return list(filter(_can_be_sent, [{"comm_id": comm_id, "data": {"method": "request_state"}} for comm_id in unknown]))

    # What is shown ----------------------------------------------------------------------------------------------

    def captures(self, request: str) -> bool:
        """Say whether an `Output` widget captures the outputs of a request."""
        return bool(self._capturing.get(request))

    def capture(self, request: str, output: Output) -> bool:
        """Give an output to the `Output` widget that captures it, if one does; say whether that is so.

        Of several it is the one that began last. An update of a display is for all places, and captured by none.

        Args:
            request: the id of the request that caused the output.
            output: the output.
        """
        capturing = self._capturing.get(request)
        if not capturing or isinstance(output, UpdateDisplayData):
            return False
        if isinstance(output, (DisplayData, ExecuteResult)) and output.display_id is not None:
            self.update_display(UpdateDisplayData(output.data, output.metadata, output.display_id, output.buffers))
        comm_id = capturing[-1]
        self._areas[comm_id] = self._models[comm_id].add(output)
        self._unsent[comm_id] = None
        return True

    def update_display(self, update: UpdateDisplayData) -> bool:
        """Update what `Output` widgets have captured under a display id; say whether there was any."""
        found = [comm_id for comm_id, area in self._areas.items() if area.feed(update)]
        for comm_id in found:
            self._models[comm_id].changed()
            self._unsent[comm_id] = None
        return bool(found)

    def updates(self) -> list[_Object]:
        """Return what the kernel is to be sent, so that its `Output` widgets hold what they have captured; each update once.

        Outputs of more than `UPDATE_LIMIT` bytes stay here: the kernel's widget then holds less than what is saved.

        Returns:
            The contents of `comm_msg`s.
        """
        found: list[_Object] = []
        for comm_id in self._unsent:
            model = self._models[comm_id]
            data = {"method": "update", "state": {"outputs": as_plain_json(model.outputs)}, "buffer_paths": []}
            content = {"comm_id": comm_id, "data": data}
            if _can_be_sent(content):
                model.outputs_sent = True
                found.append(content)
        self._unsent.clear()
        return found

    @property
    def closed(self) -> int:
        """How many models were closed since `take_closed` was called."""
        return len(self._closed)

    def take_closed(self) -> set[str]:
        """Return the ids of the models that were closed since the last call; what `Output` widgets show of them is hidden."""
        closed, self._closed = self._closed, set()
        if closed:
            for model in self._models.values():
                if model.is_output:
                    model.hide(closed)
        return closed

    # What is saved ----------------------------------------------------------------------------------------------

    @property
    def depends_on_outputs(self) -> bool:
        """Whether what is saved depends on what the document's outputs show."""
        return bool(self._saved) or not all(model.own for model in self._models.values())

    def metadata(self, shown: Iterable[str] = ()) -> _Object | None:
        """Return `metadata.widgets` as it is to be saved now; None where there is nothing to save.

        Args:
            shown: the ids of the models that the document's outputs show.
        """
        found: dict[str, _Model | _SavedModel] = {comm_id: model for comm_id, model in self._models.items() if model.own}
        if self.depends_on_outputs:
            waiting = [*shown, *(reference for model in found.values() for reference in model.references)]
            while waiting:
                comm_id = waiting.pop()
                model = self._models.get(comm_id) or self._saved.get(comm_id)
                if model is not None and comm_id not in found:
                    found[comm_id] = model
                    waiting += model.references
        state = {as_plain_json(comm_id): node for comm_id, model in found.items() if (node := model.node) is not None}
        return {WIDGET_STATE: {"version_major": 2, "version_minor": 0, "state": state}} if state else None


class _Model:
    """A model that lives in the kernel.

    Args:
        own: whether a cell of the run has opened it.
    """

    __slots__ = ("_buffers", "_clears", "_hidden", "_node", "_references", "_state", "area", "outputs_sent", "own")

    own: bool
    """Whether a cell of the run has opened it."""
    area: OutputArea | None
    """Of an `Output` widget, what it shows; None as long as that is what the kernel has told."""
    outputs_sent: bool
    """Whether the kernel was ever sent what the widget shows."""

    def __init__(self, *, own: bool) -> None:
        self.own = own
        self.area = None
        self.outputs_sent = False
        self._state: _Object = {}
        self._buffers: dict[str, list[_Object]] = {}  # as they are saved, by the field of the state that they are in
        self._hidden: set[str] = set()  # the models that an `Output` widget shows and that are closed
        self._clears = False  # whether it is to be cleared when the next output comes
        self._node: _Object | None = None
        self._references: frozenset[str] | None = None

    @property
    def is_output(self) -> bool:
        """Whether it is an `Output` widget's."""
        return (self._state.get("_model_module"), self._state.get("_model_name")) == _OUTPUT_MODEL

    @property
    def msg_id(self) -> str:
        """The id of the request whose outputs an `Output` widget captures; `""` for none."""
        return as_text(self._state.get("msg_id"))

    def changed(self) -> None:
        """Forget what was made of the state as it was."""
        self._node = None
        self._references = None

    def update(self, state: _Object, paths: object, buffers: tuple[memoryview, ...]) -> None:
        """Replace fields of the state.

        Args:
            state: the fields' values.
            paths: where in them each buffer belongs, of whatever type. A front end fails at a place that is not there.
            buffers: the buffers.
        """
        for name in state:
            self._buffers.pop(name, None)
        self._state |= state
        for path, buffer in zip(paths if isinstance(paths, list) else (), buffers, strict=False):
            place = _place_in(state, path)
            if place is None:
                continue
            name = cast("str", place[0])
            if len(place) == 1:
                self._buffers.pop(name, None)
                self._state.pop(name, None)
            data = base64.b64encode(buffer).decode()
            self._buffers.setdefault(name, []).append({"encoding": "base64", "path": place, "data": data})
        self.changed()

    def add(self, output: Output) -> OutputArea:
        """Show one more output; return what the widget shows."""
        if self.area is None:
            self.area = OutputArea()
            told = self._state.get("outputs")
            for fields in cast("list[object]", told) if isinstance(told, list) else ():
                shown = _output_of(fields)
                if shown is not None:
                    self.area.feed(shown)
            if self._clears:
                self.area.feed(ClearOutput(wait=True))
        self._clears = isinstance(output, ClearOutput) and (output.wait or self._clears)
        self.area.feed(output)
        self.changed()
        return self.area

    def hide(self, closed: AbstractSet[str]) -> None:
        """Show nothing in place of models that are closed."""
        hidden = closed & self.references
        if hidden:
            self._hidden |= hidden
            self.changed()

    @property
    def outputs(self) -> Any:
        """What an `Output` widget shows: a list, but where the kernel has told anything else."""
        if self.area is None:
            return self._state.get("outputs")
        return [output.to_nbformat() for output in self.area.outputs]

    @property
    def _whole_state(self) -> _Object:
        return self._state if self.area is None else {**self._state, "outputs": self.outputs}

    @property
    def node(self) -> _Object | None:
        """The model as it is saved; None for one that no front end could make."""
        if self._node is None:
            name, module = (self._state.get(field) for field in ("_model_name", "_model_module"))
            if not (name and module and isinstance(name, str) and isinstance(module, str)):
                return None
            version = self._state.get("_model_module_version")
            node: _Object = {
                "model_name": name,
                "model_module": module,
                "model_module_version": version if version and isinstance(version, str) else _ANY_VERSION,
                "state": self._whole_state,
            }
            if self._buffers:
                node["buffers"] = list(chain.from_iterable(self._buffers.values()))
            self._node = node = as_plain_json(node)
            if self._hidden:
                outputs = node["state"].get("outputs")
                self._hidden = hide_models(outputs if isinstance(outputs, list) else (), self._hidden)
        return self._node

    @property
    def references(self) -> frozenset[str]:
        """The ids of the models that its state refers to or shows."""
        if self._references is None:
            self._references = frozenset(_references_in(self._whole_state))
        return self._references


class _SavedModel:
    """A model of the document's old `metadata.widgets`.

    Args:
        node: the model as it was saved.
    """

    __slots__ = ("node",)

    def __init__(self, node: _Object) -> None:
        self.node = node

    @property
    def references(self) -> Iterable[str]:
        """The ids of the models that its state refers to or shows."""
        return _references_in(self.node["state"])


def _can_be_sent(content: _Object) -> bool:
    """Whether a message can have this content: it is not too large, and the kernel's id in it is Unicode."""
    try:
        return len(encode_json(content, "content")) <= UPDATE_LIMIT
    except InvalidInputError:
        return False


def _models_saved_in(saved: object) -> Iterator[tuple[str, _SavedModel]]:
    """Give the models of a `metadata.widgets`; one service's files lack the key `state`, and have the models in its place."""
    value = as_object(as_object(saved).get(WIDGET_STATE))
    models = as_object(value["state"]) if "state" in value else value
    for model_id, model in models.items():
        node = as_object(model)
        if isinstance(node.get("state"), dict) and all(isinstance(node.get(f"model_{part}"), str) for part in ("name", "module")):
            yield model_id, _SavedModel(node)


def _references_in(value: object) -> Iterator[str]:
    waiting: list[Any] = [value]
    while waiting:
        match waiting.pop():
            case str() as text if text.startswith(_REFERENCE):
                yield text.removeprefix(_REFERENCE)
            case dict() as found:
                fields = cast("_Object", found)
                yield from models_shown_in([{"data": fields}] if WIDGET_VIEW in fields else ())
                waiting += fields.values()
            case list() as items:
                waiting.extend(items)
            case _:
                pass


def _place_in(state: _Object, path: object) -> list[str | int] | None:
    """Return the place of a buffer in a state, as steps to go; None where there is no such place."""
    steps: list[Any] = path if isinstance(path, list) else []
    if not steps or not all(map(_is_step, steps)):
        return None
    holder: Any = state
    for step in steps:
        if isinstance(holder, list):
            items: list[Any] = holder
            if not isinstance(step, int) or step >= len(items):
                return None
            holder = items[step]
        elif isinstance(holder, dict) and isinstance(step, str):
            holder = cast("_Object", holder).get(step)  # what a buffer is taken out of has no such key
        else:
            return None
    return steps


def _is_step(step: object) -> bool:
    return isinstance(step, str) or (isinstance(step, int) and not isinstance(step, bool) and step >= 0)


def _output_of(value: object) -> ShownOutput | None:
    """Return an output that the kernel has put into a widget; None for what is none."""
    fields = as_object(value)
    match fields.get("output_type"):
        case "stream":
            return Stream("stderr" if fields.get("name") == "stderr" else "stdout", as_text(fields.get("text")))
        case "display_data":
            return DisplayData(as_bundle(fields.get("data")), as_object(fields.get("metadata")))
        case "execute_result":
            count = as_count(fields.get("execution_count"))
            return ExecuteResult(count, as_bundle(fields.get("data")), as_object(fields.get("metadata")))
        case "error":
            traceback = as_lines(fields.get("traceback"))
            return Error(as_text(fields.get("ename")), as_text(fields.get("evalue")), traceback)
        case _:
            return None
