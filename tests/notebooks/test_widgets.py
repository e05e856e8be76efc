"""Widgets: the state of each model as comm messages tell it, the output that `Output` widgets capture, and what is saved of both.

What front ends do with the same messages was looked up in jupyterlab-manager 5 and nbclient 0.10; where those two differ, the
test says so.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway import ClearOutput, DisplayData, Error, ExecuteResult, Output, Stream, UpdateDisplayData
from trio_gateway._notebooks import widgets as module
from trio_gateway._notebooks.widgets import WIDGET_STATE, WIDGET_VIEW, Widgets, models_shown_in
from trio_gateway._protocol.messages import Header, Message

CONTROLS = "@jupyter-widgets/controls"
CELL = "a cell's request"
SLIDER = {"_model_name": "IntSliderModel", "_model_module": CONTROLS, "_model_module_version": "2.0.0", "value": 3}
OUTPUT = {
    "_model_name": "OutputModel",
    "_model_module": "@jupyter-widgets/output",
    "_model_module_version": "1.0.0",
    "msg_id": "",
    "outputs": [],
}


def message(kind: str, content: Any, *buffers: bytes) -> Message:
    return Message("iopub", Header("id", kind), content, parent_header={"msg_id": CELL}, buffers=buffers)


def opened(comm_id: Any, state: Any, *buffers: bytes, target: Any = "jupyter.widget", **data: Any) -> Message:
    return message("comm_open", {"comm_id": comm_id, "target_name": target, "data": {"state": state, **data}}, *buffers)


def told(comm_id: Any, state: Any, *buffers: bytes, method: str = "update", **data: Any) -> Message:
    return message("comm_msg", {"comm_id": comm_id, "data": {"method": method, "state": state, **data}}, *buffers)


def closed(comm_id: Any) -> Message:
    return message("comm_close", {"comm_id": comm_id, "data": {}})


def after(*messages: Message) -> Widgets:
    widgets = Widgets()
    for one in messages:
        widgets.feed(one)
    return widgets


def with_outputs(*comm_ids: str, **state: Any) -> Widgets:
    return after(*[opened(comm_id, {**OUTPUT, **state}) for comm_id in comm_ids])


def models(widgets: Widgets, *shown: str) -> dict[str, Any]:
    """What is saved of each model."""
    metadata = widgets.metadata(shown)
    if metadata is None:
        return {}
    assert list(metadata) == [WIDGET_STATE]
    value = metadata[WIDGET_STATE]
    assert (value["version_major"], value["version_minor"], set(value)) == (2, 0, {"version_major", "version_minor", "state"})
    json.dumps(value, allow_nan=False).encode()
    return dict(value["state"])


def state(widgets: Widgets, comm_id: str) -> Any:
    return models(widgets)[comm_id]["state"]


def outputs(widgets: Widgets, comm_id: str = "o") -> Any:
    return state(widgets, comm_id)["outputs"]


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def view(comm_id: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": {WIDGET_VIEW: {"model_id": comm_id, "version_major": 2}}}


def encoded(data: bytes, *path: Any) -> dict[str, Any]:
    return {"encoding": "base64", "path": list(path), "data": base64.b64encode(data).decode()}


# The state of models ----------------------------------------------------------------------------------------------


def test_a_model_is_saved_with_what_it_was_opened_with_and_what_changed_since() -> None:
    widgets = after(opened("s", SLIDER), told("s", {"value": 5}), told("s", {"max": 9}))
    assert models(widgets) == {
        "s": {
            "model_name": "IntSliderModel",
            "model_module": CONTROLS,
            "model_module_version": "2.0.0",
            "state": {**SLIDER, "value": 5, "max": 9},
        }
    }


def test_a_closed_model_is_gone() -> None:
    widgets = after(opened("s", SLIDER), opened("t", SLIDER))
    assert widgets.feed(closed("s"))
    assert list(models(widgets)) == ["t"]
    assert widgets.feed(message("comm_close", {"comm_id": "t", "data": {"state": SLIDER}})), "whatever it says with its end"
    assert widgets.metadata() is None, "nothing lives, so nothing is saved"
    assert not widgets.feed(closed("t"))
    assert not widgets.feed(told("t", {"value": 1})), "of a model that is gone no more is heard"


def test_a_model_that_is_opened_again_begins_anew() -> None:
    widgets = after(opened("s", {**SLIDER, "x": 1}, b"old", buffer_paths=[["b"]]), opened("s", SLIDER))
    assert state(widgets, "s") == SLIDER
    assert "buffers" not in models(widgets)["s"]


def test_what_is_saved_does_not_change_with_the_model() -> None:
    """It may be being written to a file."""
    widgets = after(opened("s", SLIDER))
    before = widgets.metadata()
    widgets.feed(told("s", {"value": 4}))
    assert before is not None
    assert before[WIDGET_STATE]["state"]["s"]["state"]["value"] == 3
    assert state(widgets, "s")["value"] == 4


@pytest.mark.parametrize("target", ["jupyter.widget", "", None])
def test_the_comms_of_widgets_are_taken_also_where_the_target_is_missing(target: Any) -> None:
    assert list(models(after(opened("s", SLIDER, target=target)))) == ["s"]


def test_other_comms_are_none_of_its_business() -> None:
    widgets = after(opened("s", SLIDER))
    assert not widgets.feed(opened("other", SLIDER, target="bokeh"))
    assert not widgets.feed(told("other", {"value": 1}))
    assert widgets.feed(opened("s", SLIDER, target="bokeh")), "the id belongs to another comm now"
    assert widgets.metadata() is None
    assert not widgets.feed(message("stream", {"name": "stdout", "text": "x"}))


def test_a_comm_without_an_id_is_none() -> None:
    assert (
        after(opened("", SLIDER), opened(None, SLIDER), opened("s", SLIDER)).metadata() == after(opened("s", SLIDER)).metadata()
    )


def test_what_the_kernel_says_aside_changes_nothing() -> None:
    widgets = after(opened("s", SLIDER))
    assert not widgets.feed(told("s", {"value": 9}, method="custom"))
    assert not widgets.feed(message("comm_msg", {"comm_id": "s", "data": {"method": "custom", "content": {}}}))
    assert state(widgets, "s") == SLIDER


def test_an_echo_of_what_another_front_end_has_set_is_taken() -> None:
    widgets = after(opened("s", SLIDER))
    assert widgets.feed(told("s", {"value": 9, "outputs": 1}, method="echo_update"))
    assert state(widgets, "s") == {**SLIDER, "value": 9, "outputs": 1}


# Buffers ----------------------------------------------------------------------------------------------------------


def test_buffers_are_saved_beside_the_state_with_their_places() -> None:
    paths = [["value"], ["data", "arrays", 1], ["data", "raw"], ["data", "arrays", 0, "x"]]
    data = {"arrays": [{}, None]}
    buffers = [b"png", b"\0\xff", b"", b"x"]
    widgets = after(opened("i", {**SLIDER, "value": None, "data": data}, *buffers, buffer_paths=paths))
    saved = models(widgets)["i"]
    assert saved["buffers"] == [encoded(buffer, *path) for buffer, path in zip(buffers, paths, strict=True)]
    assert "value" not in saved["state"], "its place is the buffer's"
    assert saved["state"]["data"] == data


def test_a_buffer_lasts_as_long_as_the_value_that_it_is_in() -> None:
    """nbclient keeps a place that the new value does not have; a browser then shows none of the file's widgets."""
    widgets = after(opened("i", {**SLIDER, "l": [None, None]}, b"0", b"1", b"v", buffer_paths=[["l", 0], ["l", 1], ["value"]]))
    widgets.feed(told("i", {"max": 1}))
    assert len(models(widgets)["i"]["buffers"]) == 3
    widgets.feed(told("i", {"l": [None]}, b"new", buffer_paths=[["l", 0]]))
    assert models(widgets)["i"]["buffers"] == [encoded(b"v", "value"), encoded(b"new", "l", 0)]
    widgets.feed(told("i", {}, b"w", buffer_paths=[["value"]]))
    assert models(widgets)["i"]["buffers"] == [encoded(b"new", "l", 0), encoded(b"w", "value")]
    widgets.feed(told("i", {"value": 7, "l": None}))
    saved = models(widgets)["i"]
    assert (saved["state"]["value"], saved["state"]["l"]) == (7, None)
    assert "buffers" not in saved


