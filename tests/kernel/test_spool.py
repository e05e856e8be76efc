"""Bytes that wait on disk: in order, within a bound, and gone when they were read."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._kernel.spool import Spool


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are made during a test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def open_files() -> list[int]:
    """The sizes of the temporary files that are open; they have no name in their folder any more."""
    sizes = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very look
            if str(entry.readlink()).startswith(str(tempfile.tempdir)):
                sizes.append(os.fstat(int(entry.name)).st_size)
    return sizes


@pytest.fixture
def spool() -> Iterator[Spool]:
    spool = Spool(limit_bytes=1_000_000, segment_bytes=100)
    yield spool
    spool.close()
    assert open_files() == []


def test_items_come_out_as_and_in_the_order_they_went_in(spool: Spool) -> None:
    items = [b"", b"a", b"\x00\xff" * 300, b"", *(str(number).encode() for number in range(100))]
    for count, item in enumerate(items):
        assert len(spool) == count
        spool.append(item)
    assert [spool.popleft() for _ in items] == items
    assert len(spool) == 0
    assert not spool


@given(st.lists(st.none() | st.binary(max_size=60), max_size=60), st.integers(1, 100))
def test_any_interleaving_keeps_the_order(steps: list[bytes | None], segment_bytes: int) -> None:
    spool = Spool(limit_bytes=1_000_000, segment_bytes=segment_bytes)
    expected: deque[bytes] = deque()
    try:
        for step in steps:
            if step is not None:
                spool.append(step)
                expected.append(step)
            elif expected:
                assert spool.popleft() == expected.popleft()
            assert len(spool) == len(expected)
        while expected:
            assert spool.popleft() == expected.popleft()
    finally:
        spool.close()


def test_no_file_is_made_before_there_is_an_item(spool: Spool) -> None:
    assert open_files() == []
    spool.append(b"x")
    assert open_files() == [9]  # with its length, a word of eight bytes


def test_disk_is_given_back_while_items_wait(spool: Spool) -> None:
    """A reader that is always a little behind must not fill the disk, however much passes through."""
    for _ in range(3):
        spool.append(b"x" * 50)
    largest = 0
    for _ in range(200):
        spool.append(b"x" * 50)
        spool.popleft()
        largest = max(largest, sum(open_files()))
    assert len(spool) == 3
    assert largest <= 58 * (4 + 4)  # what waits, and segments that are read or written in part


def test_a_queue_that_is_emptied_again_and_again_uses_one_file(spool: Spool) -> None:
    for _ in range(10):
        for _ in range(5):
            spool.append(b"x" * 50)
        while spool:
            spool.popleft()
        assert open_files() == [0]


def test_the_limit_is_of_what_waits_and_not_of_what_has_passed() -> None:
    spool = Spool(limit_bytes=3 * 58, segment_bytes=100)
    for _ in range(2):
        spool.append(b"x" * 50)
    for number in range(50):
        spool.append(f"{number:50}".encode())
        with pytest.raises(OSError, match="more than 174 bytes would wait") as caught:
            spool.append(b"")
        assert caught.value.errno == errno.EFBIG
        spool.popleft()
    assert len(spool) == 2
    spool.close()


def test_what_did_not_fit_leaves_no_trace() -> None:
    spool = Spool(limit_bytes=21)
    spool.append(b"first")
    with pytest.raises(OSError, match="would wait"):
        spool.append(b"too long for it")
    assert len(spool) == 1
    spool.append(b"")
    assert [spool.popleft(), spool.popleft()] == [b"first", b""]
    spool.close()
    assert open_files() == []


def test_closing_forgets_everything_and_removes_the_files(spool: Spool) -> None:
    for _ in range(10):
        spool.append(b"x" * 50)
    assert len(open_files()) == 5
    spool.close()
    assert open_files() == []
    assert len(spool) == 0
    spool.close()
    spool.append(b"x" * (1_000_000 - 8))  # its reader may be gone before its writer knows; all the room is there again
    assert len(spool.popleft()) == 1_000_000 - 8


def test_the_files_have_no_name_that_others_could_find(spool: Spool, folder: Path) -> None:
    spool.append(b"x")
    assert list(folder.iterdir()) == []


def test_without_a_place_for_files_nothing_is_added(spool: Spool, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        spool.append(b"x")
    assert len(spool) == 0
    folder.mkdir()
    spool.append(b"x")
    assert spool.popleft() == b"x"


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Limits how large this process's files may be: a disk that is full. What it writes into pipes is not limited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_what_was_written_before(limit_files: Callable[[int], None]) -> None:
    spool = Spool(limit_bytes=1_000_000)
    items = [bytes([number]) * 700 for number in range(15)]
    limit_files(10_000)
    try:
        for item in items[:14]:
            spool.append(item)
        # Twice the same, and again after there is room.
        for item in items[14], b"x" * 700:
            with pytest.raises(OSError, match="File too large") as caught:
                spool.append(item)
            assert caught.value.errno == errno.EFBIG
            assert len(spool) == 14
        limit_files(20_000)
        spool.append(b"x" * 700)
        assert [spool.popleft() for _ in range(15)] == [*items[:14], b"x" * 700]
    finally:
        spool.close()


def test_a_file_that_someone_cut_is_an_error_of_the_system(spool: Spool) -> None:
    spool.append(b"x" * 50)
    spool._segments[0].file.truncate(20)
    with pytest.raises(OSError, match="shorter than what was written") as caught:
        spool.popleft()
    assert caught.value.errno == errno.EIO


class InPieces:
    """A file that reads and writes less than it is asked to, as files may."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.at = 0

    def seek(self, at: int) -> None:
        self.at = at

    def write(self, data: memoryview) -> int:
        piece = data[:3]
        self.data[self.at : self.at + len(piece)] = piece
        self.at += len(piece)
        return len(piece)

    def read(self, length: int) -> bytes:
        piece = bytes(self.data[self.at : self.at + min(length, 3)])
        self.at += len(piece)
        return piece

    def truncate(self, length: int) -> None:
        del self.data[length:]

    def close(self) -> None:
        pass


def test_files_may_read_and_write_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: InPieces())
    spool = Spool(limit_bytes=1000)
    for item in (b"0123456789", b"", b"abcdefg"):
        spool.append(item)
    assert [spool.popleft() for _ in range(3)] == [b"0123456789", b"", b"abcdefg"]
    spool.close()
