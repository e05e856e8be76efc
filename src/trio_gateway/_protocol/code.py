"""What a kernel may be asked to run: code, and how it is to run.

The one idea: what no kernel could take is named before anything is sent (guarantee G10).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias

from .._errors import InvalidInputError

__all__ = ["Stdin", "StdinHandler", "check_code", "execute_content"]

StdinHandler: TypeAlias = Callable[[str, bool], str | Awaitable[str]]
"""Answers the kernel's requests for input: called with the prompt, and whether it is for a password, which must not echo."""
Stdin: TypeAlias = StdinHandler | Literal["channel"]
"""What answers requests for input: a handler, or the reader of the channel `Kernel.stdin`."""


def check_code(code: object, *, field: str = "code") -> str:
    """Return the code if a kernel can be asked to run it; raise InvalidInputError if not."""
    if not isinstance(code, str):
        raise InvalidInputError(field, code, f"text (str), not {type(code).__name__}")
    position = code.find("\x00")
    if position >= 0:
        raise InvalidInputError(field, code[max(position - 20, 0) : position + 20], f"no NUL character (at {position})")
    if not code.isascii():
        try:
            code.encode()
        except UnicodeEncodeError as error:
            around = code[max(error.start - 20, 0) : error.start + 20]
            raise InvalidInputError(field, around, f"no lone surrogate (at {error.start})") from None
    return code


def execute_content(
    code: str,
    silent: bool,
    store_history: bool,
    user_expressions: Mapping[str, str] | None,
    stop_on_error: bool,
    stdin: Stdin | None,
) -> Mapping[str, Any]:
    """Return the content of an `execute_request`.

    Args:
        code: the code.
        silent: ask the kernel to publish no output and to keep its counter.
        store_history: whether the kernel keeps the code in its history; silent code it never keeps.
        user_expressions: expressions to evaluate afterwards, by name.
        stop_on_error: whether the kernel drops what waits in its queue if this code fails.
        stdin: what answers the code's requests for input; without it the code must not ask.

    Raises:
        InvalidInputError: a part of it is none that a kernel could run.
    """
    if stdin is not None and stdin != "channel" and not callable(stdin):
        raise InvalidInputError("stdin", stdin, 'a function of a prompt and of whether it is for a password, "channel", or None')
    expressions: dict[str, str] = {}
    if user_expressions is not None:
        if not isinstance(user_expressions, Mapping):
            raise InvalidInputError("user_expressions", user_expressions, "a mapping of names to expressions")
        for name, expression in user_expressions.items():
            if not isinstance(name, str):
                raise InvalidInputError("user_expressions", name, "names that are text (str)")
            expressions[name] = check_code(expression, field=f"user_expressions[{name!r}]")
    return {
        "code": check_code(code),
        "silent": silent,
        "store_history": store_history and not silent,
        "user_expressions": expressions,
        "allow_stdin": stdin is not None,
        "stop_on_error": stop_on_error,
    }
