"""Outputs as values, what a terminal would show of them, and that a notebook file takes them."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable
from typing import Any

import attrs
import nbformat
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from suite.budgets import examples
from trio_gateway._errors import ExecutionError, InvalidInputError
from trio_gateway._outputs import (
    ClearOutput,
    DisplayData,
    Error,
    ExecuteResult,
    ExecutionResult,
    Output,
    OutputGap,
    Stream,
    UpdateDisplayData,
    as_terminal_text,
)


def as_id(value: object) -> str:
    """A parameter's name. Where pytest runs again in one process, as for mutations, it finds no name with a backslash."""
    return repr(value).replace("\\", "")


def result(*outputs: Any, status: Any = "ok", **fields: Any) -> ExecutionResult:
    return ExecutionResult(status, outputs, fields.pop("reply", {"status": status}), **fields)


def out(text: str) -> Stream:
    return Stream("stdout", text)


def err(text: str) -> Stream:
    return Stream("stderr", text)


# --- values


@pytest.mark.parametrize(
    "output",
    [
        Stream("stdout", "text"),
        DisplayData({"text/plain": "x"}),
        UpdateDisplayData({"text/plain": "x"}, display_id="d"),
        ExecuteResult(1, {"text/plain": "x"}, {"m": 1}, "d", (memoryview(b"x"),)),
        Error("E", "v", ("line",)),
        ClearOutput(True),
        OutputGap("lost", 3, "detail"),
        result(out("x")),
    ],
    ids=lambda output: type(output).__name__,
)
def test_they_are_values(output: Any) -> None:
    again = attrs.evolve(output)
    assert again == output
    for field in attrs.fields(type(output)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(output, field.name, None)
        assert attrs.evolve(output, **{field.name: object()}) != output


def test_what_need_not_be_given() -> None:
    assert DisplayData({}) == DisplayData({}, {}, None, ())
    assert UpdateDisplayData({}) == UpdateDisplayData({}, {}, None, ())
    assert ExecuteResult(None, {}) == ExecuteResult(None, {}, {}, None, ())
    assert Error("E", "v") == Error("E", "v", ())
    assert ClearOutput() == ClearOutput(False)
    assert OutputGap("lost") == OutputGap("lost", None, "")
    assert result() == ExecutionResult("ok", (), {"status": "ok"}, None, ())


def test_no_two_share_their_metadata() -> None:
    for make in (lambda: DisplayData({}), lambda: UpdateDisplayData({}), lambda: ExecuteResult(None, {})):
        assert make().metadata is not make().metadata


# --- notebooks

SHOWN: list[tuple[Output, dict[str, Any]]] = [
    (out("a\rb\n"), {"output_type": "stream", "name": "stdout", "text": "a\rb\n"}),
    (err(""), {"output_type": "stream", "name": "stderr", "text": ""}),
    (
        DisplayData({"text/plain": "x", "application/json": {"a": [1]}}, {"image/png": {"width": 1}}, "d", (memoryview(b"x"),)),
        {
            "output_type": "display_data",
            "data": {"text/plain": "x", "application/json": {"a": [1]}},
            "metadata": {"image/png": {"width": 1}},
        },
    ),
    (
        ExecuteResult(7, {"text/plain": "42"}, {"m": 1}, "d"),
        {"output_type": "execute_result", "execution_count": 7, "data": {"text/plain": "42"}, "metadata": {"m": 1}},
    ),
    (ExecuteResult(None, {}), {"output_type": "execute_result", "execution_count": None, "data": {}, "metadata": {}}),
    (
        Error("ValueError", "no", ("line 1", "line 2")),
        {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["line 1", "line 2"]},
    ),
]


@pytest.mark.parametrize(("output", "expected"), SHOWN, ids=[type(output).__name__ for output, _ in SHOWN])
def test_nbformats_dictionary(output: Any, expected: dict[str, Any]) -> None:
    made = output.to_nbformat()
    assert made == expected
    changed = copy.deepcopy(output.to_nbformat())
    for key in ("data", "metadata"):
        if key in made:
            made[key]["added"] = 1
    assert output.to_nbformat() == changed, "what is done to the dictionary is not done to the output"


def test_a_notebook_takes_the_outputs_of_a_result() -> None:
    whole = result(*[output for output, _ in SHOWN])
    cell = nbformat.v4.new_code_cell("code", outputs=[nbformat.from_dict(output) for output in whole.to_nbformat()])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.validate(notebook)
    assert whole.to_nbformat() == [expected for _, expected in SHOWN]
    assert result().to_nbformat() == []


# --- terminals


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain\n", "plain\n"),
        ("10%\r20%", "20%"),
        ("abc\rX", "Xbc"),
        ("abc\r", "abc"),
        ("abc\r\r\r", "abc"),
        ("\rabc", "abc"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("long line\rshort\nnext", "shortline\nnext"),
        ("abcd\rxyz\r12", "12zd"),
        ("12\rabcd\rxyz", "xyzd"),
        ("abc\b", "abc"),
        ("abc\bX", "abX"),
        ("abc\b\bX", "aXc"),
        ("\b\bX", "X"),
        ("ab\b\b\b\bXYZ", "XYZ"),
        ("a\n\bb", "a\nb"),
        ("abc\rX\bY", "Ybc"),
        ("ab\bc\rX", "Xc"),
        ("\b", ""),
        ("\r", ""),
        ("a\tb\x0bc\x0cd\u2028e\r1", "1\tb\x0bc\x0cd\u2028e"),
    ],
    ids=as_id,
)
def test_what_a_terminal_shows(text: str, shown: str) -> None:
    assert as_terminal_text(text) == shown


