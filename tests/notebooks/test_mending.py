"""What breaks the notebook format, and what becomes of it: a table, and then anything."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._notebooks import mending
from trio_gateway._notebooks.mending import UnusableError, mend, mend_numbers

CODE: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "1"}
TEXT: dict[str, Any] = {"cell_type": "markdown", "metadata": {}, "source": "x"}
STREAM: dict[str, Any] = {"output_type": "stream", "name": "stderr", "text": ["a"]}
SHOWN: dict[str, Any] = {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {}}
RESULT: dict[str, Any] = {**SHOWN, "output_type": "execute_result", "execution_count": 1}
ERROR: dict[str, Any] = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]}


def document(*cells: object, minor: object = 4, **metadata: object) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": minor, "metadata": metadata, "cells": [copy.deepcopy(cell) for cell in cells]}


def without(fields: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != key}


def set_aside(**values: object) -> dict[str, Any]:
    return {"trio_gateway": {"set_aside": values}}


def output(found: object) -> dict[str, Any]:
    return document({**CODE, "outputs": [found]})


TABLE: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    # ------------------------------------------------------------------------------------------------- the notebook
    "no minor version": (without(document(CODE), "nbformat_minor"), document(CODE), ["nbformat_minor (missing)"]),
    "a minor version in text": (document(CODE, minor="2"), document(CODE, minor=2), ["nbformat_minor ('2')"]),
    "a minor version below zero": (document(CODE, minor=-1), document(CODE), ["nbformat_minor (-1)"]),
    "no metadata": (without(document(CODE), "metadata"), document(CODE), ["metadata (missing)"]),
    "metadata in a list": ({**document(CODE), "metadata": []}, document(CODE), ["metadata ([])"]),
    "an unknown key": ({**document(CODE), "news": [1]}, document(CODE, **set_aside(news=[1])), ["news (unknown)"]),
    "an empty kernelspec": (document(kernelspec={}), document(), ["metadata.kernelspec (names no kernel)"]),
    "a kernelspec of null": (document(kernelspec=None), document(), ["metadata.kernelspec (names no kernel)"]),
    "a kernelspec without a name": (
        document(kernelspec={"display_name": "P"}),
        document(**set_aside(kernelspec={"display_name": "P"})),
        ["metadata.kernelspec (names no kernel)"],
    ),
    "a kernelspec that shows no name": (
        document(kernelspec={"name": "p", "mine": 1}),
        document(kernelspec={"name": "p", "mine": 1, "display_name": "p"}),
        ["metadata.kernelspec.display_name (missing)"],
    ),
    "a language without a name": (
        document(language_info={"version": "3"}, kernelspec={"name": "p", "display_name": "P", "language": "python"}),
        document(
            language_info={"version": "3", "name": "python"},
            kernelspec={"name": "p", "display_name": "P", "language": "python"},
        ),
        ["metadata.language_info.name (missing)"],
    ),
    "a language that nobody names": (
        document(language_info={"version": "3"}),
        document(language_info={"version": "3", "name": ""}),
        ["metadata.language_info.name (missing)"],
    ),
    "a part of the language of another type": (
        document(language_info={"name": "x", "codemirror_mode": 5}),
        document(language_info={"name": "x"}, **set_aside(**{"language_info.codemirror_mode": 5})),
        ["metadata.language_info.codemirror_mode"],
    ),
    # ------------------------------------------------------------------------------------------------------ its cells
    "no execution count": (document(without(CODE, "execution_count")), document(CODE), ["cells[0].execution_count (missing)"]),
    "an execution count in text": (
        document({**CODE, "execution_count": "*"}),
        document(CODE),
        ["cells[0].execution_count ('*')"],
    ),
    "no outputs": (document(without(CODE, "outputs")), document(CODE), ["cells[0].outputs (missing)"]),
    "outputs of null": (document({**CODE, "outputs": None}), document(CODE), ["cells[0].outputs (None)"]),
    "a cell without metadata": (document(without(CODE, "metadata")), document(CODE), ["cells[0].metadata (missing)"]),
    "outputs of a text": (
        document({**TEXT, "outputs": [], "execution_count": None}),
        document(TEXT),
        ["cells[0].outputs (not of a markdown cell)", "cells[0].execution_count (not of a markdown cell)"],
    ),
    "an unknown key of a cell": (
        document({**CODE, "news": {"a": 1}, "metadata": {"mine": 2}}),
        document({**CODE, "metadata": {"mine": 2, **set_aside(news={"a": 1})}}),
        ["cells[0].news (unknown)"],
    ),
    "an attachment of code": (
        document({**CODE, "attachments": {"a.png": {"image/png": "AA"}}}),
        document({**CODE, "metadata": set_aside(attachments={"a.png": {"image/png": "AA"}})}),
        ["cells[0].attachments (not of a code cell)"],
    ),
    "an attachment that is none": (
        document({**TEXT, "attachments": {"a": {"text/plain": 1}, "b": {"text/plain": "kept"}}}),
        document({**TEXT, "attachments": {"a": {"text/plain": "1"}, "b": {"text/plain": "kept"}}}),
        ["cells[0].attachments.a"],
    ),
    "a heading": (
        document({**TEXT, "cell_type": "heading", "level": 2, "source": ["a\n", "b"]}),
        document({**TEXT, "source": "## a b"}),
        ["cells[0].cell_type ('heading', now markdown)"],
    ),
    "an unknown type of cell": (
        document({**TEXT, "cell_type": "sql"}),
        document({**TEXT, "cell_type": "raw", "metadata": set_aside(cell_type="sql")}),
        ["cells[0].cell_type ('sql', now raw)"],
    ),
    "tags in one text": (
        document({**CODE, "metadata": {"tags": "a, raises-exception"}}),
        document({**CODE, "metadata": {"tags": ["a", "raises-exception"]}}),
        ["cells[0].metadata.tags (no list of tags)"],
    ),
    "a tag twice": (
        document({**CODE, "metadata": {"tags": ["a", "a", 5]}}),
        document({**CODE, "metadata": {"tags": ["a"]}}),
        ["cells[0].metadata.tags (no list of tags)"],
    ),
    "metadata of another type": (
        document({**CODE, "metadata": {"collapsed": "yes", "mine": 1}}),
        document({**CODE, "metadata": {"mine": 1, **set_aside(collapsed="yes")}}),
        ["cells[0].metadata.collapsed"],
    ),
    # ---------------------------------------------------------------------------------------------------------- its ids
    "an id where none should be": (
        document({**CODE, "id": "abc"}),
        document({**CODE, "id": "abc"}, minor=5),
        ["cells[0].id (not in format 4.4, now 4.5)"],
    ),
    "no id, where none should be": (
        document({**CODE, "id": None}, {**CODE, "id": "a b"}),
        document(CODE, {**CODE, "metadata": set_aside(id="a b")}),
        ["cells[0].id (not in format 4.4)", "cells[1].id (not in format 4.4)"],
    ),
    "a missing id": (
        document({**CODE, "id": "abc"}, CODE, minor=5),
        document({**CODE, "id": "abc"}, {**CODE, "id": "~"}, minor=5),
        ["cells[1].id (missing)"],
    ),
    "an id that is none": (
        document({**CODE, "id": "a b"}, minor=5),
        document({**CODE, "id": "~"}, minor=5),
        ["cells[0].id (no id)"],
    ),
    "an id twice": (
        document({**CODE, "id": "abc"}, {**CODE, "id": "abc"}, minor=5),
        document({**CODE, "id": "abc"}, {**CODE, "id": "~"}, minor=5),
        ["cells[1].id (used before)"],
    ),
    # ------------------------------------------------------------------------------------------------------- its outputs
    "a stream without a name": (
        output(without(STREAM, "name")),
        output({**STREAM, "name": "stdout"}),
        ["cells[0].outputs[0].name"],
    ),
    "a stream without text": (output(without(STREAM, "text")), output({**STREAM, "text": ""}), ["cells[0].outputs[0].text"]),
    "a display without metadata": (output(without(SHOWN, "metadata")), output(SHOWN), ["cells[0].outputs[0].metadata (missing)"]),
    "a display without data": (
        output(without(SHOWN, "data")),
        output({**SHOWN, "data": {}}),
        ["cells[0].outputs[0].data (missing)"],
    ),
    "null for text": (
        output({**SHOWN, "data": {"text/plain": None, "text/html": "x"}}),
        output({**SHOWN, "data": {"text/html": "x"}}),
        ["cells[0].outputs[0].data"],
    ),
    "a result without its number": (
        output(without(RESULT, "execution_count")),
        output({**RESULT, "execution_count": None}),
        ["cells[0].outputs[0].execution_count (missing)"],
    ),
    "an error without a traceback": (
        output(without(ERROR, "traceback")),
        output({**ERROR, "traceback": []}),
        ["cells[0].outputs[0].traceback (missing)"],
    ),
    "an error without a name": (output(without(ERROR, "ename")), output({**ERROR, "ename": ""}), ["cells[0].outputs[0].ename"]),
    "an unknown key of an output": (
        output({**SHOWN, "transient": {"display_id": "d"}}),
        output({**SHOWN, "metadata": set_aside(transient={"display_id": "d"})}),
        ["cells[0].outputs[0].transient (unknown)"],
    ),
    "an unknown type of output": (output({"output_type": "x"}), document(CODE), ["cells[0].outputs[0] (no output)"]),
    "no output": (output(5), document(CODE), ["cells[0].outputs[0] (no output)"]),
}


def valid(found: dict[str, Any]) -> dict[str, Any]:
    """Return it if each of nbformat's validators finds it valid as it stands."""
    for name in ("jsonschema", "fastjsonschema"):
        get_validator: Any = nbformat.validator.get_validator
        errors = [error.message for error in get_validator(4, found["nbformat_minor"], name=name).iter_errors(found)]
        assert errors == []
    ids = [cell["id"] for cell in found["cells"] if "id" in cell]
    assert len(set(ids)) == len(ids)
    return found


