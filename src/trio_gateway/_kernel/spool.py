"""A first-in first-out queue of byte strings in temporary files.

The one idea: disk is given back as items are read. They lie in segments, files of a bounded size, and a segment goes when
its last item was read; so what lies on disk is about what waits, however much has passed through. An item that can't be
written leaves no trace: what was written before can still be read.

Writing goes to the page cache, which takes microseconds, so no thread is paid for it.
"""

from __future__ import annotations

import errno
import struct
import tempfile
from collections import deque
from io import FileIO
from typing import Final

import attrs

__all__ = ["Spool"]

SEGMENT_BYTES: Final = 64 * 1024**2
"""After so many bytes a segment is followed by a new one."""
_item_length: Final = struct.Struct("<Q")


@attrs.define
class _Segment:
    """A temporary file. It is unbuffered: a buffer would keep what the disk refused, and fail again when read or closed."""

    file: FileIO
    read_at: int = 0
    write_at: int = 0


class Spool:
    """A queue on disk, to be closed: its files go with it.

    Args:
        limit_bytes: how many bytes may wait in it.
        segment_bytes: after how many bytes a new file is begun.
    """

    __slots__ = ("_items", "_limit_bytes", "_segment_bytes", "_segments", "_waiting_bytes")

    def __init__(self, *, limit_bytes: float, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._segments: deque[_Segment] = deque()
        self._items = 0
        self._waiting_bytes = 0

    def __len__(self) -> int:
        return self._items

    def append(self, item: bytes) -> None:
        """Add an item.

        Raises:
            OSError: there is no room for it, on disk or within the limit; then the others are as before.
        """
        taken = _item_length.size + len(item)
        if self._waiting_bytes + taken > self._limit_bytes:
            raise OSError(errno.EFBIG, f"more than {self._limit_bytes:.0f} bytes would wait in temporary files")
        if not self._segments or self._segments[-1].write_at >= self._segment_bytes:
            file = tempfile.TemporaryFile(mode="w+b", buffering=0, prefix="trio_gateway_")  # noqa: SIM115 - close() closes it
            self._segments.append(_Segment(file))
        segment = self._segments[-1]
        segment.file.seek(segment.write_at)
        _write_all(segment.file, _item_length.pack(len(item)) + item)
        segment.write_at += taken
        self._waiting_bytes += taken
        self._items += 1

    def popleft(self) -> bytes:
        """Take the oldest item out; only when there is one.

        Raises:
            OSError: it can't be read.
        """
        segment = self._segments[0]
        segment.file.seek(segment.read_at)
        (length,) = _item_length.unpack(_read_all(segment.file, _item_length.size))
        item = _read_all(segment.file, length)
        taken = _item_length.size + length
        segment.read_at += taken
        self._waiting_bytes -= taken
        self._items -= 1
        if segment.read_at == segment.write_at:
            if len(self._segments) > 1:
                self._segments.popleft().file.close()
            else:  # kept, so that a queue that is filled and emptied again and again makes one file
                segment.file.truncate(0)
                segment.read_at = segment.write_at = 0
        return item

    def close(self) -> None:
        """Forget every item and remove the files. Twice is fine."""
        while self._segments:
            self._segments.popleft().file.close()
        self._items = 0
        self._waiting_bytes = 0


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _read_all(file: FileIO, length: int) -> bytes:
    data = file.read(length)
    while len(data) < length:
        more = file.read(length - len(data))
        if not more:
            raise OSError(errno.EIO, "a temporary file is shorter than what was written to it")
        data += more
    return data
