"""A message of ours that is larger than the gateway takes: that request ends, and the session goes on (G3, G4)."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway._protocol import codec
from trio_gateway._transport.websocket import opening as websocket
from trio_gateway.testing import FakeComm, FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock
LIMIT = 100_000
LARGE = "#" + LIMIT * "x"


@pytest.fixture(params=["fast", "trio-websocket"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `websocket_engine="auto"` stands for."""
    monkeypatch.setattr(websocket, "best_engine", lambda: request.param)
    return str(request.param)


@pytest.mark.parametrize("framing", ["v1", "legacy"])
async def test_it_costs_that_request(autojump_clock: Clock, framing: str) -> None:
    async with FakeGateway(max_message_size=LIMIT, framings=[framing]) as fake, fake.open() as gateway:
        async with gateway.start_kernel() as kernel:
            before = kernel.session_id
            for number in range(3):
                with pytest.raises(trio_gateway.MessageTooLargeError, match="message too big") as caught:
                    await kernel.execute(LARGE)
                assert LIMIT < caught.value.size < LIMIT + 10_000
                assert (caught.value.limit, caught.value.msg_type) == (None, "execute_request")
                assert (await kernel.execute(f"{number}")).text == f"{number}"
            with pytest.raises(trio_gateway.MessageTooLargeError, match="complete_request"):
                await kernel.complete(LARGE)
            with pytest.raises(trio_gateway.MessageTooLargeError, match="debug_request"):
                await kernel.debug("evaluate", {"expression": LARGE})
            assert kernel.session_id == before
            assert fake.kernels[kernel.id].codes == ["0", "1", "2"]


async def test_what_runs_meanwhile_runs_on(autojump_clock: Clock) -> None:
    """It is not blamed, though it is larger, for the kernel has it."""
    code = f"import time\ntime.sleep(10)\nlen({'y' * (LIMIT - 20_000)!r})"
    async with FakeGateway(max_message_size=LIMIT) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:
            results: list[str] = []

            async def run() -> None:
                results.append((await kernel.execute(code)).text)

            nursery.start_soon(run)
            await trio.sleep(1)
            fake.max_message_size = 30_000
            with pytest.raises(trio_gateway.MessageTooLargeError, match="complete_request"):
                await kernel.complete("x" * 40_000)
        assert results == [str(LIMIT - 20_000)]


async def test_a_message_that_nobody_waits_for_is_told_in_the_log(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def echo(comm: FakeComm, message: trio_gateway.Message) -> None:
        comm.on_message = lambda comm, message: comm.send(message.content["data"])

    async with FakeGateway(max_message_size=LIMIT) as fake:
        fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", comm_targets={"echo": echo})
        async with fake.open() as gateway, gateway.start_kernel() as kernel, kernel.comms.open("echo") as comm:
            with caplog.at_level(logging.WARNING, "trio_gateway.session"):
                await comm.send({"large": LARGE})
                await trio.sleep(1)
                with trio.fail_after(100):
                    assert (await kernel.execute("6 * 7")).text == "42"
                await comm.send({"small": 2})
                while (await comm.receive()).data != {"small": 2}:
                    pass
    (record,) = [record for record in caplog.records if record.name == "trio_gateway.session"]
    assert record.getMessage() == "message_refused"
    assert "the comm_msg has 100" in getattr(record, "gateway.reason")


async def test_where_it_is_not_ours_that_is_too_large_the_session_ends(autojump_clock: Clock) -> None:
    """As where something between us and the gateway refuses what the gateway sends: that would come again and again."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        with pytest.raises(trio_gateway.ProtocolError, match="1009"):
            async with kernel.stream("import time\ntime.sleep(1)") as outputs:
                fake.kernels[kernel.id]._streams[0].sink.hang_up("limit", 1009)  # type: ignore[union-attr]
                async for _ in outputs:
                    pass


@pytest.mark.parametrize("v1", [True, False])
async def test_a_relay_answers_it_and_goes_on(autojump_clock: Clock, v1: bool) -> None:
    async with FakeGateway(max_message_size=LIMIT) as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        async with gateway.open_channels(kernel.id, session_id="front", v1=v1) as channels:

            async def ask(msg_id: str, code: str) -> trio_gateway.Message:
                header = trio_gateway.Header(msg_id, "execute_request", "front", "ada", "2026-01-01T00:00:00Z", "5.4")
                message = trio_gateway.Message("shell", header, {"code": code, "silent": False})
                await channels.send(codec.encode_v1(message) if v1 else codec.encode_legacy(message))
                with trio.fail_after(60):
                    while True:
                        for frame in await channels.receive():
                            message = codec.decode(frame, v1=v1)
                            if message.msg_type == "execute_reply" and message.parent_id == msg_id:
                                return message

            refused = await ask("large", LARGE)
            assert (refused.content["status"], refused.content["ename"]) == ("error", "MessageTooLargeError")
            assert "more than the gateway takes" in refused.content["evalue"]
            assert (await ask("small", "1")).content["status"] == "ok"
        assert fake.kernels[kernel.id].codes == ["1"]
