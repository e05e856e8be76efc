"""A WebSocket to a kernel's channels, from the server's side: framing, pings, limits, faults, goodbyes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import pytest
import trio
import trio.testing
import wsproto.events as ws_events

from trio_gateway._protocol import codec
from trio_gateway.testing import FakeGateway, FakeKernel

from .kit_parts import execute, request
from .kit_wire import websocket

Clock = trio.testing.MockClock


@pytest.fixture
async def kernel(fake: FakeGateway) -> AsyncGenerator[FakeKernel]:
    """A kernel of the fake, started without a client."""
    kernel = await fake.start_kernel("python3", kernel_id="a-b-c-d-e")
    await kernel.wait_ready()
    yield kernel
    fake.remove_kernel(kernel)


@pytest.mark.parametrize("v1", [True, False])
async def test_both_framings(autojump_clock: Clock, kernel: FakeKernel, v1: bool) -> None:
    fake = FakeGateway()
    async with fake:
        await fake.start_kernel("python3", kernel_id=kernel.id)
        async with websocket(fake, kernel.id, v1=v1) as client:
            await client.say(execute("print(6 * 7)", msg_id="one"))
            *_, said = await client.messages_until("stream")
            assert (said.content["text"], said.parent_id) == ("42\n", "one")
            await client.messages_until("execute_reply")


async def test_a_client_that_comes_hears_a_greeting(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        first, second = [*await client.messages_until("status"), *await client.messages_until("status")]
        assert [first.content["execution_state"], second.content["execution_state"]] == ["busy", "idle"]


async def test_pings_are_answered_both_ways(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    fake.ping_interval = 30
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.send(ws_events.Ping(payload=b"mine"))
        while not isinstance(event := await client.next_event(), ws_events.Pong):
            pass
        assert bytes(event.payload) == b"mine"
        for number in range(1, 11):
            while not isinstance(event := await client.next_event(), ws_events.Ping):
                assert event is not None
            assert trio.current_time() == pytest.approx(30 * number)
            await client.send(event.response())


async def test_without_pongs_it_hangs_up(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    fake.ping_interval = 30
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        while await client.next_event() is not None:
            pass
        assert trio.current_time() == pytest.approx(120)  # more than three intervals after the last one
    await trio.testing.wait_all_tasks_blocked()
    assert "WebSocket ping timeout" in str(fake.conversation)
    assert kernel.connections == 0


async def test_a_message_that_is_too_large(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    fake.max_message_size = 1000
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.say(execute("x" * 1000, msg_id="large"))
        while not isinstance(event := await client.next_event(), ws_events.CloseConnection):
            assert event is not None
        assert (event.code, event.reason) == (1009, "message too big")
    assert kernel.executed == {}
    assert "close 1009 message too big" in str(fake.conversation)


async def test_a_message_in_pieces(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    v1 = "v1" in fake.framings
    async with websocket(fake, kernel.id, v1=v1) as client:
        asked = execute("1", msg_id="one")
        if v1:
            frame = codec.encode_v1(asked)
            await client.send(ws_events.BytesMessage(data=bytes(frame[:50]), message_finished=False))
            await client.send(ws_events.BytesMessage(data=bytes(frame[50:])))
        else:
            text = codec.encode_legacy(asked)
            assert isinstance(text, str)
            await client.send(ws_events.TextMessage(data=text[:50], message_finished=False))
            await client.send(ws_events.TextMessage(data=text[50:]))
        await client.messages_until("execute_reply")
    assert kernel.executed == {"one": 1}


async def test_what_is_no_message_is_noted_and_the_connection_goes_on(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake:
        kernel = await fake.start_kernel("python3")
        async with websocket(fake, kernel.id) as client:
            await client.send(ws_events.BytesMessage(data=b"\xff" * 20))
            await client.say(execute("1"))
            await client.messages_until("execute_reply")
            assert len(fake.protocol_errors) == 1


async def test_what_is_no_websocket_ends_the_connection(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.stream.send_all(b"\xff" * 20)
        while not isinstance(event := await client.next_event(), ws_events.CloseConnection):
            assert event is not None
        assert event.code == 1002
        assert await client.next_event() is None
    await trio.testing.wait_all_tasks_blocked()
    assert kernel.connections == 0


async def test_a_goodbye_is_answered(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.send(ws_events.CloseConnection(code=1000, reason="done"))
        while not isinstance(event := await client.next_event(), ws_events.CloseConnection):
            assert event is not None
        assert event.code == 1000
        assert await client.next_event() is None
    await trio.testing.wait_all_tasks_blocked()
    assert kernel.connections == 0
    assert "close 1000" in str(fake.conversation)


async def test_a_second_connection_of_a_session_takes_its_place(
    autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel
) -> None:
    v1 = "v1" in fake.framings
    async with websocket(fake, kernel.id, v1=v1) as first, websocket(fake, kernel.id, v1=v1) as second:
        while not isinstance(event := await first.next_event(), ws_events.CloseConnection):
            assert event is not None
        assert event.reason == "Replacing stale connection"
        await second.say(execute("1"))
        await second.messages_until("execute_reply")
        assert kernel.connections == 1


async def test_what_was_missed_is_replayed(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    v1 = "v1" in fake.framings
    async with websocket(fake, kernel.id, v1=v1) as client:
        await client.messages_until("status")
    await trio.testing.wait_all_tasks_blocked()
    kernel.publish("custom", {"a": 1})
    async with websocket(fake, kernel.id, v1=v1, session_id="front") as client:
        *_, missed = await client.messages_until("custom")
        assert missed.content == {"a": 1}


async def test_messages_dropped_doubled_late_and_spoilt(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    v1 = "v1" in fake.framings
    async with websocket(fake, kernel.id, v1=v1) as client:
        await client.messages_until("status")
        await client.messages_until("status")
        fake.faults.drop("iopub one")
        fake.faults.duplicate("iopub two")
        fake.faults.reorder("iopub three")
        fake.faults.spoil("iopub five", by=b'{"spoilt": 1}')
        for msg_type in ("one", "two", "three", "four", "five"):
            kernel.publish(msg_type, {})
        found = await client.messages_until("five")
        assert [message.msg_type for message in found] == ["two", "two", "four", "three", "five"]
        assert found[-1].content == {"spoilt": 1}
        kernel.publish("three", {})
        await client.messages_until("three")
        assert trio.current_time() == 1, "late is not never"


@pytest.mark.parametrize("part", ["channel", "header", "parent_header", "metadata"])
async def test_each_part_can_be_spoilt(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel, part: str) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.messages_until("status")
        await client.messages_until("status")
        fake.faults.spoil("iopub one", part=part, by=b'"SPOILT"')  # type: ignore[arg-type]
        kernel.publish("one", {"whole": True})
        frame = await client.next_frame()
        assert isinstance(frame, bytes | str)
        text = frame if isinstance(frame, str) else frame.decode("latin-1")
        assert '"SPOILT"' in text
        assert '{"whole":true}' in text


async def test_a_spoilt_message_keeps_its_buffers(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        fake.faults.spoil("iopub one", by=b'{"spoilt": 1}')
        assert kernel.process is not None
        kernel.process.publish("one", {}, None, buffers=[b"\x00\xff", b"", b"abc"])
        *_, found = await client.messages_until("one")
        assert found.content == {"spoilt": 1}
        assert [bytes(each) for each in found.buffers] == [b"\x00\xff", b"", b"abc"]


async def test_garbage_comes_before_a_message(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.messages_until("status")
        await client.messages_until("status")
        fake.faults.garbage("nonsense", "iopub one")
        kernel.publish("one", {})
        assert await client.next_frame() == "nonsense"
        await client.messages_until("one")


@pytest.mark.parametrize("inside", [True, False])
async def test_a_cut_at_a_message(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel, inside: bool) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.messages_until("status")
        await client.messages_until("status")
        fake.faults.cut_at_message("iopub one", inside=inside)
        kernel.publish("one", {"text": "x" * 1000})
        event = await client.next_event()
        if inside:
            assert isinstance(event, ws_events.Message)
            assert not event.frame_finished
            event = await client.next_event()
        assert event is None
    assert "connection cut" in str(fake.conversation)


async def test_a_cut_on_the_way_to_the_kernel(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        fake.faults.cut_at_message("shell execute_request", direction="to_kernel")
        await client.say(execute("1"))
        while await client.next_event() is not None:
            pass
    assert kernel.executed == {}


async def test_a_request_dropped_on_its_way(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        fake.faults.drop("shell execute_request", direction="to_kernel", nth=1)
        await client.say(execute("1", msg_id="lost"))
        await client.say(execute("2", msg_id="found"))
        *_, reply = await client.messages_until("execute_reply")
        assert reply.parent_id == "found"
    assert kernel.executed == {"found": 1}


async def test_a_mute_connection(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    """What its client sends goes nowhere, and what is published reaches it all the same."""
    fake.faults.mute()
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.say(request("kernel_info_request"))
        await trio.testing.wait_all_tasks_blocked()
        kernel.publish("custom", {})
        found = await client.messages_until("custom")
        assert "kernel_info_reply" not in [message.msg_type for message in found]
    assert "mute: kernel_info_request" in str(fake.conversation)


async def test_too_much_is_dropped_and_told_on_stderr(autojump_clock: Clock, fake: FakeGateway, kernel: FakeKernel) -> None:
    fake.iopub_msg_rate_limit, fake.rate_limit_window = 2, 1
    async with websocket(fake, kernel.id, v1="v1" in fake.framings) as client:
        await client.messages_until("status")
        await client.messages_until("status")
        for _ in range(5):
            kernel.publish("custom", {})
        found = await client.messages_until("stream")
        assert [message.msg_type for message in found] == ["custom", "custom", "stream"]
        assert found[-1].content["name"] == "stderr"
        assert found[-1].header.session == fake.server_session


# With the library -------------------------------------------------------------------------------------------------------


async def test_a_client_that_answers_no_ping_is_hung_up_on(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open(ping_interval=1e6) as gateway, gateway.start_kernel() as kernel:
        assert (await kernel.execute("1")).text == "1"
        (kernel_there,) = fake.kernels.values()
        await trio.sleep(1000)
        assert kernel_there.connections == 1  # the library answers pings
        for stream in fake.connections.values():
            stream.swallow()
        await trio.sleep(200)
        assert kernel_there.connections == 1  # and again, on the connection that replaced it
        assert "ping timeout" in str(fake.conversation)


async def test_its_legacy_messages_repeat_type_and_id(autojump_clock: Clock) -> None:
    """As those of Jupyter's servers do, and some front ends look only there."""
    async with FakeGateway(framings=["legacy"]) as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        async with gateway.open_channels(kernel.id, session_id="front", v1=False) as channels:
            (frame, *_) = await channels.receive()
    message = json.loads(frame)
    assert (message["msg_type"], message["msg_id"]) == (message["header"]["msg_type"], message["header"]["msg_id"])
