"""Takes control characters and sequences out of text, for a log. Pure: no stream in here.

The one idea: what a terminal would obey is taken out, and what a person would read stays. Where nothing distinguishes the two, as
in a sequence that has no end, it stays: a log that shows too much is better than one that lacks a line.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ControlFilter", "plain_text"]

# ECMA-48. The C1 controls, U+0080 to U+009F, are the same as ESC and a letter.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# No line's end and no other control character: what lacks its end costs no line, and is read only once.
_BODY: Final = "[^\x00-\x06\x0a\x0e-\x1f\x7f-\x9f]*?"
_SEQUENCE: Final = re.compile(
    "|".join(
        [
            r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]",  # CSI: colours, moves of the cursor
            rf"(?:\x1b\]|\x9d){_BODY}(?:\x07|\x1b\\|\x9c)",  # OSC: titles, links, the clipboard
            rf"(?:\x1b[PX^_]|[\x90\x98\x9e\x9f]){_BODY}(?:\x1b\\|\x9c)",  # DCS, SOS, PM, APC: pictures, settings
            r"\x1b[ -/]+[0-~]",  # character sets and the like
            r"\x1b[0-OQ-WYZ\\`-~]",  # all else of two characters
        ]
    )
)
_BEGINNING: Final = re.compile(
    rf"(?:\x1b\]|\x9d){_BODY}\x1b?\Z|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f]){_BODY}\x1b?\Z|(?:\x1b\[|\x9b)[0-?]*[ -/]*\Z|\x1b[ -/]*\Z"
)
_INTRODUCER: Final = re.compile(r"\x1b[\[\]PX^_]?|[\x80-\x9f]")
_NO_UTF8: Final = re.compile("[\ud800-\udfff]")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*m")
_MAX_HELD: Final = 1 << 16
"""How many characters of a sequence whose end has not come are held back."""


class ControlFilter:
    r"""Takes control characters and sequences out of text that comes in pieces, wherever it is cut.

    Tabs and the ends of lines stay. A carriage return, with which a program writes over a line, ends it instead, so each state of
    a progress bar is a line; before the end of a line, or at the beginning of one, it is nothing. All else below U+0020, U+007F
    and U+0080 to U+009F is taken out, a backspace too: what it would have written over stays. So are sequences as a whole: CSI,
    OSC, DCS, SOS, PM, APC and the short ones, whether they begin with ESC or with a C1 control. Of a sequence that is not
    complete at the end of its line only the beginning is taken out, and its text stays.

    Args:
        keep_colours: leave sequences that set colours and styles (SGR).
    """

    def __init__(self, *, keep_colours: bool = False) -> None:
        self._keep_colours = keep_colours
        self._held = ""
        self._line_is_empty = True

    def feed(self, text: str) -> str:
        """Return what is to be shown now. The beginning of a sequence, or a carriage return, waits for what follows it."""
        return self._filtered(self._held + text, more=True)

    def flush(self) -> str:
        """Return what is to be shown of what was held back: nothing follows it."""
        return self._filtered(self._held, more=False)

    def _filtered(self, text: str, *, more: bool) -> str:
        self._held = ""
        shown: list[str] = []
        position = 0
        while (found := _CONTROL.search(text, position)) is not None:
            start = found.start()
            self._show(shown, text[position:start])
            if found[0] == "\r":
                position = next((i for i in range(start, len(text)) if text[i] != "\r"), len(text))
                if position == len(text) and more:
                    self._held = "\r"
                elif not self._line_is_empty and text[position : position + 1] != "\n":
                    self._show(shown, "\n")
            elif (sequence := _SEQUENCE.match(text, start)) is not None:
                if self._keep_colours and _COLOUR.fullmatch(sequence[0]):
                    shown.append(sequence[0])
                position = sequence.end()
            elif more and len(text) - start <= _MAX_HELD and _BEGINNING.match(text, start):
                self._held = text[start:]
                position = len(text)
            else:
                introducer = _INTRODUCER.match(text, start)
                position = start + 1 if introducer is None else introducer.end()
        self._show(shown, text[position:])
        return "".join(shown)

    def _show(self, shown: list[str], text: str) -> None:
        if text:
            shown.append(text)
            self._line_is_empty = text.endswith("\n")


def plain_text(text: str) -> str:
    """Return a whole text without control characters and sequences, as `ControlFilter` takes them out, and which UTF-8 has."""
    wanted = ControlFilter()
    return _NO_UTF8.sub("\ufffd", wanted.feed(text) + wanted.flush())
