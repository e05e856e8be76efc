"""Where a kernel works, and whether that is where it was wanted.

The one idea: nobody but the kernel knows its directory. A gateway on another machine, or in a container, has other directories,
or others of the same name, and a Kernel Gateway takes no wish for one. So a fresh kernel in Python is asked, over an expression
that leaves nothing behind, and moved; of all others it is said that they were not.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import attrs

from trio_gateway import Kernel

from .._errors import InvalidInputError
from .options import Options

__all__ = ["Place", "place_named", "put_into_place"]

_LOOKS: Final = 3
"""How often two looks at a directory that somebody writes to are compared."""


@attrs.frozen
class Place:
    """A directory that a kernel is to work in."""

    directory: Path
    """Its absolute path."""
    option: str = ""
    """The option that names it; `""` where nobody did: then it counts only if it is the same directory for us and the kernel."""
    what: str = ""
    """What it is, where nobody named it: "the notebook's directory"."""


def place_named(directory: Path) -> Place:
    """Return the place that `--cwd` names."""
    return Place(directory.absolute(), option="--cwd")


async def put_into_place(options: Options, kernel: Kernel, place: Place) -> None:
    """Have a fresh kernel of a gateway that is not ours work in a directory, or say that it does not.

    Args:
        options: for what is said.
        kernel: the kernel; nobody else uses it yet.
        place: the directory.

    Raises:
        InvalidInputError: the directory was asked for by name, and the kernel can't go there.
        GatewayError: as for each request to the kernel.

    Cancellation: safe.
    """
    info = await kernel.kernel_info()
    language = cast("Mapping[str, Any]", info.get("language_info") or {}).get("name")
    path = str(place.directory)
    if language != "python":
        words = f"whether the kernel works in {path} is not known: only kernels in Python can be asked, and moved there"
        (options.warn if place.option else options.say)(words if place.option else _sentence(words))
        return
    if place.option:
        answer = await _ask(kernel, f"(lambda os: os.chdir({path!r}))(__import__('os'))")
        if answer is not None and answer.get("status") == "error":
            reason = f"{answer.get('ename')}: {answer.get('evalue')}"
            raise InvalidInputError(place.option, path, f"a directory on the kernel's machine ({reason})")
        if answer is None:
            options.warn(f"whether the kernel works in {path} is not known: it does not answer expressions")
    elif await _is_the_same(kernel, place.directory):
        await _ask(kernel, f"(lambda os: os.chdir({path!r}))(__import__('os'))")
    else:
        where = _value(await _ask(kernel, "__import__('os').getcwd()"))
        found = f"works in {where} on its own machine" if isinstance(where, str) else "works where its gateway has it"
        options.say(f"The kernel {found}, not in {place.what}: it has no {path}, or another one.")


async def _is_the_same(kernel: Kernel, directory: Path) -> bool:
    """Whether a directory is the same one for the kernel as for us: by what no two directories of any machines have in common."""
    code = f"(lambda s: [s.st_ino, s.st_mtime_ns, s.st_ctime_ns])(__import__('os').stat({str(directory)!r}))"
    for _ in range(_LOOKS):
        before = _mark(directory)
        theirs = _value(await _ask(kernel, code))
        if not isinstance(theirs, list) or before is None:
            return False
        if theirs in (before, _mark(directory)):
            return True
        if theirs[:1] != before[:1]:
            return False
    return False


def _mark(directory: Path) -> list[int] | None:
    try:
        found = os.stat(directory)  # noqa: PTH116 - as it is asked there
    except OSError:
        return None
    return [found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


async def _ask(kernel: Kernel, expression: str) -> Mapping[str, Any] | None:
    """Have the kernel evaluate an expression; None where it does not do that. No name, history or counter is left behind."""
    result = await kernel.execute("", silent=True, store_history=False, user_expressions={"place": expression})
    answers = result.reply.get("user_expressions")
    answer = cast("Mapping[str, object]", answers).get("place") if isinstance(answers, Mapping) else None
    return cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else None


def _value(answer: Mapping[str, Any] | None) -> object:
    """Return what an expression came to, if it did to something that can be written down."""
    if answer is None or answer.get("status") != "ok":
        return None
    data = answer.get("data")
    try:
        return ast.literal_eval(cast("Mapping[str, str]", data)["text/plain"])
    except (KeyError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
