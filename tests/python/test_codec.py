"""Values as a header and buffers: what comes back is what went in, what can't be carried is named, and bad data is refused."""

from __future__ import annotations

import array
import ast
import collections
import ctypes
import dataclasses
import datetime as dt
import enum
import functools
import json
import math
import mmap
import pickle
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from python.values import same, values
from trio_gateway._python import codec


def carried(value: Any, **how: Any) -> Any:
    return codec.of_bytes(codec.encode(value).joined(), **how)


@given(values)
def test_what_goes_in_comes_back(value: Any) -> None:
    assert same(carried(value), value)


@pytest.mark.parametrize(
    "value", [-0.0, math.nan, math.inf, 2**53, -(2**53), 1 << 10_000, True, 1, 1.0, "a\udc80", complex(-0.0, math.nan)]
)
def test_numbers_and_text_at_the_edges(value: Any) -> None:
    assert same(carried([value])[0], value)


@given(values, st.lists(st.integers(1, 50), min_size=1))
def test_it_may_be_cut_anywhere(value: Any, sizes: list[int]) -> None:
    data = codec.encode([value, b"x" * 600, b"y" * 601]).joined()
    receiver = codec.Receiver(len(data), zlib.crc32(data))
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        receiver.feed(data[at : at + size])
        at += size
    assert receiver.complete
    assert same(receiver.value(), [value, b"x" * 600, b"y" * 601])


@given(st.binary(min_size=1), st.data())
def test_cutting_gives_each_byte_once(data: bytes, draw: st.DataObject) -> None:
    parts = [memoryview(part) for part in (data[:3], data[3:4], data[4:]) if part]
    encoded = codec.Encoded({"value": None}, parts)
    whole = encoded.joined()
    assert whole.endswith(data)
    start = draw.draw(st.integers(0, len(whole)))
    stop = draw.draw(st.integers(start, len(whole)))
    assert b"".join(encoded.cut(start, stop)) == whole[start:stop]


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1), st.integers(1, 30), st.data())
def test_pieces_are_as_large_as_they_may_be_however_many_parts_there_are(
    data: list[bytes], size: int, draw: st.DataObject
) -> None:
    encoded = codec.Encoded({"value": None}, [memoryview(part) for part in data])
    whole = encoded.joined()
    start = draw.draw(st.integers(0, len(whole)))
    with mock.patch.object(codec, "PIECE", size):
        found = list(encoded.pieces(start, len(whole)))
    assert b"".join(found) == whole[start:]
    assert [len(piece) for piece in found[:-1]] == [size] * (len(found) - 1)


class CountedList(list[memoryview]):
    looked = 0

    def __getitem__(self, index: Any) -> Any:
        self.looked += 1
        return super().__getitem__(index)

    def __iter__(self) -> Any:
        for index in range(len(self)):
            yield self[index]


def test_a_piece_of_many_parts_looks_at_its_own_alone() -> None:
    encoded = codec.encode([bytes(600) for _ in range(10_000)])
    whole = encoded.joined()
    parts = encoded.parts = CountedList(encoded.parts)
    assert encoded.piece(encoded.total - 1300, encoded.total) == whole[-1300:]
    assert parts.looked <= 4


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 9), st.integers(1, 9))
def test_the_first_piece_is_long_and_those_after_it_are_short(start: int, stop: int, longest: int, after: int) -> None:
    with mock.patch.object(codec, "NEXT_PIECE", after):
        found = list(codec.spans(start, stop, longest))
    assert [at for first, end in found for at in range(first, end)] == list(range(start, stop))
    lengths = [end - first for first, end in found]
    assert lengths[:1] == [min(stop - start, longest if start == 0 else min(longest, after))][: len(lengths)]
    assert all(length == min(longest, after) for length in lengths[1:-1])
    assert all(length <= min(longest, after) for length in lengths[1:])


def test_large_parts_are_not_copied_before_they_are_sent() -> None:
    value = {"a": bytearray(10_000_000), "b": array.array("d", bytes(8_000_000))}
    tracemalloc.start()
    encoded = codec.encode(value)
    list(encoded.cut(0, encoded.total))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert encoded.total > 18_000_000
    assert peak < 100_000
    assert max(piece.nbytes for piece in encoded.cut(0, encoded.total)) <= codec.PIECE


