"""One execution's state machine, the outputs that its messages make, and the area that they fill."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._errors import ProtocolError
from trio_gateway._outputs import (
    ClearOutput,
    DisplayData,
    Error,
    ExecuteResult,
    Output,
    OutputGap,
    Stream,
    UpdateDisplayData,
)
from trio_gateway._protocol.contents import read
from trio_gateway._protocol.execution import (
    TRANSITIONS,
    Execution,
    ExecutionState,
    OutputArea,
    _makers,
    may_be_rate_notice,
    parse_output,
)
from trio_gateway._protocol.messages import Message

REQUESTED, RUNNING, REPLIED, IDLE, DONE = ExecutionState

NOTICE = (
    "IOPub message rate exceeded.\nThe Jupyter server will temporarily stop sending output\n"
    "to the client in order to avoid crashing it.\n"
)


def message(
    kind: str, content: object = None, *, session: str = "kernel", channel: str = "iopub", buffers: Iterable[bytes] = ()
) -> Message:
    """A message as it comes from the wire: its content may be anything."""
    header = json.dumps({"msg_id": f"{session}_1", "msg_type": kind, "session": session}).encode()
    raw = content if isinstance(content, bytes) else json.dumps({} if content is None else content).encode()
    return Message.from_wire(channel, header, b'{"msg_id":"request"}', b"{}", raw, tuple(map(memoryview, buffers)), len(raw))


def status(state: object, *, session: str = "kernel") -> Message:
    return message("status", {"execution_state": state}, session=session)


def stream(text: str, name: str = "stdout", *, session: str = "kernel") -> Message:
    return message("stream", {"name": name, "text": text}, session=session)


def reply(**content: object) -> Message:
    return message("execute_reply", {"status": "ok", "execution_count": 1, **content}, channel="shell")


def new_execution(*, keep: bool = True, limit_bytes: float = math.inf) -> Execution:
    return Execution(keep=keep, limit_bytes=limit_bytes)


def ended(*messages: Message, **arguments: Any) -> Execution:
    """An execution that was fed these messages between its `busy` and its end."""
    execution = new_execution(**arguments)
    for each in (status("busy"), *messages, reply(), status("idle")):
        execution.feed(each)
    assert execution.done
    return execution


# --- the table

EVENTS: dict[str, Callable[[Execution], object]] = {
    "busy": lambda execution: execution.feed(status("busy")),
    "output": lambda execution: execution.feed(stream("x")),
    "reply": lambda execution: execution.feed(reply()),
    "idle": lambda execution: execution.feed(status("idle")),
    "idle_given_up": lambda execution: execution.give_up_idle(),
    "reply_given_up": lambda execution: execution.give_up_reply(),
}
WAYS: dict[ExecutionState, list[str]] = {
    REQUESTED: [],
    RUNNING: ["busy"],
    REPLIED: ["busy", "reply"],
    IDLE: ["busy", "idle"],
    DONE: ["busy", "reply", "idle"],
}
"""How each state is reached."""
TABLE: dict[ExecutionState, list[ExecutionState]] = {
    #           busy     output   reply    idle  idle_given_up  reply_given_up
    REQUESTED: [RUNNING, RUNNING, REPLIED, IDLE, REQUESTED, REQUESTED],
    RUNNING: [RUNNING, RUNNING, REPLIED, IDLE, RUNNING, RUNNING],
    REPLIED: [REPLIED, REPLIED, REPLIED, DONE, DONE, REPLIED],
    IDLE: [IDLE, IDLE, DONE, IDLE, IDLE, DONE],
    DONE: [DONE, DONE, DONE, DONE, DONE, DONE],
}


def in_state(state: ExecutionState) -> Execution:
    execution = new_execution()
    for event in WAYS[state]:
        EVENTS[event](execution)
    assert execution.state is state
    return execution


@pytest.mark.parametrize("state", ExecutionState)
@pytest.mark.parametrize("event", EVENTS)
def test_every_transition(state: ExecutionState, event: str) -> None:
    execution = in_state(state)
    EVENTS[event](execution)
    assert execution.state is TABLE[state][list(EVENTS).index(event)]


def test_the_table_that_the_docs_draw_is_this_one() -> None:
    changes = {
        (state, event): after
        for state, row in TABLE.items()
        for event, after in zip(EVENTS, row, strict=True)
        if after is not state
    }
    assert changes == TRANSITIONS


@pytest.mark.parametrize(
    ("state", "started", "replied", "done"),
    [
        (REQUESTED, False, False, False),
        (RUNNING, True, False, False),
        (REPLIED, True, True, False),
        (IDLE, True, False, False),
        (DONE, True, True, True),
    ],
)
def test_what_the_states_mean(state: ExecutionState, started: bool, replied: bool, done: bool) -> None:
    execution = in_state(state)
    assert (execution.started, execution.replied, execution.done) == (started, replied, done)


def test_a_silent_execution_may_begin_with_its_reply() -> None:
    for first in ("reply", "idle", "output"):
        execution = new_execution()
        EVENTS[first](execution)
        assert execution.started


@pytest.mark.parametrize("order", list(itertools.permutations(["busy", "output", "reply", "idle"])))
def test_every_order_ends_the_same(order: tuple[str, ...]) -> None:
    """Replies and outputs come over different sockets: the gateway gives them in any order."""
    execution = new_execution()
    for event in order:
        assert not (execution.done and {"reply", "idle"} - set(order[: order.index(event)]))
        EVENTS[event](execution)
    assert execution.done
    result = execution.result()
    assert (result.status, result.outputs, result.execution_count, result.output_gaps) == ("ok", (Stream("stdout", "x"),), 1, ())


@given(st.lists(st.sampled_from(list(EVENTS)), max_size=12))
def test_it_is_done_exactly_when_both_halves_are_there(events: list[str]) -> None:
    execution = new_execution()
    halves: set[str] = set()
    for event in events:
        EVENTS[event](execution)
        if event in ("reply", "idle"):
            halves.add(event)
        elif event == "idle_given_up" and "reply" in halves:
            halves.add("idle")
        elif event == "reply_given_up" and "idle" in halves:
            halves.add("reply")
        assert execution.done == (halves == {"reply", "idle"})
        assert execution.replied == ("reply" in halves)


@pytest.mark.parametrize("odd", ["starting", "restarting", None, 5, ["restarting"], {"busy": 1}])
def test_other_states_of_the_kernel_are_no_news_of_the_execution(odd: object) -> None:
    execution = in_state(RUNNING)
    assert execution.feed(status(odd)) is False
    assert execution.state is RUNNING


@pytest.mark.parametrize("kind", ["execute_input", "comm_open", "comm_msg", "input_request", "kernel_info_reply", "", "Stream"])
def test_what_is_no_output_changes_nothing(kind: str) -> None:
    execution = new_execution()
    assert execution.feed(message(kind, {"text": "x", "status": "ok"})) is False
    assert execution.state is REQUESTED
    assert execution.result().outputs == ()


def test_feed_says_what_is_an_output() -> None:
    execution = new_execution(keep=False)
    kinds = ["stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"]
    assert [execution.feed(message(kind)) for kind in kinds] == [True] * 6
    assert [execution.feed(each) for each in (status("busy"), reply(), status("idle"))] == [False] * 3


# --- messages become outputs


@pytest.mark.parametrize(
    ("kind", "content", "output"),
    [
        ("stream", {"name": "stdout", "text": "a\n"}, Stream("stdout", "a\n")),
        ("stream", {"name": "stderr", "text": "é"}, Stream("stderr", "é")),
        (
            "display_data",
            {"data": {"text/plain": "x"}, "metadata": {"m": 1}, "transient": {"display_id": "d"}},
            DisplayData({"text/plain": "x"}, {"m": 1}, "d", (b"b",)),  # type: ignore[arg-type]
        ),
        (
            "update_display_data",
            {"data": {"text/plain": "x"}, "metadata": {"m": 1}, "transient": {"display_id": "d"}},
            UpdateDisplayData({"text/plain": "x"}, {"m": 1}, "d", (b"b",)),  # type: ignore[arg-type]
        ),
        (
            "execute_result",
            {"execution_count": 3, "data": {"text/plain": "x"}, "metadata": {"m": 1}, "transient": {"display_id": "d"}},
            ExecuteResult(3, {"text/plain": "x"}, {"m": 1}, "d", (b"b",)),  # type: ignore[arg-type]
        ),
        ("error", {"ename": "E", "evalue": "v", "traceback": ["a", "b"]}, Error("E", "v", ("a", "b"))),
        ("clear_output", {"wait": True}, ClearOutput(True)),
        ("clear_output", {"wait": False}, ClearOutput(False)),
        ("status", {"execution_state": "busy"}, None),
        ("execute_input", {"code": "1"}, None),
        ("comm_msg", {"data": {}}, None),
    ],
)
def test_an_output_message_becomes_an_output(kind: str, content: dict[str, Any], output: Output | None) -> None:
    assert parse_output(message(kind, content, buffers=[b"b"])) == output


@pytest.mark.parametrize(
    ("kind", "content", "output"),
    [
        ("stream", {}, Stream("stdout", "")),
        ("stream", {"name": "stderr"}, Stream("stderr", "")),
        ("stream", {"text": "x"}, Stream("stdout", "x")),
        ("stream", {"name": "stderr", "text": None}, Stream("stderr", "")),
        ("stream", {"name": "stderr", "text": ["a", 1]}, Stream("stderr", "a1")),
        ("stream", {"name": "stdout", "text": 5}, Stream("stdout", "5")),
        ("stream", {"name": None, "text": "x"}, Stream("stdout", "x")),
        ("stream", {"name": "log", "text": "x"}, Stream("stdout", "x")),
        ("stream", b'{"name":"stderr","text":"\\ud800"}', Stream("stderr", "\ud800")),
        ("stream", b'{"name":"stderr","text":"x","more":NaN}', Stream("stderr", "x")),
        ("stream", b"null", Stream("stdout", "")),
        ("display_data", {}, DisplayData({})),
        ("display_data", {"data": None, "metadata": [], "transient": None}, DisplayData({})),
        ("display_data", {"data": {"text/plain": None}, "transient": {}}, DisplayData({"text/plain": None})),
        ("display_data", {"transient": {"display_id": 5}}, DisplayData({}, display_id="5")),
        ("display_data", {"transient": ["display_id"]}, DisplayData({})),
        ("display_data", {"display_id": "not here"}, DisplayData({})),
        ("update_display_data", {"data": "x"}, UpdateDisplayData({"text/plain": "x"})),
        ("execute_result", {}, ExecuteResult(None, {})),
        ("execute_result", {"execution_count": "7", "data": []}, ExecuteResult(7, {})),
        ("execute_result", {"execution_count": "7", "transient": {"display_id": 5}}, ExecuteResult(7, {}, display_id="5")),
        ("error", {}, Error("", "")),
        ("error", {"ename": None, "evalue": 5, "traceback": "text"}, Error("", "5", ("text",))),
        ("error", {"ename": ["A", "B"], "evalue": "", "traceback": [1, None]}, Error("AB", "", ("1", ""))),
        ("error", {"traceback": {"a": 1}}, Error("", "", ('{"a": 1}',))),
        ("clear_output", {}, ClearOutput(False)),
        ("clear_output", {"wait": None}, ClearOutput(False)),
        ("clear_output", {"wait": 1}, ClearOutput(True)),
    ],
)
def test_sloppy_kernels_make_outputs_with_holes(kind: str, content: object, output: Output) -> None:
    assert parse_output(message(kind, content)) == output
    assert ended(message(kind, content)).result().output_gaps == ()


@pytest.mark.parametrize("kind", ["stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"])
@pytest.mark.parametrize("content", [b"[]", b"5", b'"text"', b"not JSON", b"\xff"])
def test_an_output_whose_content_is_no_object_is_a_gap(kind: str, content: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_output(message(kind, content))
    execution = in_state(RUNNING)
    assert not execution.feed(message(kind, content))
    assert not execution.feed(message(kind, b"[]"))
    assert execution.feed(message("stream", {"text": "after"}))
    result = execution.result()
    assert result.text == "after"
    assert result.output_gaps == (OutputGap("lost", 2, f"the first could not be understood: {caught.value}"),)


@pytest.mark.parametrize(
    ("kind", "made"),
    [("display_data", DisplayData), ("update_display_data", UpdateDisplayData), ("execute_result", ExecuteResult)],
)
def test_an_output_with_holes_keeps_its_buffers(kind: str, made: Any) -> None:
    output = parse_output(message(kind, {"data": "x"}, buffers=[b"b"]))
    assert isinstance(output, made)
    assert output.buffers == (b"b",)


def test_well_formed_outputs_are_read_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is most of what comes: to read it field by field would cost several times as much."""
    monkeypatch.setattr("trio_gateway._protocol.execution._makers", {})
    assert parse_output(message("stream", {"name": "stdout", "text": "x"})) == Stream("stdout", "x")
    assert parse_output(message("error", {"ename": "E", "evalue": "v", "traceback": []})) == Error("E", "v")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