def screen(text: str) -> str:
    """A terminal with lines that are long enough, cell by cell."""
    lines: list[dict[int, str]] = [{}]
    column = 0
    for character in text:
        if character == "\n":
            lines.append({})
            column = 0
        elif character == "\r":
            column = 0
        elif character == "\b":
            column = max(column - 1, 0)
        else:
            lines[-1][column] = character
            column += 1
    return "\n".join("".join(cell for _, cell in sorted(line.items())) for line in lines)


@given(st.text("ab \r\b\n", max_size=30) | st.text("ab\r", max_size=30) | st.text(max_size=10))
@example("a\rb\b\rc")
@settings(max_examples=examples(4))  # what is written over what, and where the cursor stands: wider than other inputs
def test_every_text_is_shown_as_on_a_screen(text: str) -> None:
    assert as_terminal_text(text) == screen(text)


def test_progress_bars_show_their_last_state() -> None:
    bar = "".join(
        [f"\r{percent:3}%|{'#' * (percent // 10):10}| {percent}/100 [00:{percent // 10:02}<00:00]" for percent in range(101)]
    )
    assert as_terminal_text(bar + "\n") == "100%|##########| 100/100 [00:10<00:00]\n"


def test_a_long_line_that_is_written_over_often_costs_no_quadratic_time() -> None:
    # A million short texts over a megabyte: a copy of the line for each would take minutes.
    assert as_terminal_text("x" * 1_000_000 + "\ry" * 1_000_000) == "y" + "x" * 999_999
    assert as_terminal_text("x" * 500_000 + "\r\by" * 500_000) == "y" + "x" * 499_999


# --- a result's text


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([], ""),
        ([out("")], ""),
        ([out("a\n"), err("b\n"), out("c")], "a\nb\nc"),
        ([out("10%"), err("\r20%")], "20%"),  # both streams have one cursor
        ([out("a\rb"), DisplayData({"text/plain": "<fig>"}), out("\rc")], "b\n<fig>\nc"),  # which a figure ends
        ([ExecuteResult(1, {"text/plain": "42"})], "42"),
        ([out("a"), ExecuteResult(1, {"text/plain": "42"})], "a\n42"),
        ([out("a\n"), ExecuteResult(1, {"text/plain": "42"})], "a\n42"),
        ([DisplayData({"text/plain": "x\n"}), DisplayData({"text/plain": "y"}), out("z")], "x\ny\nz"),
        ([DisplayData({"text/plain": "a\rb"})], "a\rb"),  # not written to a terminal, so left as it is
        ([DisplayData({"text/plain": ["x\n", "y", 5]})], "x\ny5"),
        ([DisplayData({"text/plain": 5})], "5"),
        ([DisplayData({"text/plain": 0})], "0"),
        ([DisplayData({"text/plain": None})], ""),
        ([out("a"), DisplayData({"image/png": "QUJD"}), out("b")], "a\nb"),
        ([Error("E", "v", ("t",))], ""),
        ([out("a"), Error("E", "v"), out("b")], "ab"),
        ([out("\r"), DisplayData({"text/plain": "x"})], "x"),
    ],
    ids=as_id,
)
def test_the_text_of_a_result(outputs: list[Any], text: str) -> None:
    assert result(*outputs).text == text


