"""What the proxy passes on of messages that lack something: the same bytes, in both directions and both framings.

What a real gateway makes of them is measured in `test_passed_on_real`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio

import trio_gateway
from trio_gateway import Header, Message
from trio_gateway._protocol import codec
from trio_gateway.proxy import create_app, serve

from .hostile_tools import (
    BINARY,
    CLOSE,
    KERNEL_ID,
    PING,
    PONG,
    TEXT,
    TOKEN,
    V1,
    Frame,
    RawConnection,
    RawRequest,
    connect,
    frame_bytes,
    open_hostile_gateway,
    upgrade_bytes,
)
from .odd_messages import DEFAULTS, LEFT_OUT, NAMES, SAID, SENT, as_frame, lacking, with_ids

PATIENCE = 60.0
FRAMINGS = pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])


@attrs.define
class Ends:
    """Both ends of a front end's connection: a front end's, and a gateway's."""

    front: RawConnection
    there: RawConnection
    request: RawRequest
    """What the gateway was asked for it with."""


async def read(connection: RawConnection) -> Frame | None:
    """Read the next message. None at the end."""
    while (frame := await connection.read_frame()) is not None:
        if frame.opcode in (TEXT, BINARY):
            return frame
        if frame.opcode == CLOSE:
            return None
        if frame.opcode == PING:
            await connection.send_frame(PONG, frame.payload)
    return None


@asynccontextmanager
async def open_ends(*, v1: bool, there_v1: bool = True) -> AsyncGenerator[Ends]:
    """Connect a front end to a gateway through the proxy.

    Args:
        v1: what the front end offers.
        there_v1: whether the gateway selects v1 if it is offered.
    """
    come, come_in = trio.open_memory_channel[tuple[RawConnection, RawRequest]](1)

    async def accept(connection: RawConnection, request: RawRequest) -> None:
        chosen = V1 if there_v1 and V1 in request.header("Sec-WebSocket-Protocol") else None
        await connection.accept(request, subprotocol=chosen)
        await come.send((connection, request))
        await trio.sleep_forever()

    with trio.fail_after(PATIENCE):
        async with (
            open_hostile_gateway({"GET .*/channels": accept}) as hostile,
            trio_gateway.open_gateway(hostile.url, auth_token=TOKEN) as gateway,
            trio.open_nursery() as nursery,
        ):
            listening = await nursery.start(partial(serve, create_app(gateway, token=TOKEN), port=0))
            async with connect(listening.port) as front:
                target = f"/api/kernels/{KERNEL_ID}/channels?session_id=s"
                headers = [("Authorization", f"token {TOKEN}")]
                await front.send(upgrade_bytes(target, headers, subprotocols=V1 if v1 else ""))
                answer = await front.read_answer()
                assert answer is not None
                assert answer[0] == 101
                yield Ends(front, *await come_in.receive())
            nursery.cancel_scope.cancel()
        come.close()
        come_in.close()


@FRAMINGS
async def test_the_gateway_is_asked_for_the_framing_that_the_front_end_speaks(*, v1: bool) -> None:
    async with open_ends(v1=v1) as ends:
        assert (V1 in ends.request.header("Sec-WebSocket-Protocol")) == v1


@FRAMINGS
async def test_what_a_front_end_sends_goes_on_as_it_is(*, v1: bool) -> None:
    async with open_ends(v1=v1) as ends:
        for name, parts in with_ids(SENT).items():
            frame = as_frame(parts, v1=v1)
            if frame is None or (not v1 and not isinstance(parts["header"], dict)):
                continue
            await ends.front.send_frame(*frame)
            assert await read(ends.there) == Frame(*frame), name


@FRAMINGS
async def test_what_a_kernel_says_goes_on_as_it_is(*, v1: bool) -> None:
    """While nothing was asked, and while an answer is waited for, which makes the relay look at what comes."""
    async with open_ends(v1=v1) as ends:
        for waits in (False, True):
            if waits:
                frame = as_frame({**DEFAULTS, **lacking(msg_id="never-answered")}, v1=v1)
                assert frame is not None
                await ends.front.send_frame(*frame)
                assert await read(ends.there) == Frame(*frame)
            for default in ("iopub", "shell"):
                for name, parts in with_ids(SAID, channel=default).items():
                    frame = as_frame(parts, v1=v1)
                    if frame is None or (not v1 and not isinstance(parts["header"], dict)):
                        continue
                    await ends.there.send(frame_bytes(*frame))
                    assert await read(ends.front) == Frame(*frame), (waits, name)