@pytest.mark.parametrize("name", TABLE)
def test_what_breaks_the_format_is_mended_and_named(name: str) -> None:
    found, expected, places = TABLE[name]
    found = copy.deepcopy(found)
    faults = mend(found)
    valid(found)
    for cell, wanted in zip(found["cells"], expected["cells"], strict=True):
        if wanted.get("id") == "~":  # a new one
            assert re.fullmatch("[0-9a-f]{8}", cell.pop("id"))
            wanted = without(wanted, "id")  # noqa: PLW2901
        assert cell == wanted
    assert without(found, "cells") == without(expected, "cells")
    assert len(faults) == len(places)
    for fault, place in zip(faults, places, strict=True):
        assert fault.startswith(place)


@pytest.mark.parametrize("minor", [0, 1, 2, 3, 4, 5, 99])
def test_a_valid_notebook_stays_as_it_is(minor: int) -> None:
    cells = [{**cell, "id": f"id-{number}"} if minor >= 5 else cell for number, cell in enumerate([CODE, TEXT])]
    found = document(*cells, minor=minor, mine=[1])
    before = copy.deepcopy(found)
    assert mend(found) == []
    assert found == before


def test_what_a_later_minor_version_brings_is_kept() -> None:
    """Also beside something that has to be mended."""
    cells = [
        {
            **without(CODE, "execution_count"),
            "id": "a",
            "news": 1,
            "outputs": [{"output_type": "film", "reel": 1}, {**STREAM, "news": 1}],
        },
        {"cell_type": "film", "metadata": {}, "id": "b", "news": 2},
    ]
    found = {**document(*copy.deepcopy(cells), minor=99), "news": 3}
    assert mend(found) == ["cells[0].execution_count (missing)"]
    assert valid(found) == {**document({**cells[0], "execution_count": None}, cells[1], minor=99), "news": 3}


