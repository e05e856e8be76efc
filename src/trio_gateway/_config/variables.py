"""Variables of the environment that look like settings and are none.

The one idea: a person who mistypes a variable's name hears nothing of it, so there must be a way to ask.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from .config import settings_variables

__all__ = ["unknown_variables"]

_PREFIX: Final = "JUPYTER_GATEWAY"
_MOST: Final = 3


def unknown_variables(environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Find the variables that begin as a setting's do, and that nothing reads.

    Args:
        environ: the environment; its values are not looked at.

    Returns:
        For each such name those of the settings that are near it, the nearest first, at most three; in alphabetical order.
    """
    known = settings_variables()
    strays = [name for name in environ if name not in known and _bare(name).startswith(_bare(_PREFIX))]
    return {name: _near(name, known) for name in sorted(strays)}


def _bare(name: str) -> str:
    return name.upper().replace("_", "").replace("-", "")


def _near(name: str, known: frozenset[str]) -> tuple[str, ...]:
    """Name what differs in case and underscores; else what has all its words, and fewest more; else what is spelled alike."""
    alike = [there for there in sorted(known) if _bare(there) == _bare(name)]
    if alike:
        return tuple(alike)
    words = set(name.upper().split("_"))
    more = {}
    for there in sorted(known):
        its = set(there.split("_"))
        if all(difflib.get_close_matches(word, its, n=1, cutoff=0.8) for word in words):
            more[there] = len(its - words)
    if more:
        return tuple(there for there, count in more.items() if count == min(more.values()))[:_MOST]
    ends = {_bare(there).removeprefix(_bare(_PREFIX)): there for there in sorted(known)}
    close = difflib.get_close_matches(_bare(name).removeprefix(_bare(_PREFIX)), ends, n=1, cutoff=0.8)
    return tuple(ends[end] for end in close)
