"""Files, on either side: read in pieces; written beside their place, and put there when they are whole.

The one idea: a file is under its name as it was, or whole. What comes is written to `.NAME.part` beside it, which one writer has
at a time, and takes the name at the end, when length and checksum are right. Where a directory was named that must not be left,
it is compared with where the file would really be, whatever links there are.

This file is sent to kernels, and knows nothing of the library. It runs on Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import pathlib
import stat
from typing import Any

from . import codec

_fcntl: Any
try:
    _fcntl = importlib.import_module("fcntl")
except ImportError:  # on Windows, where a process has its own account of its writers
    _fcntl = None

__all__ = ["FILES", "FileProblem", "Reading", "Writing", "check_relative", "find"]

CHUNK = 1024 * 1024
PIECE = 4 * CHUNK
FILES = 100_000
"""A pattern finds no more files."""
PERMISSIONS = 0o777
"""What of a mode is kept: nothing that gives a program its owner's rights."""

_KINDS: dict[Any, Any] = {
    errno.ENOENT: "missing",
    errno.EISDIR: "directory",
    errno.ENOTDIR: "directory",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "permission",
    errno.ENOSPC: "full",
    errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC: "full",
    errno.EFBIG: "full",
}
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class FileProblem(Exception):
    """A file can't be read or written. `kind` is a word for programs, `reason` one for people."""

    def __init__(self, kind: Any, path: Any, reason: Any) -> None:
        super().__init__(kind, path, reason)
        self.kind = kind
        self.path = path
        self.reason = reason


@contextlib.contextmanager
def _named(path: Any) -> Any:
    """Name the file in what the system says to it."""
    try:
        yield
    except OSError as error:
        raise FileProblem(_KINDS.get(error.errno, "other"), path, error.strerror or str(error)) from None
    except ValueError as error:  # a name with a zero in it
        raise FileProblem("other", path, str(error)) from None


class Reading:
    """A file that is read in pieces, with a checksum of what was read."""

    def __init__(self, path: Any) -> None:
        self.path = path
        self.comm = None
        with _named(path):
            self._check(os.stat(path))
            # A pipe that has taken the file's place meanwhile is not waited for.
            descriptor = os.open(path, os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0))
            self._file = open(descriptor, "rb", buffering=0)
        try:
            found = os.fstat(descriptor)
            self._check(found)
        except BaseException:
            self._file.close()
            raise
        self.total = found.st_size
        self.mode = found.st_mode & PERMISSIONS
        self._stamp = _stamp(found)
        self._hash = hashlib.sha256()
        self._hashed = 0

    def _check(self, found: Any) -> None:
        if stat.S_ISDIR(found.st_mode):
            raise FileProblem("directory", self.path, "it is a directory")
        if not stat.S_ISREG(found.st_mode):
            raise FileProblem("other", self.path, "it is no regular file")

    def read(self, start: Any, stop: Any) -> Any:
        """Return the bytes from `start` to `stop`."""
        if not 0 <= start <= stop <= self.total:
            raise FileProblem("other", self.path, f"it has no bytes {start} to {stop}")
        found = bytearray(stop - start)
        view = memoryview(found)
        with _named(self.path):
            self._file.seek(start)
            while view.nbytes:
                count = self._file.readinto(view)
                if not count:
                    raise FileProblem("changed", self.path, "it has become shorter while it was read")
                view = view[count:]
        if start == self._hashed:
            self._hash.update(found)
            self._hashed = stop
        return found

    def pieces(self, start: Any, stop: Any) -> Any:
        """Yield the bytes from `start` to `stop`, some at a time."""
        for first, end in codec.spans(start, stop, PIECE):
            yield self.read(first, end)

    def digest(self, stop: Any) -> Any:
        """Return the SHA-256 of the bytes up to `stop`, in hexadecimal digits."""
        if self._hashed > stop:
            self._hash, self._hashed = hashlib.sha256(), 0
        while self._hashed < stop:
            self.read(self._hashed, min(self._hashed + CHUNK, stop))
        return self._hash.hexdigest()

    def whole(self) -> Any:
        """Return the SHA-256 of all of it, when it is still the file that it was at first."""
        digest = self.digest(self.total)
        with _named(self.path):
            if _stamp(os.fstat(self._file.fileno())) != self._stamp:
                raise FileProblem("changed", self.path, "it has changed while it was read")
        return digest

    def discard(self) -> None:
        """Close it."""
        self._file.close()