@pytest.mark.parametrize(
    "paths",
    [
        None,
        5,
        "value",
        [None],
        [5],
        ["value"],
        [[]],
        [[0]],
        [[None]],
        [[True]],
        [["l", -1]],
        [["l", 2]],
        [["l", "0"]],
        [["l", True]],
        [["d", 0]],
        [["gone", "x"]],
        [["d", "gone", "x"]],
        [["t", "x"]],
        [["t", 0]],
    ],
)
def test_a_buffer_without_a_place_is_not_saved(paths: Any) -> None:
    """A front end fails at such a place, and then shows none of the widgets."""
    nested = {**SLIDER, "l": [1, 2], "d": {"x": 1}, "t": "text"}
    widgets = after(opened("s", nested, b"x", buffer_paths=paths))
    assert models(widgets)["s"].get("buffers") is None
    assert state(widgets, "s") == nested


def test_places_and_buffers_of_another_number() -> None:
    widgets = after(opened("a", SLIDER, b"1", buffer_paths=[["x"], ["y"]]), opened("b", SLIDER, b"1", b"2", buffer_paths=[["x"]]))
    assert [models(widgets)[comm_id]["buffers"] for comm_id in "ab"] == [[encoded(b"1", "x")]] * 2


# Sloppy kernels ---------------------------------------------------------------------------------------------------

