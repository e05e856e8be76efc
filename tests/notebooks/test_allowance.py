"""What is kept of a cell's output where there is a limit, and what is counted as cut."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway import ClearOutput, DisplayData, Error, ExecuteResult, Output, Stream, UpdateDisplayData
from trio_gateway._notebooks.allowance import Allowance

CLEAR, CLEAR_NEXT = ClearOutput(), ClearOutput(wait=True)


def out(text: str) -> Stream:
    return Stream("stdout", text)


def show(display_id: str | None = None) -> DisplayData:
    return DisplayData({"text/plain": "x"}, display_id=display_id)


def update(display_id: str) -> UpdateDisplayData:
    return UpdateDisplayData({"text/plain": "y"}, display_id=display_id)


def test_text_is_kept_up_to_the_limit_and_what_is_cut_is_counted() -> None:
    allowance = Allowance(10)
    assert [allowance.cut(out(text), 0) for text in ("12345", "6789", "abc", "d")] == [out("12345"), out("6789"), out("a"), None]
    assert allowance.dropped == 2


@pytest.mark.parametrize(("text", "kept"), [("ääää", "ää"), ("a€€", "a€"), ("\ud800€€", "?€"), ("🎉🎉", "🎉")])
def test_no_character_is_cut_in_two(text: str, kept: str) -> None:
    allowance = Allowance(5)
    assert allowance.cut(out(text), 0) == out(kept)
    assert allowance.dropped == 1


def test_a_limit_that_is_reached_to_the_byte_cuts_nothing() -> None:
    allowance = Allowance(6)
    assert [allowance.cut(out("ää"), 0), allowance.cut(show(), 2)] == [out("ää"), show()]
    assert allowance.dropped == 0
    assert allowance.cut(out(""), 0) == out("")


def test_what_is_no_text_is_kept_whole_or_not_at_all() -> None:
    allowance = Allowance(100)
    assert [allowance.cut(show(), size) for size in (60, 60, 40, 1)] == [show(), None, show(), None]
    assert allowance.dropped == 2


def test_what_is_cleared_makes_room() -> None:
    allowance = Allowance(10)
    for clear in (CLEAR, CLEAR_NEXT):
        assert allowance.cut(out("0123456789"), 0) == out("0123456789")
        assert allowance.cut(out("x"), 0) is None
        assert allowance.cut(clear, 0) == clear
    assert allowance.cut(update("d"), 1) is None, "what is cleared next is still there: an update clears nothing"
    assert allowance.cut(out("x"), 0) == out("x")


def test_what_is_updated_counts_once() -> None:
    allowance = Allowance(100)
    assert allowance.cut(show("d"), 50) == show("d")
    for size in (60, 100, 100, 10) * 10:
        assert allowance.cut(update("d"), size) == update("d")
    assert allowance.cut(update("d"), 101) is None
    assert allowance.cut(show("d"), 90) == show("d"), "another place under the same id is more"
    assert allowance.cut(update("another cell's"), 1) is None
    assert allowance.dropped == 2


def test_how_the_cell_ended_is_kept_beyond_the_limit() -> None:
    allowance = Allowance(10)
    error = Error("E", "v", ("x" * 1000,))
    assert [allowance.cut(error, 1000), allowance.cut(error, 1000), allowance.cut(out("x"), 0)] == [error, None, None]
    assert allowance.cut(CLEAR, 0) == CLEAR
    assert allowance.cut(error, 1000) == error


@given(
    st.lists(
        st.tuples(
            st.sampled_from([out("x"), out("xyz"), out("€"), show(), show("a"), update("a"), update("b"), CLEAR, CLEAR_NEXT])
            | st.builds(out, st.text(max_size=20)),
            st.integers(0, 30),
        )
    ),
    st.integers(1, 40),
)
def test_without_errors_no_more_is_ever_shown_than_the_limit(outputs: list[tuple[Output, int]], limit: int) -> None:
    allowance, unlimited = Allowance(limit), Allowance(math.inf)
    for output, size in outputs:
        kept = allowance.cut(output, size)
        assert unlimited.cut(output, size) == output
        assert allowance._size <= limit
        assert isinstance(output, ExecuteResult) or kept is None or type(kept) is type(output)
    assert unlimited.dropped == 0
