"""Arrays, frames and tables: type, shape, order and names come back; what has no counterpart is named; bad data is refused."""

from __future__ import annotations

import base64
import datetime as dt
import sys
import tracemalloc
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from python.test_codec import carried, dumps
from python.values import arrays, frames, same, values
from trio_gateway._python import codec, libraries


@given(arrays())
def test_an_array_comes_back(value: Any) -> None:
    found = carried({"a": [value]})["a"][0]
    assert same(found, value)
    assert found.flags.writeable


@pytest.mark.parametrize(
    "value",
    [
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.array([(1, 2.5, b"ab")], dtype=[("a", "<i4"), ("b", ">f8", (2,)), ("c", "S2")]),
        np.zeros(3, dtype=np.dtype({"names": ["x", "y"], "formats": ["i1", "f8"]}, align=True)),
        np.array(["2020-01-01T00:00:01"], "M8[s]"),
        np.array(["NaT"], "m8[ns]"),
        np.array(5.0),
        np.empty((0, 3, 2), "c8"),
        np.array(["", "é\0"]),
        np.float16(1.5),
        np.datetime64("2020-01-01"),
        np.bool_(True),
        np.str_("é"),
        np.void(b"abc"),
    ],
)
def test_arrays_and_scalars_of_each_kind(value: Any) -> None:
    found = carried(value)
    assert same(found, value)
    assert not value.ndim or found.flags.f_contiguous == value.flags.f_contiguous


def test_an_array_is_not_copied_and_what_comes_is_its_memory() -> None:
    value = np.arange(100_000.0)
    encoded = codec.encode([value])
    assert np.shares_memory(np.frombuffer(encoded.parts[1], "f8"), value)
    whole = [bytearray(part) for part in encoded.parts[1:]]
    memory = whole[0]
    found = codec.decode([{"ndarray": ["<f8", [100_000], "C", 0]}], whole)[0]
    assert np.shares_memory(found, np.frombuffer(memory, "f8"))


_nested = st.recursive(
    st.one_of(values, arrays(), frames()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3), st.tuples(inner, inner)),
    max_leaves=5,
)


@given(_nested)
def test_values_with_arrays_and_frames_in_them_come_back(value: Any) -> None:
    assert same(carried(value), value)


@given(arrays())
def test_an_array_keeps_its_order(value: Any) -> None:
    found = carried(value)
    assert found.flags.f_contiguous >= value.flags.f_contiguous
    assert found.flags.c_contiguous >= value.flags.c_contiguous


@given(frames())
def test_a_frame_comes_back(value: pd.DataFrame) -> None:
    assert same(carried(value), value)


@pytest.mark.parametrize(
    "value",
    [
        pd.Series([1, 2], name=("a", 1)),
        pd.Series(["a", None], dtype=object, index=pd.Index([0.5, 1.5], name="at")),
        pd.DataFrame({"text": np.array(["a", "b"], object)}, index=pd.Index(["x", "y"], dtype=object)),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame(columns=["a"]),
        pd.DataFrame({"x": [1]}, index=pd.MultiIndex.from_tuples([("a", 1)], names=["u", "v"])),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 1)])),
        pd.DataFrame([[1, 2]], columns=pd.date_range("2020", periods=2)),
        pd.MultiIndex.from_product([["a", "b"], pd.date_range("2020", periods=2, tz="Asia/Tokyo")]),
        pd.Index([("a", 1), "b"], tupleize_cols=False),
        pd.RangeIndex(0, 10, 3),
        pl.DataFrame(
            {"a": [1, None], "b": [["x"], []], "c": [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None], "ü": [{"k": 1}, {"k": None}]}
        ),
        pl.DataFrame({"e": pl.Series(["a", "b", "a"], dtype=pl.Categorical)}),
        pl.DataFrame(),
        pl.Series("s", [1.5, None]),
        pa.table({"a": [1, None], "b": pa.array(["x", "x"]).dictionary_encode()}),
        pa.table([pa.array([1]), pa.array(["b"])], names=["a", "a"]),
        pa.table({}),
        pa.RecordBatch.from_pylist([{"a": [1, 2]}]),
        pa.RecordBatch.from_pylist([], schema=pa.schema({"a": pa.int8()})),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tables_of_each_library(value: Any) -> None:
    assert same(carried(value), value)