bundles = st.dictionaries(st.sampled_from(["text/plain", "application/json"]), json_values)
transients = st.fixed_dictionaries({}, optional={"display_id": st.text(max_size=3) | json_values, "more": json_values})
WELL_FORMED: dict[str, st.SearchStrategy[object]] = {
    "name": st.sampled_from(["stdout", "stderr", "log"]),
    "text": st.text(max_size=5),
    "data": bundles,
    "metadata": bundles,
    "transient": transients,
    "execution_count": st.integers(-1, 2**53) | st.floats(0, 9),
    "ename": st.text(max_size=3),
    "evalue": st.text(max_size=3),
    "traceback": st.lists(st.text(max_size=3), max_size=3),
    "more": json_values,
}
FIELDS_OF = {
    "stream": ("name", "text"),
    "display_data": ("data", "metadata", "transient"),
    "update_display_data": ("data", "metadata", "transient"),
    "execute_result": ("execution_count", "data", "metadata", "transient"),
    "error": ("ename", "evalue", "traceback"),
}


@given(st.data())
def test_what_is_read_in_one_go_is_what_is_read_field_by_field(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(FIELDS_OF)))
    names = (*FIELDS_OF[kind], "more")
    odd = data.draw(st.sets(st.sampled_from(names), max_size=1))
    present = data.draw(st.just(set(names)) | st.sets(st.sampled_from(names)))
    content = {name: data.draw(json_values if name in odd else WELL_FORMED[name]) for name in names if name in present}
    sent = message(kind, content, buffers=[b"b"])
    # As text: a NaN equals nothing, and 1 is not 1.0.
    assert repr(attrs.asdict(parse_output(sent))) == repr(attrs.asdict(_makers[kind](read(sent), sent.buffers)))
    kept, one_by_one = ended(sent), OutputArea()
    one_by_one.feed(parse_output(sent))
    assert repr(kept.result().outputs) == repr(one_by_one.outputs)


