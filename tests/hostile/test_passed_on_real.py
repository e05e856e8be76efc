"""What the proxy passes on, beside what a real Kernel Gateway delivers for the same bytes: to a kernel that records, and from it.

The messages are those of `odd_messages`. Measured, and the same with and without the proxy: in the legacy framing Kernel Gateway
hangs up on some of what a front end may leave out, and after some of what a kernel may say it publishes nothing more of it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import trio_gateway
from trio_gateway._local.process import run_local_gateway
from trio_gateway.proxy import create_app, serve

from .hostile_tools import BINARY, CLOSE, PING, PONG, TEXT, V1, RawConnection, connect, upgrade_bytes
from .odd_messages import DEFAULTS, NAMES, SAID, SENT, Parts, as_frame, as_json, lacking, with_ids

pytestmark = [pytest.mark.full, pytest.mark.gateway]

PATIENCE = 120.0
MANY = 30
"""A channel that brings no answer to so many questions, while the other answers each, brings none any more."""
RECORDER = Path(__file__).with_name("recording_kernel.py")


@attrs.define
class FrontEnd:
    """A front end that sends any bytes, and asks after each whether it still has its connection."""

    port: int
    token: str
    kernel_id: str
    v1: bool
    connection: RawConnection

    async def send(self, parts: Parts) -> None:
        frame = as_frame(parts, v1=self.v1)
        assert frame is not None
        await self.connection.send_frame(*frame)

    async def receive(self) -> tuple[bytes, str, dict[str, Any], dict[str, Any]] | None:
        """Return the next message: its bytes, its channel, its parent and its content. None at the end."""
        while (frame := await self.connection.read_frame()) is not None:
            if frame.opcode == CLOSE:
                return None
            if frame.opcode == PING:
                await self.connection.send_frame(PONG, frame.payload)
            elif frame.opcode in (TEXT, BINARY):
                return frame.payload, *told_by(frame.payload, v1=self.v1)
        return None

    async def ask(self) -> str:
        """Ask what the kernel has recorded, which it says on two channels; return the question's id."""
        asked = f"asked-{uuid.uuid4().hex}"
        await self.send({**DEFAULTS, **lacking(msg_id=asked, msg_type="mark_request")})
        return asked

    async def outcome(self, parts: Parts) -> list[Any]:
        """Send a message and then a question; return what came of the message: here, and to the kernel; or that the end came.

        Where the gateway stumbles over what a kernel says, it does not look at the channel again before more comes on it. So
        another question follows each answer, until both channels have brought one.
        """
        got: list[Any] = []
        recorded: list[Any] = []
        answered: set[str] = set()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.send(parts)
            asked = {await self.ask()}
            while len(answered) < 2:
                message = await self.receive()
                if message is None:
                    break
                payload, channel, parent, content = message
                if str(parent.get("msg_id")).startswith("asked-"):
                    if parent["msg_id"] not in asked or "execution_state" in content:
                        continue
                    if "recorded" in content:
                        answered.add(channel)
                        recorded = recorded or content["recorded"]
                    if len(asked) > MANY:
                        return [*got, "stuck"]
                    asked.add(await self.ask())
                elif content.get("ename") == "ConnectionLostError":
                    got += ["told as lost"] * (parent == parts["header"])
                elif "execution_state" not in content:
                    got.append(payload)
            else:
                return got + [("recorded", channel, *map(base64.b64decode, parts)) for channel, *parts in recorded]
        return [*got, "the end"]