# --- errors


def test_the_error_is_the_last_one_shown() -> None:
    first, last = Error("A", "1"), Error("B", "2")
    assert result(first, out("x"), last, out("y"), status="error").error is last
    assert result(first).error is first  # shown by code that caught it
    assert result(out("x")).error is None


def test_without_an_error_output_the_reply_tells() -> None:
    reply = {"status": "error", "ename": "E", "evalue": "v", "traceback": ["a", "b"]}
    assert result(status="error", reply=reply).error == Error("E", "v", ("a", "b"))
    assert result(status="ok", reply=reply).error is None
    assert result(status="aborted", reply=reply).error is None


@pytest.mark.parametrize("traceback", [None, 5, "text", {"a": 1}, []])
@pytest.mark.parametrize("text", [None, "absent"])
def test_a_sloppy_reply_still_makes_an_error(traceback: object, text: object) -> None:
    reply = {"traceback": traceback} if text == "absent" else {"traceback": traceback, "ename": text, "evalue": text}
    lines = {"text": ("text",), 5: ("5",)}.get(traceback, ()) if isinstance(traceback, (str, int)) else ()
    assert result(status="error", reply=reply).error == Error("", "", ('{"a": 1}',) if isinstance(traceback, dict) else lines)
    assert result(status="error", reply={"ename": 5, "evalue": 6, "traceback": [7, None]}).error == Error("5", "6", ("7", ""))


def test_raise_for_error_returns_what_ended_well() -> None:
    good = result(Error("E", "was caught"))
    assert good.raise_for_error() is good


def test_raise_for_error_raises_what_did_not() -> None:
    with pytest.raises(ExecutionError) as caught:
        result(Error("E", "v", ("a", "b")), status="error").raise_for_error()
    assert (caught.value.ename, caught.value.evalue, caught.value.traceback) == ("E", "v", ("a", "b"))
    with pytest.raises(ExecutionError, match=r"^E: v$"):
        result(status="error", reply={"ename": "E", "evalue": "v"}).raise_for_error()


def test_raise_for_error_says_that_it_was_skipped() -> None:
    with pytest.raises(ExecutionError, match=r"^Aborted: the kernel skipped this request, because one before it failed$"):
        result(status="aborted").raise_for_error()


# --- short ways to what people look for

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
PLOT = DisplayData({"text/plain": "<Figure>", "image/png": base64.b64encode(PNG).decode()})
SVG = DisplayData({"image/svg+xml": ["<svg>", "</svg>"], "application/json": {"a": 1}})


def test_the_short_ways() -> None:
    value = ExecuteResult(3, {"text/plain": "42", "text/html": "<b>42</b>"})
    outputs = (Stream("stdout", "a\r"), PLOT, Stream("stderr", "w"), Stream("stdout", "b"), value)
    result = ExecutionResult("ok", outputs, {})
    assert (result.stdout, result.stderr) == ("a\rb", "w")
    assert result.data == {"text/plain": "42", "text/html": "<b>42</b>"}
    assert result.bytes_of("image/png") == PLOT.bytes_of("image/png") == PNG
    assert result.text_of("text/plain") == "42"
    assert value.bytes_of("text/html") == b"<b>42</b>"
    empty = ExecutionResult("ok", (), {})
    assert (empty.stdout, empty.stderr, empty.data) == ("", "", {})


