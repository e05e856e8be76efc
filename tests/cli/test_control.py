"""Taking control sequences out of what goes to a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._cli.control import ControlFilter, plain_text

CASES = {
    "plain": ("a\tb\nç漢😀\n", "a\tb\nç漢😀\n"),
    "colours": ("\x1b[1;38:2:1:2:3mred\x1b[0m", "red"),
    "cursor": ("a\x1b[2K\x1b[1A\x1b[?25lb\x1b[ q", "ab"),
    "csi of one character": ("a\x9b31mb", "ab"),
    "title": ("a\x1b]0;title\x07b\x1b]2;title\x1b\\c\x1b]2;title\x9cd", "abcd"),
    "title of one character": ("a\x9d0;title\x07b", "ab"),
    "link": ("\x1b]8;;http://h\x1b\\text\x1b]8;;\x1b\\", "text"),
    "clipboard": ("\x1b]52;c;cm0gLXJmIC8=\x07", ""),
    "dcs": ("a\x1bPq#0;2;0;0;0#0~~@@vv\x1b\\b\x90q\x07\x9cc", "abc"),
    "sos, pm, apc": ("a\x1bXx\x1b\\\x1b^x\x1b\\\x1b_x\x1b\\b\x98x\x9c\x9ex\x9c\x9fx\x9c", "ab"),
    "short ones": ("a\x1bc\x1b7\x1b8\x1b=\x1b(B\x1b#8\x1bM\x1b\\b", "ab"),
    "single ones": ("a\x00\x05\x07\x0b\x0c\x0e\x0f\x18\x1a\x7f\x84\x85\x8d\x9cb", "ab"),
    "backspace": ("e\bé\b\b", "eé"),
    "carriage return": ("\r 10%\r 20%\r\r100%\n", " 10%\n 20%\n100%\n"),
    "carriage return and line feed": ("a\r\nb\r\r\n\r\nc\r", "a\nb\n\nc\n"),
    "carriage return at a line's beginning": ("a\n\rb", "a\nb"),
    "carriage return that hides": ("bad\rgood", "bad\ngood"),
    "no end": ("a\x1b]0;b\nc\x1b[1\nd\x1b\ne\x90f\ng\x1bPh", "a0;b\nc1\nd\ne" + "f\ngh"),
    "broken off": ("a\x1b]0;b\x1b[31mc\x9d1\x9d2", "a0;bc12"),
    "no sequence": ("\x1bé\x1b[é\x9bé", "ééé"),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_what_a_terminal_would_obey_is_taken_out_wherever_it_is_cut(text: str, expected: str) -> None:
    whole = ControlFilter()
    assert whole.feed(text) + whole.flush() == expected
    single = ControlFilter()
    assert "".join([*map(single.feed, text), single.flush()]) == expected


@given(st.lists(st.text(st.sampled_from("a;0\n\r\b\x1b[]P\\m\x07\x9b\x9c\x9d\x90é"), max_size=12), max_size=6))
def test_nothing_is_left_that_a_terminal_obeys_and_cuts_change_nothing(pieces: list[str]) -> None:
    whole, cut = ControlFilter(), ControlFilter()
    shown = whole.feed("".join(pieces)) + whole.flush()
    assert "".join([*map(cut.feed, pieces), cut.flush()]) == shown
    assert not any((character < " " and character != "\n") or "\x7f" <= character <= "\x9f" for character in shown)
    assert shown.count("\n") >= "".join(pieces).count("\n")


def test_colours_may_stay() -> None:
    colours = ControlFilter(keep_colours=True)
    assert colours.feed("\x1b[31mred\x1b[0m\x1b[2J\x1b]0;t\x07\x1b[>4;1m") == "\x1b[31mred\x1b[0m"


def test_a_sequence_that_does_not_end_is_not_waited_for_for_ever() -> None:
    waiting = ControlFilter()
    shown = "".join([waiting.feed("\x1b]0;" + "x" * 1000), *[waiting.feed("x" * 1000) for _ in range(100)]])
    assert len(shown) > 60_000
    assert set(shown) == {"0", ";", "x"}


def test_a_line_full_of_beginnings_takes_no_longer_than_another() -> None:
    for text in ("\x9d" * 300_000, "\x1b]" * 300_000, "\r" * 300_000, "\x1bP" + "x" * 300_000, "\x1b[" + "1" * 300_000):
        many = ControlFilter()
        assert not set(many.feed(text) + many.flush()) - {"x", "1"}


def test_a_whole_text_is_plain() -> None:
    assert plain_text("\x1b[31mred\x1b[0m\r\nprogress\rdone\x00 \ud800\x1b[3") == "red\nprogress\ndone \ufffd3"
