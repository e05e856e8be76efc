"""The kernel's side of a comm."""

from __future__ import annotations

import trio.testing

import trio_gateway
from trio_gateway.testing import FakeComm, FakeGateway, FakeKernelSpec

from .kit_parts import Publishes, request

Clock = trio.testing.MockClock


def test_what_it_sends_is_published_for_the_request_of_the_moment() -> None:
    publishes = Publishes()
    comm = FakeComm(publishes, "1", "echo", lambda: None)
    publishes.parent = asked = request("comm_msg")
    comm.send({"a": 1}, buffers=[b"\x00\xff"])
    assert publishes.published == [("comm_msg", {"comm_id": "1", "data": {"a": 1}})]
    assert publishes.more == [(asked, None, [b"\x00\xff"])]


def test_closing_it_is_told_to_both_sides() -> None:
    publishes = Publishes()
    closed: list[str] = []
    comm = FakeComm(publishes, "1", "echo", lambda: closed.append("closed"))
    comm.close({"why": "done"})
    comm.close()
    assert closed == ["closed", "closed"]
    assert publishes.published == [
        ("comm_close", {"comm_id": "1", "data": {"why": "done"}}),
        ("comm_close", {"comm_id": "1", "data": {}}),
    ]


def test_it_takes_messages_from_the_beginning() -> None:
    comm = FakeComm(Publishes(), "1", "echo", lambda: None)
    assert (comm.comm_id, comm.target_name) == ("1", "echo")
    comm.on_message(comm, request("comm_msg"))


async def test_with_a_client(autojump_clock: Clock, fake: FakeGateway) -> None:
    def opened(comm: FakeComm, message: trio_gateway.Message) -> None:
        comm.on_message = lambda comm, message: comm.send(
            {"echo": message.content["data"]}, buffers=[bytes(each) for each in message.buffers]
        )

    fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", comm_targets={"echo": opened})
    async with fake.open() as gateway, gateway.start_kernel() as kernel, kernel.comms.open("echo") as comm:
        await comm.send({"a": 1}, buffers=[b"\x00\xff"])
        answer = await comm.receive()
        assert answer.data == {"echo": {"a": 1}}
        assert bytes(answer.buffers[0]) == b"\x00\xff"
        assert list((await kernel.comm_info())["comms"].values()) == [{"target_name": "echo"}]
