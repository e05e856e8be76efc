"""Files to the kernel and from it: read and written in threads, in pieces, under their names when they are whole.

The one idea: both sides read and write files by the same few lines (`file_side`), and pieces go as those of values do
(`transfer`). What the kernel names is data: a path of its that leads out of a directory is refused here, whatever it says.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePath
from typing import Any, Final, TypeAlias, TypeVar, TypeVarTuple

import attrs
import trio

from .. import _threads
from .._errors import InvalidInputError, ProtocolError
from .._protocol.messages import Buffer
from . import codec, file_side
from .errors import FileAccessError, TransferError
from .link import Link
from .transfer import GONE, OnProgress, Progress, Tries, bring, refuse_longer, take, tell

__all__ = [
    "FileCopy",
    "FileOptions",
    "Path",
    "Total",
    "copy_down",
    "copy_up",
    "file_error",
    "find_here",
    "find_there",
    "refuse_pattern",
    "text_of",
]

Path: TypeAlias = str | PurePath
Answer: TypeAlias = Callable[[Mapping[str, Any], str], Mapping[str, Any]]
"""Raises the error that an answer tells of something, and else returns the answer."""

CLEANUP_SECONDS: Final = 5.0
"""How long a call that is cancelled waits until its file here is closed, and removed."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")
Args = TypeVarTuple("Args")


@attrs.frozen
class FileCopy:
    """A file that was copied."""

    path: str
    """Where it is now, as an absolute path; in the kernel, as the kernel says."""
    size: int
    """Its length in bytes."""
    sha256: str
    """The SHA-256 of its bytes, in hexadecimal digits."""


@attrs.frozen
class FileOptions:
    """How files are copied."""

    within: str | None = None
    resume: bool = False
    on_progress: OnProgress | None = None
    max_bytes: int | None = None
    before: int = 0
    """What other files have taken of that."""


def text_of(field: str, path: object) -> str:
    """Return a path as text.

    Raises:
        InvalidInputError: it is none.
    """
    found = os.fspath(path) if isinstance(path, PurePath) else path
    if not isinstance(found, str) or not found or "\0" in found:
        raise InvalidInputError(field, path, "a path (str, or one of pathlib's)")
    return found


def refuse_pattern(pattern: object) -> None:
    """Refuse what is no pattern of paths below a directory.

    Raises:
        InvalidInputError: it is none.
    """
    if (
        not isinstance(pattern, str)
        or not pattern
        or "\0" in pattern
        or ".." in PurePath(pattern).parts
        or PurePath(pattern).anchor
    ):
        raise InvalidInputError("pattern", pattern, 'a pattern of paths below the directory, such as "**/*.csv"')


@attrs.define
class Total:
    """How far several files have come together, told to the handler of all of them.

    Args:
        on_progress: the handler.
        total: how long all of them are, in bytes.
    """

    on_progress: OnProgress | None
    total: int
    before: int = 0
    """The length of those that are there."""

    def of_next(self) -> OnProgress | None:
        """Return what is told of the next file."""
        handler = self.on_progress
        if handler is None:
            return None
        return lambda progress: handler(Progress(self.before + progress.done, max(self.total, self.before + progress.total)))


async def _here(function: Callable[[*Args], T], *args: *Args) -> T:
    """Do something with a file of ours, in a thread.

    Raises:
        FileAccessError: it can't be done.
        TransferError: the file has changed meanwhile.

    Cancellation: before it has begun; then it is waited for.
    """
    try:
        return await _threads.run_sync(function, *args)
    except file_side.FileProblem as problem:
        raise _error_of("here", problem.kind, problem.path, problem.reason) from None


def _error_of(side: str, kind: str, path: str, reason: str) -> Exception:
    if kind in ("changed", "damaged"):
        return TransferError(path, 0, 0, reason)
    return FileAccessError(path, "here" if side == "here" else "kernel", kind, reason)


def file_error(told: object) -> Exception:
    """Return the error of what the kernel tells of a file."""
    kind, path, reason = told if isinstance(told, list) and len(told) == 3 else ("", "", "")
    return _error_of("kernel", str(kind), str(path), str(reason))


@asynccontextmanager
async def _opened(make: Callable[[], T]) -> AsyncGenerator[T]:
    """Open a file of ours, and discard it at the end, unless it was kept."""
    file: Any = await _here(make)
    try:
        yield file
    finally:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):
            await _threads.run_sync(file.discard)


class _Upwards:
    """A file of ours, as a source of pieces."""

    def __init__(self, reading: file_side.Reading) -> None:
        self.total: int = reading.total
        self._reading = reading

    async def piece(self, start: int) -> Buffer:
        """Return the next bytes from there on."""
        found: Buffer = await _here(self._reading.read, start, min(start + codec.PIECE, self.total))
        return found


class _Downwards:
    """A file of ours, as a sink of pieces.

    Args:
        writing: writes it.
        path: the kernel's file, for people.
    """

    def __init__(self, writing: file_side.Writing, path: str) -> None:
        self.total: int = writing.total
        self._writing = writing
        self._path = path

    @property
    def received(self) -> int:
        """How many bytes have come."""
        found: int = self._writing.received
        return found

    async def feed(self, data: Buffer) -> None:
        """Write the next bytes. Raises ProtocolError where they are more than the kernel said."""
        if len(data) > self.total - self.received:
            raise ProtocolError(f"{self._path}: the kernel sends more than the {self.total} bytes that it said")
        await _here(self._writing.feed, data)


