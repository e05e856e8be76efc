"""Where a fresh kernel works, and whether that is where it was wanted.

The one idea: nobody but the kernel knows its directory. A gateway on another machine, or in a container, has other directories,
or others of the same name, and a Kernel Gateway takes no wish for one. So a kernel in Python is asked, over an expression that
leaves nothing behind, and moved where the directory is the same one for it as for us; of all others it is said why they were not.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from typing import Any, Final, cast

import trio

from .._kernel.kernel import Kernel
from .._threads import run_sync

__all__ = ["ask", "is_the_same", "put_into_place", "value_of"]

_LOOKS: Final = 3
"""How often two looks at a directory that somebody writes to are compared."""


async def put_into_place(kernel: Kernel, directory: str, *, limit: float) -> str | None:
    """Have a fresh kernel work in a directory, if that is there for it.

    A directory of this machine counts only if it is the very same one for the kernel; one that is not there on this machine can
    only be meant for the kernel's.

    Args:
        kernel: the kernel; nobody else uses it yet.
        directory: the directory's absolute path.
        limit: how long the kernel may take to answer, in seconds.

    Returns:
        None if the kernel works there; else why it does not, as the end of a sentence.

    Raises:
        GatewayError: as for each request to the kernel.

    Cancellation: safe.
    """
    with trio.move_on_after(limit):
        return await _put(kernel, directory)
    return f"the kernel did not answer within {limit:g} s"


async def _put(kernel: Kernel, directory: str) -> str | None:
    info = await kernel.kernel_info()
    if cast("Mapping[str, Any]", info.get("language_info") or {}).get("name") != "python":
        return "only kernels in Python can be asked where they work, and moved"
    where = value_of(await ask(kernel, "__import__('os').getcwd()"))
    if not isinstance(where, str):
        return "the kernel does not answer expressions"
    if where == directory:
        return None  # the gateway has honoured the wish
    if await run_sync(os.path.isdir, directory) and not await is_the_same(kernel, directory):
        return f"it works in {where} on its own machine, which has no such directory, or another one"
    answer = await ask(kernel, f"(lambda os: os.chdir({directory!r}))(__import__('os'))")
    if answer is None or answer.get("status") != "ok":
        return f"it works in {where} on its own machine, and could not go there: {(answer or {}).get('evalue', 'no answer')}"
    return None


async def is_the_same(kernel: Kernel, directory: str) -> bool:
    """Say whether a directory is the same one for the kernel as for us, by what no two directories of any machines share.

    Raises:
        GatewayError: as for each request to the kernel.

    Cancellation: safe.
    """
    code = f"(lambda s: [s.st_ino, s.st_mtime_ns, s.st_ctime_ns])(__import__('os').stat({directory!r}))"
    await trio.lowlevel.checkpoint()
    for _ in range(_LOOKS):
        before = _mark(directory)
        theirs = value_of(await ask(kernel, code))
        if not isinstance(theirs, list) or before is None:
            return False
        if theirs in (before, _mark(directory)):
            return True
        if theirs[:1] != before[:1]:
            return False
    return False


def _mark(directory: str) -> list[int] | None:
    try:
        found = os.stat(directory)  # noqa: PTH116 - as it is asked there
    except OSError:
        return None
    return [found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


async def ask(kernel: Kernel, expression: str) -> Mapping[str, Any] | None:
    """Have the kernel evaluate an expression; None where it does not do that. No name, history or counter is left behind.

    Raises:
        GatewayError: as for each request to the kernel.

    Cancellation: interrupts the kernel.
    """
    result = await kernel.execute("", silent=True, store_history=False, user_expressions={"place": expression})
    answers = result.reply.get("user_expressions")
    answer = cast("Mapping[str, object]", answers).get("place") if isinstance(answers, Mapping) else None
    return cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else None


def value_of(answer: Mapping[str, Any] | None) -> object:
    """Return what an expression came to, if it did to something that can be written down."""
    if answer is None or answer.get("status") != "ok":
        return None
    data = answer.get("data")
    try:
        return ast.literal_eval(cast("Mapping[str, str]", data)["text/plain"])
    except (KeyError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None