@pytest.mark.parametrize("kind", FIELDS_OF)
def test_an_output_that_is_nested_too_deeply_is_a_gap(kind: str) -> None:
    """Whoever makes it, it must not end the session."""
    content = b'{"name":"stdout","text":"x","more":' + 100_000 * b"[" + 100_000 * b"]" + b"}"
    with pytest.raises(ProtocolError):
        parse_output(message(kind, content))
    assert [gap.count for gap in ended(message(kind, content)).result().output_gaps] == [1]
    assert ended(message(kind, content), keep=False).result().output_gaps == ()


@pytest.mark.parametrize("wait", [False, True])
def test_text_that_comes_after_a_clearing_stands_alone(wait: bool) -> None:
    execution = ended(stream("a"), message("clear_output", {"wait": wait}), stream("b"), stream("c"))
    assert execution.result().outputs == (Stream("stdout", "bc"),)


def test_who_takes_outputs_as_they_come_is_given_what_cant_be_read() -> None:
    """It is the reader who looks at it, and tells."""
    execution = new_execution(keep=False)
    execution.feed(status("busy"))
    assert execution.feed(message("stream", b"[]"))
    assert execution.result().output_gaps == ()
    execution.note_unreadable(ProtocolError("it was a list"))
    assert execution.result().output_gaps == (OutputGap("lost", 1, "one could not be understood: it was a list"),)


