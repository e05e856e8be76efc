"""What counts as a difference between two runs of a notebook, and what is chance."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tools.likeness import differences, normal

MODELS = ("a" * 32, "b" * 32)


def document(*outputs: Any, ids: tuple[str, str] = MODELS, metadata: Any = None) -> Any:
    first, second = ids
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": first}, "text/plain": ["Box()"]}
    shown = {"output_type": "display_data", "data": view, "metadata": {}}
    cell = {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": metadata or {},
        "source": ["x\n", "y"],
        "outputs": [shown, *outputs],
    }
    state = {first: {"state": {"layout": f"IPY_MODEL_{second}"}}, second: {"state": {"width": 1}}}
    return {"cells": [cell], "metadata": {"widgets": {"application/vnd.jupyter.widget-state+json": {"state": state}}}}


def stream(text: Any, name: str = "stdout") -> Any:
    return {"output_type": "stream", "name": name, "text": text}


def compared(one: Any, other: Any) -> list[str]:
    before = copy.deepcopy((one, other))
    found = differences(normal(one), normal(other))
    assert (one, other) == before
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (document(stream("a\nb\n")), document(stream(["a\n"]), stream(["b\n"]))),
        (document(stream("<f at 0x7f00aa11bb22>")), document(stream("<f at 0x7f00cc33>"))),
        (document(stream("\x1b[31mred\x1b[0m")), document(stream("red"))),
        (document(stream("/tmp/ipykernel_12/3.py:1")), document(stream("/var/tmp/ipykernel_999/3.py:1"))),
        (document(stream("2026-01-01T10:00:00.123Z")), document(stream("2025-12-31T23:59:59+01:00"))),
        (document(), document(ids=("9" * 32, "0" * 32))),  # whichever of the ids comes first in the file
        (document(metadata={"execution": {"a": "1", "b": "2"}}), document(metadata={"execution": {"b": "3", "a": "4"}})),
    ],
    ids=["pieces of a stream", "addresses", "colours", "the kernel's folder", "times", "ids of widgets", "when a cell ran"],
)
def test_what_is_chance(one: Any, other: Any) -> None:
    assert compared(one, other) == []


def changed(change: Callable[[Any], object]) -> Any:
    made = document(stream("a"), metadata={"execution": {"a": "1"}})
    change(made)
    return made


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda made: made["cells"][0].update(source="x"), "cells[0].source: "),
        (lambda made: made["cells"][0].update(execution_count=2), "cells[0].execution_count: 1 | 2"),
        (lambda made: made["cells"][0].pop("outputs"), "cells[0].outputs: "),
        (lambda made: made["cells"][0]["outputs"].pop(), "cells[0].outputs: "),
        (lambda made: made["cells"][0]["outputs"][1].update(name="stderr"), 'cells[0].outputs[1].name: "stdout" | "stderr"'),
        (lambda made: made["cells"][0]["outputs"].append(stream("b")), 'cells[0].outputs[1].text: "a" | "ab"'),
        (lambda made: made["cells"][0]["metadata"].pop("execution"), 'cells[0].metadata.execution: ["a"] | -'),
        (lambda made: made["metadata"].pop("widgets"), "metadata.widgets: "),
        (lambda made: made["metadata"].update(news=1), "metadata.news: - | 1"),
    ],
    ids=[
        "code",
        "count",
        "no outputs",
        "an output less",
        "another stream",
        "a stream's text",
        "no times",
        "no widgets",
        "metadata",
    ],
)
def test_what_is_a_difference(change: Callable[[Any], object], place: str) -> None:
    (found,) = compared(changed(lambda made: made), changed(change))
    assert found.startswith(place)


def test_what_another_order_of_two_streams_is() -> None:
    one = document(stream("a"), stream("b", "stderr"))
    assert compared(one, document(stream("b", "stderr"), stream("a"))) != []


def test_widgets_that_refer_to_each_other_otherwise_are_a_difference() -> None:
    other = document()
    first, second = other["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    first["state"], second["state"] = second["state"], {"layout": f"IPY_MODEL_{MODELS[0]}"}
    assert compared(document(), other) != []


def test_a_widget_that_nothing_shows_counts_too() -> None:
    other = document()
    other["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]["c" * 32] = {"state": {}}
    assert len(compared(document(), other)) == 1
