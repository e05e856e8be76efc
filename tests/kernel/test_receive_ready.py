"""`receive_ready`, of all that is read item by item: what is there already, in order, at most so much, and no waiting."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway._protocol.messages import Header, Message
from trio_gateway.testing import FakeComm, FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock
LINES = "for i in range(5):\n    print(i, flush=True)"


def send_three(comm: FakeComm, message: Message) -> None:
    """What the kernel does when a comm is opened."""
    for number in range(3):
        comm.send({"number": number})


def a_gateway() -> FakeGateway:
    return FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", comm_targets={"three": send_three})])


async def test_messages_of_a_channel(autojump_clock: Clock) -> None:
    async with a_gateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.iopub.subscribe() as messages:
            assert messages.receive_ready() == []
            await kernel.execute(LINES)
            await trio.testing.wait_all_tasks_blocked()
            first = messages.receive_ready(3)
            rest = messages.receive_ready()
            assert [message.content["text"] for message in first + rest if message.msg_type == "stream"] == [
                f"{i}\n" for i in range(5)
            ]
            assert len(first) == 3
            assert messages.statistics().messages == 0
            await messages.aclose()
            assert messages.receive_ready() == []


async def test_one_message_is_given_whatever_its_size(autojump_clock: Clock) -> None:
    async with a_gateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.iopub.subscribe() as messages:
            await kernel.execute(LINES)
            await trio.testing.wait_all_tasks_blocked()
            waiting = messages.statistics().messages
            assert len(messages.receive_ready(limit_bytes=1)) == 1
            assert messages.statistics().messages == waiting - 1


async def test_outputs(autojump_clock: Clock) -> None:
    """They are in the result's order, and the rest comes by iterating."""
    async with a_gateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.stream(LINES) as outputs:
            await trio.testing.wait_all_tasks_blocked()
            found = [*outputs.receive_ready(2), *outputs.receive_ready(1)]
            found += [output async for output in outputs]
            assert outputs.receive_ready() == []
        assert found == [trio_gateway.Stream("stdout", f"{i}\n") for i in range(5)]
        assert outputs.result.status == "ok"


async def test_outputs_up_to_a_request_for_input(autojump_clock: Clock) -> None:
    """The handler is called by who iterates, after what was printed before was given."""
    asked: list[str] = []

    async def answer(prompt: str, password: bool) -> str:
        asked.append(prompt)
        await trio.lowlevel.checkpoint()
        return "me"

    async with a_gateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.stream("print('first', flush=True)\nprint(input('who? '))", stdin=answer) as outputs:
            await trio.testing.wait_all_tasks_blocked()
            assert outputs.receive_ready() == [trio_gateway.Stream("stdout", "first\n")]
            assert (outputs.receive_ready(), asked) == ([], [])
            assert [output async for output in outputs] == [trio_gateway.Stream("stdout", "me\n")]
        assert asked == ["who? "]


async def test_what_a_comm_gives(autojump_clock: Clock) -> None:
    async with a_gateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.comms.open("three") as comm:
            await kernel.kernel_info()
            await trio.testing.wait_all_tasks_blocked()
            assert [message.data for message in comm.receive_ready(2)] == [{"number": 0}, {"number": 1}]
            assert [message.data for message in comm.receive_ready()] == [{"number": 2}]
            assert comm.receive_ready() == []


async def test_comms_that_the_kernel_opens(autojump_clock: Clock) -> None:
    async with a_gateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.comms.accept("mine") as incoming:
            for number in range(3):
                content = {"comm_id": f"c{number}", "target_name": "mine", "data": {"number": number}}
                kernel.comms.observe(Message("iopub", Header(f"m{number}", "comm_open"), content))
            opened = [*incoming.receive_ready(1), *incoming.receive_ready()]
            assert [comm.opening.data["number"] for comm in opened] == [0, 1, 2]
            assert not any(comm.closed for comm in opened)
            assert incoming.receive_ready() == []


@pytest.mark.parametrize(
    ("limits", "named"),
    [({"limit": 0}, "limit"), ({"limit": True}, "limit"), ({"limit": 1.5}, "limit"), ({"limit_bytes": 0}, "limit_bytes")],
)
async def test_g10_a_limit_that_is_none_is_named(autojump_clock: Clock, limits: dict[str, Any], named: str) -> None:
    async with a_gateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.iopub.subscribe() as messages, kernel.stream("1") as outputs, kernel.comms.accept("a") as comms:
            async with kernel.comms.open("three") as comm:
                readers: list[Any] = [messages, outputs, comms, comm]
                for reader in readers:
                    with pytest.raises(trio_gateway.InvalidInputError, match=f"^{named}:"):
                        reader.receive_ready(**limits)
