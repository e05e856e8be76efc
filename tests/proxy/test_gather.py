"""A flood of small frames is read some milliseconds at a time; a conversation is not held up by that. In virtual time."""

from __future__ import annotations

import uuid

import pytest
import trio
import trio.testing

from trio_gateway import Header, Message
from trio_gateway._kernel import frame_relay as kernel_channels
from trio_gateway._protocol import codec
from trio_gateway.testing import Cell, FakeGateway


def execute(code: str) -> tuple[str, bytes]:
    """Return the id and the frame of a request."""
    header = Header(uuid.uuid4().hex, "execute_request", "s", "ada", "2026-01-01T00:00:00Z", "5.4")
    return header.msg_id, codec.encode_v1(Message("shell", header, {"code": code}))


async def script(cell: Cell) -> None:
    if cell.code == "flood":
        for number in range(400):
            cell.stdout(f"{number};")
            await trio.sleep(0.001)
    else:
        cell.stdout(cell.code)


@pytest.mark.parametrize("replies_late", [False, True])
async def test_a_flood_comes_in_batches_and_a_conversation_at_once(
    autojump_clock: trio.testing.MockClock, *, replies_late: bool
) -> None:
    async with FakeGateway(script, iopub_msg_rate_limit=0.0) as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start("python3")
        async with gateway.open_channels(kernel.id, session_id="s", v1=True) as channels:

            async def run(code: str) -> tuple[str, int]:
                """Run code; return what it printed, and in how many batches all of it came."""
                asked, frame = execute(code)
                await channels.send(frame)
                text, batches = "", 0
                while True:
                    batches += 1
                    for frame in await channels.receive():
                        message = codec.decode(frame, v1=True)
                        if message.msg_type == "stream":
                            text += message.content["text"]
                        if message.parent_id == asked and message.content.get("execution_state") == "idle":
                            return text, batches

            text, batches = await run("flood")
            assert text == "".join([f"{number};" for number in range(400)])
            assert 400 / (kernel_channels.GATHER_SECONDS * 1000) <= batches < 150
            if replies_late:
                await trio.sleep(1)
            # What is asked right after it, and many times, waits for nothing.
            started = trio.current_time()
            for number in range(50):
                assert (await run(f"{number}"))[0] == f"{number}"
            assert trio.current_time() - started < 2 * kernel_channels.GATHER_SECONDS
    assert autojump_clock is not None
