"""Values that tests carry, and what it means that two of them are equal: also their types, at each place."""

from __future__ import annotations

import array
import datetime as dt
import decimal
import math
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

__all__ = ["arrays", "frames", "same", "values"]


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, types and all; a NaN is the same as a NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (one == other and math.copysign(1, one) == math.copysign(1, other)) or (one != one and other != other)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(map(same, one, other)) and all(map(same, one.values(), other.values()))
    if isinstance(one, dt.datetime | dt.time):
        return one.isoformat() == other.isoformat() and one.fold == other.fold and str(one.tzinfo) == str(other.tzinfo)
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, memoryview):
        return (one.format, one.shape, one.tobytes()) == (other.format, other.shape, other.tobytes())
    if isinstance(one, array.array):
        return one.typecode == other.typecode and one.tobytes() == other.tobytes()
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
        return True
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other)
        return True
    if isinstance(one, pd.Index):
        pd.testing.assert_index_equal(one, other, exact=True)
        return True
    if isinstance(one, pl.DataFrame | pl.Series | pa.Table | pa.RecordBatch):
        return bool(one.equals(other))
    return bool(one == other)


_zones = st.sampled_from(
    [
        None,
        dt.UTC,
        dt.timezone(dt.timedelta(hours=-3, minutes=-30)),
        dt.timezone(dt.timedelta(hours=1), "here"),
        *map(zoneinfo.ZoneInfo, ["Europe/Berlin", "Asia/Kolkata"]),
    ]
)
_keys = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.binary(), st.tuples(st.integers(), st.text()))
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**60, max_value=2**300),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.characters(categories=["Cs"]),
    st.binary(max_size=2000),
    st.binary(max_size=2000).map(bytearray),
    st.binary(max_size=2000).map(memoryview),
    st.lists(st.floats(width=64)).map(lambda items: array.array("d", items)),
    st.dates(),
    st.times(),
    st.times(timezones=_zones),
    st.datetimes(),
    st.datetimes(timezones=_zones, allow_imaginary=True),
    st.timedeltas(),
    st.decimals(),
    st.uuids().map(lambda value: uuid.UUID(hex=value.hex)),
    st.sets(st.integers()),
    st.frozensets(st.text()),
)
values = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(st.text(), inner), st.dictionaries(_keys, inner)
    ),
    max_leaves=20,
)
"""Nested values of Python's own types."""

_dtypes = st.one_of(
    npst.scalar_dtypes(),
    npst.array_dtypes(npst.scalar_dtypes(), max_size=3),
)


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """Arrays of each type and shape: empty ones, without dimensions, of either byte order, and not in one piece."""
    found = draw(npst.arrays(draw(_dtypes), npst.array_shapes(min_dims=0, min_side=0, max_side=6)))
    how = draw(st.sampled_from(["as it is", "turned", "every second", "backwards", "Fortran's"]))
    if how == "turned":
        return found.T
    if how == "Fortran's":
        return np.asfortranarray(found)
    if found.ndim and how != "as it is":
        return found[::2] if how == "every second" else found[::-1]
    return found


_columns = st.sampled_from(
    [
        np.arange,
        lambda n: np.linspace(0, 1, n).astype(">f4") if n else np.empty(0, ">f4"),
        lambda n: pd.array([None if index % 3 else index for index in range(n)], dtype="Int64"),
        lambda n: pd.array([None if index % 2 else True for index in range(n)], dtype="boolean"),
        lambda n: pd.array([None if index % 2 else "é" * index for index in range(n)], dtype="string"),
        lambda n: pd.array([str(index) for index in range(n)], dtype="str"),
        lambda n: pd.Categorical(
            ["ab"[index % 2] if index % 3 else None for index in range(n)], categories=["b", "a"], ordered=True
        ),
        lambda n: pd.date_range("2020-03-29", periods=n, freq="h", tz="Europe/Berlin"),
        lambda n: pd.date_range("2020-03-29", periods=n, unit="s"),
        lambda n: pd.to_timedelta([float("nan") if index % 2 else index for index in range(n)], unit="s"),
        lambda n: pd.period_range("2020-01", periods=n, freq="M"),
        lambda n: pd.interval_range(0, n) if n else pd.IntervalIndex([], dtype="interval[int64, right]"),
        lambda n: np.array([[1, "a", None, {"x": (1, 2)}, dt.date(2020, 1, 1), 1.5][index % 6] for index in range(n)], object),
        lambda n: pd.array([index if index % 2 else None for index in range(n)], dtype="int64[pyarrow]"),
        lambda n: np.ones(n, complex),
    ]
)
_indexes = st.sampled_from(
    [
        lambda n: pd.RangeIndex(5, 5 + 2 * n, 2, name="step"),
        lambda n: pd.Index([f"r{index}" for index in range(n)], name=("a", 1)),
        lambda n: pd.MultiIndex.from_arrays([np.arange(n) // 2, [str(index) for index in range(n)]], names=["u", None]),
        lambda n: pd.date_range("2020", periods=n, freq="D", name="day"),
        lambda n: pd.Index([0] * n),
        lambda n: pd.CategoricalIndex(["xy"[index % 2] for index in range(n)]),
    ]
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames with nulls, categories, time zones, objects, and column names that may stand twice or be no text."""
    rows = draw(st.integers(0, 7))
    columns = [draw(_columns)(rows) for _ in range(draw(st.integers(0, 4)))]
    frame = pd.DataFrame(dict(enumerate(columns)), index=draw(_indexes)(rows))
    labels = draw(
        st.sampled_from(
            [["a", "a", "b", "b"], [1, "x", None, 2.5], ["ü", "", "a b", "'"], [("m", 1), ("m", 2), ("n", 1), ("n", 1)]]
        )
    )
    frame.columns = pd.Index(labels[: len(columns)])
    return frame
