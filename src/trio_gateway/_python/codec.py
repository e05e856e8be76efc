"""A value as a small JSON header and a list of buffers, and back. This file is sent to kernels, and knows nothing of the library.

The one idea: what is large stays where it lies. The header says what the value is; arrays, tables and long bytes are buffers that
nobody copies before they are sent. What comes back is data: unless the reader says that it trusts the writer, nothing that the
header names is imported, called or unpickled, and nothing is allocated that has not come.

On the wire a value is one run of bytes: eight bytes with the header's length, the header, the buffers. It may be cut anywhere.
It runs on Python 3.9 and later, and needs numpy, pandas, polars or pyarrow only for values that are theirs.
"""

from __future__ import annotations

import array
import base64
import binascii
import bisect
import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import functools
import importlib
import itertools
import json
import math
import pickle
import struct
import sys
import types
import uuid
import zlib
import zoneinfo
from typing import Any

__all__ = [
    "DIMENSIONS",
    "PIECE",
    "READERS",
    "SMALL",
    "WRITERS",
    "BadData",
    "CannotCarry",
    "Damaged",
    "Encoded",
    "Name",
    "Receiver",
    "Row",
    "at",
    "decode",
    "encode",
    "find_dataclass",
    "items_of",
    "name_of",
    "no_other_error",
    "of_bytes",
    "read_pickle",
    "shortened",
    "spans",
    "zone_of",
]

SMALL = 512
"""So many bytes at most stand in the header itself, as base64."""
DEPTH = 100
"""How deep a value may be nested: Python's own JSON gives up at some hundreds."""
SAFE_INT = 2**53
SAME_HASH = 100
"""So many keys of a dictionary, or elements of a set, may have the same hash."""
DIMENSIONS = 64
FORMATS = tuple("cbB?hHiIlLqQnNfd")
"""The items of buffers that Python's own `memoryview` can make."""
PIECE = 4 * 1024 * 1024
"""No piece is longer, in bytes."""
NEXT_PIECE = 1024 * 1024
"""How long those of a kernel's are that come after the first. The C library of a gateway on Linux keeps twice the longest block
that it ever gave back, and takes what is above that from the system for each piece anew. So after one long piece the copies of
shorter ones cost half. On the way to a kernel that is not so, and each piece is work there.
"""
HEADER_LIMIT = 1024**3
"""A header is no longer, in bytes."""


class CannotCarry(Exception):
    """A value, or a part of it, can't be carried. `place` leads to the part, as `['when'][3]`."""

    def __init__(self, reason: Any, place: Any = "") -> None:
        super().__init__(reason, place)
        self.reason = reason
        self.place = place


class BadData(Exception):
    """What came is no value, or one that is not taken from this writer."""


@contextlib.contextmanager
def at(step: Any) -> Any:
    """Say where inside the value something can't be carried."""
    try:
        yield
    except CannotCarry as error:
        raise CannotCarry(error.reason, step + error.place) from None


class Damaged(BadData):
    """What came is not what was sent, or not all of it."""