ODD: list[Any] = [None, 5, 1.5, True, "text", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", ["comm_open", "comm_msg", "comm_close"])
@pytest.mark.parametrize("part", ["content", "comm_id", "target_name", "data", "state", "missing"])
def test_whatever_a_message_holds_it_harms_no_other_model(kind: str, part: str, odd: Any) -> None:
    content: Any = {"comm_id": "s", "target_name": "jupyter.widget", "data": {"method": "update", "state": {"x": 1}}}
    if part == "content":
        content = odd if isinstance(odd, dict) else {}
    elif part == "state":
        content["data"]["state"] = odd
    elif part == "missing":
        content = {"data": odd}
    else:
        content[part] = odd
    widgets = after(opened("other", SLIDER), opened("s", SLIDER), message(kind, content))
    assert models(widgets)["other"]["state"] == SLIDER
    widgets.feed(told("other", {"value": 8}))
    assert state(widgets, "other")["value"] == 8


def test_a_content_that_is_no_object_is_skipped() -> None:
    one = Message.from_wire("iopub", b'{"msg_type":"comm_open","msg_id":"x"}', b"{}", b"{}", b"[1]", (), 0)
    two = Message.from_wire("iopub", b'{"msg_type":"comm_msg","msg_id":"x"}', b"{}", b"{}", b"not JSON", (), 0)
    widgets = after(opened("s", SLIDER))
    assert not widgets.feed(one)
    assert not widgets.feed(two)
    assert state(widgets, "s") == SLIDER


@pytest.mark.parametrize("name", [*ODD, ""])
@pytest.mark.parametrize("field", ["_model_name", "_model_module"])
def test_a_model_that_no_front_end_could_make_is_not_saved(field: str, name: Any) -> None:
    widgets = after(opened("s", {**SLIDER, field: name}), opened("t", {**SLIDER, field: "text"}))
    assert set(models(widgets)) == ({"s", "t"} if name == "text" else {"t"})


@pytest.mark.parametrize("version", [None, 5, "", [], "^2"])
def test_a_version_that_is_none_stands_for_any(version: Any) -> None:
    widgets = after(opened("s", {**SLIDER, "_model_module_version": version}))
    assert models(widgets)["s"]["model_module_version"] == ("^2" if version == "^2" else "*")


def test_what_no_file_can_hold_is_saved_as_what_it_can_be() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    raw = json.dumps(
        {
            "comm_id": "s",
            "target_name": "jupyter.widget",
            "data": {"state": {**SLIDER, "n": float("nan"), "\ud800": "\udfff", "d": deep}},
        }
    )
    odd = Message.from_wire("iopub", b'{"msg_type":"comm_open","msg_id":"x"}', b"{}", b"{}", raw.encode(), (), 0)
    saved = state(after(odd), "s")
    assert (saved["n"], saved["\ufffd"]) == (None, "\ufffd")
    assert "nested too deeply" in json.dumps(saved["d"])


@given(
    st.lists(
        st.builds(
            message,
            st.sampled_from(["comm_open", "comm_msg", "comm_close"]),
            st.fixed_dictionaries(
                {},
                optional={
                    "comm_id": st.sampled_from(["s", "o", "", None, 5]),
                    "target_name": st.sampled_from(["jupyter.widget", None, "x", []]),
                    "data": st.fixed_dictionaries(
                        {},
                        optional={
                            "method": st.sampled_from(["update", "echo_update", "custom", None, 1]),
                            "state": st.dictionaries(
                                st.sampled_from([*OUTPUT, "x"]),
                                st.sampled_from([*OUTPUT.values(), CELL, None, [None], [{"output_type": "stream"}], {"x": [1]}]),
                            )
                            | st.just(OUTPUT)
                            | st.none(),
                            "buffer_paths": st.lists(st.lists(st.sampled_from(["x", "outputs", 0, 1]) | st.none())) | st.none(),
                        },
                    )
                    | st.none(),
                },
            ),
            st.sampled_from([b"", b"abc"]),
        ),
        max_size=20,
    )
)
def test_any_order_of_any_messages(messages: list[Message]) -> None:
    widgets = Widgets({WIDGET_STATE: {"state": {"old": {"model_name": "a", "model_module": "b", "state": {}}}}})
    for one in messages:
        widgets.feed(one)
        captured = widgets.capture(CELL, Stream("stdout", "x"))
        assert len(widgets.updates()) >= captured
        assert set(models(widgets, "old")) <= {"s", "o", "5", "old"}
        for model in models(widgets).values():
            assert all(isinstance(model[f"model_{part}"], str) for part in ("name", "module", "module_version"))


# Captured output --------------------------------------------------------------------------------------------------


def test_an_output_widget_captures_what_its_request_puts_out_while_it_names_it() -> None:
    widgets = with_outputs("o")
    assert not widgets.capture(CELL, Stream("stdout", "before"))
    widgets.feed(told("o", {"msg_id": CELL}))
    assert widgets.capture(CELL, Stream("stdout", "a"))
    assert not widgets.capture("another request", Stream("stdout", "other"))
    widgets.feed(told("o", {"msg_id": ""}))
    assert not widgets.capture(CELL, Stream("stdout", "after"))
    assert outputs(widgets) == [stream("a")]


def test_captured_outputs_become_what_a_cell_would_show() -> None:
    widgets = with_outputs("o")
    widgets.feed(told("o", {"msg_id": CELL}))
    shown: list[Output] = [
        Stream("stdout", "a\n"),
        Stream("stdout", "b\n"),
        Stream("stderr", "c\n"),
        DisplayData({"image/png": "AAAA"}, {"x": 1}),
        ExecuteResult(3, {"text/plain": "3"}),
        Error("E", "v", ("line",)),
        Stream("stdout", "d\n"),
    ]
    for output in shown:
        assert widgets.capture(CELL, output)
    assert outputs(widgets) == [
        stream("a\nb\n"),
        stream("c\n", "stderr"),
        {"output_type": "display_data", "data": {"image/png": "AAAA"}, "metadata": {"x": 1}},
        {"output_type": "execute_result", "execution_count": 3, "data": {"text/plain": "3"}, "metadata": {}},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["line"]},
        stream("d\n"),
    ]