@pytest.mark.parametrize("state", ExecutionState)
def test_a_status_that_cant_be_read_is_none(state: ExecutionState) -> None:
    execution = in_state(state)
    before = execution.result()
    assert not execution.feed(message("status", b"[]"))
    assert execution.state is state
    assert execution.result() == before


def test_a_reply_that_cant_be_read_is_a_reply_and_a_gap() -> None:
    execution = in_state(IDLE)
    execution.feed(message("execute_reply", b"[]", channel="shell"))
    assert execution.done
    result = execution.result()
    assert (result.status, result.reply, result.execution_count) == ("ok", {}, None)
    assert [(gap.kind, gap.count) for gap in result.output_gaps] == [("lost", 1)]


def test_a_reply_that_was_seen_by_nobody_is_given_up() -> None:
    execution = in_state(IDLE)
    execution.give_up_reply()
    result = execution.result()
    assert (result.status, result.reply, result.execution_count) == ("ok", {}, None)


# --- the area


def area(*outputs: Output) -> OutputArea:
    filled = OutputArea()
    for output in outputs:
        filled.feed(output)
    return filled


def out(text: str) -> Stream:
    return Stream("stdout", text)


def shown(text: str, display_id: str | None = None) -> DisplayData:
    return DisplayData({"text/plain": text}, {}, display_id)


