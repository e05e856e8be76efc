"""Comms: opened by either side, in order, with buffers, and closed once."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from kernel.kit import said
from trio_gateway import Kernel, Message, ProtocolError
from trio_gateway._kernel import comms as module
from trio_gateway.testing import FakeComm, FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock


def echo(comm: FakeComm, message: Message) -> None:
    """What the kernel does with a comm: it sends back what it was opened with, and each message; `bye` is the last."""

    def answer(comm: FakeComm, message: Message) -> None:
        data = json.loads(bytes(message.content_raw))["data"]
        comm.send({"echo": data}, buffers=[bytes(buffer)[::-1] for buffer in message.buffers])
        if data.get("say") == "bye":
            comm.close()

    comm.send({"opened": json.loads(bytes(message.content_raw))["data"]}, buffers=message.buffers)
    comm.on_message = answer


@pytest.fixture
async def fake() -> AsyncGenerator[FakeGateway]:
    async with FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", comm_targets={"echo": echo})]) as fake:
        yield fake


@pytest.fixture
async def kernel(fake: FakeGateway) -> AsyncGenerator[Kernel]:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        yield kernel


async def test_messages_come_in_order_with_their_buffers(autojump_clock: Clock, kernel: Kernel) -> None:
    async with kernel.comms.open("echo", {"hello": 1}, buffers=[b"\0\xff"]) as comm:
        assert (comm.target_name, comm.opening.data, comm.closed) == ("echo", {"hello": 1}, False)
        first = await comm.receive()
        assert (first.data, [bytes(buffer) for buffer in first.buffers]) == ({"opened": {"hello": 1}}, [b"\0\xff"])
        for index in range(3):
            await comm.send({"index": index}, buffers=[bytes([index, 9])])
        for index in range(3):
            message = await comm.receive()
            assert (message.data, [bytes(buffer) for buffer in message.buffers]) == (
                {"echo": {"index": index}},
                [bytes([9, index])],
            )
    assert kernel.shell.statistics().sent == 5, "the opening, three messages, the end"
    assert comm.closed


async def test_a_comm_that_the_kernel_closes(autojump_clock: Clock, kernel: Kernel) -> None:
    async with kernel.comms.open("echo") as comm:
        await comm.send({"say": "bye"})
        assert [message.data async for message in comm] == [{"opened": {}}, {"echo": {"say": "bye"}}]
        assert comm.closed
        with pytest.raises(trio.BrokenResourceError):
            await comm.send({})
    with pytest.raises(trio.ClosedResourceError):
        await comm.send({})
    assert kernel.shell.statistics().sent == 2, "a kernel that has closed it is not told of our end"


async def test_a_target_that_is_not_there(autojump_clock: Clock, kernel: Kernel) -> None:
    """The kernel closes what nobody there wants."""
    async with kernel.comms.open("nobody's") as comm:
        assert [message.data async for message in comm] == []
        assert comm.closed


@pytest.mark.parametrize("data", ["text", 5, [1]])
async def test_data_that_is_no_object_is_named(autojump_clock: Clock, kernel: Kernel, data: Any) -> None:  # G10
    async with kernel.comms.open("echo") as comm:
        with pytest.raises(trio_gateway.InvalidInputError, match="data"):
            await comm.send(data)
        await comm.send({"still": "there"})
    with pytest.raises(trio_gateway.InvalidInputError, match="data"):
        async with kernel.comms.open("echo", data):
            pytest.fail("that is no object")


async def test_a_target_is_accepted_once_at_a_time(autojump_clock: Clock, kernel: Kernel) -> None:
    async with kernel.comms.accept("mine"):
        with pytest.raises(trio_gateway.InvalidInputError, match="target_name"):
            async with kernel.comms.accept("mine"):
                pytest.fail("one takes each comm")
    async with kernel.comms.accept("mine"):
        pass


async def test_a_comm_that_the_kernel_opens_and_one_that_nobody_accepts(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel
) -> None:
    async with kernel.comms.accept("mine") as comms:
        for comm_id, target in (("other", "nobody's"), ("c", "mine")):
            fake.kernels[kernel.id].publish("comm_open", {"comm_id": comm_id, "target_name": target, "data": {"x": 1}})
            fake.kernels[kernel.id].publish("comm_msg", {"comm_id": comm_id, "data": {"x": 2}})
        comm = await comms.receive()
        assert (comm.id, comm.target_name, comm.opening.data) == ("c", "mine", {"x": 1})
        assert (await comm.receive()).data == {"x": 2}
        await comm.aclose()
    assert "other" not in kernel.comms.live


async def test_a_comm_that_nobody_accepts_is_left_alone(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    """Front ends answer with `comm_close`, and a widget that hears that is dead, for other clients of its kernel too."""
    process = fake.kernels[kernel.id]
    for target in ("jupyter.widget", "", "nobody's"):
        process.publish("comm_open", {"comm_id": target, "target_name": target, "data": {"state": {}}})
        process.publish("comm_msg", {"comm_id": target, "data": {"method": "update", "state": {}}})
    await kernel.kernel_info()
    assert kernel.shell.statistics().received == 1
    assert kernel.shell.statistics().sent == 0
    assert "comm_close" not in str(fake.conversation)


async def test_comms_of_the_kernels_are_bounded(  # G7
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT_COMMS", 3)
    async with kernel.comms.accept("mine"):
        for number in range(10):
            fake.kernels[kernel.id].publish("comm_open", {"comm_id": str(number), "target_name": "mine", "data": {}})
        await kernel.kernel_info()
        assert list(kernel.comms.live) == ["0", "1", "2"]


async def test_a_replaced_process_has_none_of_the_old_ones_comms(autojump_clock: Clock, kernel: Kernel) -> None:
    """Who accepts a target goes on: the new process may open comms for it."""
    async with kernel.comms.accept("mine"), kernel.comms.open("echo") as comm:
        await comm.receive()
        await kernel.restart()
        with pytest.raises(trio_gateway.KernelRestartedError):
            await comm.receive()
        assert comm.closed


async def test_a_comm_that_the_kernel_does_not_know_after_a_cut_has_ended(  # G3
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel
) -> None:
    fake.faults.drop("shell comm_open", direction="to_kernel")
    async with kernel.comms.open("echo") as lost, trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio_gateway.ConnectionLostError, match="does not know this comm"):
                await lost.receive()

        nursery.start_soon(read)
        await kernel.kernel_info()
        fake.cut_connections()


@pytest.mark.parametrize("kind", ["comm_open", "comm_msg", "comm_close"])
async def test_a_message_that_names_no_comm_can_t_be_read(autojump_clock: Clock, kernel: Kernel, kind: str) -> None:
    with pytest.raises(ProtocolError, match=f"{kind} does not say for which comm"):
        kernel.comms.observe(said(kind, {"data": {}, "target_name": "echo"}))
    kernel.comms.observe(said("comm_info_reply", {}))  # begins like one and is none


async def test_the_kernel_learns_that_a_comm_is_closed_in_a_cancelled_scope(
    autojump_clock: Clock, fake: FakeGateway, kernel: Kernel
) -> None:
    async with kernel.comms.open("echo") as comm:
        with trio.CancelScope() as scope:
            scope.cancel()
            await comm.aclose()
        await kernel.execute("0")
        assert str(fake.conversation).count("comm_close") == 1


async def test_a_comm_that_was_not_opened_is_not_closed(autojump_clock: Clock, fake: FakeGateway, kernel: Kernel) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with kernel.comms.open("echo"):
            raise AssertionError
    assert scope.cancelled_caught
    assert not kernel.comms.live
    await kernel.execute("0")
    assert "comm_" not in str(fake.conversation)
