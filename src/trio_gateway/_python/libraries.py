"""Values of numpy, pandas, polars and pyarrow, beside those of `codec`. This file is sent to kernels too.

The one idea: what lies in one piece is sent as it lies, and taken as it comes. A frame's columns are arrays where numpy has their
type, Arrow where it is one of pandas' own, and element by element where they hold objects; so each type comes back as itself.
"""

from __future__ import annotations

import datetime as dt
import functools
import io
import math
import struct
import sys
import zoneinfo
from typing import Any

from .codec import DIMENSIONS, READERS, SMALL, WRITERS, BadData, CannotCarry, at, items_of, no_other_error, shortened, zone_of

__all__ = ["writer_of"]


def _ndarray(writer: Any, value: Any, depth: Any) -> Any:
    return {"ndarray": _array_parts(writer, value)}


def _array_parts(writer: Any, value: Any) -> Any:
    import numpy as np

    dtype = value.dtype
    descr = _plain_descr(dtype) if dtype.isbuiltin == 1 and dtype.metadata is None else _descr(dtype)
    shape = list(value.shape)
    order = "C"
    flags = value.flags
    if value.nbytes <= SMALL:
        if flags.f_contiguous and not flags.c_contiguous:
            order = "F"
        return [descr, shape, order, writer.buffer(value.tobytes("A"))]
    if not flags.c_contiguous:
        if flags.f_contiguous:
            value, order = value.T, "F"
        else:
            value = np.ascontiguousarray(value)
    return [descr, shape, order, writer.buffer(memoryview(value.reshape(-1).view(np.uint8)))]


def _descr(dtype: Any) -> Any:
    """Return what stands in the header for a type."""
    import numpy as np

    if dtype.hasobject:
        raise CannotCarry(f"an array of {dtype} holds Python objects")
    descr = np.lib.format.dtype_to_descr(dtype)
    if isinstance(descr, str) and np.dtype(descr) != dtype:
        raise CannotCarry(f"an array of {dtype} has a type of its own")
    return descr


_plain_descr = functools.lru_cache(maxsize=100)(_descr)
"""Of numpy's own types, which are asked for again and again by many small arrays."""


def _numpy_scalar(writer: Any, value: Any, depth: Any) -> Any:
    import numpy as np

    if value.dtype.hasobject:
        raise CannotCarry(f"a scalar of {value.dtype} holds Python objects")
    return {"scalar": _array_parts(writer, np.asarray(value))}


def _arrow(writer: Any, value: Any, depth: Any) -> Any:
    import pyarrow as pa

    batch = isinstance(value, pa.RecordBatch)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, value.schema) as stream:
        stream.write(value)
    return {"arrow": ["batch" if batch else "table", writer.buffer(sink.getvalue())]}


def _polars(writer: Any, value: Any, depth: Any) -> Any:
    import polars as pl

    frame = value.to_frame() if isinstance(value, pl.Series) else value
    for name, kind in frame.schema.items():
        if kind == pl.Object:
            with at(f"[{name!r}]"):
                raise CannotCarry("a column of Python objects has no counterpart in Arrow")
    stream = io.BytesIO()
    frame.write_ipc_stream(stream)
    # A frame without columns has rows that no stream tells.
    return {"polars": ["series" if isinstance(value, pl.Series) else "frame", writer.buffer(stream.getbuffer())]}


def _pandas_frame(writer: Any, value: Any, depth: Any) -> Any:
    columns = []
    for index in range(value.shape[1]):
        with at(f"[{shortened(value.columns[index])}]"):
            columns.append(_pandas_column(writer, value.iloc[:, index], depth))
    attrs = writer.tree(dict(value.attrs), depth)
    rows = _index(writer, value.index, depth)
    return {"frame": [rows, _index(writer, value.columns, depth, ".columns"), columns, attrs]}


def _pandas_series(writer: Any, value: Any, depth: Any) -> Any:
    with at(".name"):
        name = writer.tree(value.name, depth)
    return {"series": [_index(writer, value.index, depth), _pandas_column(writer, value, depth), name]}