@pytest.mark.parametrize(
    ("found", "place"),
    [
        ({"nbformat": 4, "nbformat_minor": 4, "metadata": {}}, "cells"),
        ({**document(), "cells": 5}, "cells"),
        (document(CODE, 5), "cells[1]"),
        (document(without(CODE, "cell_type")), "cells[0].cell_type"),
        (document({**CODE, "cell_type": None}), "cells[0].cell_type"),
        (document(CODE, without(CODE, "source")), "cells[1].source"),
        (document({**CODE, "source": 5}), "cells[0].source"),
        (document({**CODE, "source": ["a", 5]}), "cells[0].source"),
        (document(without(TEXT, "source")), "cells[0].source"),
    ],
)
def test_what_a_run_needs_is_named(found: dict[str, Any], place: str) -> None:
    with pytest.raises(UnusableError) as caught:
        mend(found)
    assert caught.value.place == place


def test_what_is_set_aside_never_takes_the_place_of_something() -> None:
    """Not even of what another tool keeps under our name, or we have set aside before."""
    for name, expected in {
        "text": {"trio_gateway": {"": "text", "set_aside": {"news": 1}}},
        "kept": {"trio_gateway": {"set_aside": {"": "kept", "news": 1}}},
        "news": {"trio_gateway": {"set_aside": {"news": 0, "news 2": 1}}},
        "same": {"trio_gateway": {"set_aside": {"news": 1}}},
    }.items():
        before: dict[str, Any] = {
            "text": {"trio_gateway": "text"},
            "kept": {"trio_gateway": {"set_aside": "kept"}},
            "news": set_aside(news=0),
            "same": set_aside(news=1),
        }[name]
        found = document({**CODE, "news": 1, "metadata": before})
        mend(found)
        assert found["cells"][0]["metadata"] == expected