def test_consecutive_texts_of_one_name_are_merged() -> None:
    err = Stream("stderr", "!")
    assert area(out("a"), out(""), out("b"), err, err, out("c"), shown("x"), out("d"), out("e")).outputs == (
        out("ab"),
        Stream("stderr", "!!"),
        out("c"),
        shown("x"),
        out("de"),
    )
    assert area().outputs == ()


def test_looking_at_an_area_does_not_change_it() -> None:
    filled = area(out("a"))
    assert filled.outputs == filled.outputs == (out("a"),)
    filled.feed(out("b"))
    assert filled.outputs == (out("ab"),)


def test_many_small_texts_are_merged_in_linear_time() -> None:
    filled = area(*[out("x" * 10)] * 200_000)
    assert filled.outputs == (out("x" * 2_000_000),)


@pytest.mark.parametrize(
    ("outputs", "left"),
    [
        ([out("a"), ClearOutput()], []),
        ([out("a"), ClearOutput(), out("b")], [out("b")]),
        ([out("a"), ClearOutput(wait=True)], [out("a")]),
        ([out("a"), ClearOutput(wait=True), out("b")], [out("b")]),
        ([out("a"), ClearOutput(wait=True), out("b"), out("c")], [out("bc")]),
        ([out("a"), ClearOutput(wait=True), shown("x")], [shown("x")]),
        ([out("a"), ClearOutput(wait=True), Error("E", "v")], [Error("E", "v")]),
        ([out("a"), ClearOutput(wait=True), ClearOutput(wait=True), out("b")], [out("b")]),
        ([out("a"), ClearOutput(wait=True), ClearOutput(), out("b"), out("c")], [out("bc")]),
        ([ClearOutput(wait=True), out("a"), shown("x")], [out("a"), shown("x")]),
        ([ClearOutput()], []),
        # An update is no new output: nothing is cleared yet.
        ([shown("x", "d"), ClearOutput(wait=True), UpdateDisplayData({"text/plain": "y"}, {}, "d")], [shown("y", "d")]),
    ],
)
def test_clearing(outputs: list[Output], left: list[Output]) -> None:
    assert area(*outputs).outputs == tuple(left)


def test_an_update_replaces_each_output_of_its_name_where_it_stands() -> None:
    update = UpdateDisplayData({"text/plain": "new"}, {"m": 1}, "d", (memoryview(b"b"),))
    filled = area(shown("1", "d"), out("a"), ExecuteResult(5, {"text/plain": "2"}, {}, "d"), shown("3", "e"), shown("4"), update)
    assert filled.outputs == (
        DisplayData({"text/plain": "new"}, {"m": 1}, "d", (memoryview(b"b"),)),
        out("a"),
        ExecuteResult(5, {"text/plain": "new"}, {"m": 1}, "d", (memoryview(b"b"),)),
        shown("3", "e"),
        shown("4"),
    )


def test_an_update_without_a_name_is_of_nothing() -> None:
    assert area(shown("1"), shown("2", "d"), UpdateDisplayData({"text/plain": "new"})).outputs == (shown("1"), shown("2", "d"))


def test_an_update_of_what_was_cleared_is_of_nothing() -> None:
    assert area(shown("1", "d"), ClearOutput(), UpdateDisplayData({"text/plain": "new"}, {}, "d")).outputs == ()


def test_an_update_is_of_what_was_there_when_it_came() -> None:
    update = UpdateDisplayData({"text/plain": "new"}, {}, "d")
    filled = area(shown("1", "d"), update, shown("2", "d"))
    assert filled.outputs == (shown("new", "d"), shown("2", "d"))
    filled.feed(shown("3", "d"))
    assert filled.outputs == (shown("new", "d"), shown("2", "d"), shown("3", "d"))
    filled.feed(update)
    assert filled.outputs == (shown("new", "d"),) * 3


@pytest.mark.parametrize("display_ids", [["d"], ["d", "e"], [None, "d"]], ids=["one", "two", "few"])
def test_many_updates_of_many_outputs_take_linear_work(display_ids: list[str | None]) -> None:  # G7
    outputs = [shown("x", display_id) for display_id in display_ids * 300]
    updates = [UpdateDisplayData({"text/plain": str(number)}, {}, "d") for number in range(600)]
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        del frame, argument
        calls += event in ("call", "c_call")

    filled = OutputArea()
    sys.setprofile(count)
    try:
        for output in [*outputs, *updates]:
            filled.feed(output)
        left = filled.outputs
    finally:
        sys.setprofile(None)
    assert left[-1] == shown("599" if display_ids[-1] == "d" else "x", display_ids[-1])
    assert calls < 100 * (len(outputs) + len(updates))  # each for each would be hundreds; a run of mutations calls more