def test_a_buffer_of_another_language_is_carried_with_its_shape() -> None:
    numbers = (ctypes.c_int32 * 3 * 2)((1, 2, 3), (4, 5, 6))
    assert carried(numbers).tolist() == [[1, 2, 3], [4, 5, 6]]


# What can't be carried -------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Loud(str):
    __slots__ = ()


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"frame": [1, {"when": (1, 2, object())}]}, "['frame'][1]['when'][2]"),
        ({("a", 1): {2: [Colour.RED]}}, "[('a', 1)][2][0]"),
        ([Loud("x")], "[0]"),
        (Pair(1, 2), ""),
        ([[], collections.OrderedDict()], "[1]"),
        ({frozenset({object()})}, " (one of its elements) (one of its elements)"),
        ([dt.datetime(2020, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})())], "[0]"),
        ([1, memoryview(b"1234").cast("B", (2, 2))[::1], lambda: 1], "[2]"),
    ],
)
def test_what_cannot_be_carried_is_named_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(codec.CannotCarry) as caught:
        codec.encode(value)
    assert caught.value.place == place
    assert caught.value.reason


def test_what_a_value_says_of_itself_is_no_error_of_its_own() -> None:
    closed = mmap.mmap(-1, 10)
    closed.close()
    for value in (closed, type("Odd", (), {"__module__": None})()):
        with pytest.raises(codec.CannotCarry):
            codec.encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append({"again": value})
    with pytest.raises(codec.CannotCarry, match="contains itself"):
        codec.encode(value)


def test_nesting_has_a_limit_and_what_is_below_it_comes_back() -> None:
    deep: Any = 1
    for _ in range(codec.DEPTH):
        deep = [deep]
    assert carried(deep) == deep
    with pytest.raises(codec.CannotCarry, match="nested"):
        codec.encode([deep])


# Dataclasses, names and pickles -----------------------------------------------------------------------------------------


ran: list[str] = []


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ran.append("post init")


def find(module: str, name: str) -> type | None:
    return {(Point.__module__, "Point"): Point}.get((module, name))


def test_a_dataclass_comes_as_itself_where_it_is_known_and_its_own_code_does_not_run() -> None:
    point = Point(1.5, ("a",))
    encoded = codec.encode([point])
    assert encoded.classes == {Point}
    ran.clear()
    assert codec.of_bytes(encoded.joined(), find=find) == [point]
    assert ran == []


class Positive:
    """A descriptor that keeps its values beside the object."""

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return 1 if owner is None else self.values[id(owner)]

    def __set__(self, owner: Any, value: Any) -> None:
        if value < 0:
            raise AssertionError("its code runs")
        self.values[id(owner)] = value


@dataclasses.dataclass
class Measured:
    value: Positive | int = Positive()


@dataclasses.dataclass(slots=True)
class Slotted:
    value: int


def test_a_dataclass_whose_fields_are_set_by_code_is_no_data() -> None:
    with pytest.raises(codec.CannotCarry, match=r"code of the dataclass .*Measured sets its field 'value'"):
        codec.encode(Measured(5))
    encoded = codec.encode(Measured(5), pickled=lambda value, callback: b"as a pickle")
    assert codec.of_bytes(encoded.joined(), loads=lambda data, buffers: bytes(data)) == b"as a pickle"
    tree = {"dataclass": [Measured.__module__, "Measured", {"value": -1}]}
    with pytest.raises(codec.BadData, match="sets its field 'value' here"):
        codec.decode(tree, [], find=codec.find_dataclass)
    assert codec.of_bytes(codec.encode(Slotted(5)).joined(), find=codec.find_dataclass) == Slotted(5)


def test_a_field_that_becomes_a_property_later_is_no_data_either() -> None:
    kind = dataclasses.make_dataclass("Late", [("x", int)])
    tree = {"dataclass": [__name__, "Late", {"x": 1}]}
    assert codec.decode(tree, [], find=lambda module, name: kind).x == 1
    kind.x = property(lambda self: 1, lambda self, value: ran.append("set"))  # type: ignore[attr-defined]
    ran.clear()
    with pytest.raises(codec.BadData, match="sets its field 'x' here"):
        codec.decode(tree, [], find=lambda module, name: kind)
    assert ran == []


def test_a_dataclass_that_is_not_known_is_refused_on_either_side() -> None:
    data = codec.encode(Point(1.0)).joined()
    with pytest.raises(codec.BadData, match="Point is not known here"):
        codec.of_bytes(data)
    with pytest.raises(codec.CannotCarry, match="none of those that the reader knows"):
        codec.encode(Point(1.0), classes=set())


