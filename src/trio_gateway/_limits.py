"""What is said to a caller who gives what other libraries for kernels take and this one does not, `timeout` before all.

The one idea: people write first what they know. Nothing of the library takes a `timeout`, because a limit is put around a call,
as with `trio.fail_after`; and jupyter_client's methods have arguments that are not needed here, or are called otherwise. Python's
own error says only that such an argument is unexpected.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from ._secret import hide_values

__all__ = ["IN_ANYIO", "IN_BLOCKING", "points_to_limits", "waits"]

IN_ANYIO: Final = "anyio.fail_after"
IN_BLOCKING: Final = "trio_gateway.blocking.fail_after"
_IN_TRIO: Final = "trio.fail_after"
_BLOCKS: Final = ("AbstractAsyncContextManager", "AsyncGenerator", "AsyncIterator")
"""What a method gives that is to be waited in."""
_STDIN: Final = "give `stdin` a function that answers the code's requests for input; without one each is an error in the kernel"
_STREAM: Final = "read the outputs as they come from `stream()`"
_NOW: Final = "leave it out: the gateway asks the kernel to end, and kills one that does not"
_RESTART: Final = "leave it out: the gateway has its own way to restart a kernel"
_REPLY: Final = "leave it out: each call waits for its reply and gives its content"
_NAME: Final = "the kernelspec's name is called `name`, and may stand first"
_INSTEAD: Final[Mapping[str, Mapping[str, str]]] = {
    "execute": {"allow_stdin": _STDIN, "stdin_hook": _STDIN, "output_hook": _STREAM, "reply": _REPLY},
    "stream": {"allow_stdin": _STDIN, "stdin_hook": _STDIN, "output_hook": "iterate over what the block gives", "reply": _REPLY},
    "start_kernel": {"kernel_name": _NAME},
    "start": {"kernel_name": _NAME},
    "shutdown": {"now": _NOW, "restart": "leave it out: `restart()` is a method of its own"},
    "shutdown_all": {"now": _NOW},
    "restart": {"now": _RESTART, "newports": _RESTART},
    **{name: {"reply": _REPLY} for name in ("complete", "inspect", "history", "is_complete", "comm_info", "kernel_info")},
}
"""By method and argument: what to do where jupyter_client has that argument and the method does not."""

T = TypeVar("T")


def points_to_limits(cls: type[T], limit: str = _IN_TRIO, waiting: Collection[str] | None = None) -> type[T]:
    """Have the public methods of a class that wait, or that give a block, say what goes where; a class decorator.

    They say where a limit goes, and what stands for jupyter_client's arguments that they don't take.

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

    instead = {name: words for name, words in _INSTEAD.get(function.__name__, {}).items() if name not in taken}

    def check(given: dict[str, Any]) -> None:
        if "env" in given:
            given["env"] = hide_values(given["env"])  # these are locals of a frame too, and its values may be secrets
        if "timeout" in given:
            raise TypeError(_advice(function.__name__, given["timeout"], limit, starts="launch_timeout" in taken))
        for name in given:
            if name in instead:
                raise TypeError(f"{function.__name__}() takes no {name}: {instead[name]}")

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
