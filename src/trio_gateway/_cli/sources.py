"""Where code comes from: an argument, standard input or a file, as text that a kernel can be sent.

The one idea: everything is read and checked before a gateway is asked for anything, and an error names whatever is wrong.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from .._errors import InvalidInputError
from .._protocol.code import check_code

__all__ = ["read_file", "read_script", "read_standard_input"]


def read_file(path: Path) -> bytes:
    """Return what the file holds.

    Args:
        path: the file.

    Raises:
        InvalidInputError: it can't be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidInputError("FILE", str(path), f"a file that can be read ({why})") from None


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


def read_standard_input() -> str:
    """Return all of standard input.

    Raises:
        InvalidInputError: there is none, or it is no UTF-8 text.
    """
    if sys.stdin is None:
        raise InvalidInputError("CODE", "-", "code on standard input, which is closed")
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except OSError as error:
        raise InvalidInputError("CODE", "-", f"code on standard input, which can't be read ({error.strerror or error})") from None
    except UnicodeError as error:
        raise InvalidInputError("CODE", "-", f"UTF-8 text on standard input ({error})") from None
    return check_code(text)