def test_a_dataclass_with_other_fields_is_refused() -> None:
    tree = {"dataclass": [Point.__module__, "Point", {"x": 1.0, "other": 2}]}
    with pytest.raises(codec.BadData, match="has other fields here"):
        codec.decode(tree, [], find=find)


@dataclasses.dataclass
class Scaled:
    x: float

    def __post_init__(self) -> None:
        self.scale = 2.0

    @functools.cached_property
    def double(self) -> float:
        return self.x * self.scale


def test_a_dataclass_that_has_more_than_its_fields_does_not_lose_it() -> None:
    scaled = Scaled(1.0)
    with pytest.raises(codec.CannotCarry, match="Scaled has 'scale' here, which is none of its fields"):
        codec.encode(scaled)
    del scaled.scale
    assert codec.of_bytes(codec.encode(scaled).joined(), find=lambda *_: Scaled) == scaled
    scaled.__dict__["double"] = 2.0  # it is made again where it is wanted
    assert codec.of_bytes(codec.encode(scaled).joined(), find=lambda *_: Scaled) == scaled
    scaled.scale = 3.0
    data = codec.encode(scaled, pickled=dumps).joined()
    assert codec.of_bytes(data, loads=codec.read_pickle).scale == 3.0


def test_a_field_that_cannot_be_carried_is_named() -> None:
    with pytest.raises(codec.CannotCarry) as caught:
        codec.encode({"p": Point(object())})  # type: ignore[arg-type]
    assert caught.value.place == "['p'].x"


def dumps(value: Any, callback: Any) -> bytes:
    return pickle.dumps(value, 5, buffer_callback=callback)


def test_pickles_are_read_only_by_those_who_trust() -> None:
    value = [collections.Counter("abca"), pickle.PickleBuffer(bytearray(b"z" * 5000))]
    data = codec.encode([Colour.RED, value[0]], pickled=dumps).joined()
    assert codec.of_bytes(data, loads=codec.read_pickle) == [Colour.RED, value[0]]
    with pytest.raises(codec.BadData, match='only with trust="pickle"'):
        codec.of_bytes(data)


def test_a_name_stands_for_what_its_reader_has() -> None:
    data = codec.encode({"x": codec.Name("frame")}).joined()
    assert codec.of_bytes(data, named={"frame": 5}.__getitem__) == {"x": 5}
    with pytest.raises(codec.BadData, match="stands for nothing"):
        codec.of_bytes(data)


# Bad data --------------------------------------------------------------------------------------------------------------


def packed(header: Any, *buffers: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "big") + raw + b"".join(buffers)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        packed(b""),
        packed(b"{"),
        packed(b"\xff\xfe"),
        packed(b"[" * 100_000),
        packed(b"1" * 10_000),
        packed({}),
        packed({"value": 1}),
        packed({"value": 1, "sizes": 5}),
        packed({"value": 1, "sizes": [-1]}),
        packed({"value": 1, "sizes": [5]}),
        packed({"value": 1, "sizes": [2**80]}),
        packed({"value": 1, "sizes": []}, b"more"),
        (2**63).to_bytes(8, "big") + b"{}",
        packed({"value": {"bytes": 0}, "sizes": []}),
        packed({"value": {"bytes": 1}, "sizes": [1]}, b"x"),
        packed({"value": [{"bytes": 0}, {"bytes": 0}], "sizes": [1]}, b"x"),
        packed({"value": {"bytes": True}, "sizes": [1]}, b"x"),
        packed({"value": {"bytes": "no base64"}, "sizes": []}),
        packed({"value": {"unheard of": 1}, "sizes": []}),
        packed({"value": {"int": "0x1", "float": "1"}, "sizes": []}),
        packed({"value": {"int": "zz"}, "sizes": []}),
        packed({"value": {"float": [1]}, "sizes": []}),
        packed({"value": {"text": "zz"}, "sizes": []}),
        packed({"value": {"complex": ["1"]}, "sizes": []}),
        packed({"value": {"tuple": "abc"}, "sizes": []}),
        packed({"value": {"set": [[]]}, "sizes": []}),
        packed({"value": {"map": []}, "sizes": []}),
        packed({"value": {"dict": [[1]]}, "sizes": []}),
        packed({"value": {"dict": [[[], 1]]}, "sizes": []}),
        packed({"value": {"date": "2020-99-99"}, "sizes": []}),
        packed({"value": {"datetime": ["2020-01-01", 7, None]}, "sizes": []}),
        packed({"value": {"time": ["01:00", 0, "../../etc/passwd"]}, "sizes": []}),
        packed({"value": {"time": ["01:00", 0, "/etc/passwd"]}, "sizes": []}),
        packed({"value": {"timedelta": [1e308, 1e308, 0]}, "sizes": []}),
        packed({"value": {"decimal": "x"}, "sizes": []}),
        packed({"value": {"uuid": 5}, "sizes": []}),
        packed({"value": {"memoryview": ["P", [1], ""]}, "sizes": []}),
        packed({"value": {"memoryview": ["d", [2**60], ""]}, "sizes": []}),
        packed({"value": {"memoryview": ["B", [1] * 1000, "AA=="]}, "sizes": []}),
        packed({"value": {"array": ["q", 3, "little", ""]}, "sizes": []}),
        packed({"value": {"array": ["O", 8, "little", ""]}, "sizes": []}),
        packed({"value": {"pickle": ["", []]}, "sizes": []}),
        packed({"value": {"dataclass": ["os", "system", {}]}, "sizes": []}),
        packed({"value": {"name": "x"}, "sizes": []}),
    ],
)
def test_bad_data_is_refused(data: bytes) -> None:
    with pytest.raises(codec.BadData):
        codec.of_bytes(data)