def test_feed_says_whether_what_is_shown_may_have_changed() -> None:
    filled = OutputArea()
    told = [
        filled.feed(output)
        for output in (
            out("a"),
            shown("x", "d"),
            UpdateDisplayData({}, {}, "d"),
            UpdateDisplayData({}, {}, "other"),
            UpdateDisplayData({}),
            ClearOutput(wait=True),
            ClearOutput(),
        )
    ]
    assert told == [True, True, True, False, False, False, True]


# --- results


def test_a_whole_execution() -> None:
    execution = new_execution()
    for each in (
        status("busy"),
        message("execute_input", {"code": "…"}),
        stream("a"),
        stream("b"),
        message("display_data", {"data": {"text/plain": "1"}, "transient": {"display_id": "d"}}),
        message("update_display_data", {"data": {"text/plain": "2"}, "transient": {"display_id": "d"}}),
        message("execute_result", {"execution_count": 7, "data": {"text/plain": "42"}}),
        reply(execution_count=7, user_expressions={"x": 1}, payload=[]),
        status("idle"),
    ):
        execution.feed(each)
    result = execution.result()
    assert result.status == "ok"
    assert result.outputs == (out("ab"), shown("2", "d"), ExecuteResult(7, {"text/plain": "42"}))
    assert result.reply == {"status": "ok", "execution_count": 7, "user_expressions": {"x": 1}, "payload": []}
    assert (result.execution_count, result.output_gaps) == (7, ())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"status": "ok"}, "ok"),
        ({"status": "error"}, "error"),
        ({"status": "aborted"}, "aborted"),
        ({"status": "abort"}, "aborted"),  # what older kernels say
        ({"status": "failed"}, "error"),
        ({"status": ["ok"]}, "ok"),
        # It does not say: then what else was told.
        ({"status": None}, "ok"),
        ({"status": True}, "ok"),
        ({"status": {}}, "ok"),
        ({}, "ok"),
        ({"ename": ""}, "error"),
        ({"status": 5, "ename": "E"}, "error"),
    ],
)
def test_the_status_of_a_reply(content: dict[str, object], expected: str) -> None:
    execution = in_state(IDLE)
    execution.feed(message("execute_reply", content, channel="shell"))
    assert execution.result().status == expected


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (7, 7), (None, None), ("7", 7), (7.5, None)])
def test_the_count_of_a_reply(count: object, expected: int | None) -> None:
    execution = in_state(IDLE)
    execution.feed(reply(execution_count=count))
    assert execution.result().execution_count == expected


def test_outputs_are_not_kept_for_those_who_take_them_as_they_come() -> None:
    execution = ended(stream("a"), message("error"), keep=False, limit_bytes=0)
    assert (execution.result().outputs, execution.result().output_gaps) == ((), ())


# --- gaps: what the gateway says, what does not fit


@pytest.mark.parametrize("text", [NOTICE, NOTICE.replace("message", "data"), "IOPub data rate exceeded."])
def test_a_notice_of_the_gateway_is_a_gap_and_no_output(text: str) -> None:
    execution = in_state(RUNNING)
    assert execution.feed(stream(text, "stderr", session="gateway")) is False
    result = execution.result()
    assert result.outputs == ()
    assert result.output_gaps == (OutputGap("rate_limited", None, text.partition("\n")[0]),)


def test_the_same_words_printed_by_code_are_its_output() -> None:
    execution = ended(stream(NOTICE, "stderr"))
    assert execution.result().outputs == (Stream("stderr", NOTICE),)
    assert execution.result().output_gaps == ()


def test_other_words_of_another_session_are_output() -> None:
    """Of a process that the kernel started, say."""
    for text in ("x" + NOTICE, "IOPub", ""):
        execution = in_state(RUNNING)
        assert execution.feed(stream(text, session="gateway")) is True
        assert execution.result().outputs == (out(text),)
        assert execution.result().output_gaps == ()


def test_a_notice_does_not_start_an_execution() -> None:
    execution = new_execution()
    assert execution.feed(stream(NOTICE, session="gateway")) is False
    assert not execution.started


def test_the_kernel_is_known_by_its_busy_and_not_by_its_idle() -> None:
    execution = new_execution()
    execution.feed(status("busy", session="kernel"))
    execution.feed(status("idle", session="gateway"))
    assert execution.feed(stream(NOTICE, session="kernel")) is True
    assert execution.feed(stream(NOTICE, session="gateway")) is False


