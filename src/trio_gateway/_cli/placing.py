"""Where a kernel works, and whether that is where it was wanted.

The one idea: nobody but the kernel knows its directory. A gateway on another machine, or in a container, has other directories,
or others of the same name, and a Kernel Gateway takes no wish for one. So a fresh kernel in Python is asked, over an expression
that leaves nothing behind, and moved; of all others it is said that they were not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from trio_gateway import Kernel

from .._errors import InvalidInputError
from .._gateway.placing import ask, is_the_same, value_of
from .options import Options

__all__ = ["Place", "place_named", "put_into_place"]


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
        answer = await ask(kernel, f"(lambda os: os.chdir({path!r}))(__import__('os'))")
        if answer is not None and answer.get("status") == "error":
            reason = f"{answer.get('ename')}: {answer.get('evalue')}"
            raise InvalidInputError(place.option, path, f"a directory on the kernel's machine ({reason})")
        if answer is None:
            options.warn(f"whether the kernel works in {path} is not known: it does not answer expressions")
    elif await is_the_same(kernel, path):
        await ask(kernel, f"(lambda os: os.chdir({path!r}))(__import__('os'))")
    else:
        where = value_of(await ask(kernel, "__import__('os').getcwd()"))
        found = f"works in {where} on its own machine" if isinstance(where, str) else "works where its gateway has it"
        options.say(f"The kernel {found}, not in {place.what}: it has no {path}, or another one.")


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