def test_clearing_at_once_and_with_the_next_output() -> None:
    widgets = with_outputs("o")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, Stream("stdout", "a"))
    assert widgets.capture(CELL, ClearOutput(wait=True))
    assert outputs(widgets) == [stream("a")]
    widgets.capture(CELL, Stream("stdout", "b"))
    assert outputs(widgets) == [stream("b")]
    assert widgets.capture(CELL, ClearOutput())
    assert outputs(widgets) == []


def test_nested_widgets_capture_from_the_inside_out() -> None:
    widgets = with_outputs("o", "p")
    for step, text in [(("o", CELL), "1"), (("p", CELL), "2"), (("p", ""), "3"), (("o", ""), None)]:
        comm_id, msg_id = step
        widgets.feed(told(comm_id, {"msg_id": msg_id}))
        widgets.feed(told("o", {"layout": text}))
        if text is not None:
            assert widgets.capture(CELL, Stream("stdout", text))
    assert not widgets.capture(CELL, Stream("stdout", "4"))
    assert widgets._capturing == {}, "of requests that are over nothing is kept"
    assert (outputs(widgets, "o"), outputs(widgets, "p")) == ([stream("13")], [stream("2")])


def test_widgets_that_overlap_end_each_for_itself() -> None:
    """The first to begin ends first. nbclient fails there, for it takes the one that began last for the one that ends."""
    widgets = with_outputs("o", "p")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.feed(told("p", {"msg_id": CELL}))
    widgets.feed(told("o", {"msg_id": ""}))
    assert widgets.capture(CELL, Stream("stdout", "p's"))
    widgets.feed(told("p", {"msg_id": None}))
    assert not widgets.capture(CELL, Stream("stdout", "the cell's"))
    assert (outputs(widgets, "o"), outputs(widgets, "p")) == ([], [stream("p's")])


