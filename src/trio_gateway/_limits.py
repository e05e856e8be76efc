"""What is said to a caller who gives a `timeout` to what takes none.

The one idea: nothing of the library takes one, because a limit is put around a call, as with `trio.fail_after`; but most other
libraries for kernels do, so it is what people write first, and Python's own error says only that it is unexpected.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from ._secret import hide_values

__all__ = ["IN_ANYIO", "IN_BLOCKING", "points_to_limits", "waits"]

IN_ANYIO: Final = "anyio.fail_after"
IN_BLOCKING: Final = "trio_gateway.blocking.fail_after"
_IN_TRIO: Final = "trio.fail_after"
_BLOCKS: Final = ("AbstractAsyncContextManager", "AsyncGenerator", "AsyncIterator")
"""What a method gives that is to be waited in."""

T = TypeVar("T")


def points_to_limits(cls: type[T], limit: str = _IN_TRIO, waiting: Collection[str] | None = None) -> type[T]:
    """Have the public methods of a class that wait, or that give a block, say where a limit goes; a class decorator.

    Their signatures stay as they are, for people and for type checkers.

    Args:
        cls: the class. Methods that it inherits are left alone.
        limit: what limits the calls of this class's users.
        waiting: the names of the methods that wait; None where that can be seen of them.
    """
    for name, member in list(vars(cls).items()):
        if not name.startswith("_") and inspect.isfunction(member) and (waits(member) if waiting is None else name in waiting):
            setattr(cls, name, _pointing(member, limit))
    return cls


def waits(function: Callable[..., Any]) -> bool:
    """Say whether a method of a Trio class waits, or gives something to be waited in."""
    return inspect.iscoroutinefunction(function) or str(inspect.signature(function).return_annotation).startswith(_BLOCKS)


def _pointing(function: Callable[..., Any], limit: str) -> Callable[..., Any]:
    taken = inspect.signature(function).parameters
    if "timeout" in taken or any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return function  # it takes one, or names of its users' own, such as those of a function's arguments

    def check(given: dict[str, Any]) -> None:
        if "env" in given:
            given["env"] = hide_values(given["env"])  # these are locals of a frame too, and its values may be secrets
        if "timeout" in given:
            raise TypeError(_advice(function.__name__, given["timeout"], limit, starts="launch_timeout" in taken))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **arguments: Any) -> Any:
            if arguments:
                check(arguments)
            return await function(*args, **arguments)

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **arguments: Any) -> Any:
        if arguments:
            check(arguments)
        return function(*args, **arguments)

    return called


def _advice(name: str, timeout: object, limit: str, *, starts: bool) -> str:
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    around = f"`with {limit}({timeout if number else 'seconds'}):`"
    if starts:
        start = f"launch_timeout={timeout}" if number else "launch_timeout"
        return f"{name}() takes no timeout: {start} limits the start, and {around} all that is inside it"
    if timeout is None:
        return f"{name}() takes no timeout: leave it out, or put a limit around the call, {around}"
    return f"{name}() takes no timeout: put the limit around the call, {around}"
