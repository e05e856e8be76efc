"""Notebook files: reading one with every check, and writing one that is never half written.

The one idea: whatever is wrong with a file raises an error with its name before anything runs, and a file that is written is
replaced as a whole, so that a crash at any moment leaves the old content or the new.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import attrs

from .._errors import InvalidInputError
from .options import as_path
from .reading import ReadNotebook, parse_notebook
from .writing import pieces_of

__all__ = ["NotebookFile", "read_notebook", "to_json"]


def read_notebook(path: str | os.PathLike[str]) -> ReadNotebook:
    """Read a notebook from its file, and mend what breaks the format.

    A notebook of format 1 to 3 is upgraded to format 4. Any minor version of format 4 is kept, unless its cells say a later one.

    Args:
        path: the file, as text or as a path. It is read at once, and waited for: in a task, call this in a thread.

    Returns:
        The notebook, with its file, its format, and the places that were mended.

    Raises:
        InvalidInputError: this is no path, the file can't be read, or it is no notebook that can be run.
    """
    path = as_path("notebook", path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InvalidInputError("notebook", str(path), f"a file that can be read ({_why(error)})") from None
    return attrs.evolve(parse_notebook(data, str(path)), path=path)


def to_json(notebook: Any) -> bytes:
    """Return the notebook as its file holds it: JSON that each reader of JSON takes."""
    return b"".join(pieces_of(notebook))


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class NotebookFile:
    """A file to write a notebook to, many times over.

    A symbolic link stays one: the file that it points to is replaced. The file's permissions are kept; a new file's are the usual
    ones, and no wider than those of the notebook that it is made from. At no moment can more people read it.

    Args:
        path: the file, which may exist or not.
        origin: the notebook that it is made from; None where there is none.
        field: the argument that names it, for errors.

    Raises:
        InvalidInputError: nothing can be written there.
    """

    path: Path
    """The file, as it was named."""
    is_special: bool
    """Whether it is a device or a pipe: it can't be replaced, so it should be written to only once."""

    def __init__(self, path: Path, origin: Path | None = None, *, field: str = "output") -> None:
        self.path = path
        self._field = field
        self._origin = origin
        with self._told():
            with contextlib.suppress(FileNotFoundError):
                path.stat()  # what links in a circle do to `resolve` depends on Python's version
            self._target = path.resolve()
            self.is_special = path.exists() and not path.is_file()
            if path.is_dir():
                raise InvalidInputError(field, str(path), "a file, not a folder")
            if not self.is_special:
                # Found out now, not after an hour's work.
                descriptor, temporary = self._create()
                os.close(descriptor)
                temporary.unlink()

    def write(self, content: Iterable[bytes]) -> None:
        """Replace the file's content in one step.

        Args:
            content: the new content, in pieces. Each is written before the next is asked for.

        Raises:
            InvalidInputError: it can't be written; the old content is still there.
        """
        with self._told():
            if self.is_special:
                with self.path.open("wb") as file:
                    file.writelines(content)
                return
            descriptor, temporary = self._create()
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(content)
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
            why = _why(error)
            if isinstance(error, FileNotFoundError) and not self.path.parent.is_dir():
                why = f"the folder {self.path.parent} does not exist"
            raise InvalidInputError(self._field, str(self.path), f"a file that can be written ({why})") from None