@pytest.mark.parametrize("header", [None, [], 5, LEFT_OUT])
async def test_legacy_text_without_a_header_is_no_message(header: object) -> None:
    async with open_ends(v1=False) as ends:
        frame = as_frame({**DEFAULTS, "header": header}, v1=False)
        assert frame is not None
        await ends.front.send_frame(*frame)
        closed = await ends.front.read_frame()
        assert closed is not None
        assert (closed.opcode, closed.payload[:2]) == (CLOSE, (1007).to_bytes(2, "big"))


def parts_of(payload: bytes) -> list[bytes]:
    count = int.from_bytes(payload[:8], "little")
    at = [int.from_bytes(payload[8 + 8 * i : 16 + 8 * i], "little") for i in range(count)]
    return [payload[start:end] for start, end in itertools.pairwise(at)]


def same(value: object) -> str:
    """Return a value so that NaN is the same as NaN."""
    return json.dumps(value)


async def test_what_a_front_end_sends_in_v1_has_the_same_parts_in_the_legacy_framing() -> None:
    async with open_ends(v1=True, there_v1=False) as ends:
        for name, parts in with_ids(SENT).items():
            frame = as_frame(parts, v1=True)
            if frame is None:
                continue
            await ends.front.send_frame(*frame)
            if any(isinstance(part, bytes) for part in parts.values()):
                continue  # can't be said in this framing, and spoils nothing
            told = await read(ends.there)
            assert told is not None
            got = json.loads(told.payload)
            assert same({key: got[key] for key in DEFAULTS}) == same({key: parts[key] for key in DEFAULTS}), name


async def test_what_a_kernel_says_in_the_legacy_framing_has_the_same_parts_in_v1() -> None:
    async with open_ends(v1=True, there_v1=False) as ends:
        for name, parts in with_ids({**SAID, **SENT}, channel="iopub").items():
            frame = as_frame(parts, v1=False)
            if frame is None or not isinstance(parts["header"], dict) or parts["channel"] in (None, LEFT_OUT):
                continue
            await ends.there.send(frame_bytes(*frame))
            told = await read(ends.front)
            assert told is not None
            channel, *got = parts_of(told.payload)
            assert channel.decode() == parts["channel"]
            # v1 has a place for each part: what was left out is empty in its place.
            wanted = [{} if parts[part] is LEFT_OUT else parts[part] for part in NAMES]
            assert [same(json.loads(part)) for part in got] == [same(part) for part in wanted], name


@pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])
async def test_a_session_forwards_a_message_as_it_is(*, v1: bool) -> None:
    """`Channel.forward` in both framings."""
    come, come_in = trio.open_memory_channel[dict[str, Any]](100)

    async def accept(connection: RawConnection, request: RawRequest) -> None:
        await connection.accept(request, subprotocol=V1 if v1 else None)
        while (frame := await read(connection)) is not None:
            if v1:
                channel, *parts = parts_of(frame.payload)
                fields = dict(zip(("channel", *NAMES), [channel, *parts], strict=True))
            else:
                fields = json.loads(frame.payload)
                if "msg_id" in fields["header"] and fields["header"]["msg_type"] != "odd_request":
                    await connection.answer_message(fields["channel"], fields["header"], {})
            if b"odd_request" in frame.payload:
                await come.send(fields)

    with trio.fail_after(PATIENCE):
        async with (
            open_hostile_gateway({"GET .*/channels": accept}) as hostile,
            trio_gateway.open_gateway(hostile.url, auth_token=TOKEN) as gateway,
            gateway.attach_kernel(KERNEL_ID) as kernel,
        ):
            for name, parts in with_ids(SENT).items():
                frame = as_frame(parts, v1=v1)
                try:
                    if frame is None:
                        continue
                    message = codec.decode(frame[1] if v1 else frame[1].decode(), v1=v1)
                except trio_gateway.ProtocolError:
                    continue
                if message.msg_type != "odd_request":
                    continue
                await kernel.shell.forward(message)
                got = await come_in.receive()
                for part in NAMES:
                    if v1:
                        assert got[part] == as_bytes(parts[part]), name
                    else:
                        assert same(got.get(part, "left out")) == same("left out" if parts[part] is LEFT_OUT else parts[part]), (
                            name
                        )
        come.close()
        come_in.close()


def as_bytes(part: object) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


def test_a_header_that_is_written_has_no_more_than_it_was_given() -> None:
    assert json.loads(Message("shell", Header("i", "t")).header_raw) == {"msg_id": "i", "msg_type": "t"}
