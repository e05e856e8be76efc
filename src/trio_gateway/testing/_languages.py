"""How things are said in a kernel's language: the code of the scenarios.

The one idea: a scenario says what is to happen, such as `sleep` or `fail`, and a table has the code for it in each language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

__all__ = ["LANGUAGES", "Language"]


@attrs.frozen
class Language:
    """How some things are said in a language."""

    answer: str
    """Gives 42, as a value or as a line."""
    lines: str
    """Prints 0 to 9, each on a line, a tenth of a second apart."""
    fail: str
    """Raises an error."""
    both_streams: str
    """Prints `out` and `err`, each where it belongs."""
    sleep: str
    """Takes a minute."""
    set_x: str
    get_x: str
    """Keeps and gives 7; fails if nothing was kept."""
    large: str
    """Prints 3,000,000 characters at once; in bash 300,000."""
    many: str
    """Prints 6,000 lines one by one."""
    die: str = ""
    """Ends the kernel's process."""
    ask: str = ""
    """Asks `name? ` and gives the answer."""
    until_go: str = ""
    """Ends when other code of the kernel has run `go`, or fails after half a minute."""
    go: str = ""
    """Lets it end."""


LANGUAGES: Final[Mapping[str, Language]] = {
    "python": Language(
        answer="6 * 7",
        lines="import time\nfor i in range(10):\n    print(i, flush=True)\n    time.sleep(0.1)",
        fail="1 / 0",
        both_streams="import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr, flush=True)",
        sleep="import time; time.sleep(60)",
        set_x="x = 7",
        get_x="x",
        large="print('x' * 3_000_000)",
        many="for i in range(6000): print(i, flush=True)",
        die="import os; os._exit(1)",
        ask="input('name? ')",
        until_go="import time\nfor i in range(600):\n    if globals().pop('go', 0): break\n    time.sleep(0.05)\nelse: 1 / 0",
        go="go = 1",
    ),
    "bash": Language(
        answer="echo 42",
        lines="for i in 0 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.1; done",
        fail="false",
        both_streams="echo out; echo err >&2",
        sleep="sleep 60",
        set_x="x=7",
        get_x='test -n "$x" && echo $x',
        large="printf 'x%.0s' $(seq 300000)",
        many="seq 6000",
    ),
}  # fmt: skip
