"""Where code comes from: an argument, standard input or a file, as text that a kernel can be sent.

The one idea: everything is read and checked before a gateway is asked for anything, and an error names whatever is wrong.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

from .._errors import InvalidInputError
from .._protocol.code import check_code

__all__ = ["code_of", "is_notebook", "read_file", "read_script", "read_standard_input"]


def read_file(path: Path, *, field: str = "FILE") -> bytes:
    """Return what the file holds.

    Args:
        path: the file.
        field: what names it on the command line, for errors.

    Raises:
        InvalidInputError: it can't be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidInputError(field, str(path), f"a file that can be read ({why})") from None


def read_script(path: Path) -> str:
    """Return a script's text. Python files may name their encoding as Python lets them; all else is UTF-8.

    Raises:
        InvalidInputError: it can't be read, or it is no text.
    """
    data = read_file(path)
    try:
        text = importlib.util.decode_source(data) if path.suffix == ".py" else data.decode("utf-8-sig")
    except (UnicodeError, SyntaxError) as error:  # SyntaxError: an encoding that does not exist
        raise InvalidInputError("FILE", str(path), f"a text file in UTF-8 ({error})") from None
    return check_code(text)


def read_standard_input() -> bytes:
    """Return all of standard input.

    Raises:
        InvalidInputError: there is none, or it can't be read.
    """
    if sys.stdin is None:
        raise InvalidInputError("CODE", "-", "code on standard input, which is closed")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InvalidInputError("CODE", "-", f"code on standard input, which can't be read ({error.strerror or error})") from None


def code_of(data: bytes) -> str:
    """Return what came on standard input as code.

    Raises:
        InvalidInputError: it is no UTF-8 text, or none that a kernel takes.
    """
    try:
        return check_code(data.decode("utf-8-sig"))
    except UnicodeError as error:
        raise InvalidInputError("CODE", "-", f"UTF-8 text on standard input ({error})") from None


def is_notebook(data: bytes) -> bool:
    """Say whether what came on standard input is a notebook and no script: a JSON object with the key `nbformat`."""
    if not re.match(rb"(\xef\xbb\xbf)?\s*{", data):
        return False
    try:
        found: object = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        return False
    return isinstance(found, dict) and "nbformat" in found