def test_new_ids_are_the_same_whenever_the_same_file_is_read() -> None:
    ids = []
    for _ in range(2):
        found = document(CODE, CODE, TEXT, minor=5)
        mend(found)
        ids.append([cell["id"] for cell in found["cells"]])
    assert ids[0] == ids[1]
    taken = document(CODE, {**CODE, "id": ids[0][0]}, minor=5)
    mend(taken)
    assert taken["cells"][1]["id"] == ids[0][0]
    assert taken["cells"][0]["id"] != ids[0][0]


def test_new_ids_cost_each_cell_the_same_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    is_id = mending._is_id

    def count(value: object) -> bool:
        nonlocal looks
        looks += 1
        return is_id(value)

    monkeypatch.setattr(mending, "_is_id", count)
    for minor in (4, 5):
        cells = [CODE] * 200 + [{**CODE, "id": "same"}] * 200
        found = document(*cells, minor=minor)
        looks = 0
        mend(found)
        assert looks <= 3 * len(cells)
        assert len({cell["id"] for cell in found["cells"]}) == len(cells)


def test_numbers_that_are_no_json_become_null() -> None:
    found: dict[str, Any] = {"a": [1.5, float("nan"), {"b c\n": float("inf")}], "d": -float("inf")}
    assert mend_numbers(found) == [
        "a[1] (nan, which is no JSON)",
        "a[2].'b c\\n' (inf, which is no JSON)",
        "d (-inf, which is no JSON)",
    ]
    assert found == {"a": [1.5, None, {"b c\n": None}], "d": None}


# -------------------------------------------------------------------------------------------------------------- anything


def whole(minor: int) -> dict[str, Any]:
    """Return a valid notebook with everything in it that the format knows."""
    cells = [
        {
            **CODE,
            "outputs": [STREAM, SHOWN, RESULT, ERROR],
            "execution_count": 3,
            "metadata": {"tags": ["skip-execution"], "collapsed": True},
        },
        {**TEXT, "attachments": {"a.png": {"image/png": "AAAA"}}, "metadata": {"name": "n"}},
        {**TEXT, "cell_type": "raw", "metadata": {"format": "text/html"}},
        {
            **CODE,
            "source": ["a\n", "b"],
            "metadata": {"execution": {"iopub.status.busy": "now"}, "jupyter": {"source_hidden": True}},
        },
    ]
    if minor >= 5:
        cells = [{**cell, "id": f"id-{number}"} for number, cell in enumerate(cells)]
    language = {"name": "python", "codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py"}
    found = document(*cells, minor=minor, language_info=language, authors=[{"name": "n"}], title="t")
    found["metadata"]["kernelspec"] = {"name": "python3", "display_name": "P", "language": "python"}
    return valid(copy.deepcopy(found))


def steps_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *steps_of(item, (*path, key))]]


ODD = st.sampled_from([None, True, 5, -1, 2.5, "", "x", "a,b", [], [None], ["x", "x"], {}, {"x": 1}, {"text/plain": None}])


def spoil(found: dict[str, Any], data: st.DataObject) -> None:
    """Delete something, or put something else in its place, or beside it."""
    path = data.draw(st.sampled_from(steps_of(found)))
    holder: Any = found
    for step in path[:-1]:
        holder = holder[step]
    act = data.draw(st.sampled_from(["delete", "replace", "add"]))
    if act == "delete":
        del holder[path[-1]]
    elif act == "replace":
        holder[path[-1]] = data.draw(ODD)
    elif isinstance(holder, dict):
        holder["news"] = data.draw(ODD)
    else:
        holder.append(data.draw(ODD))


@given(st.sampled_from([0, 2, 4, 5, 7]), st.data())
def test_whatever_is_spoilt_is_mended_or_named(minor: int, data: st.DataObject) -> None:
    found = whole(minor)
    for _ in range(data.draw(st.integers(1, 4))):
        spoil(found, data)
    before = copy.deepcopy(found)
    try:
        faults = mend(found)
    except UnusableError:
        return
    found["nbformat"] = 4  # what it is was known before
    valid(found)
    assert bool(faults) == (without(found, "nbformat") != without(before, "nbformat"))
    sources = [cell["source"] for cell in found["cells"] if cell["cell_type"] == "code"]
    assert sources == [cell["source"] for cell in before["cells"] if cell["cell_type"] == "code"]
    json.dumps(found, allow_nan=False)
    assert mend(found) == []