def told_by(payload: bytes, *, v1: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return what a message says of its channel, its parent and its content; empty where that is no object."""

    def fields(raw: object) -> dict[str, Any]:
        try:
            value = json.loads(raw) if isinstance(raw, bytes) else raw
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {}

    if not v1:
        message = json.loads(payload)
        return message["channel"], fields(message["parent_header"]), fields(message["content"])
    count = int.from_bytes(payload[:8], "little")
    at = [int.from_bytes(payload[8 + 8 * i : 16 + 8 * i], "little") for i in range(count)]
    return payload[at[0] : at[1]].decode(), fields(payload[at[2] : at[3]]), fields(payload[at[4] : at[5]])


@asynccontextmanager
async def open_front_end(port: int, token: str, kernel_id: str, *, v1: bool) -> AsyncGenerator[FrontEnd]:
    async with connect(port) as connection:
        target = f"/api/kernels/{kernel_id}/channels?session_id={uuid.uuid4().hex}"
        headers = [("Authorization", f"token {token}")]
        await connection.send(upgrade_bytes(target, headers, subprotocols=V1 if v1 else ""))
        answer = await connection.read_answer()
        assert answer is not None
        assert answer[0] == 101
        yield FrontEnd(port, token, kernel_id, v1, connection)


async def outcomes(port: int, token: str, kernel_id: str, messages: Mapping[str, Parts], *, v1: bool) -> dict[str, list[Any]]:
    """Send messages, over one connection for as long as it lasts; return what came of each."""
    found: dict[str, list[Any]] = {}
    todo = dict(messages)
    while todo:
        async with open_front_end(port, token, kernel_id, v1=v1) as front:
            while todo:
                name = next(iter(todo))
                found[name] = await front.outcome(todo.pop(name))
                if {"the end", "stuck"}.intersection(map(str, found[name])):
                    break
    return found


@asynccontextmanager
async def open_both(tmp_path: Path) -> AsyncGenerator[tuple[tuple[int, str, str], tuple[int, str, str]]]:
    """Run a gateway with two kernels that record; give port, token and kernel of it, and of a proxy in front of it."""
    folder = tmp_path / "kernels" / "recorder"
    folder.mkdir(parents=True)
    spec = {"argv": [sys.executable, str(RECORDER), "{connection_file}"], "display_name": "Recorder", "language": "none"}
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    async with (
        run_local_gateway(env={"JUPYTER_PATH": os.fspath(tmp_path)}) as process,
        trio_gateway.open_gateway(process.url, auth_token=process.token, gateway_retry_interval=0.01) as gateway,
        trio.open_nursery() as nursery,
    ):
        listening = await nursery.start(partial(serve, create_app(gateway, token=process.token), port=0))
        kernels = [(await gateway.kernels.start("recorder")).id for _ in range(2)]
        port = int(process.url.rstrip("/").rpartition(":")[2])
        yield (port, process.token, kernels[0]), (listening.port, process.token, kernels[1])
        for kernel_id in kernels:
            await gateway.kernels.shutdown(kernel_id)
        nursery.cancel_scope.cancel()


def without_todays_date(outcome: list[Any]) -> list[Any]:
    """A gateway puts in a date where none is, in the legacy framing."""
    today = rb'"date": "(?!2026-01-01)[^"]*"'
    return [
        tuple(re.sub(today, b"", part) if isinstance(part, bytes) else part for part in record)
        if isinstance(record, tuple)
        else re.sub(today, b"", record)
        if isinstance(record, bytes)
        else record
        for record in outcome
    ]


async def in_both(
    tmp_path: Path, messages: Mapping[str, Parts], *, v1: bool
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return what comes of messages without the proxy, and with it."""
    with trio.fail_after(PATIENCE):
        async with open_both(tmp_path) as (direct, proxied):
            found = [await outcomes(*where, messages, v1=v1) for where in (direct, proxied)]
    first, second = [{name: without_todays_date(outcome) for name, outcome in table.items()} for table in found]
    return first, second


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
async def test_what_a_front_end_sends_arrives_as_the_gateway_delivers_it(tmp_path: Path, *, v1: bool) -> None:
    messages = {name: parts for name, parts in with_ids(SENT).items() if as_frame(parts, v1=v1) is not None}
    direct, proxied = await in_both(tmp_path, messages, v1=v1)
    for name, parts in messages.items():
        wanted = direct[name]
        if wanted == ["the end"] and isinstance(parts["header"], dict):
            # The gateway hangs up; the front end keeps its connection, and what can be answered is.
            wanted = ["told as lost"] * ("msg_id" in parts["header"])
        assert proxied[name] == wanted, name


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
async def test_what_a_kernel_says_arrives_as_the_gateway_delivers_it(tmp_path: Path, *, v1: bool) -> None:
    messages = {}
    for name, parts in with_ids(SAID, channel="iopub").items():
        told = {"parts": [base64.b64encode(as_json(parts[part])).decode() for part in NAMES], "channel": parts["channel"]}
        messages[name] = {**DEFAULTS, **lacking(msg_type="say"), "content": told}
    direct, proxied = await in_both(tmp_path, messages, v1=v1)
    for name, outcome in direct.items():
        assert proxied[name] == outcome, name