def test_a_widget_that_goes_from_one_request_to_another() -> None:
    widgets = with_outputs("o")
    widgets.feed(told("o", {"msg_id": "first"}))
    widgets.feed(told("o", {"msg_id": CELL}))
    assert not widgets.capture("first", Stream("stdout", "x"))
    assert widgets.capture(CELL, Stream("stdout", "y"))
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.feed(told("o", {"msg_id": ""}))
    assert not widgets.capture(CELL, Stream("stdout", "z")), "the same id once more began nothing"


def test_a_widget_that_is_opened_with_a_request_captures_nothing() -> None:
    """As in JupyterLab and nbclient, for which only a change begins it."""
    widgets = with_outputs("o", msg_id=CELL)
    assert not widgets.capture(CELL, Stream("stdout", "x"))
    widgets.feed(told("o", {"msg_id": ""}))
    assert not widgets.capture(CELL, Stream("stdout", "x"))


def test_a_widget_that_is_closed_captures_no_more() -> None:
    widgets = with_outputs("o", "p")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.feed(told("p", {"msg_id": CELL}))
    widgets.capture(CELL, Stream("stdout", "p"))
    widgets.feed(closed("p"))
    assert widgets.capture(CELL, Stream("stdout", "o"))
    widgets.feed(opened("o", OUTPUT))
    assert not widgets.capture(CELL, Stream("stdout", "x"))
    assert outputs(widgets) == []
    assert widgets.updates() == []


def test_a_widget_of_another_kind_captures_nothing() -> None:
    widgets = after(opened("s", SLIDER), told("s", {"msg_id": CELL}))
    assert not widgets.capture(CELL, Stream("stdout", "x"))


def test_the_kernels_word_on_the_outputs_replaces_what_was_captured_and_is_built_upon() -> None:
    """As `append_stdout` and `outputs = ()` do it. nbclient goes on with what it had captured before."""
    widgets = with_outputs("o")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, Stream("stdout", "gone"))
    parts = [stream("a"), stream("b"), {"output_type": "odd"}, None, 5, {"output_type": "stream", "text": None}]
    rich = [
        {"output_type": "display_data", "data": {"text/plain": "d"}},
        {"output_type": "execute_result", "execution_count": "x", "data": "text", "metadata": None},
        {"output_type": "error", "traceback": "line"},
    ]
    widgets.feed(told("o", {"outputs": parts + rich}))
    assert outputs(widgets) == parts + rich, "as it was told, as long as nothing is added"
    widgets.capture(CELL, Stream("stderr", "c"))
    assert outputs(widgets) == [
        stream("ab"),
        {"output_type": "display_data", "data": {"text/plain": "d"}, "metadata": {}},
        {"output_type": "execute_result", "execution_count": None, "data": {"text/plain": "text"}, "metadata": {}},
        {"output_type": "error", "ename": "", "evalue": "", "traceback": ["line"]},
        stream("c", "stderr"),
    ]