class Encoded:
    """A value, ready to be sent: `parts` are bytes-like, one after the other; `total` is their length in bytes."""

    def __init__(self, header: Any, buffers: Any, classes: Any = ()) -> None:
        raw = json.dumps(dict(header, sizes=[buffer.nbytes for buffer in buffers]), separators=(",", ":")).encode("ascii")
        if len(raw) > HEADER_LIMIT:
            raise CannotCarry("it has too many small parts: more than a gigabyte of them")
        self.parts = [memoryview(len(raw).to_bytes(8, "big") + raw), *buffers]
        self.starts = [0, *itertools.accumulate(part.nbytes for part in self.parts)]
        """Where each part begins, and at last where they end."""
        self.total = self.starts.pop()
        self.classes = classes
        """The dataclasses in it."""

    def checksum(self) -> Any:
        """Return the CRC-32 of all of it."""
        check = 0
        for part in self.parts:
            check = zlib.crc32(part, check)
        return check

    def joined(self) -> Any:
        """Return all of it, for a value that is small."""
        return b"".join(self.parts)

    def cut(self, start: Any, stop: Any) -> Any:
        """Yield the bytes from `start` to `stop` as views of at most PIECE bytes: none is copied."""
        # Those before are not looked at: a value may have a hundred thousand parts, and a hundred pieces.
        for index in range(max(bisect.bisect_right(self.starts, start) - 1, 0), len(self.parts)):
            at, part = self.starts[index], self.parts[index]
            if at >= stop:
                return
            begin, end = max(start, at), min(stop, at + part.nbytes)
            for first in range(begin, end, PIECE):
                yield part[first - at : min(first + PIECE, end) - at]

    def pieces(self, start: Any, stop: Any) -> Any:
        """Yield the bytes from `start` to `stop` in pieces; what lies in several parts is copied into one."""
        for first, end in spans(start, stop, PIECE):
            yield self.piece(first, end)

    def piece(self, start: Any, stop: Any) -> Any:
        """Return the bytes from `start` to `stop`, at most PIECE of them: where they lie in one part, as they lie."""
        found = list(self.cut(start, stop))
        return found[0] if len(found) == 1 else b"".join(found)


def spans(start: Any, stop: Any, longest: Any) -> Any:
    """Yield where each piece of the bytes from `start` to `stop` begins and ends; none is longer than `longest`."""
    while start < stop:
        end = min(start + (longest if start == 0 else min(longest, NEXT_PIECE)), stop)
        yield start, end
        start = end


# ---------------------------------------------------------------------------------------------------------------- to bytes


def encode(value: Any, *, pickled: Any = None, classes: Any = None) -> Any:
    """Return the value as `Encoded`.

    Args:
        value: the value.
        pickled: what is done with what this file does not know: a function of the object and a callback for its buffers that
            returns a pickle, or None to refuse it.
        classes: the dataclasses that the reader knows, or None for all.

    Raises:
        CannotCarry: a part of it can't be carried.
    """
    writer = _Writer(pickled, classes)
    tree = writer.tree(value, 0)
    return Encoded({"value": tree}, writer.buffers, writer.classes)


class Row:
    """Values that become one list, made ready one by one; what becomes of each of them later changes nothing."""

    def __init__(self, *, pickled: Any = None, classes: Any = None) -> None:
        self._writer = _Writer(pickled, classes)
        self._trees: list[Any] = []
        self._kept = 0
        self._before = (0, 0)
        """The size, and how many buffers there were, before the last value."""
        self.size = 0
        """About how long it is, in bytes."""

    def __len__(self) -> Any:
        return len(self._trees)

    def add(self, value: Any) -> None:
        """Add a value. Raises CannotCarry, and the row is as it was."""
        buffers = self._writer.buffers
        before = len(buffers)
        try:
            tree = self._writer.tree(value, 1)
        except BaseException:
            del buffers[before:]
            raise
        self._trees.append(tree)
        self._before = (self.size, before)
        self.size += len(json.dumps(tree)) + sum(buffer.nbytes for buffer in buffers[before:])

    def take_back(self) -> None:
        """Take the last value out again: once, and before `keep`."""
        self._trees.pop()
        self.size, buffers = self._before
        del self._writer.buffers[buffers:]

    def keep(self) -> None:
        """Copy what still lies in the values' own memory: they may change from now on."""
        buffers = self._writer.buffers
        for index in range(self._kept, len(buffers)):
            buffers[index] = memoryview(bytes(buffers[index]))
        self._kept = len(buffers)

    def encoded(self) -> Any:
        """Return the list as `Encoded`."""
        return Encoded({"value": self._trees}, self._writer.buffers, self._writer.classes)


def name_of(kind: Any) -> Any:
    """Return a type's name with its module, as people write it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Name:
    """Stands in a value for what has that name in the kernel."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def __repr__(self) -> Any:
        return f"name({self.name!r})"


