"""A script as Python runs it: with its arguments, its name, and what stands beside it within reach of `import`.

The one idea: a kernel is not started for a script, so what a script finds in `sys.argv`, `__file__` and `sys.path` is put there
before it runs, over an expression that leaves nothing else behind. Only Python has these names, so only kernels in Python are
given them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

import attrs
import click
import trio

from trio_gateway import Kernel

from .._errors import GatewayError
from .._gateway.placing import ask, value_of

__all__ = ["Script", "dressed_as_script"]

_GIVE_BACK: Final = 2.0
"""How long a kernel that stays may take to forget the script, in seconds."""

_PUT: Final = (
    "(lambda sys, os, json, names, argv, file, folder: ("
    "json.dumps([[str(a) for a in getattr(sys, 'argv', [])], names.get('__file__'), bool(folder) and os.path.isdir(folder)]),"
    "setattr(sys, 'argv', argv),"
    "names.update(__file__=file) if file is not None else names.pop('__file__', None),"
    "sys.path.insert(0, folder) if folder and os.path.isdir(folder) else None"
    ")[0])(__import__('sys'), __import__('os'), __import__('json'), globals(), {argv!r}, {file!r}, {folder!r})"
)
"""Gives the kernel what the script is to find, and returns as JSON what was there before."""
_TAKE: Final = (
    "(lambda sys, json, names, folder: (lambda argv, file, added: ("
    "setattr(sys, 'argv', argv),"
    "names.update(__file__=file) if file is not None else names.pop('__file__', None),"
    "sys.path.remove(folder) if added and folder in sys.path else None"
    ")[0])(*json.loads({before!r})))(__import__('sys'), __import__('json'), globals(), {folder!r})"
)
"""Puts that back."""


@attrs.frozen
class Script:
    """A script, and what it was called with."""

    code: str
    """Its text."""
    file: Path | None = None
    """Its file, as it was named; None: it came on standard input."""
    arguments: tuple[str, ...] = ()
    """What stands after `--`."""

    @property
    def argv(self) -> list[str]:
        """What Python would put into `sys.argv`."""
        return ["-" if self.file is None else str(self.file), *self.arguments]


@asynccontextmanager
async def dressed_as_script(kernel: Kernel, script: Script, *, stays: bool) -> AsyncGenerator[None]:
    """Have a kernel in Python look, while the block lasts, as Python does to a script that it runs.

    `sys.argv` has the script's name and its arguments, `__file__` its absolute path, and its directory is the first of
    `sys.path`, if the kernel's machine has one of that name. A script from standard input has no `__file__`, and no directory.

    Args:
        kernel: the kernel.
        script: the script.
        stays: whether others use the kernel afterwards, so that it has to forget the script.

    Raises:
        click.UsageError: there are arguments, and the kernel is of another language, or does not answer expressions.
        GatewayError: as for each request to the kernel.

    Cancellation: the kernel forgets the script, within seconds.
    """
    info = await kernel.kernel_info()
    language = cast("Mapping[str, Any]", info.get("language_info") or {}).get("name")
    before: object = None
    folder = "" if script.file is None else str(script.file.resolve().parent)
    if language == "python":
        file = None if script.file is None else str(script.file.absolute())
        answer = await ask(kernel, _PUT.format(argv=script.argv, file=file, folder=folder))
        before = value_of(answer)
        if script.arguments and not isinstance(before, str):
            reason = "" if answer is None else f": {answer.get('ename')}: {answer.get('evalue')}"
            raise click.UsageError(f"The kernel could not be given the arguments after --{reason}.")
    elif script.arguments:
        raise click.UsageError(
            f"The arguments after -- are for scripts in Python, and this kernel's language is {language or 'not told'}."
        )
    try:
        yield
    finally:
        if stays and isinstance(before, str):
            with trio.move_on_after(_GIVE_BACK, shield=True), suppress(GatewayError):
                await ask(kernel, _TAKE.format(before=before, folder=folder))