def test_a_gap_counts_once_but_two_kinds_of_notice_are_two() -> None:
    execution = in_state(RUNNING)
    for text in (NOTICE, NOTICE, NOTICE.replace("message", "data")):
        execution.feed(stream(text, session="gateway"))
    gap = OutputGap("reconnected", None, "the connection broke")
    execution.note_gap(gap)
    execution.note_gap(gap)
    assert [(each.kind, each.detail) for each in execution.result().output_gaps] == [
        ("rate_limited", "IOPub message rate exceeded."),
        ("rate_limited", "IOPub data rate exceeded."),
        ("reconnected", "the connection broke"),
    ]


def test_what_does_not_fit_is_counted() -> None:
    size = stream("x" * 10).size
    execution = ended(*[stream("x" * 10)] * 5, limit_bytes=3 * size)
    result = execution.result()
    assert result.outputs == (out("x" * 30),)
    (gap,) = result.output_gaps
    assert (gap.kind, gap.count) == ("overflow", 2)
    assert "were not kept" in gap.detail
    assert ended(*[stream("x" * 10)] * 3, limit_bytes=3 * size).result().output_gaps == ()


# --- gaps: what the kernel's numbers show


@pytest.mark.parametrize("keep", [False, True])
def test_text_is_an_output_in_every_state(keep: bool) -> None:
    for state in ExecutionState:
        execution = in_state(state)
        execution.keep = keep
        assert execution.feed(stream("x")) is True


@pytest.mark.parametrize(
    ("messages", "status_then"),
    [((), "ok"), ((stream("x"),), "ok"), ((message("error"),), "error"), ((message("error"), stream("x")), "error")],
)
def test_a_reply_without_a_status_is_judged_by_what_came(messages: tuple[Message, ...], status_then: str) -> None:
    execution = new_execution()
    for each in (status("busy"), *messages, message("execute_reply", {}, channel="shell"), status("idle")):
        execution.feed(each)
    assert execution.result().status == status_then


@pytest.mark.parametrize("over", [0, 1])
def test_what_fits_exactly_is_kept(over: int) -> None:
    first, second = stream("abc"), stream("def")
    execution = new_execution(limit_bytes=first.size + second.size - over)
    for each in (status("busy"), first, second, stream("more"), reply(status="ok"), status("idle")):
        execution.feed(each)
    assert execution.result().text == ("abc" if over else "abcdef")
    assert [gap.count for gap in execution.result().output_gaps] == [1 + over]


def test_text_beside_the_kernels_is_taken_as_carefully_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way is for the text of the process that runs the code: of another's it is not known whether it is a notice."""
    execution = in_state(RUNNING)
    looked: list[Message] = []
    monkeypatch.setattr(Execution, "_is_rate_notice", lambda _, each: looked.append(each))
    execution.feed(stream("own"))
    assert looked == []
    execution.feed(stream("another's", session="other"))
    assert len(looked) == 1


def test_nothing_is_missing() -> None:
    execution = ended(stream("x"))
    execution.note_missing(0)
    assert execution.result().output_gaps == ()


def test_messages_are_missing() -> None:
    execution = ended(stream("x"))
    execution.note_missing(3)
    assert execution.result().output_gaps == (OutputGap("lost", 3, "so many of the kernel's numbers never came"),)


def test_who_answers_is_known_when_it_has_begun() -> None:
    execution = new_execution()
    assert execution.kernel_session == ""
    execution.feed(status("busy"))
    assert execution.kernel_session == status("busy").header.session != ""


def test_what_a_slow_reader_dropped_is_told_with_the_result() -> None:
    (gap,) = ended(stream("x")).result(dropped=2).output_gaps
    assert gap == OutputGap("overflow", 2, 'the reader was slow, and had chosen "drop_oldest"')


def test_a_count_settles_what_a_reconnect_left_open() -> None:
    for count, expected in (
        (0, []),
        (3, [("lost", 3, "the connection broke")]),
        (None, [("reconnected", None, "the connection broke")]),
    ):
        execution = ended(stream("x"))
        execution.note_gap(OutputGap("rate_limited", None, "flood"))
        execution.note_gap(OutputGap("reconnected", None, "the connection broke"))
        execution.note_missing(count)
        gaps = [(gap.kind, gap.count, gap.detail) for gap in execution.result().output_gaps]
        assert gaps == [("rate_limited", None, "flood"), *expected]