class _Writer:
    def __init__(self, pickled: Any, classes: Any) -> None:
        self.buffers: list[Any] = []
        self.classes: set[type] = set()
        self._writers: dict[type, Any] = {}
        self._pickled = pickled
        self._known = classes
        self._of_code: dict[type, Any] = {}

    def tree(self, value: Any, depth: Any) -> Any:
        """Return what stands in the header for a value."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -SAFE_INT < value < SAFE_INT else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is str:
            return value if value.isascii() or _is_text(value) else {"text": value.encode("utf-8", "surrogatepass").hex()}
        if depth >= DEPTH:
            raise CannotCarry(f"it is nested more than {DEPTH} deep, or contains itself")
        if kind not in self._writers:
            found = (find(kind) for find in (_WRITERS.get, *WRITERS))
            self._writers[kind] = next((writer for writer in found if writer is not None), None)
        known = self._writers[kind]
        try:  # as `no_other_error` does, which takes longer than a small value
            return self.other(value, depth + 1) if known is None else known(self, value, depth + 1)
        except (CannotCarry, KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            raise _carried_not(kind, error) from error

    def other(self, value: Any, depth: Any) -> Any:
        """Dataclasses by name, then what has the buffer protocol, then pickles."""
        kind = type(value)
        if dataclasses.is_dataclass(kind) and _importable(kind):
            beside = _beside_fields(value)
            if beside or _fields_of_code(kind, self._of_code):
                if self._pickled is None and beside:
                    raise CannotCarry(f"the dataclass {name_of(kind)} has {beside[0]!r} here, which is none of its fields")
                if self._pickled is None:
                    raise CannotCarry(f"code of the dataclass {name_of(kind)} sets its field {self._of_code[kind][0]!r}")
            elif self._known is None or kind in self._known:
                self.classes.add(kind)
                fields = {}
                for field in dataclasses.fields(kind):
                    with at("." + field.name):
                        if not hasattr(value, field.name):
                            raise CannotCarry("this field of the dataclass has no value")
                        fields[field.name] = self.tree(getattr(value, field.name), depth)
                return {"dataclass": [kind.__module__, kind.__qualname__, fields]}
            elif self._pickled is None:
                raise CannotCarry(f"the dataclass {name_of(kind)} is none of those that the reader knows")
        elif not isinstance(value, _BASES) and str(kind.__module__).partition(".")[0] not in _WHOLE:
            try:
                view = memoryview(value)
            except TypeError:
                view = None
            if view is not None:
                return _memoryview(self, view, depth)
        if self._pickled is None:
            raise CannotCarry(f"a value of type {name_of(kind)} is none of those that are carried as data")
        buffers: list[Any] = []
        try:
            data = self._pickled(value, buffers.append)
            views = [_flat(buffer.raw()) for buffer in buffers]
        except Exception as error:
            raise CannotCarry(f"a value of type {name_of(kind)} can't be pickled: {type(error).__name__}: {error}") from error
        return {"pickle": [self.buffer(data), [self.buffer(view) for view in views]]}

    def buffer(self, data: Any) -> Any:
        """Take bytes along; return what stands for them in the header."""
        if type(data) is bytes and len(data) <= SMALL:
            return binascii.b2a_base64(data, newline=False).decode("ascii")
        view = _flat(memoryview(data))
        if view.nbytes <= SMALL:
            return binascii.b2a_base64(view, newline=False).decode("ascii")
        self.buffers.append(view)
        return len(self.buffers) - 1


_BASES = (int, float, str, bytes, bytearray, array.array, list, tuple, dict, set, frozenset)
_WHOLE = ("numpy", "pandas", "polars", "pyarrow")
"""Of a subclass of these, and of these packages' objects, the buffer alone would be another value."""


def _is_text(value: Any) -> Any:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _flat(view: Any) -> Any:
    """Return the bytes of a view as one row, without a copy where they lie in one piece."""
    if not view.c_contiguous:
        view = memoryview(view.tobytes())
    if view.nbytes == 0:
        return memoryview(b"")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _importable(kind: Any) -> Any:
    """Whether a class is found under its own name."""
    found = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


