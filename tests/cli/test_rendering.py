"""How outputs look on pipes and on terminals."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from trio_gateway import (
    ClearOutput,
    DisplayData,
    Error,
    ExecuteResult,
    ExecutionResult,
    Output,
    OutputGap,
    Stream,
    UpdateDisplayData,
)
from trio_gateway._cli.rendering import Renderer, as_text, gap_message, result_as_dict
from trio_gateway._cli.tables import as_json


@attrs.define(eq=False)
class FakeSink:
    is_terminal: bool
    log: list[str]

    async def write(self, text: str) -> None:
        self.log.append(text)


def plain(text: str) -> dict[str, Any]:
    return {"text/plain": text}


async def shown(
    *outputs: Output,
    terminal: bool,
    colour: bool = False,
    control: bool | None = None,
    forced_colour: bool = False,
    columns: int = 80,
) -> tuple[str, str]:
    """Return what goes to standard output and to standard error."""
    out, err = FakeSink(terminal, []), FakeSink(terminal, [])
    renderer: Any = Renderer(
        out,  # type: ignore[arg-type]
        err,  # type: ignore[arg-type]
        colour=colour,
        control=control,
        forced_colour=forced_colour,
        size=lambda: (columns, 24),
    )
    for output in outputs:
        await renderer.show(output)
    await renderer.finish()
    return "".join(out.log), "".join(err.log)


CONTROL = [
    Stream("stdout", "a\r10%"),
    Stream("stderr", "e\b"),
    Stream("stdout", "\x07\x1b[2"),
    Stream("stdout", "Kz\n"),
    ExecuteResult(1, plain("\x1b]0;t\x07r")),
    Stream("stderr", "\x1b"),
    Error("E", "v", ("\x1b[31mred\x1b[39m \x9b1A\x1bPq\x1b\\",)),
]
AS_IT_IS = "a\r10%\x07\x1b[2Kz\n\x1b]0;t\x07r\n"
FOR_A_LOG = "a\n10%z\nr\n"


@pytest.mark.parametrize("terminal", [False, True])
async def test_with_control_streams_pass_as_they_are(terminal: bool) -> None:
    out, err = await shown(*CONTROL, terminal=terminal, colour=True, control=True)
    assert out.removesuffix("\x1b[0m") == AS_IT_IS
    assert err == "e\b\x1b\n\x1b[31mred\x1b[39m \x9b1A\x1bPq\x1b\\\n"


@pytest.mark.parametrize("terminal", [False, True])
async def test_without_control_no_stream_has_any(terminal: bool) -> None:
    out, err = await shown(*CONTROL, terminal=terminal, colour=True, control=False, forced_colour=True)
    assert (out, err.replace("\n", "")) == (FOR_A_LOG, "ered ")


async def test_control_sequences_reach_a_terminal_and_no_log() -> None:
    out, err = await shown(*CONTROL, terminal=True, colour=True)
    assert out.removesuffix("\x1b[0m") == AS_IT_IS
    assert "\x9b1A" in err
    assert await shown(*CONTROL, terminal=False) == (FOR_A_LOG, "e\nred \n")


async def test_colours_that_are_forced_are_in_a_log_too_and_nothing_else() -> None:
    assert await shown(*CONTROL, terminal=False, colour=True, forced_colour=True) == (FOR_A_LOG, "e\n\x1b[31mred\x1b[39m \n")


async def test_the_end_of_a_cell_shows_what_was_held_back() -> None:
    assert await shown(Stream("stdout", "50%\r"), terminal=False) == ("50%\n", "")
    assert await shown(Stream("stdout", "a\x1b]0;b"), terminal=False) == ("a0;b", "")


@pytest.mark.parametrize("terminal", [False, True])
async def test_a_result_stands_on_lines_of_its_own(terminal: bool) -> None:
    out, _ = await shown(
        Stream("stdout", "no newline"), ExecuteResult(1, plain("42")), Stream("stdout", "x\n"), terminal=terminal
    )
    assert out == "no newline\n42\nx\n"


async def test_on_pipes_each_stream_has_its_own_line_ends() -> None:
    out, err = await shown(Stream("stderr", "no newline"), ExecuteResult(1, plain("42")), terminal=False)
    assert (out, err) == ("42\n", "no newline")


async def test_on_a_terminal_both_streams_share_the_line() -> None:
    out, _ = await shown(Stream("stderr", "no newline"), ExecuteResult(1, plain("42")), terminal=True)
    assert out == "\n42\n"


@pytest.mark.parametrize(("colour", "expected"), [(True, "\x1b[31mred\x1b[39m\nline\n"), (False, "red\nline\n")])
async def test_tracebacks_go_to_stderr_in_colour_only_where_wanted(colour: bool, expected: str) -> None:
    out, err = await shown(Error("E", "v", ("\x1b[31mred\x1b[39m", "line")), terminal=True, colour=colour)
    assert (out.removesuffix("\x1b[0m"), err) == ("", expected)


async def test_an_error_without_traceback_is_told_all_the_same() -> None:
    assert await shown(Error("ValueError", "bad"), terminal=False) == ("", "ValueError: bad\n")


async def test_colours_that_the_code_left_on_are_switched_off_on_a_terminal_only() -> None:
    assert await shown(Stream("stdout", "\x1b[31mred"), terminal=True) == ("\x1b[31mred\x1b[0m", "")
    assert await shown(Stream("stdout", "\x1b[31mred"), terminal=False, control=True) == ("\x1b[31mred", "")


async def test_an_update_of_the_last_display_replaces_it_on_a_terminal() -> None:
    outputs = [
        Stream("stdout", "before\n"),
        DisplayData(plain("one\ntwo"), display_id="d"),
        UpdateDisplayData(plain("2"), display_id="d"),
    ]
    out, _ = await shown(*outputs, terminal=True)
    assert out == "before\none\ntwo\n\r\x1b[2A\x1b[J2\n"


async def test_an_update_is_appended_where_nothing_can_be_taken_back() -> None:
    outputs = [DisplayData(plain("one"), display_id="d"), UpdateDisplayData(plain("two"), display_id="d")]
    assert (await shown(*outputs, terminal=False))[0] == "one\ntwo\n"
    outputs.insert(1, Stream("stdout", "between\n"))
    assert (await shown(*outputs, terminal=True))[0] == "one\nbetween\ntwo\n"
    outputs = [DisplayData(plain("one"), display_id="d"), UpdateDisplayData(plain("two"), display_id="other")]
    assert (await shown(*outputs, terminal=True))[0] == "one\ntwo\n"


async def test_clear_output_erases_all_rows_on_a_terminal() -> None:
    long = "x" * 25  # three rows of ten columns
    out, _ = await shown(Stream("stdout", f"a\n{long}"), ClearOutput(), Stream("stdout", "new"), terminal=True, columns=10)
    assert out == f"a\n{long}\r\x1b[3A\x1b[Jnew"


async def test_wide_characters_and_colours_count_as_the_columns_they_take() -> None:
    out, _ = await shown(Stream("stdout", "\x1b[1m漢字漢字漢\x1b[0m"), ClearOutput(), terminal=True, columns=10)
    assert "\r\x1b[J" in out
    out, _ = await shown(Stream("stdout", "漢字漢字漢字"), ClearOutput(), terminal=True, columns=10)
    assert "\r\x1b[1A\x1b[J" in out
    out, _ = await shown(Stream("stdout", "a\tb\tc"), ClearOutput(), terminal=True, columns=10)
    assert "\r\x1b[1A\x1b[J" in out


async def test_clear_output_that_waits_clears_when_the_next_output_comes() -> None:
    first, clear = Stream("stdout", "old"), ClearOutput(wait=True)
    assert (await shown(first, clear, terminal=True))[0] == "old"
    assert (await shown(first, clear, Stream("stdout", "new"), terminal=True))[0] == "old\r\x1b[Jnew"


async def test_clear_output_does_nothing_on_a_pipe() -> None:
    out, _ = await shown(Stream("stdout", "old\n"), ClearOutput(), Stream("stdout", "new\n"), terminal=False)
    assert out == "old\nnew\n"


@pytest.mark.parametrize("text", ["row\n" * 30, "x\x1b]0;title\x07", "x" * 200_000], ids=["scrolled away", "unknown", "too much"])
async def test_what_can_not_be_erased_safely_stays(text: str) -> None:
    out, _ = await shown(Stream("stdout", text), ClearOutput(), Stream("stdout", "new"), terminal=True)
    assert out.startswith(f"{text}\r\x1b[Knew")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"text/html": "<b>", "text/plain": "p"}, "p"),
        ({"text/plain": ["a\n", "b"]}, "a\nb"),
        ({"text/html": "<b>", "text/markdown": "m"}, "m"),
        ({"text/latex": "$x$"}, "$x$"),
        ({"application/json": {"ä": 1}}, '{\n  "ä": 1\n}'),
        ({"application/vnd.x+json": [1]}, "[\n  1\n]"),
        ({"image/png": "iVBO", "x/\x1b": ""}, "[image/png, x/\\x1b]"),
        ({}, "[nothing]"),
        # What sloppy kernels send.
        ({"text/plain": None, "text/markdown": "m"}, "m"),
        ({"text/plain": {"a": 1}}, '{"a": 1}'),
        ({"text/plain": ["a", 5, None]}, "a5"),
        ({"text/plain": 1.5}, "1.5"),
        ({"application/json": [float("nan"), "\ud800"]}, '[\n  null,\n  "\ufffd"\n]'),
    ],
)
def test_a_bundle_is_shown_in_its_most_readable_form(data: dict[str, Any], expected: str) -> None:
    assert as_text(data) == expected


@pytest.mark.parametrize("mime", ["text/plain", "application/json", "image/png"])
@pytest.mark.parametrize("terminal", [True, False])
async def test_no_value_is_too_odd_to_be_shown(mime: str, terminal: bool) -> None:
    deep: Any = "x"
    for _ in range(3000):
        deep = [deep]
    for value in (None, 5, float("nan"), True, [], {}, "\ud800", ["\udfff", {}], deep, 10**400):
        output = DisplayData({mime: value}, {}, "d")
        out, _ = await shown(
            output, UpdateDisplayData({mime: value}, {}, "d"), ClearOutput(), Stream("stdout", "!"), terminal=terminal
        )
        assert out.endswith("!")
        json.loads(as_json(result_as_dict(ExecutionResult("ok", (output,), {})), ok=True), parse_constant=pytest.fail)


def test_gaps_are_told_with_their_counts() -> None:
    message = gap_message([OutputGap("lost", 3), OutputGap("rate_limited", None, "1000 messages"), OutputGap("reconnected")])
    assert "at most 3 messages may have been lost" in message
    assert "too fast (1000 messages)" in message
    assert "connection broke" in message
    assert "7 more came" in gap_message([OutputGap("overflow", 7)])


def test_a_result_as_json_holds_all_a_script_needs() -> None:
    result = ExecutionResult(
        "error",
        (Stream("stdout", "ü\ud800"), Error("E", "v", ("t",))),
        {"status": "error"},
        4,
        (OutputGap("lost", 2, "why"),),
    )
    assert json.loads(as_json(result_as_dict(result), ok=False)) == {
        "ok": False,
        "status": "error",
        "execution_count": 4,
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": "ü\ufffd"},
            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
        ],
        "error": {"ename": "E", "evalue": "v", "traceback": ["t"]},
        "output_gaps": [{"kind": "lost", "count": 2, "detail": "why"}],
    }