def test_without_idle_and_without_numbers_nobody_knows() -> None:
    execution = in_state(REPLIED)
    execution.give_up_idle()
    execution.note_missing(None)
    gap = OutputGap("lost", None, "the kernel's idle never came, so output may be missing too")
    assert execution.result().output_gaps == (gap,)

    execution = in_state(REPLIED)
    execution.give_up_idle()
    execution.note_missing(0)
    assert execution.result().output_gaps == ()

    execution = ended()
    execution.note_missing(None)
    assert execution.result().output_gaps == ()


# --- what a terminal shows of an execution


@pytest.mark.parametrize(
    ("texts", "shown_text"),
    [
        (["\r 10%", "\r 20%", "\r100%\n", "done\n"], "100%\ndone\n"),
        (["a\r", "\nb"], "a\nb"),  # \r\n that was cut in two
        (["abc", "\b", "\bX\n"], "aXc\n"),
    ],
)
def test_a_result_reads_as_on_a_terminal(texts: list[str], shown_text: str) -> None:
    assert ended(*map(stream, texts)).result().text == shown_text


def test_progress_bars_on_stderr_and_prints_on_stdout_share_the_line() -> None:
    result = ended(stream("\r 50%|##  |", "stderr"), stream("\rhi\n"), stream("\r100%|####|", "stderr")).result()
    assert result.text == "hi0%|##  |\n100%|####|"


@pytest.mark.parametrize("count", [None, 0, 3, -1])
def test_what_is_known_of_missing_outputs_is_told(count: int | None) -> None:
    execution = Execution(keep=True, limit_bytes=1000)
    for message in (status("busy"), reply(), status("idle")):
        execution.feed(message)
    execution.note_missing(count)
    gaps = [(gap.kind, gap.count, gap.detail) for gap in execution.result().output_gaps]
    unknown = "so much was lost that nobody knows whether output was among it"
    never = "so many of the kernel's numbers never came"
    assert gaps == {None: [], 0: [], 3: [("lost", 3, never)], -1: [("lost", None, unknown)]}[count]


# --- what is held


def test_lists_of_nothing_count_as_what_they_take() -> None:
    """They are three bytes of JSON each, and twenty times as much when they are decoded."""
    content = b'{"data":{"x":[' + b"[]," * 10_000 + b"1]}}"
    result = ended(message("display_data", content), limit_bytes=5 * len(content)).result()
    assert result.outputs == ()
    assert [(gap.kind, gap.count) for gap in result.output_gaps] == [("overflow", 1)]
    assert len(ended(message("display_data", content), limit_bytes=30 * len(content)).result().outputs) == 1
    spare = {"data": {"image/png": "A" * 100_000, "text/plain": "[[{{"}}
    assert len(ended(message("display_data", spare), limit_bytes=101_000).result().outputs) == 1


def test_reasons_are_bounded() -> None:
    execution = new_execution()
    for number in range(10_000):
        execution.note_gap(OutputGap("lost", 1, f"{number}"))
    gaps = execution.result().output_gaps
    assert len(gaps) == 101
    assert gaps[-1] == OutputGap("lost", None, "for more reasons than are remembered")


def test_what_was_too_large_is_counted() -> None:
    execution = new_execution()
    for length in (10, 30, 20):
        execution.note_too_large(length)
    (gap,) = execution.result().output_gaps
    assert (gap.kind, gap.count) == ("overflow", 3)
    assert "the largest of 30," in gap.detail


# --- what an output takes


@pytest.mark.parametrize(
    ("data", "metadata", "containers"),
    [
        ({"text/plain": "{[x"}, {}, 0),  # a text takes what it has
        ({"text/plain": "x"}, {"a": [[], {}]}, 6),
        ({"application/json": [[], {}, {}]}, {}, 7),
    ],
)
def test_lists_and_objects_count_as_more_than_their_json(data: object, metadata: object, containers: int) -> None:
    """Each list and each object of the whole content, which has three itself."""
    shown = message("display_data", {"data": data, "metadata": metadata, "transient": {}})
    takes = shown.size + 64 * (containers and containers + 1)
    assert ended(shown, limit_bytes=takes).result().output_gaps == ()
    (gap,) = ended(shown, limit_bytes=takes - 1).result().output_gaps
    assert (gap.kind, gap.count) == ("overflow", 1)


@pytest.mark.parametrize(
    ("text", "may_be"), [(NOTICE, True), ("IOPub data rate exceeded.\n", True), ("x" * 500 + NOTICE, False), ("a rate\n", False)]
)
def test_what_may_be_a_notice_is_seen_by_its_first_bytes(text: str, may_be: bool) -> None:
    assert may_be_rate_notice(stream(text)) is may_be