@contextlib.contextmanager
def no_other_error(kind: Any) -> Any:
    """Whatever a library says to a value of its own, it can't be carried."""
    try:
        yield
    except (CannotCarry, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # polars' panics are no Exception
        raise _carried_not(kind, error) from error


def _carried_not(kind: Any, error: Any) -> Any:
    return CannotCarry(f"a value of type {name_of(kind)}: {type(error).__name__}: {error}")


def items_of(writer: Any, values: Any, depth: Any) -> Any:
    found = []
    for index, value in enumerate(values):
        kind = type(value)
        if kind is str and value.isascii() or kind is bool or value is None:  # noqa: RUF021 - most of what there is
            found.append(value)
            continue
        try:
            found.append(writer.tree(value, depth))
        except CannotCarry as error:
            raise CannotCarry(error.reason, f"[{index}]" + error.place) from None
    return found


def _mapping(writer: Any, value: Any, depth: Any) -> Any:
    if all(type(key) is str and key.isascii() for key in value):
        found = {}
        for key, item in value.items():
            with at(f"[{key!r}]"):
                found[key] = writer.tree(item, depth)
        return {"map": found}
    pairs = []
    for key, item in value.items():
        with at(f"[{shortened(key)}]"):
            pairs.append([writer.tree(key, depth), writer.tree(item, depth)])
    return {"dict": pairs}


def shortened(key: Any) -> Any:
    try:
        text = repr(key)
    except Exception:
        text = "..."
    return text if len(text) <= 60 else text[:57] + "..."


def _elements(writer: Any, values: Any, depth: Any) -> Any:
    with at(" (one of its elements)"):
        return [writer.tree(value, depth) for value in values]


def zone_of(zone: Any) -> Any:
    if zone is None:
        return None
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return zone.key
    if type(zone) is dt.timezone:
        offset = zone.utcoffset(None)
        name = zone.tzname(None)
        named = [] if name == dt.timezone(offset).tzname(None) else [name]
        return [offset.days, offset.seconds, offset.microseconds, *named]
    raise CannotCarry(f"a time zone of type {name_of(type(zone))} is none that is carried as data")


def _datetime(writer: Any, value: Any, depth: Any) -> Any:
    return {"datetime": [value.replace(tzinfo=None).isoformat(), value.fold, zone_of(value.tzinfo)]}


def _time(writer: Any, value: Any, depth: Any) -> Any:
    return {"time": [value.replace(tzinfo=None).isoformat(), value.fold, zone_of(value.tzinfo)]}


def _memoryview(writer: Any, value: Any, depth: Any) -> Any:
    code = value.format
    own = {"little": "<", "big": ">"}[sys.byteorder]
    if code[:1] == own and struct.calcsize(code) == struct.calcsize(code[1:]):
        code = code[1:]
    code = code.lstrip("@")
    shape = list(value.shape)
    if code not in FORMATS or (0 in shape and len(shape) != 1):
        raise CannotCarry(f"a buffer of items {value.format!r} in the shape {shape} can't be made again")
    return {"memoryview": [code, shape, writer.buffer(value)]}


WRITERS: list[Any] = []
"""Functions of a type that give what writes its values, or None: for the types of libraries."""
_WRITERS = {
    complex: lambda writer, value, depth: {"complex": [repr(value.real), repr(value.imag)]},
    bytes: lambda writer, value, depth: {"bytes": writer.buffer(value)},
    bytearray: lambda writer, value, depth: {"bytearray": writer.buffer(value)},
    memoryview: _memoryview,
    array.array: lambda writer, value, depth: {"array": [value.typecode, value.itemsize, sys.byteorder, writer.buffer(value)]},
    list: items_of,
    tuple: lambda writer, value, depth: {"tuple": items_of(writer, value, depth)},
    set: lambda writer, value, depth: {"set": _elements(writer, value, depth)},
    frozenset: lambda writer, value, depth: {"frozenset": _elements(writer, value, depth)},
    dict: _mapping,
    dt.date: lambda writer, value, depth: {"date": value.isoformat()},
    dt.time: _time,
    dt.datetime: _datetime,
    dt.timedelta: lambda writer, value, depth: {"timedelta": [value.days, value.seconds, value.microseconds]},
    decimal.Decimal: lambda writer, value, depth: {"decimal": str(value)},
    uuid.UUID: lambda writer, value, depth: {"uuid": value.hex},
    Name: lambda writer, value, depth: {"name": value.name},
}

# -------------------------------------------------------------------------------------------------------------- from bytes


class Receiver:
    """Takes the bytes of one value as they come, cut anywhere, and gives the value when they are all there.

    It keeps what has come and nothing more: a length that is announced costs nothing.

    Args:
        total: how many bytes come.
        check: their CRC-32.
    """

    def __init__(self, total: Any, check: Any) -> None:
        if type(total) is not int or total < 8 or type(check) is not int:
            raise BadData("what is announced is no value")
        self.total = total
        self.received = 0
        self._announced = check
        self._check = 0
        self._header: tuple[Any, ...] = ()
        self._buffers = [bytearray()]
        self._left = [8]

    @property
    def complete(self) -> Any:
        """Whether all has come."""
        return self.received == self.total

    def feed(self, data: Any) -> None:
        """Take the next bytes. Raises BadData where they are none of this value."""
        view = _flat(memoryview(data))
        if view.nbytes > self.total - self.received:
            raise BadData("more came than was announced")
        self._check = zlib.crc32(view, self._check)
        self.received += view.nbytes
        while view.nbytes:
            index = len(self._buffers) - 1
            if index >= len(self._left):
                raise BadData("more came than the header says")
            taken = view[: self._left[index]]
            self._buffers[index] += taken
            self._left[index] -= taken.nbytes
            view = view[taken.nbytes :]
            self._next()

    def _next(self) -> None:
        """Go on to the next part when one is whole."""
        while len(self._buffers) <= len(self._left) and not self._left[len(self._buffers) - 1]:
            whole = len(self._buffers)
            if whole == 1:
                length = int.from_bytes(self._buffers[0], "big")
                if length > min(self.total - 8, HEADER_LIMIT):
                    raise BadData("the header is longer than all of it")
                self._left.append(length)
            elif whole == 2:
                self._read_header()
            self._buffers.append(bytearray())

    def _read_header(self) -> None:
        try:
            header = json.loads(bytes(self._buffers[1]))
        except (ValueError, RecursionError, MemoryError) as error:
            raise BadData(f"the header is no JSON: {type(error).__name__}") from None
        sizes = header.get("sizes") if type(header) is dict else None
        if type(sizes) is not list or not all(type(size) is int and size > 0 for size in sizes) or "value" not in header:
            raise BadData("the header lacks what a header has")
        if 8 + len(self._buffers[1]) + sum(sizes) != self.total:
            raise BadData("the sizes in the header are not those of what was announced")
        self._header = (header["value"],)
        self._buffers[1] = bytearray()
        self._left += sizes

    def value(self, **how: Any) -> Any:
        """Return the value; see `decode`. Only when `complete`.

        Raises:
            BadData: it is no value, or not the one that was sent.
        """
        if not self.complete or not self._header:
            raise Damaged("it is not whole")
        if self._check != self._announced:
            raise Damaged("its checksum is wrong: it changed on its way, or while it was read")
        buffers = self._buffers[2 : len(self._left)]
        del self._buffers[:]
        return decode(self._header[0], buffers, **how)


def of_bytes(data: Any, **how: Any) -> Any:
    """Return the value that one run of bytes holds; see `decode`."""
    receiver = Receiver(len(data), zlib.crc32(data))
    receiver.feed(data)
    return receiver.value(**how)


def decode(tree: Any, buffers: Any, *, loads: Any = None, find: Any = None, named: Any = None) -> Any:
    """Return the value that a header describes.

    Args:
        tree: the header's `value`.
        buffers: bytearrays, which become part of the value.
        loads: reads a pickle and its buffers; None: pickles are refused.
        find: gives the dataclass of a module's name and a qualified name, or None for one that is not to be made.
        named: gives what a `Name` stands for; None: names are refused.

    Raises:
        BadData: it is no value, or one that is not taken from this writer.
    """
    reader = _Reader(buffers, loads, find or (lambda module, name: None), named)
    try:
        return reader.value(tree)
    except (BadData, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # polars' panics are no Exception
        if named is not None and isinstance(error, NameError):
            raise
        raise BadData(f"{type(error).__name__}: {error}") from error


class _Reader:
    def __init__(self, buffers: Any, loads: Any, find: Any, named: Any) -> None:
        self._buffers = buffers
        self._loads = loads
        self._find = find
        self._named = named
        self._of_code: dict[type, Any] = {}

    def value(self, tree: Any) -> Any:
        kind = type(tree)
        if kind is not dict and kind is not list:
            return tree
        if kind is list:
            return [self.value(item) if type(item) in _NESTED else item for item in tree]
        if len(tree) != 1:
            raise BadData("a part of the header has not one name")
        ((tag, content),) = tree.items()
        make: Any = READERS.get(tag)
        if make is None:
            raise BadData(f"there is no kind of value {tag[:40]!r}")
        return make(self, content)

    def values(self, content: Any) -> Any:
        if type(content) is not list:
            raise BadData("a list was expected")
        return self.value(content)

    def buffer(self, reference: Any) -> Any:
        """Return the bytes that a header names, as a bytearray that is the value's own. Each buffer is given once."""
        if type(reference) is str:
            return bytearray(base64.b64decode(reference, validate=True))
        if type(reference) is not int or not 0 <= reference < len(self._buffers):
            raise BadData("a buffer is named that did not come")
        found, self._buffers[reference] = self._buffers[reference], None
        if found is None:
            raise BadData("a buffer is named twice")
        return found

    def zone(self, content: Any) -> Any:
        if content is None:
            return None
        if type(content) is str:
            return zoneinfo.ZoneInfo(content)
        days, seconds, micros, *name = content
        return dt.timezone(dt.timedelta(days, seconds, micros), *name)

    def pickle(self, content: Any) -> Any:
        if self._loads is None:
            raise BadData('it is a pickle, which is read only with trust="pickle"')
        data, buffers = content
        return self._loads(self.buffer(data), [self.buffer(buffer) for buffer in buffers])

    def name(self, content: Any) -> Any:
        if self._named is None or type(content) is not str:
            raise BadData("a name stands for nothing here")
        return self._named(content)

    def dataclass(self, content: Any) -> Any:
        module, name, fields = content
        if type(module) is not str or type(name) is not str or type(fields) is not dict:
            raise BadData("a dataclass has no name")
        kind = self._find(module, name)
        if kind is None:
            raise BadData(f"the dataclass {module}.{name} is not known here")
        if set(fields) != {field.name for field in dataclasses.fields(kind)}:
            raise BadData(f"the dataclass {module}.{name} has other fields here")
        if of_code := _fields_of_code(kind, self._of_code):
            raise BadData(f"code of the dataclass {module}.{name} sets its field {of_code[0]!r} here")
        made = object.__new__(kind)
        for field, item in fields.items():
            object.__setattr__(made, field, self.value(item))  # its own code is not run
        return made


_NESTED = (dict, list)


def _read_memoryview(reader: Any, content: Any) -> Any:
    code, shape, reference = content
    if code not in FORMATS or type(shape) is not list or len(shape) > DIMENSIONS:
        raise BadData("a buffer is of no kind")
    view: Any = memoryview(reader.buffer(reference))
    if code != "B" or len(shape) != 1:
        view = view.cast(code) if len(shape) == 1 else view.cast(code, shape)
    if view.shape != tuple(shape):
        raise BadData("a buffer is not as large as its shape says")
    return view


def _read_array(reader: Any, content: Any) -> Any:
    code, size, order, reference = content
    make: Any = array.array  # of characters it is deprecated
    found = make(code)
    if found.itemsize != size or order not in ("little", "big"):
        raise BadData("an array's items are not as large here")
    found.frombytes(reader.buffer(reference))
    if order != sys.byteorder:
        found.byteswap()
    return found


def _read_int(reader: Any, content: Any) -> Any:
    return int(content, 16)


def _read_float(reader: Any, content: Any) -> Any:
    return float(content)


def _read_datetime(reader: Any, content: Any) -> Any:
    text, fold, zone = content
    return dt.datetime.fromisoformat(text).replace(fold=fold, tzinfo=reader.zone(zone))


def _read_time(reader: Any, content: Any) -> Any:
    text, fold, zone = content
    return dt.time.fromisoformat(text).replace(fold=fold, tzinfo=reader.zone(zone))


def _read_dict(reader: Any, content: Any) -> Any:
    keys = _spread([reader.value(key) for key, _ in content])
    return {key: reader.value(item) for key, (_, item) in zip(keys, content)}  # noqa: B905 - strict came with Python 3.10


def _spread(keys: Any) -> Any:
    """Return keys that have hashes of their own: with the same one, a thousand times as many take a million times as long."""
    if len(keys) > SAME_HASH and max(collections.Counter(map(hash, keys)).values()) > SAME_HASH:
        raise BadData(f"more than {SAME_HASH} keys have the same hash")
    return keys


READERS = {
    "int": _read_int,
    "float": _read_float,
    "text": lambda reader, content: bytes.fromhex(content).decode("utf-8", "surrogatepass"),
    "complex": lambda reader, content: complex(float(content[0]), float(content[1])),
    "bytes": lambda reader, content: bytes(reader.buffer(content)),
    "bytearray": lambda reader, content: reader.buffer(content),
    "memoryview": _read_memoryview,
    "array": _read_array,
    "tuple": lambda reader, content: tuple(reader.values(content)),
    "set": lambda reader, content: set(_spread(reader.values(content))),
    "frozenset": lambda reader, content: frozenset(_spread(reader.values(content))),
    "map": lambda reader, content: {key: reader.value(item) for key, item in content.items()},
    "dict": _read_dict,
    "date": lambda reader, content: dt.date.fromisoformat(content),
    "time": _read_time,
    "datetime": _read_datetime,
    "timedelta": lambda reader, content: dt.timedelta(*content),
    "decimal": lambda reader, content: decimal.Decimal(content),
    "uuid": lambda reader, content: uuid.UUID(hex=content),
    "dataclass": lambda reader, content: reader.dataclass(content),
    "pickle": lambda reader, content: reader.pickle(content),
    "name": lambda reader, content: reader.name(content),
}


def read_pickle(data: Any, buffers: Any) -> Any:
    """Read a pickle of someone who is trusted."""
    return pickle.loads(data, buffers=buffers)


def _beside_fields(value: Any) -> list[str]:
    """Return the names of what a dataclass has beside its fields, which would be lost; what it can make anew is not among it."""
    kind = type(value)
    known = {field.name for field in dataclasses.fields(kind)}
    return [
        name
        for name in getattr(value, "__dict__", ())
        if name not in known
        and name != "__orig_class__"
        and not any(isinstance(vars(base).get(name), functools.cached_property) for base in kind.__mro__)
    ]


def _fields_of_code(kind: Any, looked: Any) -> Any:
    """Return the names of the fields that are descriptors or properties: to set one is to run code.

    Args:
        kind: the class.
        looked: what was found for the same value, by classes. The next value has a new one: a class may get a property later.
    """
    if kind in looked:
        return looked[kind]
    found = []
    for field in dataclasses.fields(kind):
        kept = next((vars(base)[field.name] for base in kind.__mro__ if field.name in vars(base)), None)
        if hasattr(type(kept), "__set__") and not isinstance(kept, types.MemberDescriptorType):  # which slots are
            found.append(field.name)
    looked[kind] = found
    return found


def find_dataclass(module: Any, name: Any) -> Any:
    """Import the dataclass of that name: for a writer who is trusted."""
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None