@pytest.mark.parametrize("told_outputs", [None, 5, "text", {}])
def test_outputs_that_are_no_list_are_none(told_outputs: Any) -> None:
    widgets = with_outputs("o", outputs=told_outputs)
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, Stream("stdout", "a"))
    assert outputs(widgets) == [stream("a")]


def test_a_clearing_that_waits_outlasts_the_kernels_word() -> None:
    widgets = with_outputs("o")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, ClearOutput(wait=True))
    widgets.feed(told("o", {"outputs": [stream("told")]}))
    assert outputs(widgets) == [stream("told")]
    widgets.capture(CELL, Stream("stdout", "new"))
    assert outputs(widgets) == [stream("new")]
    widgets.capture(CELL, Stream("stdout", "er"))
    widgets.feed(told("o", {"outputs": [stream("told")]}))
    widgets.capture(CELL, Stream("stdout", "!"))
    assert outputs(widgets) == [stream("told!")], "it is done once"
    for wait in (True, False):
        widgets.capture(CELL, ClearOutput(wait=wait))
    widgets.feed(told("o", {"outputs": [stream("told")]}))
    widgets.capture(CELL, Stream("stdout", "x"))
    assert outputs(widgets) == [stream("x")], "one at once does not take it back"
    widgets.capture(CELL, ClearOutput())
    widgets.feed(told("o", {"outputs": [stream("told")]}))
    widgets.capture(CELL, Stream("stdout", "!"))
    assert outputs(widgets) == [stream("told!")]


def test_an_update_of_a_display_reaches_what_is_captured() -> None:
    """JupyterLab and nbclient leave it as it was: a known fault of theirs (ipywidgets#1844)."""
    widgets = with_outputs("o", "p")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, DisplayData({"text/plain": "1"}, {}, "d"))
    widgets.feed(told("p", {"msg_id": CELL}))
    widgets.updates()
    update = UpdateDisplayData({"text/plain": "2"}, {"m": 1}, "d")
    assert not widgets.capture(CELL, update), "it is for all places of the document"
    assert widgets.update_display(update)
    assert outputs(widgets) == [{"output_type": "display_data", "data": {"text/plain": "2"}, "metadata": {"m": 1}}]
    assert [content["comm_id"] for content in widgets.updates()] == ["o"]
    assert not widgets.update_display(UpdateDisplayData({}, {}, "other"))
    widgets.capture(CELL, ExecuteResult(1, {"text/plain": "3"}, {}, "d"))
    assert [outputs(widgets, comm_id)[0]["data"] for comm_id in "op"] == [{"text/plain": "3"}] * 2, "shown again, it updates too"
    widgets.feed(closed("o"))
    widgets.feed(told("p", {"outputs": []}))
    assert not widgets.update_display(update)


# What the kernel is sent ------------------------------------------------------------------------------------------


def test_the_kernel_is_sent_what_a_widget_has_become_once() -> None:
    widgets = with_outputs("o", "p")
    for comm_id in "op":
        widgets.feed(told(comm_id, {"msg_id": CELL}))
    assert widgets.updates() == []
    for text in "abc":
        widgets.capture(CELL, Stream("stdout", text))
    assert widgets.updates() == [
        {"comm_id": "p", "data": {"method": "update", "state": {"outputs": [stream("abc")]}, "buffer_paths": []}}
    ]
    assert widgets.updates() == []
    widgets.capture(CELL, ClearOutput())
    assert [content["data"]["state"] for content in widgets.updates()] == [{"outputs": []}]


def test_what_the_kernel_says_itself_is_sent_back_only_where_it_may_meet_what_was_sent() -> None:
    widgets = with_outputs("o")
    widgets.feed(told("o", {"outputs": [stream("a")]}))
    assert widgets.updates() == []
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, Stream("stdout", "b"))
    assert len(widgets.updates()) == 1
    widgets.feed(told("o", {"outputs": []}))
    assert [content["data"]["state"] for content in widgets.updates()] == [{"outputs": []}]