def test_an_image_that_is_text_and_lines_that_are_a_list() -> None:
    assert SVG.bytes_of("image/svg+xml") == b"<svg></svg>"
    broken = base64.encodebytes(PNG).decode()
    assert DisplayData({"image/png": broken.splitlines(keepends=True)}).bytes_of("image/png") == PNG


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (lambda: PLOT.bytes_of("image/jpeg"), "'text/plain', 'image/png'"),
        (lambda: ExecutionResult("ok", (SVG, PLOT), {}).text_of("text/html"), "'image/svg+xml'"),
        (lambda: ExecutionResult("ok", (), {}).bytes_of("image/png"), "there is none"),
        (lambda: DisplayData({}).text_of("text/plain"), "none"),
        (lambda: SVG.text_of("application/json"), "this one's is dict"),
        (lambda: DisplayData({"image/png": "no base64!"}).bytes_of("image/png"), "base64"),
        (lambda: DisplayData({"image/png": "ü"}).bytes_of("image/png"), "base64"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(look: Callable[[], object], expected: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(expected)) as caught:
        look()
    assert caught.value.field == "mime"


@pytest.mark.parametrize(
    "output",
    [
        Stream("stdout", "x" * 100_000),
        DisplayData({"image/png": "A" * 100_000, "application/json": list(range(100_000))}, {"a": list(range(10_000))}),
        UpdateDisplayData({"text/html": "<p>" * 50_000}, {}, "id" * 10_000, (memoryview(bytes(100_000)),)),
        ExecuteResult(1, {"text/plain": "x" * 100_000}),
        Error("E" * 10_000, "v" * 10_000, ("line",) * 10_000),
        ClearOutput(),
    ],
    ids=lambda output: type(output).__name__,
)
def test_a_repr_is_short(output: Any) -> None:
    assert repr(output).startswith(f"{type(output).__name__}(")
    assert len(repr(output)) < 400
    if not isinstance(output, ClearOutput | UpdateDisplayData):
        assert len(repr(ExecutionResult("ok", (output,) * 50, {"big": "x" * 100_000}))) < 1500


def test_a_repr_says_what_is_there() -> None:
    assert repr(Stream("stdout", "a\n")) == r"Stream('stdout', 'a\n')"
    assert repr(PLOT) == f"DisplayData({{'text/plain': '<Figure>', 'image/png': <{len(PNG):,} bytes>}})"
    update = UpdateDisplayData({}, {"m": 1}, "d", (memoryview(b"abc"),))
    assert repr(update) == "UpdateDisplayData({}, metadata={'m': 1}, display_id='d', buffers=<1, 3 bytes>)"
    assert repr(ExecuteResult(7, {"text/plain": "1"})) == "ExecuteResult(7, {'text/plain': '1'})"
    assert repr(Error("E", "v", ("a", "b"))) == "Error('E', 'v', traceback=<2 lines>)"
    result = ExecutionResult("ok", (Stream("stdout", "a"),) * 4, {}, 2, (OutputGap("lost", 1),))
    assert repr(result) == (
        "ExecutionResult('ok', <4 outputs: Stream('stdout', 'a'), Stream('stdout', 'a'), Stream('stdout', 'a'), …>, "
        "execution_count=2, output_gaps=(OutputGap(kind='lost', count=1, detail=''),))"
    )
    assert repr(ExecutionResult("aborted", (), {})) == "ExecutionResult('aborted', <no output>)"


def test_every_output_of_a_stream_becomes_json() -> None:
    update = UpdateDisplayData({"text/plain": "1"}, {"a": 1}, "d")
    outputs: list[Output] = [Stream("stdout", "a"), PLOT, update, ExecuteResult(1, {}), Error("E", "v"), ClearOutput(wait=True)]
    shown = [output.to_nbformat() for output in outputs]
    assert json.loads(json.dumps(shown)) == shown
    assert [output["output_type"] for output in shown] == [
        "stream", "display_data", "update_display_data", "execute_result", "error", "clear_output",
    ]  # fmt: skip
    assert shown[2] == {
        "output_type": "update_display_data", "data": {"text/plain": "1"}, "metadata": {"a": 1}, "transient": {"display_id": "d"},
    }  # fmt: skip
    assert UpdateDisplayData({}).to_nbformat()["transient"] == {}
    assert shown[5] == {"output_type": "clear_output", "wait": True}


# --- in a notebook


def test_a_result_shows_itself_in_a_notebook() -> None:
    value = ExecuteResult(1, {"text/html": "<b>1</b>", "text/plain": "1"}, {"text/html": {"isolated": True}})
    assert ExecutionResult("ok", (value,), {})._repr_mimebundle_() == (dict(value.data), dict(value.metadata))
    assert ExecutionResult("ok", (Stream("stdout", "a\rb"),), {})._repr_mimebundle_() == ({"text/plain": "b"}, {})
    failed = ExecutionResult("error", (Stream("stdout", "a"), Error("E", "v")), {"status": "error"})
    assert failed._repr_mimebundle_() == ({"text/plain": "a\nE: v"}, {})
    assert ExecutionResult("ok", (), {})._repr_mimebundle_() == ({"text/plain": ""}, {})


def test_several_outputs_stand_one_below_the_other() -> None:
    value = ExecuteResult(1, {"text/html": "<b>1</b>", "text/plain": "1"})
    outputs = (Stream("stdout", "<a>"), PLOT, SVG, value, ExecuteResult(2, {"text/plain": "x<y"}), Error("E", "v", ("T<",)))
    bundle, metadata = ExecutionResult("error", outputs, {})._repr_mimebundle_()
    assert metadata == {}
    assert bundle["text/plain"] == "<a>\n<Figure>\n1\nx<y\nT<"
    image = base64.b64encode(PNG).decode()
    assert bundle["text/html"].split("\n") == [
        "<pre>&lt;a&gt;</pre>",
        f'<img src="data:image/png;base64,{image}">',
        "<svg></svg>",
        "<b>1</b>",
        "<pre>x&lt;y</pre>",
        "<pre>T&lt;</pre>",
    ]


def test_each_output_shows_itself() -> None:
    assert Stream("stderr", "a\rb")._repr_mimebundle_() == {"text/plain": "b"}
    assert Error("E", "v")._repr_mimebundle_() == {"text/plain": "E: v"}
    assert PLOT._repr_mimebundle_() == (dict(PLOT.data), {})
    assert UpdateDisplayData({"text/plain": "1"})._repr_mimebundle_() == ({"text/plain": "1"}, {})


# --- at the edges


def test_a_text_is_shown_whole_up_to_a_length() -> None:
    assert repr(Stream("stdout", "x" * 60)) == f"Stream('stdout', '{'x' * 60}')"
    assert repr(Stream("stdout", "x" * 1061)) == f"Stream('stdout', <'{'x' * 60}'… 1,061 characters>)"


def test_a_repr_says_what_is_beside_the_data_and_nothing_of_what_is_not() -> None:
    assert repr(DisplayData({}, {"m": 1}, "d")) == "DisplayData({}, metadata={'m': 1}, display_id='d')"
    assert repr(ExecuteResult(7, {}, {"m": 1})) == "ExecuteResult(7, {}, metadata={'m': 1})"
    assert repr(Error("E", "v")) == "Error('E', 'v')"
    assert "…" not in repr(result(out("a"), out("b"), out("c")))


def test_half_a_pair_of_surrogates_becomes_bytes() -> None:
    assert DisplayData({"text/html": "a\ud800"}).bytes_of("text/html") == b"a\xed\xa0\x80"


@pytest.mark.parametrize(
    "look",
    [PLOT.bytes_of, result(SVG, PLOT).text_of, DisplayData({"image/jpeg": "no base64!"}).bytes_of],
    ids=["output", "result", "content"],
)
def test_the_type_that_was_asked_for_is_named(look: Callable[[str], object]) -> None:
    with pytest.raises(InvalidInputError, match="image/jpeg"):
        look("image/jpeg")


@pytest.mark.parametrize("outputs", [(SVG, PLOT), (PLOT, out("a"), SVG)], ids=["svg first", "plot first"])
def test_the_types_of_all_outputs_are_named(outputs: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        result(*outputs).text_of("text/html")
    assert all(repr(mime) in str(caught.value) for mime in (*SVG.data, *PLOT.data))


def test_the_lines_of_a_traceback_stand_one_below_the_other() -> None:
    error = Error("E", "v", ("one", "two"))
    assert error._repr_mimebundle_() == {"text/plain": "one\ntwo"}
    assert result(out("a"), error, status="error")._repr_mimebundle_() == ({"text/plain": "a\none\ntwo"}, {})


def test_outputs_that_are_only_text_need_no_page() -> None:
    plain = DisplayData({"text/plain": "x"})
    assert result(out("a"), err("b"), plain, out("c"))._repr_mimebundle_() == ({"text/plain": "ab\nx\nc"}, {})


@pytest.mark.parametrize("mime", ["image/png", "image/jpeg"])
def test_a_picture_stands_in_the_page_as_one_word(mime: str) -> None:
    bundle, _ = result(out("a"), DisplayData({mime: "QUJD\nREVG\n"}))._repr_mimebundle_()
    assert bundle["text/html"] == f'<pre>a</pre>\n<img src="data:{mime};base64,QUJDREVG">'
