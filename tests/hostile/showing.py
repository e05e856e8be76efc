"""All that an exception shows to somebody: its words, its fields, what it came from, and the locals of each frame on its way.

The one idea: what `pytest -l`, rich or a service that collects errors would print is gathered as text, and a test looks in it for
what must not be there.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Log", "leaks", "shown"]

TESTS = Path(__file__).parents[1]


def shown(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield all texts that an exception, and all that it came from, show; each with where it stands.

    Frames of tests are left out: who writes a secret into a program has it in a variable of the program's.
    """
    seen: set[int] = set()
    waiting: list[tuple[str, BaseException]] = [("", error)]
    while waiting:
        where, error = waiting.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        name = f"{where}{type(error).__name__}"
        yield f"{name}, as text", f"{error} {error!r} {error.args!r} {getattr(error, '__notes__', ())}"
        yield f"{name}, its fields", repr(dict(vars(error)))
        yield f"{name}, as a traceback", "".join(traceback.format_exception(error))
        for frame, line in traceback.walk_tb(error.__traceback__):
            if Path(frame.f_code.co_filename).is_relative_to(TESTS):
                continue
            for variable, value in frame.f_locals.items():
                place = f"{name}, {frame.f_code.co_filename}:{line} {frame.f_code.co_name}: {variable}"
                yield place, _safely(value)
        if isinstance(error, BaseExceptionGroup):
            waiting += [(f"{name} > ", inner) for inner in error.exceptions]
        for attribute in ("__cause__", "__context__"):
            other = getattr(error, attribute)
            if other is not None:
                waiting.append((f"{name} > {attribute} ", other))
        # What a field holds may be an exception too, with frames of its own.
        waiting += [(f"{name} > ", value) for value in vars(error).values() if isinstance(value, BaseException)]


def _safely(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - half made objects
        return f"no repr: {error!r}"


def leaks(texts: Iterator[tuple[str, str]], secrets: list[str]) -> list[str]:
    """Return where a secret, or a part of one that tells something, stands in texts; each with what is around it."""
    pattern = re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True))), re.IGNORECASE)
    return [
        f"{where}: …{text[max(found.start() - 60, 0) : found.end() + 60]!r}…"
        for where, text in dict.fromkeys(texts)
        if (found := pattern.search(text))
    ]


class Log(logging.Handler):
    """Everything that anybody logs, as text: other libraries too."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's text, and what stands beside it."""
        own = {key: value for key, value in vars(record).items() if key.startswith(("gateway.", "proxy."))}
        self.texts.append((f"the log of {record.name}", f"{record.getMessage()} {own}"))
        if record.exc_info and record.exc_info[1] is not None:
            self.texts += shown(record.exc_info[1])