def test_an_echo_of_what_the_kernel_was_sent_takes_nothing_back() -> None:
    widgets = with_outputs("o")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, Stream("stdout", "a"))
    (content,) = widgets.updates()
    widgets.capture(CELL, Stream("stdout", "b"))
    widgets.feed(told("o", content["data"]["state"], method="echo_update"))
    assert outputs(widgets) == [stream("ab")]
    assert len(widgets.updates()) == 1


def test_what_is_too_large_for_a_gateway_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UPDATE_LIMIT", 1000)
    widgets = with_outputs("o")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, Stream("stdout", "a" * 1000))
    assert widgets.updates() == []
    assert outputs(widgets) == [stream("a" * 1000)]
    widgets.capture(CELL, ClearOutput())
    assert len(widgets.updates()) == 1


def test_what_is_sent_can_be_sent() -> None:
    raw = json.dumps({"comm_id": "\ud800", "target_name": "jupyter.widget", "data": {"state": OUTPUT}}).encode()
    odd = Message.from_wire("iopub", b'{"msg_type":"comm_open","msg_id":"x"}', b"{}", b"{}", raw, (), 0)
    change = json.dumps({"comm_id": "\ud800", "data": {"state": {"msg_id": CELL}}}).encode()
    widgets = after(odd, Message.from_wire("iopub", b'{"msg_type":"comm_msg","msg_id":"x"}', b"{}", b"{}", change, (), 0))
    assert widgets.capture(CELL, Stream("stdout", "x"))
    assert widgets.updates() == [], "to an id that is no Unicode nothing can be sent"
    assert outputs(widgets, "\ufffd") == [stream("x")]
    widgets = with_outputs("o")
    widgets.feed(told("o", {"msg_id": CELL}))
    widgets.capture(CELL, DisplayData({"application/json": [float("nan"), "\ud800"]}))
    assert widgets.updates()[0]["data"]["state"]["outputs"][0]["data"] == {"application/json": [None, "\ufffd"]}


# What lived before ------------------------------------------------------------------------------------------------


def test_the_kernel_is_asked_for_the_widgets_that_are_not_known() -> None:
    widgets = after(opened("known", SLIDER))
    comms = {
        "known": {"target_name": "jupyter.widget"},
        "old": {"target_name": "jupyter.widget"},
        "other": {"target_name": "bokeh"},
        "odd": None,
        "\ud800": {},
    }
    assert widgets.questions(comms) == [{"comm_id": comm_id, "data": {"method": "request_state"}} for comm_id in ("old", "odd")]
    for odd in (None, 5, "text", []):
        assert widgets.questions(odd) == []


def test_a_model_from_before_the_run_is_saved_where_the_document_shows_it() -> None:
    widgets = Widgets()
    assert not widgets.feed(told("box", {"children": []})), "a part of it tells nothing"
    widgets.feed(told("box", {**SLIDER, "children": ["IPY_MODEL_child"]}))
    widgets.feed(told("child", {**SLIDER, "layout": {"x": ["IPY_MODEL_layout", "IPY_MODEL_gone"]}}))
    widgets.feed(told("layout", {**SLIDER, "parent": "IPY_MODEL_child"}))
    widgets.feed(told("unseen", SLIDER))
    assert models(widgets) == {}, "an open kernel may have the widgets of many documents"
    assert set(models(widgets, "box", "nowhere")) == {"box", "child", "layout"}
    widgets.feed(told("child", {"layout": None}))
    assert set(models(widgets, "box")) == {"box", "child"}
    widgets.feed(opened("mine", {**SLIDER, "box": "IPY_MODEL_box"}))
    assert set(models(widgets)) == {"mine", "box", "child"}, "what the run's own refer to is shown as well"


def test_what_another_client_opens_meanwhile_is_saved_where_the_document_shows_it() -> None:
    widgets = after(opened("mine", SLIDER))
    assert widgets.feed(opened("theirs", SLIDER), own=False)
    assert set(models(widgets)) == {"mine"}
    assert set(models(widgets, "theirs")) == {"mine", "theirs"}