class _There:
    """Asks the kernel about one file.

    Args:
        link: the kernel.
        answer: raises what is wrong with an answer.
        token: the name of the copy there.
        path: the file there.
    """

    def __init__(self, link: Link, answer: Answer, token: str, path: str) -> None:
        self.total: int = 0
        self._link = link
        self._answer = answer
        self._token = token
        self._path = path

    async def ask(self, step: str, **arguments: object) -> Mapping[str, Any]:
        """Have a step done.

        Raises:
            TransferError: a new process does not know of the copy.
            FileAccessError: the file can't be read or written.
            GatewayError: as for `Link.ask`.

        Cancellation: as for `Link.ask`.
        """
        return self.check(await self._link.ask(step, arguments, token=self._token))

    def check(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raise what is wrong with an answer; else return it."""
        if answer.get("gone"):
            raise TransferError(self._path, 0, self.total, GONE)
        return self._answer(answer, self._path)


async def copy_up(link: Link, answer: Answer, token: str, source: str, target: str, options: FileOptions) -> FileCopy:
    """Copy a file to the kernel; see `Python.upload`. The caller has the token forgotten."""
    async with _opened(lambda: file_side.Reading(source)) as reading:
        total: int = reading.total
        there = _There(link, answer, token, target)
        there.total = total
        begun = await there.ask("write_file", path=target, within=options.within, total=total, resume=options.resume)
        tries = Tries(source, total, restarts=False)
        tries.done = _length(begun.get("have"), total, target)
        if tries.done and begun.get("digest") != await _here(reading.digest, tries.done):
            await there.ask("rewrite_file")
            tries.done = 0
        told = options.on_progress
        await tell(told, tries.done, total)  # also before the first byte: the handler may refuse it
        await bring(link, _Upwards(reading), tries, about={}, token=token, on_progress=told, check=there.check)
        digest: str = await _here(reading.whole)
        kept = await there.ask("keep_file", digest=digest, mode=reading.mode)
        return FileCopy(str(kept.get("path")), total, digest)


async def copy_down(link: Link, answer: Answer, token: str, source: str, target: str, options: FileOptions) -> FileCopy:
    """Copy a file from the kernel; see `Python.download`. The caller has the token forgotten."""
    there = _There(link, answer, token, source)
    found = await there.ask("read_file", path=source)
    total, mode = _length(found.get("total"), 2**63, source), found.get("mode")
    if type(mode) is not int:
        raise ProtocolError(f"{source}: the kernel does not say which mode it has")
    what = f"{source} and the files before it" if options.before else source
    refuse_longer(what, options.before + total, options.max_bytes)
    there.total = total

    def make() -> file_side.Writing:
        return file_side.Writing(target, options.within, total, resume=options.resume)

    async with _opened(make) as writing:
        if writing.received:
            beginning = await there.ask("digest_file", stop=writing.received)
            if beginning.get("digest") != writing.digest():
                await _here(writing.restart)
        told = options.on_progress
        await tell(told, writing.received, total)  # likewise
        await take(link, _Downwards(writing, source), what=source, token=token, on_progress=told, check=there.check)
        digest = (await there.ask("digest_file")).get("digest")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ProtocolError(f"{source}: the kernel does not say which checksum it has")
        place: str = await _here(writing.keep, digest, mode)
        return FileCopy(place, total, digest)


def _length(told: object, limit: int, path: str) -> int:
    if type(told) is not int or not 0 <= told <= limit:
        raise ProtocolError(f"{path}: the kernel says that it has {told!r:.40} bytes")
    return told


async def find_here(directory: str, pattern: str) -> Sequence[tuple[str, int]]:
    """Return the files below a directory of ours that match: the paths below it, and their sizes in bytes.

    Raises:
        FileAccessError: there is no such directory.

    Cancellation: safe.
    """
    return [(name, size) for name, size in await _here(file_side.find, directory, pattern)]


async def find_there(link: Link, answer: Answer, directory: str, pattern: str) -> Sequence[tuple[str, int]]:
    """Return the files below a directory of the kernel's that match: the paths below it, and their sizes in bytes.

    Raises:
        FileAccessError: there is no such directory; or a path leads out of the directory.
        ProtocolError: the kernel answers with something else.
        GatewayError: as for `Link.ask`.

    Cancellation: safe.
    """
    told = answer(await link.ask("find_files", {"directory": directory, "pattern": pattern}), directory).get("files")
    found: list[tuple[str, int]] = []
    seen: set[str] = set()
    for entry in told if isinstance(told, list) else [None]:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str) or entry[0] in seen:
            raise ProtocolError(f"{directory}: the kernel does not say which files are there")
        try:
            file_side.check_relative(entry[0])
        except file_side.FileProblem as problem:
            raise _error_of("kernel", problem.kind, problem.path, problem.reason) from None
        seen.add(entry[0])
        found.append((entry[0], _length(entry[1], 2**63, entry[0])))
    return found