def _pandas_index(writer: Any, value: Any, depth: Any) -> Any:
    return {"index": _index(writer, value, depth)}


def _index(writer: Any, value: Any, depth: Any, place: Any = ".index") -> Any:
    """A pandas index: what makes it, with its names. `place` is what it is of a frame, for errors."""
    import pandas as pd

    with at(place):
        names = [writer.tree(name, depth) for name in value.names]
        if isinstance(value, pd.RangeIndex):
            return ["range", [value.start, value.stop, value.step], names]
        if isinstance(value, pd.MultiIndex):
            levels = [_pandas_column(writer, level, depth) for level in value.levels]
            return ["multi", [levels, [_array_parts(writer, codes) for codes in map(_as_array, value.codes)]], names]
        freq = getattr(value, "freqstr", None) if isinstance(value, (pd.DatetimeIndex, pd.TimedeltaIndex)) else None
        return ["plain", [_pandas_column(writer, value, depth), freq], names]


def _as_array(value: Any) -> Any:
    import numpy as np

    return np.asarray(value)


def _pandas_column(writer: Any, values: Any, depth: Any) -> Any:
    """One column: as it lies in memory where it is numpy's, element by element where it holds objects, else as Arrow."""
    import numpy as np
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        data = values.to_numpy()
        return ["objects", items_of(writer, list(data), depth)] if dtype.hasobject else ["numpy", _array_parts(writer, data)]
    if isinstance(dtype, pd.CategoricalDtype):
        codes = values.array.codes
        return ["category", _pandas_column(writer, dtype.categories, depth), _array_parts(writer, codes), bool(dtype.ordered)]
    if isinstance(dtype, pd.DatetimeTZDtype):
        stamps = pd.DatetimeIndex(values).tz_convert("UTC").tz_localize(None)
        return ["zoned", _array_parts(writer, stamps.to_numpy()), zone_of(_plain_zone(dtype.tz))]
    storage = None
    if isinstance(dtype, pd.StringDtype):
        storage = [dtype.storage, "NA" if getattr(dtype, "na_value", pd.NA) is pd.NA else "nan"]
    try:
        import pyarrow as pa
    except ImportError:
        if storage is None:
            raise CannotCarry(f"a column of {dtype} goes as Arrow: install pyarrow, here and on the other side") from None
        # Text is pandas' own type of column, and of column names, since its version 3, which does without pyarrow.
        texts = [text if isinstance(text, str) else None for text in values.array]
        return ["texts", items_of(writer, texts, depth), storage]
    with no_other_error(type(values.array)):
        table = pa.table({"x": pa.array(values.array)})
        return ["arrow", _arrow(writer, table, depth)["arrow"], str(dtype), storage]


def _plain_zone(zone: Any) -> Any:
    """A time zone of pytz or dateutil by the name that zoneinfo has for it, where it has one."""
    if isinstance(zone, (dt.timezone, zoneinfo.ZoneInfo)):
        return zone
    key = getattr(zone, "zone", None)
    return zoneinfo.ZoneInfo(key) if isinstance(key, str) and key in zoneinfo.available_timezones() else zone


_OTHERS = {
    ("numpy", "ndarray"): _ndarray,
    ("pandas", "DataFrame"): _pandas_frame,
    ("pandas", "Series"): _pandas_series,
    ("pandas", "Index"): _pandas_index,
    ("pandas", "RangeIndex"): _pandas_index,
    ("pandas", "MultiIndex"): _pandas_index,
    ("pandas", "DatetimeIndex"): _pandas_index,
    ("pandas", "TimedeltaIndex"): _pandas_index,
    ("pandas", "CategoricalIndex"): _pandas_index,
    ("polars", "DataFrame"): _polars,
    ("polars", "Series"): _polars,
    ("pyarrow", "Table"): _arrow,
    ("pyarrow", "RecordBatch"): _arrow,
}


