"""Notebook files: reading one with every check, and writing one that is never half written.

The one idea: whatever is wrong with a file is told with its name before anything runs, and a file that is written is replaced
as a whole, so that a crash at any moment leaves the old content or the new.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, cast

import nbformat
import nbformat.reader
import nbformat.v4
import nbformat.validator

from .._errors import InvalidInputError
from .sources import read_file

__all__ = ["NotebookFile", "read_notebook", "to_json"]

_nbformat: Any = nbformat  # most of its functions have no annotations

_OLDEST: Final = 3
_NEWEST: Final = 4


def read_notebook(path: Path) -> tuple[Any, int]:
    """Read and check a notebook. One of format 3 is upgraded in memory; any minor version of format 4 is kept as it is.

    Returns:
        The notebook, and the major version of the format that the file has.

    Raises:
        InvalidInputError: the file can't be read, is not JSON, or not a notebook of a known version.
    """
    data = read_file(path)
    try:
        document: object = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise _wrong(path, f"a notebook, which is JSON ({error})") from None
    if not isinstance(document, dict) or "nbformat" not in document:
        raise _wrong(path, "a notebook, which is a JSON object with the key nbformat")
    major: object = cast("dict[str, Any]", document)["nbformat"]
    if not isinstance(major, int) or not _OLDEST <= major <= _NEWEST:
        raise _wrong(path, f"a notebook of format {_OLDEST} or {_NEWEST}, not of format {major!r:.40}")
    try:
        return _checked(data.decode("utf-8-sig")), major
    except nbformat.ValidationError as error:
        raise _wrong(path, f"a valid notebook ({_complaint(error)})") from None
    except (AssertionError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        # nbformat takes the notebook's shape for granted while it brings it into the form that it can validate, and copies it
        # with a stack that JSON's reader does without.
        raise _wrong(path, f"a valid notebook ({type(error).__name__}: {error})") from None


def _checked(text: str) -> Any:
    with warnings.catch_warnings():
        # Cells without an id get one, as format 4.5 wants; nobody needs to hear of it.
        warnings.simplefilter("ignore")
        notebook = _nbformat.reader.reads(text)
        if notebook.nbformat != _NEWEST:
            notebook = _nbformat.convert(notebook, _NEWEST)
        _, notebook = nbformat.validator.normalize(notebook)
        nbformat.validate(notebook)
    return notebook


def _complaint(error: Any) -> str:
    """Say what a schema's validator found, and where."""
    where = "".join([f"[{step!r}]" for step in getattr(error, "relative_path", ())])
    return f"{where}: {error.message:.200}" if where else f"{error.message:.200}"


def _wrong(path: Path, expected: str) -> InvalidInputError:
    return InvalidInputError("FILE", str(path), expected)


def to_json(notebook: Any) -> bytes:
    """Return the notebook as its file holds it."""
    try:
        return f"{_nbformat.v4.writes(notebook)}\n".encode()
    except UnicodeError:  # a lone surrogate, which JSON can hold as an escape only
        return f"{_nbformat.v4.writes(notebook, ensure_ascii=True)}\n".encode()


class NotebookFile:
    """A file to write a notebook to, many times over.

    A symbolic link stays one: the file that it points to is replaced. The file's permissions are kept; a new file's are the usual
    ones, and no wider than those of the notebook that it is made from. At no moment can more people read it.

    Args:
        path: the file, which may exist or not.
        origin: the notebook that it is made from; None where there is none.

    Raises:
        InvalidInputError: nothing can be written there.
    """

    path: Path
    """The file, as it was named."""
    is_special: bool
    """Whether it is a device or a pipe: it can't be replaced, so it should be written to only once."""

    def __init__(self, path: Path, origin: Path | None = None) -> None:
        self.path = path
        self._origin = origin
        with self._told():
            with contextlib.suppress(FileNotFoundError):
                path.stat()  # what links in a circle do to `resolve` depends on Python's version
            self._target = path.resolve()
            self.is_special = path.exists() and not path.is_file()
            if path.is_dir():
                raise InvalidInputError("--output", str(path), "a file, not a folder")
            if not self.is_special:
                # Found out now, not after an hour's work.
                descriptor, temporary = self._create()
                os.close(descriptor)
                temporary.unlink()

    def write(self, content: bytes) -> None:
        """Replace the file's content in one step.

        Raises:
            InvalidInputError: it can't be written; the old content is still there.
        """
        with self._told():
            if self.is_special:
                self.path.write_bytes(content)
                return
            descriptor, temporary = self._create()
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(descriptor)
                with contextlib.suppress(FileNotFoundError):
                    shutil.copymode(self._target, temporary)
                temporary.replace(self._target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def _create(self) -> tuple[int, Path]:
        """Create a new file beside the target: closed where there is a target, whose permissions it gets; else a usual one."""
        temporary = self._target.with_name(f".{self._target.name[:100]}.{secrets.token_hex(6)}.tmp")
        mode = 0o600 if self._target.exists() else self._usual_mode()
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode), temporary

    def _usual_mode(self) -> int:
        try:
            found = 0o666 if self._origin is None else self._origin.stat().st_mode
        except OSError:  # it was deleted meanwhile
            return 0o600
        return (found & 0o666) | 0o600

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            if isinstance(error, InvalidInputError):
                raise
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise InvalidInputError("--output", str(self.path), f"a file that can be written ({why})") from None
