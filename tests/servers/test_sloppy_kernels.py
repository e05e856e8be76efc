"""A sloppy kernel behind a real Kernel Gateway: whatever it sends, nothing ends, through each way to run code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbclient
import nbformat.v4
import pytest
import trio

import trio_gateway
from tools.gateway_tools import open_framed
from trio_gateway import Kernel, Stream, blocking
from trio_gateway.jupyter import GatewayKernelManager

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway

AFTER = "\npub('stream', {'name': 'stdout', 'text': '|after'})"
JSON = "__import__('json')"

# Code, what is shown of it, and how many messages are a gap.
MESSES: dict[str, tuple[str, str, int]] = {
    "no UTF-8": (r"""pub('stream', b'{"name":"stdout","text":"caf\xe9"}')""", "caf\ufffd", 0),
    "lone surrogate": (r"""pub('stream', b'{"name":"stdout","text":"\\ud800"}')""", "\ud800", 0),
    "control characters": (r"""pub('stream', b'{"name":"stdout","text":"a\nb"}')""", "a\nb", 0),
    "a list for text": ("""pub('stream', {"text": ["a", 5]})""", "a5", 0),
    "no content": ("""pub('stream', b'')""", "", 0),
    "content that is no JSON": ("""pub('stream', b'{no')""", "", 1),
    "content that is a list": ("""pub('stream', b'[]'); pub('display_data', b'5')""", "", 2),
    "content that is nested too deeply": ("""pub('stream', b'['*100_000 + b']'*100_000)""", "", 1),
    "no msg_id": ("""pub('stream', {"text": "x"}, header=lambda header: {**header, "msg_id": None})""", "x", 0),
    "no msg_type": ("""pub('stream', {"text": "x"}, header=lambda header: {"msg_id": "x"})""", "", 1),
    "header that is no UTF-8": (
        f"""pub('stream', {{"text": "x"}}, header=lambda header: {JSON}.dumps(header).encode().replace(b'odd', bytes([233])))""",
        "x",
        0,
    ),
    "a date that is none": (
        """pub('stream', {"text": "x"}, header=lambda header: {**header, "date": "2026-99-99T00:00"})""",
        "x",
        0,
    ),
    "a parent that is a list": ("""pub('stream', {"text": "x"}, parent=lambda parent: [1, 2])""", "", 1),
    "metadata that is no JSON": ("""pub('stream', {"text": "x"}, metadata=b'{no')""", "x", 0),
    "a status that is none": ("""pub('status', {"execution_state": None}); pub('status', b'[]')""", "", 0),
    "a reply without a status": ("reply({})", "", 0),
    "a reply that is no UTF-8": (r"""reply(b'{"status":"ok","payload":"\xe9"}')""", "", 0),
    "a reply that is a list": ("reply(b'[]')", "", 1),
    "a reply that is no JSON": ("reply(b'{no')", "", 1),
    "a number of 5,000 digits": (r"""pub('stream', b'{"text":' + b'1' * 5000 + b'}')""", "1" * 5000, 0),
}


@pytest.fixture
async def odd(odd_gateway: RunningGateway) -> AsyncGenerator[Kernel]:
    async with (
        trio_gateway.open_gateway(odd_gateway.url, auth_token=odd_gateway.token) as gateway,
        gateway.start_kernel("odd") as kernel,
    ):
        yield kernel


def lost(result: trio_gateway.ExecutionResult) -> int:
    return sum([gap.count or 0 for gap in result.output_gaps])


async def test_execute_and_stream(odd: Kernel) -> None:
    for name, (code, text, gaps) in MESSES.items():
        result = await odd.execute(code + AFTER)
        assert (result.status, result.stdout, lost(result)) == ("ok", f"{text}|after", gaps), name
        async with odd.stream(code + AFTER) as outputs:
            shown = "".join([output.text async for output in outputs if isinstance(output, Stream)])
        assert (outputs.result.status, shown, lost(outputs.result)) == ("ok", f"{text}|after", gaps), name


async def test_the_older_framing_where_the_gateway_reads_json_itself(odd_gateway: RunningGateway) -> None:
    """It makes U+FFFD of what is no UTF-8. What is no JSON it drops, and may publish no more here: that is told."""
    async with open_framed(odd_gateway, "legacy", idle_grace=1) as (gateway, _):
        async with gateway.start_kernel("odd") as kernel:
            for name in ("no UTF-8", "lone surrogate", "a list for text", "a status that is none", "a reply that is a list"):
                code, text, gaps = MESSES[name]
                result = await kernel.execute(code + AFTER)
                assert (result.status, result.stdout, lost(result)) == ("ok", f"{text}|after", gaps), name
            result = await kernel.execute(MESSES["content that is no JSON"][0] + AFTER * 10)
            assert result.status == "ok"
            if "|after" not in result.stdout:
                assert [gap.kind for gap in result.output_gaps] == ["lost"]
            # It takes another connection, with a session of its own.
            result = await kernel.execute(AFTER)
            assert (result.stdout, result.output_gaps) == ("|after", ())


async def run_command(gateway: RunningGateway, *arguments: str | Path) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER_GATEWAY_")}
    told = {"JUPYTER_GATEWAY_URL": gateway.url, "JUPYTER_GATEWAY_AUTH_TOKEN": gateway.token, "PYTHONUTF8": "1"}
    done = await trio.run_process(
        [sys.executable, "-m", "trio_gateway", *map(str, arguments)],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**environment, **told},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_a_run_saves_what_can_be_shown_and_tells_what_cant_be_read(odd_gateway: RunningGateway, tmp_path: Path) -> None:
    rich = r"""pub('display_data', b'{"data":{"application/json":[NaN,1e999],"text/plain":null},"metadata":[]}')"""
    deep = """pub('display_data', b'{"data":{"application/json":' + b'['*400 + b']'*400 + b'}}')"""
    cells = [code + AFTER for code, _, _ in MESSES.values()] + [rich, deep]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "odd", "display_name": "odd"}
    (tmp_path / "in.ipynb").write_text(nbformat.v4.writes(notebook), encoding="utf-8")
    code, _, err = await run_command(odd_gateway, "run", tmp_path / "in.ipynb", "-o", tmp_path / "out.ipynb")
    assert code == 0, err
    assert err.count("the output is not whole") == len([gaps for _, _, gaps in MESSES.values() if gaps]), err

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    text = (tmp_path / "out.ipynb").read_bytes().decode("utf-8")
    json.loads(text, parse_constant=refuse)
    saved: Any = nbformat.v4.reads(text)
    nbformat.validate(saved)
    for cell, (name, (_, shown, _)) in zip(saved.cells, MESSES.items(), strict=False):
        assert "".join([output.text for output in cell.outputs]) == f"{shown}|after".replace("\ud800", "\ufffd"), name
    assert saved.cells[-2].outputs[0].data == {"application/json": [None, None]}
    # What it wrote, it reads.
    code, _, err = await run_command(odd_gateway, "run", tmp_path / "out.ipynb", "-o", tmp_path / "again.ipynb")
    assert code == 0, err


async def test_exec_shows_what_can_be_shown(odd_gateway: RunningGateway) -> None:
    code, out, err = await run_command(
        odd_gateway, "exec", "--kernel", "odd", f"{MESSES['no UTF-8'][0]}\n{MESSES['content that is a list'][0]}{AFTER}"
    )
    assert (code, out) == (0, "caf\ufffd|after"), err
    assert "the output is not whole: at most 2 messages" in err
    code, out, err = await run_command(odd_gateway, "exec", "--kernel", "odd", "--json", MESSES["lone surrogate"][0] + AFTER)
    assert (code, "\ufffd|after" in out or "\\ufffd|after" in out) == (0, True), err


def test_synchronous_code(odd_gateway: RunningGateway) -> None:
    with blocking.open_gateway(odd_gateway.url, auth_token=odd_gateway.token) as gateway, gateway.start_kernel("odd") as kernel:
        for name in ("no UTF-8", "content that is a list", "a reply that is no JSON"):
            code, text, gaps = MESSES[name]
            result = kernel.execute(code + AFTER)
            assert (result.status, result.stdout, lost(result)) == ("ok", f"{text}|after", gaps), name
            with kernel.stream(code + AFTER) as outputs:
                shown = "".join([output.text for output in outputs if isinstance(output, Stream)])
            assert (shown, lost(outputs.result)) == (f"{text}|after", gaps), name


def test_nbclient(odd_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes each field for granted, so each is there, and what it should be."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", odd_gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", odd_gateway.token)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code + AFTER) for code, _, _ in MESSES.values()])
    client = nbclient.NotebookClient(notebook, kernel_manager_class=GatewayKernelManager, kernel_name="odd")
    client.execute()
    for cell, (name, (_, shown, _)) in zip(notebook.cells, MESSES.items(), strict=True):
        assert "".join([output.text for output in cell.outputs if output.output_type == "stream"]) == f"{shown}|after", name