@given(st.binary(max_size=300))
@example(packed({"value": {"int": 5}, "sizes": []}))
def test_garbage_is_refused_or_a_value(data: bytes) -> None:
    with suppress(codec.BadData):
        codec.of_bytes(data)


_junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["<f8", "B", "C", "0x10", "UTC", "AAAA"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(sorted(codec.READERS)), inner, max_size=1)
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(codec.READERS)), _junk, st.lists(st.binary(max_size=64).map(bytearray), max_size=3))
def test_no_header_makes_anything_but_a_value_or_that_error(tag: str, content: Any, buffers: list[bytearray]) -> None:
    with suppress(codec.BadData):
        codec.decode({tag: content}, buffers)


@pytest.mark.parametrize("kind", ["dict", "set", "frozenset"])
def test_keys_that_have_one_hash_are_refused(kind: str) -> None:
    """G7: so many of them would take hours."""
    keys = [number * (2**61 - 1) for number in range(1, 100_000)]
    with pytest.raises(codec.BadData, match="the same hash"):
        codec.decode({kind: [[key, 1] for key in keys] if kind == "dict" else keys}, [])


def test_one_byte_that_changed_is_noticed() -> None:
    data = bytearray(codec.encode(b"x" * 1000).joined())
    receiver = codec.Receiver(len(data), zlib.crc32(data))
    data[-5] ^= 1
    receiver.feed(data)
    with pytest.raises(codec.Damaged, match="checksum"):
        receiver.value()


def test_a_length_that_is_announced_costs_nothing() -> None:
    header = packed({"value": {"bytes": 0}, "sizes": [2**40]})
    tracemalloc.start()
    receiver = codec.Receiver(2**40 + len(header), 0)
    receiver.feed(header)
    receiver.feed(b"x" * 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not receiver.complete
    assert peak < 100_000
    with pytest.raises(codec.BadData, match="not whole"):
        receiver.value()


def test_more_than_was_announced_is_refused() -> None:
    with pytest.raises(codec.BadData, match="more came"):
        codec.Receiver(8, 0).feed(bytes(9))


@pytest.mark.parametrize("announced", [(-1, 0), (7, 0), (None, 0), (8, None), (8.0, 0), ("8", 0)])
def test_what_is_announced_has_to_be_a_length(announced: Any) -> None:
    with pytest.raises(codec.BadData):
        codec.Receiver(*announced)


# What is sent to kernels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["codec", "file_side", "libraries", "kernel_side"])
def test_what_is_sent_is_python_3_9(name: str) -> None:
    path = Path(codec.__file__).with_name(f"{name}.py")
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match | ast.TryStar)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
            assert not node.keywords, "strict= came with Python 3.10"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            assert not isinstance(node.args[1], ast.BinOp), "unions in isinstance came with Python 3.10"
        assert not (isinstance(node, ast.Attribute) and node.attr in {"UTC", "add_note", "ExceptionGroup"}), "from Python 3.11"