def writer_of(kind: Any) -> Any:
    """Return what writes values of a library that is loaded, or None."""
    package = str(kind.__module__).partition(".")[0]
    module = sys.modules.get(package)
    known = _OTHERS.get((package, kind.__name__))
    if module is None:
        return None
    if known is not None:
        return known if getattr(module, kind.__name__, None) is kind else None
    if package == "numpy" and issubclass(kind, getattr(module, "generic", ())):
        return _numpy_scalar
    return None


def _read_array(reader: Any, content: Any) -> Any:
    import numpy as np

    descr, shape, order, reference = content
    dtype = np.dtype(descr) if type(descr) is str else np.lib.format.descr_to_dtype(_as_descr(descr))
    if dtype.hasobject:
        raise BadData("an array of Python objects is refused")
    if (
        type(shape) is not list
        or len(shape) > DIMENSIONS
        or not all(type(size) is int and size >= 0 for size in shape)
        or order not in ("C", "F")
    ):
        raise BadData("an array has no shape")
    data = reader.buffer(reference)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise BadData("an array is not as large as its shape says")
    if not data:
        # In memory that is there: of items without a length numpy else makes items with one.
        return np.ndarray(shape, dtype, data, order=order)
    found = np.frombuffer(data, dtype).reshape(shape, order=order)
    _check_items(found)
    return found


def _check_items(array: Any) -> None:
    """Refuse items that numpy takes for granted not to be there: truths beside 0 and 1, and characters beyond Unicode."""
    import numpy as np

    if array.dtype.names is not None:
        for name in array.dtype.names:
            _check_items(array[name])
    elif array.dtype.kind == "b" and array.size and array.view("u1").max() > 1:
        raise BadData("a truth is neither 0 nor 1")
    elif array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        letters = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if letters.max() > sys.maxunicode:
            raise BadData("a character is none of Unicode's")


_ODD_TYPES = (b"arrow.py_extension_type", b"POLARS_EXTENSION_TYPE")
"""Of these types, versions of pyarrow before 14.0.1 unpickle what the writer says, and versions of polars follow its pointers."""


def _checked_stream(data: Any, *, rows: Any = None) -> Any:
    """Return an Arrow stream, unless reading it could cost more than it is long, or run code.

    Args:
        data: the stream.
        rows: how many rows there may be beyond one for each bit of it; None: any number, for a reader that makes nothing of them.
    """
    view, at, length = memoryview(data), 0, 0
    while at + 8 <= view.nbytes:
        if bytes(view[at : at + 4]) == b"\xff\xff\xff\xff":
            at += 4
        (size,) = struct.unpack_from("<i", view, at)
        if not size:
            break
        message = view[at + 4 : at + 4 + size]
        if any(name in bytes(message) for name in _ODD_TYPES):
            raise BadData("a table has a type that is not taken")
        root = _Table(message, struct.unpack_from("<I", message, 0)[0])
        kind, body = root.number(1, "<B"), root.number(3, "<q")
        if size < 0 or body < 0:
            raise BadData("a table has a length below nothing")
        if kind == 1 and rows is not None:
            _check_dictionaries(root.table(2).tables(1), [message.nbytes])
        if kind in (2, 3):  # a batch of a dictionary's, or of rows
            batch = root.table(2) if kind == 3 else root.table(2).table(1)
            if batch.start(3):
                raise BadData("a table is compressed")
            length += batch.number(0, "<q")
        at += 4 + size + body
    if rows is not None and length > 8 * view.nbytes + rows:
        raise BadData("a table has more rows than it can have")
    return data


_TEXTS = (5, 20, 24)
"""What the format calls text: Utf8, LargeUtf8, Utf8View."""


