"""Which files the jobs of one call read and write, so that no two write one file and none reads what another writes.

The one idea: a file is what the file system says it is, not what it is called. A symbolic link, a hard link, another case of the
letters and a way round through other folders are the same file, and a file that is still to be made is a name in a folder.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Hashable
from pathlib import Path

from .._errors import InvalidInputError

__all__ = ["Claims"]


class Claims:
    """The files of jobs that run beside each other or after each other in one call.

    For each output some hundred bytes are kept until the call ends.
    """

    def __init__(self) -> None:
        self._read: dict[str, tuple[Hashable, ...]] = {}  # what each job reads that is not over
        self._readers: dict[Hashable, dict[str, None]] = {}  # these jobs by what they read, in order
        self._writers: dict[Hashable, str] = {}  # all jobs by what they write

    def claim(self, job: str, notebook: Path | None, output: Path | None) -> None:
        """Note a job's files, before it begins.

        Args:
            job: what the job is called in errors; no other job of the call is called so.
            notebook: the file that it reads; None for none. It may be the one that it writes.
            output: the file that it writes; None for none. A device or a pipe is free for all.

        Raises:
            InvalidInputError: another job writes the same file, or reads what this one writes, or writes what this one reads;
                it names both. Nothing is noted.
        """
        read = () if notebook is None else _identities(notebook)
        written = () if output is None else _identities(output)
        for file in written:
            if file in self._writers:
                expected = f"a file that no other job writes: {self._writers[file]} and {job} both do"
                raise InvalidInputError("output", str(output), expected)
            if file in self._readers:
                expected = f"a file that no other job reads, as {next(iter(self._readers[file]))} does (this is {job})"
                raise InvalidInputError("output", str(output), expected)
        for file in read:
            if self._writers.get(file) in self._read:
                expected = f"a file that no other job writes, as {self._writers[file]} does (this is {job})"
                raise InvalidInputError("notebook", str(notebook), expected)
        self._read[job] = read
        for file in read:
            self._readers.setdefault(file, {})[job] = None
        for file in written:
            self._writers[file] = job

    def release(self, job: str) -> None:
        """Note that a job is over: its notebook may be written now, and its output read. Its output is written by no other."""
        for file in self._read.pop(job, ()):
            readers = self._readers[file]
            del readers[job]
            if not readers:
                del self._readers[file]


def _identities(path: Path) -> tuple[Hashable, ...]:
    """Return values of which two paths share one if they lead to one file; none for a device or a pipe, or if nothing is seen.

    The file's number does not do for it: each save makes another file of the same name.
    """
    try:
        target = Path(os.path.realpath(path))  # of a link that leads nowhere, too: that is where a file is made
        folder = target.parent.stat()
        name = _folded(target.name) if _ignores_case(target.parent) else target.name
        by_name = folder.st_dev, folder.st_ino, name
        try:
            found = target.stat()
        except FileNotFoundError:
            return (by_name,)
    except (OSError, ValueError):  # what is wrong with it, its opening says
        return ()
    if not stat.S_ISREG(found.st_mode):
        return ()
    return (by_name,) if found.st_nlink == 1 else (by_name, (found.st_dev, found.st_ino))


def _ignores_case(folder: Path) -> bool:
    """Whether names that differ in their case only are one file's in a folder: seen by the folder's own name, or its parent's."""
    for there in (folder, *folder.parents):
        other = there.name.swapcase()
        if other != there.name:
            try:
                return os.path.samestat(there.lstat(), there.with_name(other).lstat())
            except OSError:
                return False
    return False


def _folded(name: str) -> str:
    """Return what is equal for all spellings of a name that such a file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