def _stamp(found: Any) -> Any:
    return (found.st_size, found.st_mtime_ns)


_writers: dict[str, Any] = {}
"""Who writes what in this process, by the path of what is beside."""


class Writing:
    """A file that is written beside its place.

    Args:
        path: where it will be. A link there is replaced and not followed.
        within: the directory that it must be in, or None for any.
        total: how long it will be.
        resume: whether what is there of an attempt before is gone on with, and what there is of this one left for another.
        takes_over: whether a writer of this process that has the same file loses it; else it stays his.
    """

    failure: Any = None
    """Why nothing more is taken."""

    def __init__(self, path: Any, within: Any, total: Any, *, resume: Any = False, takes_over: Any = False) -> None:
        self.path = path
        self.total = total
        self.received = 0
        self._within = within
        self._resume = resume
        self._hash = hashlib.sha256()
        self._made: list[str] = []
        self._file: Any = None
        with _named(path):
            place = os.path.abspath(path)
            if os.path.isdir(place) or path.endswith(("/", os.sep)) or os.path.basename(path) in ("", ".", ".."):
                raise FileProblem("directory", path, "it is a directory; name the file in it")
            self._folder = os.path.realpath(os.path.dirname(os.path.join(os.getcwd(), path)))
            self.place = os.path.join(self._folder, os.path.basename(place))
            self._check_within()
            self._part = os.path.join(self._folder, _part_name(os.path.basename(place)))
        other = _writers.get(self._part)
        if other is not None:
            if not takes_over:
                raise FileProblem("busy", path, "another call is writing it")
            other.lose()
        try:
            with _named(path):
                self._make_folders()
                self._open()
                if resume:
                    self._read_what_is_there()
                else:
                    self.restart()
        except BaseException:
            self.discard()
            raise

    def _check_within(self) -> None:
        if self._within is None:
            return
        root = os.path.realpath(self._within)
        if os.path.realpath(self._folder) != self._folder or not _is_in(self._folder, root):
            raise FileProblem("outside", self.path, f"it would be outside of the directory {self._within}")

    def _make_folders(self) -> None:
        missing: list[str] = []
        folder = self._folder
        while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
                self._made.append(folder)

    def _open(self) -> None:
        """Open what is beside, when nobody else has it."""
        while self._file is None:
            descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | _BINARY | _NO_LINK, 0o600)
            file = open(descriptor, "r+b", buffering=0)
            try:
                if _fcntl is not None:
                    _lock(descriptor, self.path)
                found = os.fstat(descriptor)
                mine = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
                if not stat.S_ISREG(found.st_mode) or not mine or found.st_nlink > 1:
                    raise FileProblem("other", self.path, f"something else stands at {self._part}")
                # Its last writer may have given it the name, or removed it, since it was opened here.
                current = os.path.lexists(self._part) and os.path.samestat(os.lstat(self._part), found)
                if found.st_nlink == 1 and current:
                    self._file = file
                    _writers[self._part] = self
            finally:
                if self._file is None:
                    file.close()

    def _read_what_is_there(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        if size > self.total:
            self._file.truncate(0)
            return
        while True:
            data = self._file.read(CHUNK)
            if not data:
                return
            self._hash.update(data)
            self.received += len(data)

    @property
    def complete(self) -> Any:
        """Whether all has come."""
        return self.received == self.total

    def digest(self) -> Any:
        """Return the SHA-256 of what there is, in hexadecimal digits."""
        return self._hash.hexdigest()

    def restart(self) -> None:
        """Begin anew."""
        with _named(self.path):
            self._check_open()
            self._file.seek(0)
            self._file.truncate(0)
        self._hash, self.received = hashlib.sha256(), 0

    def feed(self, data: Any) -> None:
        """Write the next bytes."""
        view = memoryview(data).cast("B")
        try:
            self._check_open()
            if view.nbytes > self.total - self.received:
                raise FileProblem("other", self.path, "more came than was announced")
            with _named(self.path):
                self._write(view)
        except FileProblem as problem:
            self.failure = problem
            raise

    def _write(self, view: Any) -> None:
        self._file.seek(self.received)
        left = view
        while left.nbytes:
            left = left[self._file.write(left) :]
        self._hash.update(view)
        self.received += view.nbytes

    def _check_open(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._file is None:
            raise FileProblem("other", self.path, "it is not being written any more")

    def keep(self, digest: Any, mode: Any) -> Any:
        """Put it under its name, when it is whole; return its path. Else it is discarded."""
        try:
            self._check_open()
            if not self.complete or self.digest() != digest:
                self._resume = False  # what is there is no beginning of it
                raise FileProblem("damaged", self.path, "its checksum is wrong: it changed on its way, or while it was read")
            with _named(self.path):
                self._check_within()
                if hasattr(os, "fchmod"):
                    os.fchmod(self._file.fileno(), mode & PERMISSIONS)
                os.fsync(self._file.fileno())
                if _fcntl is None:  # Windows renames no open file
                    self._file.close()
                os.replace(self._part, self.place)
            self._made = []
            self._close()
        except BaseException:
            self.discard()
            raise
        return self.place

    def lose(self) -> None:
        """Another one writes it from now on."""
        self.failure = FileProblem("busy", self.path, "another call is writing it now")
        self._close()

    def discard(self) -> None:
        """Give it up: nothing is left of it, or, with `resume`, what there is beside its place."""
        if self._file is not None and not (self._resume and self.received):
            with contextlib.suppress(OSError):
                os.unlink(self._part)
        self._close()
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # there is something in it
                os.rmdir(folder)
        self._made = []

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            if _writers.get(self._part) is self:
                del _writers[self._part]


def _lock(descriptor: Any, path: Any) -> None:
    """Have a file for this writer alone; where the file system knows no locks, this process' account has to do."""
    try:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileProblem("busy", path, "another process is writing it") from None
    except OSError:
        return


def _part_name(name: Any) -> Any:
    """Return what is beside a file of that name while it is written."""
    part = f".{name}.part"
    return part if len(os.fsencode(part)) <= 255 else f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.part"


def _is_in(path: Any, root: Any) -> Any:
    try:
        return os.path.commonpath([path, root]) == root
    except ValueError:  # on other drives
        return False


def check_relative(name: Any) -> None:
    """Refuse a name that is none of a file below a directory."""
    parts = name.split("/") if type(name) is str else [""]
    odd = {"", ".", ".."} & set(parts) or "\0" in name
    if odd or os.path.isabs(name) or (os.name == "nt" and ("\\" in name or ":" in name)):
        raise FileProblem("outside", str(name)[:200], "it is no path of a file below the directory")


def find(directory: Any, pattern: Any) -> Any:
    """Return the files below a directory that match a pattern: the paths below it, with `/`, and the sizes, in order."""
    with _named(directory):
        root = pathlib.Path(directory)
        if not root.is_dir():
            raise FileProblem("directory" if root.exists() else "missing", directory, "there is no such directory")
        found = []
        try:
            for path in root.glob(pattern):
                if path.is_file() and not (path.name.startswith(".") and path.name.endswith(".part")):
                    found.append([path.relative_to(root).as_posix(), path.stat().st_size])
                if len(found) > FILES:
                    raise FileProblem("other", directory, f"more than {FILES} files match {pattern}")
        except (NotImplementedError, IndexError) as error:
            raise FileProblem("other", directory, f"{pattern!r} is no pattern of paths below it: {error}") from None
    found.sort()
    return found