def _check_dictionaries(fields: Any, left: Any) -> None:
    """Refuse dictionaries of anything but texts: polars copies such a value for each row that names it, and writes none.

    Args:
        fields: the schema's fields.
        left: how many fields there may be, in a list: each takes a byte at least, and one may stand in many places.
    """
    for field in fields:
        left[0] -= 1
        if left[0] < 0 or (field.start(4) and field.number(2, "<B") not in _TEXTS):
            raise BadData("a table has a type that is not taken")
        _check_dictionaries(field.tables(5), left)


class _Table:
    """A table of FlatBuffers': where its fields are is said in another one before it."""

    def __init__(self, data: Any, at: Any) -> None:
        self._data = data
        self._at = at
        self._index = at - struct.unpack_from("<i", data, at)[0]

    def start(self, field: Any) -> Any:
        """Return where a field is, or 0 where it is not."""
        place = 4 + 2 * field
        if self._index < 0 or place >= struct.unpack_from("<H", self._data, self._index)[0]:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._index + place)
        return self._at + offset if offset else 0

    def number(self, field: Any, kind: Any) -> Any:
        """Return a number."""
        place = self.start(field)
        return struct.unpack_from(kind, self._data, place)[0] if place else 0

    def table(self, field: Any) -> Any:
        """Return a table that a field leads to."""
        place = self.start(field)
        if not place:
            raise BadData("a table lacks what it is about")
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])

    def tables(self, field: Any) -> Any:
        """Yield the tables of a list that a field leads to, if it is there."""
        place = self.start(field)
        if place:
            place += struct.unpack_from("<I", self._data, place)[0]
            for item in range(place + 4, place + 4 + 4 * struct.unpack_from("<I", self._data, place)[0], 4):
                yield _Table(self._data, item + struct.unpack_from("<I", self._data, item)[0])


EMPTY_ROWS = 1_000_000
"""How many rows of nothing but nulls a reader makes, that makes something of each."""


def _read_arrow(reader: Any, content: Any, rows: Any = None) -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise BadData("it has a part that goes as Arrow: install pyarrow here too, where it is read") from None

    kind, reference = content
    data = _checked_stream(reader.buffer(reference), rows=rows)
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        table = stream.read_all()
    table.validate(full=True)
    if kind == "batch":
        batches = table.to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
    return table


def _read_polars(reader: Any, content: Any) -> Any:
    import polars as pl

    kind, reference = content
    frame = pl.read_ipc_stream(io.BytesIO(_checked_stream(reader.buffer(reference), rows=EMPTY_ROWS)))
    return frame.to_series() if kind == "series" else frame


def _read_index(reader: Any, content: Any) -> Any:
    import pandas as pd

    kind, what, names = content
    names = reader.values(names)
    if kind == "range":
        start, stop, step = what
        return pd.RangeIndex(start, stop, step, name=names[0])
    if kind == "multi":
        levels, codes = what
        found = [_plain_index(_read_column(reader, level)) for level in levels]
        return pd.MultiIndex(found, [_read_array(reader, code) for code in codes], names=names, verify_integrity=True)
    column, freq = what
    index = _plain_index(_read_column(reader, column), names[0])
    if type(freq) is str:
        index.freq = freq
    return index


def _plain_index(values: Any, name: Any = None) -> Any:
    import pandas as pd

    return pd.Index(values, dtype=values.dtype, name=name, tupleize_cols=False)