def test_an_output_widget_from_before_the_run_goes_on_with_what_it_has() -> None:
    widgets = after(told("o", {**OUTPUT, "outputs": [stream("old ")]}))
    widgets.feed(told("o", {"msg_id": CELL}))
    assert widgets.capture(CELL, Stream("stdout", "new"))
    assert widgets.updates()[0]["data"]["state"] == {"outputs": [stream("old new")]}


def test_what_an_output_widget_shows_is_shown() -> None:
    widgets = after(opened("o", OUTPUT), told("old", SLIDER), told("o", {"msg_id": CELL}))
    assert set(models(widgets)) == {"o"}
    widgets.capture(CELL, DisplayData({WIDGET_VIEW: {"model_id": "old"}}))
    assert set(models(widgets)) == {"o", "old"}
    widgets.capture(CELL, ClearOutput())
    assert set(models(widgets)) == {"o"}
    widgets.feed(told("o", {"outputs": [view("old")]}))
    assert set(models(widgets)) == {"o", "old"}


OLD = {
    "box": {
        "model_name": "BoxModel",
        "model_module": CONTROLS,
        "model_module_version": "2.0.0",
        "state": {"children": ["IPY_MODEL_child"]},
        "buffers": [encoded(b"x", "y")],
    },
    "child": {"model_name": "IntSliderModel", "model_module": CONTROLS, "state": {}},
    "unseen": {"model_name": "IntSliderModel", "model_module": CONTROLS, "state": {}},
}


def test_the_documents_old_models_go_but_for_those_that_are_still_shown() -> None:
    """On a fresh kernel all cells that run are empty at first, and so nothing of the old file is left, as in JupyterLab."""
    widgets = Widgets({WIDGET_STATE: {"version_major": 2, "version_minor": 0, "state": OLD}, "other": 1})
    assert widgets.metadata() is None
    assert models(widgets, "box") == {"box": OLD["box"], "child": OLD["child"]}
    widgets.feed(opened("s", SLIDER))
    assert set(models(widgets, "child")) == {"s", "child"}


def test_what_the_kernel_knows_counts_for_more_than_the_file() -> None:
    widgets = Widgets({WIDGET_STATE: {"state": OLD}})
    widgets.feed(told("child", {**SLIDER, "value": 7}))
    assert models(widgets, "box")["child"]["state"]["value"] == 7
    widgets.feed(opened("box", SLIDER))
    assert models(widgets)["box"]["state"] == SLIDER
    widgets = Widgets({WIDGET_STATE: {"state": OLD}})
    assert widgets.feed(closed("child"))
    assert set(models(widgets, "box")) == {"box"}, "closed is closed"


def test_a_file_that_lacks_the_key_state_is_read_and_mended() -> None:
    """One service writes such files, and GitHub refuses to show them."""
    widgets = Widgets({WIDGET_STATE: {"version_major": 2, **OLD}})
    assert set(models(widgets, "box")) == {"box", "child"}


@pytest.mark.parametrize(
    "saved", [*ODD, *[{WIDGET_STATE: odd} for odd in ODD], *[{WIDGET_STATE: {"state": odd}} for odd in ODD], {"state": OLD}]
)
def test_old_metadata_of_any_type(saved: Any) -> None:
    assert Widgets(saved).metadata(["a", "box"]) is None


@pytest.mark.parametrize(
    "broken", [*ODD, *[{**OLD["box"], key: odd} for key in ("model_name", "state") for odd in (None, 5, [])]]
)
def test_an_old_model_that_is_none_is_not_kept(broken: Any) -> None:
    widgets = Widgets({WIDGET_STATE: {"state": {"box": broken, "child": OLD["child"]}}})
    assert set(models(widgets, "box", "child")) == {"child"}


@pytest.mark.parametrize("odd", ODD)
def test_which_models_outputs_show(odd: Any) -> None:
    odd_outputs = [odd, {"data": odd}, {"data": {WIDGET_VIEW: odd}}, view(odd)]
    shown = list(models_shown_in([*odd_outputs, stream("x"), view("a"), view("b")]))
    assert shown == (["text", "a", "b"] if odd == "text" else ["a", "b"])