TEXT = pd.StringDtype("python", na_value=float("nan"))
OLD_TEXT = pd.StringDtype("python")


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": [1, 2]}, columns=pd.Index(["a"], dtype=TEXT), index=pd.Index(["x", "é"], dtype=TEXT, name="k")),
        pd.DataFrame({"t": pd.array(["x", None], dtype=TEXT), "u": pd.array(["", None], dtype=OLD_TEXT)}),
        pd.DataFrame([[1]], columns=pd.MultiIndex.from_arrays([pd.Index(["a"], dtype=TEXT), [1]])),
        pd.Series(pd.Categorical(["b", "a"], categories=pd.Index(["a", "b"], dtype=TEXT))),
        pd.Index([], dtype=TEXT),
    ],
)
def test_text_needs_no_arrow(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """pandas 3 makes column names such text, so each frame would need it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found = carried(value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(found, value)
        assert list(found.dtypes) == list(value.dtypes)
        assert found.columns.dtype == value.columns.dtype
    elif isinstance(value, pd.Series):
        pd.testing.assert_series_equal(found, value)
    else:
        pd.testing.assert_index_equal(found, value)


def test_what_needs_arrow_where_there_is_none_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"n": pd.array([1, None], dtype="Int64")})
    tree = codec.encode(frame)
    whole = [bytearray(part) for part in tree.parts]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(codec.CannotCarry) as caught:
        codec.encode({"f": frame})
    assert (caught.value.place, caught.value.reason) == (
        "['f']['n']",
        "a column of Int64 goes as Arrow: install pyarrow, here and on the other side",
    )
    with pytest.raises(codec.BadData, match="install pyarrow here too"):
        codec.of_bytes(b"".join(whole))


def test_a_frames_index_and_its_columns_are_told_apart() -> None:
    odd = [object()]
    for frame, place in (
        (pd.DataFrame([[1]], index=odd), "['f'].index[0]"),
        (pd.DataFrame([[1]], columns=odd), "['f'].columns[0]"),
    ):
        with pytest.raises(codec.CannotCarry) as caught:
            codec.encode({"f": frame})
        assert caught.value.place == place


def test_a_column_of_texts_that_has_something_else_is_refused() -> None:
    with pytest.raises(codec.BadData, match="something else"):
        codec.decode({"series": [["range", [0, 1, 1], [None]], ["texts", [1], ["python", "nan"]], None]}, [])


def test_what_a_frame_says_of_itself_comes_too() -> None:
    frame = pd.DataFrame({"x": [1]})
    frame.attrs["source"] = ["a", 1]
    assert carried(frame).attrs == {"source": ["a", 1]}


def test_a_column_of_numbers_needs_no_arrow_and_is_not_copied() -> None:
    frame = pd.DataFrame({"x": np.arange(10_000.0), "y": np.arange(10_000)})
    encoded = codec.encode(frame)
    assert [part.nbytes for part in encoded.parts[1:]] == [80_000, 80_000]
    assert np.shares_memory(np.frombuffer(encoded.parts[1], "f8"), frame["x"].to_numpy())


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (
            {"frame": pd.DataFrame({"x": [1, 2], "when": np.array([dt.date(2020, 1, 1), object()], object)})},
            "['frame']['when'][1]",
        ),
        (pd.DataFrame({"x": pd.arrays.SparseArray([0, 1])}), "['x']"),
        (pd.DataFrame({"x": [1]}, index=pd.Index([object()])), ".index[0]"),
        ([np.array([1, None], object)], "[0]"),
        ([np.ma.masked_array([1, 2], [0, 1])], "[0]"),
        (pl.DataFrame({"o": [object()]}), "['o']"),
        (pl.LazyFrame({"a": [1]}), ""),
        (pa.array([1]), ""),
        (pd.Timestamp("2020-01-01"), ""),
    ],
)
def test_what_cannot_be_carried_is_named(value: Any, place: str) -> None:
    with pytest.raises(codec.CannotCarry) as caught:
        codec.encode(value)
    assert caught.value.place == place


def test_what_has_no_counterpart_goes_as_a_pickle_with_its_buffers_beside() -> None:
    value = np.ma.masked_array(np.arange(10_000), np.arange(10_000) % 2)
    encoded = codec.encode(value, pickled=dumps)
    assert len(encoded.parts) > 1
    found = codec.of_bytes(encoded.joined(), loads=codec.read_pickle)
    assert (found == value).all()


def test_a_zone_that_pandas_has_of_another_library_comes_as_that_of_zoneinfo() -> None:
    zone = carried(pd.Series(pd.date_range("2020", periods=1, tz="Europe/Berlin"))).dt.tz
    assert isinstance(zone, zoneinfo.ZoneInfo)
    assert zone.key == "Europe/Berlin"


BYTES = base64.b64encode(bytes(8)).decode()


@pytest.mark.parametrize(
    "tree",
    [
        {"ndarray": ["|O", [1], "C", BYTES]},
        {"ndarray": [[["a", "|O"]], [1], "C", BYTES]},
        {"ndarray": ["<f8", [2], "C", BYTES]},
        {"ndarray": ["<f8", [2**62, 2**62], "C", BYTES]},
        {"ndarray": ["<f8", [-1], "C", BYTES]},
        {"ndarray": ["<f8", [1] * 65, "C", BYTES]},
        {"ndarray": ["<f8", [1], "K", BYTES]},
        {"ndarray": ["<f8", "1", "C", BYTES]},
        {"ndarray": ["no type", [1], "C", BYTES]},
        {"ndarray": [{"os": "system"}, [1], "C", BYTES]},
        {"ndarray": ["<f8", [0, 2**70], "C", ""]},
        {"ndarray": ["|b1", [8], "C", base64.b64encode(b"\0\1\2" + bytes(5)).decode()]},
        {"ndarray": ["<U2", [1], "C", base64.b64encode(b"\0\0\x11\0" + bytes(4)).decode()]},
        {"ndarray": [">U1", [2], "F", base64.b64encode(b"\0\x11\0\0" + bytes(4)).decode()]},
        {"ndarray": [[["a", "<i4"], ["b", "|b1", [4]]], [1], "C", base64.b64encode(b"\2" * 8).decode()]},
        {"scalar": ["|O", [], "C", BYTES]},
        {"arrow": ["table", BYTES]},
        {"arrow": ["table", ""]},
        {"polars": ["frame", BYTES]},
        {"polars": ["frame", ""]},
        {
            "frame": [
                ["range", [0, 2, 1], [None]],
                ["plain", [["objects", ["a"]], None], [None]],
                [["numpy", ["<f8", [1], "C", BYTES]]],
                {"map": {}},
            ]
        },
        {"frame": [["range", [0, 2, "x"], [None]], 1, [], {"map": {}}]},
        {
            "series": [
                ["range", [0, 1, 1], [None]],
                ["category", ["objects", ["a"]], ["<i8", [1], "C", base64.b64encode(b"\x07" + bytes(7)).decode()], True],
                None,
            ]
        },
        {"series": [["range", [0, 1, 1], [None]], ["unheard of"], None]},
        {"series": [["range", [0, 1, 1], [None]], ["zoned", ["<f8", [1], "C", BYTES], "UTC"], None]},
        {"index": ["multi", [[["objects", ["a"]]], [["<i8", [1], "C", base64.b64encode(b"\x07" + bytes(7)).decode()]]], [None]]},
    ],
)
def test_bad_data_is_refused(tree: Any) -> None:
    with pytest.raises(codec.BadData):
        codec.decode(tree, [])


@pytest.mark.parametrize("where", range(0, 400, 7))
def test_a_table_that_was_changed_on_its_way_makes_no_wrong_memory(where: int) -> None:
    """Arrow's own validation is asked: an offset that leads out of a buffer would be read later on."""
    table = pa.table({"s": ["abc", None, "defg"], "l": [[1], [2, 3], None]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write(table)
    data = bytearray(sink.getvalue())
    data[-1 - where % len(data)] ^= 0xFF
    try:
        found = codec.decode({"arrow": ["table", 0]}, [data])
    except codec.BadData:
        return
    found.validate(full=True)


def stream_of(table: pa.Table, compression: str | None = None) -> bytearray:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write(table)
    return bytearray(sink.getvalue())


ZEROS = pa.table({"n": np.zeros(1_000_000), "d": pa.DictionaryArray.from_arrays(np.zeros(1_000_000, "i1"), ["a" * 1000])})


@pytest.mark.parametrize("kind", ["arrow", "polars"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("column", ["n", "d"])
def test_a_table_that_grows_when_it_is_read_is_refused(kind: str, compression: str, column: str) -> None:
    """G7"""
    data = stream_of(ZEROS.select([column]), compression)
    with pytest.raises(codec.BadData, match="compressed"):
        codec.decode({kind: ["table", 0]}, [data])
    plain = stream_of(ZEROS.slice(0, 100).select([column]))
    assert len(codec.decode({kind: ["table", 0]}, [plain])) == 100


def test_rows_of_nothing_cost_nothing() -> None:
    """G7"""
    written, rows = (length.to_bytes(8, "little") for length in (0x12345, 2**36))
    data = stream_of(pa.table({"x": pa.nulls(0x12345)}))
    assert written in data
    data = data.replace(written, rows)
    assert codec.decode({"arrow": ["table", 0]}, [bytearray(data)]).num_rows == 2**36, "Arrow makes nothing of them"
    with pytest.raises(codec.BadData, match="more rows"):
        codec.decode({"polars": ["frame", 0]}, [bytearray(data)])
    index = ["range", [0, 2**36, 1], [None]]
    with pytest.raises(codec.BadData, match="more rows"):
        codec.decode({"series": [index, ["arrow", ["table", 0], "Int64", None], None]}, [bytearray(data)])
    for descr in ("|S0", "<U0", "|V0"):
        tracemalloc.start()
        assert codec.decode({"ndarray": [descr, [10_000_000], "C", ""]}, []).nbytes == 0
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


WORD = "x" * 100_000
ONCE = pa.array([WORD])
LONGER_THAN_THEY_CAME = {
    "a dictionary": pa.DictionaryArray.from_arrays(pa.array(np.zeros(300, "i1")), ONCE),
    "a view": pa.Array.from_buffers(
        pa.string_view(),
        300,
        [None, pa.py_buffer(ONCE.cast(pa.string_view()).buffers()[1].to_pybytes() * 300), pa.py_buffer(WORD.encode())],
    ),
    "a run": pa.RunEndEncodedArray.from_arrays(pa.array([300], pa.int32()), ONCE),
    "a list of nulls": pa.FixedSizeListArray.from_arrays(pa.nulls(300 * len(WORD)), len(WORD)),
}


@pytest.mark.parametrize("column", LONGER_THAN_THEY_CAME)
@pytest.mark.parametrize(
    ("name", "storage"),
    [
        ("string", ["python", "NA"]),
        ("string", ["pyarrow", "NA"]),
        ("str", ["pyarrow", "nan"]),
        ("str", ["python", "nan"]),
        ("string", None),
        ("Int64", None),
    ],
)
def test_a_column_that_is_longer_than_it_came_is_refused(column: str, name: str, storage: Any) -> None:
    """G7"""
    table = pa.table({"x": LONGER_THAN_THEY_CAME[column]})
    data = stream_of(table)
    assert len(data) < 2 * len(WORD)
    content = ["arrow", ["table", 0], name, storage]
    with pytest.raises(codec.BadData, match=f"a column of '{name}' goes as another type of Arrow's"):
        codec.decode({"series": [["range", [0, 300, 1], [None]], content, None]}, [data])
    assert codec.decode({"arrow": ["table", 0]}, [bytearray(data)]) == table, "a table keeps its types, and nothing is copied"


@pytest.mark.parametrize(
    "dtype", ["Int8", "UInt64", "Float32", "boolean", "string", "str", "period[D]", "interval[float64, left]"]
)
@pytest.mark.parametrize("arrow", ["none", "some"])
def test_a_column_of_each_of_pandas_own_types_comes_back(dtype: str, arrow: str) -> None:
    items = [] if arrow == "none" else [None, None]
    value = pd.Series(items, dtype=dtype)
    assert same(carried(value), value)


@pytest.mark.parametrize("inside", ["it", "a struct", "a list"])
def test_polars_reads_dictionaries_of_text_alone(inside: str) -> None:
    """G7"""

    def stream(words: pa.Array) -> bytearray:
        found = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300, "i1")), words)
        if inside == "a struct":
            found = pa.StructArray.from_arrays([pa.array(np.zeros(300)), found], ["a", "b"])
        elif inside == "a list":
            found = pa.ListArray.from_arrays(pa.array(np.arange(301, dtype="i4")), found)
        return stream_of(pa.table({"n": np.zeros(300), "x": found}))

    for words in (pa.array([[1] * 10_000], pa.list_(pa.int8())), pa.array([b"x" * 10_000]), pa.array([{"a": "b"}])):
        with pytest.raises(codec.BadData, match="not taken"):
            codec.decode({"polars": ["frame", 0]}, [stream(words)])
    for words in (pa.array(["a"]), pa.array(["a"], pa.large_string()), pa.array(["a"], pa.string_view())):
        assert codec.decode({"polars": ["frame", 0]}, [stream(words)]).height == 300


@pytest.mark.parametrize("name", ["arrow.py_extension_type", "POLARS_EXTENSION_TYPE"])
@pytest.mark.parametrize("kind", ["arrow", "polars"])
def test_types_that_run_code_or_lead_into_memory_are_refused(name: str, kind: str) -> None:
    metadata = {"ARROW:extension:name": name, "ARROW:extension:metadata": "1;2"}
    schema = pa.schema([pa.field("x", pa.binary(16), metadata=metadata)])
    data = stream_of(pa.table([pa.array([b"x" * 16], pa.binary(16))], schema=schema))
    with pytest.raises(codec.BadData, match="not taken"):
        codec.decode({kind: ["table", 0]}, [data])


def test_types_that_only_look_like_a_librarys_are_none() -> None:
    kind = type("DataFrame", (), {"__module__": "pandas"})
    assert libraries.writer_of(kind) is None
    assert libraries.writer_of(type("ndarray", (), {"__module__": "not_there"})) is None


def test_many_small_arrays_ask_numpy_for_the_name_of_their_type_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    name = np.lib.format.dtype_to_descr

    def noted(dtype: Any) -> Any:
        asked.append(dtype)
        return name(dtype)

    libraries._plain_descr.cache_clear()
    monkeypatch.setattr(np.lib.format, "dtype_to_descr", noted)
    codec.encode([np.arange(3, dtype="i2") for _ in range(100)])
    assert asked == [np.dtype("i2")]
