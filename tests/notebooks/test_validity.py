"""What is saved is always valid: JSON that every reader takes, and a notebook that Jupyter and the next run take."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tools.notebook_tools import Threads, notebook_of
from tools.odd_values import ODD
from trio_gateway import GatewayError, notebooks
from trio_gateway.testing import Cell, FakeGateway

CONTENTS: dict[str, dict[str, Any]] = {
    "stream": {"name": "stdout", "text": "x\n"},
    "display_data": {"data": {"text/plain": "x", "image/png": "eA=="}, "metadata": {"a": 1}, "transient": {"display_id": "d"}},
    "update_display_data": {"data": {"text/plain": "y"}, "metadata": {}, "transient": {"display_id": "d"}},
    "execute_result": {"data": {"application/json": {"a": [1]}}, "metadata": {}, "execution_count": 1, "transient": {}},
    "error": {"ename": "E", "evalue": "v", "traceback": ["a", "b"]},
    "clear_output": {"wait": False},
    "comm_open": {"comm_id": "c", "target_name": "jupyter.widget", "data": {"state": {"_model_name": "M"}, "buffer_paths": []}},
    "comm_msg": {"comm_id": "c", "data": {"method": "update", "state": {"x": 1}, "buffer_paths": []}},
    "comm_close": {"comm_id": "c", "data": {}},
    "status": {"execution_state": "busy"},
    "execute_input": {"code": "x", "execution_count": 1},
    "made_up": {"a": 1},
}
"""What kernels publish."""
REPLIES: dict[str, dict[str, Any]] = {
    "shell execute_reply": {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}},
    "shell kernel_info_reply": {"status": "ok", "protocol_version": "5.3", "language_info": {"name": "x", "version": "1"}},
}
"""What they answer."""
HEADER: dict[str, Any] = {
    "msg_id": "k_1_1",
    "msg_type": "execute_input",
    "session": "k",
    "username": "u",
    "date": "2026-01-01",
    "version": "5.3",
}

odd = st.sampled_from([value for value in ODD.values() if value is not None])
json_text = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the way to each value inside an object."""
    found = [path] if path else []
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += places(each, (*path, key))
    return found


@st.composite
def spoilt(draw: Any, content: dict[str, Any]) -> bytes:
    """Draw the JSON of an object one of whose values is another one, or gone."""
    path = draw(st.sampled_from([(), *places(content)]))
    by: bytes | None = draw(st.none() | odd | json_text)
    if not path:
        return b"[]" if by is None else by
    copy = json.loads(json.dumps(content))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    if by is None:
        del holder[path[-1]]
        return json.dumps(copy).encode()
    holder[path[-1]] = "\x07HERE\x07"
    return json.dumps(copy).encode().replace(b'"\\u0007HERE\\u0007"', by)


@st.composite
def published(draw: Any) -> tuple[str, bytes]:
    """Draw what a kernel publishes, whole or not."""
    kind = draw(st.sampled_from(sorted(CONTENTS)))
    content = CONTENTS[kind]
    return kind, json.dumps(content).encode() if draw(st.booleans()) else draw(spoilt(content))


def replaced(contents: list[bytes]) -> Callable[[bytes], bytes]:
    """Return what puts the drawn contents in the place of their numbers."""

    def replace(raw: bytes) -> bytes:
        numbered = json.loads(raw)
        return contents[numbered["odd"]] if isinstance(numbered, dict) and "odd" in numbered else raw

    return replace


async def run(messages: list[tuple[str, bytes]], spoils: dict[str, bytes], header: bytes | None, output: Path) -> None:
    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        for number, (kind, _) in enumerate(messages):
            cell.publish(kind, {"odd": number, "execution_state": "busy"}, buffers=[b"buffer"] if kind == "comm_open" else [])

    async with FakeGateway(script) as fake, fake.open(request_timeout=5, idle_grace=5) as gateway:
        fake.faults.spoil("iopub .*", by=replaced([content for _, content in messages]))
        for pattern, content in spoils.items():
            fake.faults.spoil(pattern, by=content)
        if header is not None:
            fake.faults.spoil("iopub execute_input", part="header", by=header)
        with trio.move_on_after(100):
            with suppress(GatewayError):  # what came until then is saved all the same
                await notebooks.run(gateway, notebook_of("a", "b"), output=output, on_error="continue", cell_timeout=10)


def check(path: Path) -> Any:
    """See that each reader takes the file, and return the notebook."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    document = json.loads(path.read_bytes().decode("utf-8"), parse_constant=refuse)
    nbformat.validate(document)
    read = notebooks.read_notebook(path)
    assert read.faults == ()
    assert nbformat.read(path, as_version=4) == read.notebook
    return document


@given(
    st.lists(published(), max_size=8),
    st.dictionaries(st.sampled_from(sorted(REPLIES)), st.integers(), max_size=2),
    st.data(),
)
def test_what_is_saved_is_valid_whatever_a_kernel_sends(
    messages: list[tuple[str, bytes]], replies: dict[str, int], data: st.DataObject
) -> None:
    spoils = {pattern: data.draw(spoilt(REPLIES[pattern])) for pattern in replies}
    header = data.draw(st.none() | spoilt(HEADER))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.to_thread, "run_sync", Threads().run_sync)
        output = Path(folder, "out.ipynb")
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(partial(run, messages, spoils, header, output), clock=clock)
        check(output)


@pytest.mark.parametrize("name", [name for name, value in ODD.items() if value is not None])
@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_each_odd_value_in_each_place_is_saved_as_what_is_valid(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = ODD[name]
    assert value is not None
    monkeypatch.setattr(trio.to_thread, "run_sync", Threads().run_sync)
    messages: list[tuple[str, bytes]] = [("stream", b'{"name":"stdout","text":"before"}'), (kind, value)]
    for path in places(CONTENTS[kind]):
        copy = json.loads(json.dumps(CONTENTS[kind]))
        holder = copy
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = "\x07HERE\x07"
        messages += [(kind, json.dumps(copy).encode().replace(b'"\\u0007HERE\\u0007"', value))]
    messages += [("stream", b'{"name":"stdout","text":"after"}')]
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(partial(run, messages, {}, None, tmp_path / "out.ipynb"), clock=clock)
    document = check(tmp_path / "out.ipynb")
    if kind != "clear_output":
        texts = ["".join(output.get("text", "")) for output in document["cells"][0]["outputs"]]
        assert texts[-1].endswith("after"), "one odd message never ends a run"