def _read_column(reader: Any, content: Any) -> Any:
    """Return one column: a numpy array, or one of pandas' own."""
    import numpy as np
    import pandas as pd

    kind, *what = content
    if kind == "numpy":
        return _read_array(reader, what[0])
    if kind == "objects":
        items = reader.values(what[0])
        found: Any = np.empty(len(items), object)
        for index, item in enumerate(items):
            found[index] = item
        return found
    if kind == "category":
        categories = _plain_index(_read_column(reader, what[0]))
        return pd.Categorical.from_codes(_read_array(reader, what[1]), categories=categories, ordered=bool(what[2]))
    if kind == "zoned":
        stamps = _read_array(reader, what[0])
        if stamps.dtype.kind != "M":
            raise BadData("times are numbers")
        return pd.DatetimeIndex(stamps).tz_localize("UTC").tz_convert(reader.zone(what[1])).array
    if kind == "texts":
        texts = reader.values(what[0])
        if not all(text is None or type(text) is str for text in texts):
            raise BadData("a column of texts has something else")
        return pd.array(texts, dtype=_text_type(what[1]))
    if kind != "arrow":
        raise BadData("a column is of no kind")
    table, name, storage = what
    column = _read_arrow(reader, table, EMPTY_ROWS).column(0)
    dtype = name
    if type(storage) is list:
        dtype = _text_type(storage)
    elif type(name) is not str or name == "object":
        raise BadData("a column has no type")
    elif name.endswith("[pyarrow]"):
        return pd.arrays.ArrowExtensionArray(column)
    if not _is_as_long_as_it_came(column.type, texts=type(storage) is list):
        raise BadData(f"a column of {shortened(name)} goes as another type of Arrow's")
    made: Any = pd.api.types.pandas_dtype(dtype)
    return made.__from_arrow__(column)


def _is_as_long_as_it_came(kind: Any, *, texts: Any) -> Any:
    """Say whether pandas makes no more of a column of that type than has come of it, beyond what an object takes.

    Of a dictionary, a view or a run of values pandas copies a value for each row that names it. Lists of nulls have any length.
    """
    import pyarrow as pa

    is_ = pa.types
    if texts or is_.is_string(kind) or is_.is_large_string(kind) or is_.is_null(kind):
        return is_.is_string(kind) or is_.is_large_string(kind) or is_.is_null(kind)
    if isinstance(kind, pa.BaseExtensionType):
        return _is_as_long_as_it_came(kind.storage_type, texts=False)
    parts = []
    if is_.is_struct(kind):
        parts = [kind[index].type for index in range(kind.num_fields)]
    elif is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        parts = [kind.value_type]
    elif not (is_.is_primitive(kind) or is_.is_decimal(kind)):
        return is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_fixed_size_binary(kind)
    return all(not is_.is_null(part) and _is_as_long_as_it_came(part, texts=False) for part in parts)


def _text_type(storage: Any) -> Any:
    import pandas as pd

    return pd.StringDtype(storage[0], na_value=float("nan") if storage[1] == "nan" else pd.NA)


def _read_frame(reader: Any, content: Any) -> Any:
    import pandas as pd

    rows, columns, values, attrs = content
    index = _read_index(reader, rows)
    found = [_read_column(reader, column) for column in values]
    if any(len(column) != len(index) for column in found):
        raise BadData("a column is not as long as its frame")
    # With its type, because pandas makes text of objects that are text.
    columns_of = {number: pd.Series(column, index, column.dtype, copy=False) for number, column in enumerate(found)}
    frame = pd.DataFrame(columns_of, index=index, copy=False)
    frame.columns = _read_index(reader, columns)
    frame.attrs.update(reader.value(attrs))
    return frame


def _read_series(reader: Any, content: Any) -> Any:
    import pandas as pd

    rows, column, name = content
    values = _read_column(reader, column)
    return pd.Series(values, _read_index(reader, rows), values.dtype, reader.value(name), copy=False)


def _as_descr(descr: Any) -> Any:
    """A structured type's description, as numpy writes it: JSON has no tuples."""
    if type(descr) is not list:
        return descr
    found: list[Any] = []
    for field in descr:
        name, kind, *shape = field
        name = tuple(name) if type(name) is list else name
        found.append((name, _as_descr(kind), *(tuple(one) for one in shape)))
    return found


def _read_scalar(reader: Any, content: Any) -> Any:
    return _read_array(reader, content)[()]


WRITERS.append(writer_of)
READERS.update(
    {
        "ndarray": _read_array,
        "scalar": _read_scalar,
        "arrow": _read_arrow,
        "polars": _read_polars,
        "frame": _read_frame,
        "series": _read_series,
        "index": _read_index,
    }
)
