"""Whether two runs of one notebook gave the same document, but for times, ids and addresses.

The one idea: each document is brought into a form in which what differs from run to run is gone, and then whatever differs still
is a difference, named by its place.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["differences", "normal"]

_CHANGES = [
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "ADDRESS"),
    (re.compile(r"/\S*?/ipykernel_\d+/"), "TEMPORARY/"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\[\d\d:\d\d(&lt;|<)\d\d:\d\d,\s+[\d.]+(it/s|s/it)\]"), "[PACE]"),  # tqdm's
]
"""What differs from run to run: colours, addresses, the kernel's folder, times."""
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_REFERENCE = "IPY_MODEL_"
_TEXTS = {"source", "text", "data", "traceback"}


def normal(document: Any) -> Any:
    """Return a document, as JSON has it, without what differs from run to run.

    Text is in one piece, and neighbouring pieces of one stream are one output: how a kernel cuts them is chance. Of the times of
    a cell only their names are left. Cells have no ids. Ids of widgets are numbers in the order in which the document shows them,
    then in the order in which they refer to each other.
    """
    found = copy.deepcopy(document)
    for cell in found["cells"]:
        cell.pop("id", None)
        cell["source"] = _text(cell["source"])
        if "execution" in cell["metadata"]:
            cell["metadata"]["execution"] = sorted(cell["metadata"]["execution"])
        if "outputs" in cell:
            cell["outputs"] = list(_joined(cell["outputs"]))
    return _renamed(_changed(found))


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Return where two documents in normal form differ, each as `PLACE: ONE | OTHER`; "-" where there is nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted(one.keys() | other.keys()):
            where = f"{place}.{key}".lstrip(".")
            if key in one and key in other:
                found += differences(one[key], other[key], where)
            else:
                found.append(
                    f"{where}: {_short(one[key]) if key in one else '-'} | {_short(other[key]) if key in other else '-'}"
                )
        return found
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            each for number, pair in enumerate(zip(one, other, strict=True)) for each in differences(*pair, f"{place}[{number}]")
        ]
    return [] if one == other else [f"{place}: {_short(one)} | {_short(other)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 200 else f"{text[:200]}…"


def _text(value: Any) -> Any:
    return "".join(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value


def _joined(outputs: list[Any]) -> Iterator[Any]:
    """Give outputs with text in one piece, and with what a stream said in one go as one."""
    stream: Any = None
    for output in outputs:
        if "data" in output:
            output["data"] = {kind: _text(value) for kind, value in output["data"].items()}
        if output["output_type"] != "stream":
            stream = None
        else:
            text = _text(output["text"])
            if stream is not None and stream["name"] == output["name"]:
                stream["text"] += text
                continue
            stream = output
            output["text"] = text
        yield output


def _changed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _changed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_changed(each) for each in value]
    if isinstance(value, str):
        for pattern, change in _CHANGES:
            value = pattern.sub(change, value)
    return value


def _renamed(document: Any) -> Any:
    """Give widgets numbers for ids: a file sorts what it holds by them, so the order in the file is chance."""
    widgets = document["metadata"].get("widgets", {})
    states = {name: model for each in widgets.values() for name, model in each.get("state", {}).items()}
    order: dict[str, None] = {}

    def visit(text: str) -> None:
        for name in _ID.findall(text):
            if name not in order:
                order[name] = None
                visit(json.dumps(states.get(name), sort_keys=True))

    visit(json.dumps(document["cells"], sort_keys=True))
    for name in sorted(states, key=lambda name: _ID.sub("ID", json.dumps(states[name], sort_keys=True))):
        visit(name)
    numbers = {name: f"MODEL-{number}" for number, name in enumerate(order, 1)}
    return json.loads(_ID.sub(lambda match: numbers.get(match[0], match[0]), json.dumps(document)))
