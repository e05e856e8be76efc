"""The relay between a front end and a kernel (lessons B1 to B9).

All tests are on the fake gateway, and those where the gateway's or the kernel's own behaviour counts on a real one too. The rest
is made by the front end, by the proxy or by the wire between proxy and gateway: a real gateway would add nothing to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest
import trio
import trio.testing
import trio_websocket

import trio_gateway
from tools.os_view import nothing_left_behind
from trio_gateway.proxy._metrics import Metrics

from .front import PATIENCE, open_front, open_lazy_front, open_stage
from .proxy_kit import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningGateway
    from tools.tcp_proxy import Link

    from .proxy_kit import Behind

# What the fake's comm target of this name does.
ECHO = """
def opened(comm, message):
    def echo(message):
        comm.send({'got': len(message['buffers'])}, buffers=[bytes(b)[::-1] for b in message['buffers']])
    comm.on_msg(echo)
    echo(message)
get_ipython().kernel.comm_manager.register_target('echo', opened)
"""
# Prints, waits until a file is there, and prints again.
HELD = """
import os, time
print('begin', end='', flush=True)
while not os.path.exists({!r}):
    time.sleep(0.05)
print('end', end='')
"""


@pytest.mark.parametrize("front_v1", [True, False], ids=["front-v1", "front-legacy"])
@pytest.mark.parametrize("upstream_v1", [True, False], ids=["gateway-v1", "gateway-legacy"])
async def test_b1_b2_binary_both_ways_in_every_pair_of_framings(behind: Behind, *, front_v1: bool, upstream_v1: bool) -> None:
    """Lessons B1, B2, B9: buffers pass in both directions, and each side has the framing that it chose."""
    async with open_stage(behind, upstream_v1=upstream_v1) as stage:
        async with open_front(stage.proxy, stage.kernel_id, v1=front_v1) as front:
            assert front.v1 is front_v1
            if behind is not None:
                await front.run_whole(ECHO)
            content = {"comm_id": "c", "target_name": "echo", "data": {}}
            opened = await front.send("comm_open", content, buffers=[b"\x00\xff", b""])
            first = (await front.until("comm_msg", opened))[-1]
            assert [bytes(buffer) for buffer in first.buffers] == [b"\xff\x00", b""]
            big = bytes(range(256)) * 4096
            sent = await front.send("comm_msg", {"comm_id": "c", "data": {}}, buffers=[big, b"\n"])
            back = (await front.until("comm_msg", sent))[-1]
            assert back.content["data"] == {"got": 2}
            assert [bytes(buffer) for buffer in back.buffers] == [big[::-1], b"\n"]
            assert await front.run("print('still there')") == "still there\n"
        assert len(stage.links()) == 1


async def test_b3_15_mb_of_text_arrive(behind: Behind) -> None:
    async with open_stage(behind) as stage, open_front(stage.proxy, stage.kernel_id) as front:
        text = await front.run("print('x' * 15_000_000)")
        assert len(text) == 15_000_001
        assert len(stage.links()) == 1


@pytest.mark.full
@pytest.mark.gateway
async def test_b3_a_gateway_that_falls_silent_is_noticed_and_the_session_resumed(real_gateway: RunningGateway) -> None:
    await fall_silent(real_gateway, 3.0, [2])


async def test_b3_a_fake_gateway_that_falls_silent_is_noticed_and_the_session_resumed(
    elastic_clock: trio.testing.MockClock,
) -> None:
    # The fake's second connection leads nowhere, and so there are more.
    await fall_silent(None, 30.0, [2, 4])
    assert elastic_clock is not None


async def fall_silent(behind: Behind, ping_interval: float, links: list[int]) -> None:
    async with open_stage(behind, ping_interval=ping_interval) as stage, open_front(stage.proxy, stage.kernel_id) as front:
        assert await front.run("print(1)") == "1\n"
        stage.links()[0].swallow()
        assert await front.run("print(2)") in {"2\n", ""}  # it may be told as lost: see below
        assert await front.run("print(3)") == "3\n"
        assert len(stage.links()) in links


async def test_b4_a_front_end_that_goes_while_the_gateway_is_away_leaves_no_connection(behind: Behind) -> None:
    async with open_stage(behind, gateway_retry_interval=30.0, gateway_retry_interval_max=30.0) as stage:
        async with open_front(stage.proxy, stage.kernel_id) as front:
            await front.run("pass")  # what the first connection makes for good is there
        await stage.no_channels()
        await stage.nobody_connected()
        with nothing_left_behind():
            async with open_front(stage.proxy, stage.kernel_id) as front:
                assert await front.run("print(1)") == "1\n"
                await stage.wire.refuse()
                stage.links()[1].reset()
                await stage.nobody_connected()
            await stage.no_channels()
            await trio.testing.wait_all_tasks_blocked(0.05)
            await stage.wire.listen()
            await stage.wire.refuse()
        assert len(stage.links()) == 2
        await stage.nobody_connected()


async def test_b4_a_front_end_that_goes_while_the_kernel_is_connected_to_leaves_no_connection() -> None:
    async with open_stage(None) as stage:
        asked = trio.Event()

        def hold(link: Link, request: str) -> None:
            if "/channels" in request:
                link.hold()
                asked.set()

        stage.wire.on_request = hold
        async with trio.open_nursery() as nursery:

            async def come() -> None:
                async with open_front(stage.proxy, stage.kernel_id):
                    raise AssertionError("the gateway has not answered")

            nursery.start_soon(come)
            await asked.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE):
            stage.links()[0].release()
            await stage.links()[0].ended.wait()
        assert stage.proxy.app.channels == 0


async def test_b5_what_is_sent_while_the_gateway_is_away_arrives(behind: Behind) -> None:
    async with open_stage(behind) as stage, open_front(stage.proxy, stage.kernel_id) as front:
        await front.run("seen = []")
        await stage.wire.refuse()
        stage.links()[0].reset()
        await stage.nobody_connected()
        for number in range(3):
            await front.execute(f"seen.append({number})")
        await stage.wire.listen()
        assert await front.run("print(seen)") == "[0, 1, 2]\n"
        assert len(stage.links()) == 2


async def test_b5_a_request_that_the_cut_swallowed_is_answered(behind: Behind) -> None:
    """An execute that is sent in the moment after a cut: the peer's front end waits for ever."""
    async with open_stage(behind) as stage, open_front(stage.proxy, stage.kernel_id) as front:
        await front.run("ran = 0")
        link = stage.links()[0]
        link.to_server.hold()
        asked = await front.execute("ran += 1")
        await link.to_server.held.wait()
        link.reset()
        told = await front.whole(asked)
        assert [message.msg_type for message in told] == ["error", "execute_reply", "status"]
        reply = told[1].content
        assert (reply["status"], reply["ename"]) == ("error", "ConnectionLostError")
        assert await front.run("print(ran)") == "0\n"  # and it was not sent a second time


async def test_a_reply_that_waited_in_the_gateway_is_no_lost_one(behind: Behind, tmp_path: Path) -> None:
    async with open_stage(behind) as stage, open_front(stage.proxy, stage.kernel_id) as front:
        go_on = tmp_path / "go on"
        asked = await front.execute(HELD.format(str(go_on)))
        await front.until("stream", asked)
        await stage.wire.refuse()
        stage.links()[0].reset()
        await stage.nobody_connected()
        go_on.touch()
        await stage.idle()
        await stage.wire.listen()
        (reply,) = [message for message in await front.whole(asked) if message.msg_type == "execute_reply"]
        assert reply.content["status"] == "ok"
        assert len(stage.links()) == 2


@pytest.mark.parametrize("front_v1", [True, False])
async def test_b6_a_front_end_is_told_when_the_gateway_stays_away(*, front_v1: bool) -> None:
    async with open_stage(None, gateway_retry_max=2) as stage:
        async with open_front(stage.proxy, stage.kernel_id, v1=front_v1) as front:
            await front.run("pass")
            await stage.wire.refuse()
            stage.links()[0].reset()
            last = (await front.until("status"))[-1]
            assert last.content == {"execution_state": "unknown"}
            assert await front.closed() == (1013, "the connection to the gateway broke and could not be resumed")


async def test_b7_a_gateway_that_accepts_and_hangs_up_is_not_asked_for_ever() -> None:
    async with open_stage(None, gateway_retry_max=4) as stage:
        async with open_front(stage.proxy, stage.kernel_id) as front:
            await front.run("pass")

            def hang_up(link: Link) -> None:
                link.to_client.forwarded = lambda data: link.reset() if data.startswith(b"HTTP/1.1 101") else None

            stage.wire.on_link = hang_up
            stage.links()[0].reset()
            assert (await front.closed())[0] == 1013
        assert len(stage.links()) == 5


@pytest.mark.parametrize(("session", "status"), [("x", 404), ("x" * 257, 400)])
async def test_b8_a_kernel_that_is_not_there_is_a_404_at_once(behind: Behind, session: str, status: int) -> None:
    async with open_stage(behind) as stage:
        with pytest.raises(trio_websocket.ConnectionRejected) as rejected:
            async with open_front(stage.proxy, "00000000-0000-4000-8000-000000000000", session=session):
                raise AssertionError
        assert rejected.value.status_code == status
        assert len(stage.links()) == (status == 404)


async def test_b8_a_kernel_that_is_gone_when_the_connection_is_made_again_is_told_as_dead(behind: Behind) -> None:
    async with open_stage(behind) as stage:
        async with open_front(stage.proxy, stage.kernel_id) as front:
            await front.run("pass")
            await stage.direct.kernels.shutdown(stage.kernel_id)
            stage.links()[0].reset()
            while (status := (await front.until("status"))[-1]).content["execution_state"] != "dead":
                assert status.content["execution_state"] in {"busy", "idle"}
            assert await front.closed() == (1011, "the kernel is gone")
        assert len(stage.links()) == 2


async def test_b8_credentials_that_the_gateway_refuses_are_a_502(behind: Behind) -> None:
    async with open_stage(behind, auth_token="wrong") as stage:
        with pytest.raises(trio_websocket.ConnectionRejected) as rejected:
            async with open_front(stage.proxy, stage.kernel_id):
                raise AssertionError
        assert rejected.value.status_code == 502
        assert len(stage.links()) == 1


@pytest.mark.full
@pytest.mark.gateway
async def test_b9_a_front_end_that_reads_nothing_costs_little_and_harms_nobody(real_gateway: RunningGateway) -> None:
    process = psutil.Process()
    async with open_stage(real_gateway) as stage:
        async with open_lazy_front(stage.proxy, stage.kernel_id), open_front(stage.proxy, stage.kernel_id) as other:
            await other.run("print('warm')")
            before = process.memory_info().rss
            # Few and large: a kernel drops what it publishes while 1,000 messages wait in its socket (ZeroMQ's high-water mark).
            asked = await other.execute("for i in range(100): print('x' * 999_999, flush=True)")
            taken = 0
            while taken < 100_000_000:
                message = await other.receive()
                taken += len(message.content["text"]) if message.msg_type == "stream" and message.parent_id == asked else 0
            del message
            grown = process.memory_info().rss - before
            assert grown < 40_000_000, f"what nobody reads is kept here: {grown}"
            assert await other.run("print(1)") == "1\n"
            assert stage.proxy.app.channels == 2
        await stage.no_channels()
        assert len(stage.links()) == 2


async def test_two_connections_of_one_session_do_not_fight(behind: Behind) -> None:
    async with open_stage(behind) as stage:
        async with open_front(stage.proxy, stage.kernel_id, session="same") as older:
            await older.run("pass")
            async with open_front(stage.proxy, stage.kernel_id, session="same") as newer:
                assert (await older.closed())[0] == 1001
                assert await newer.run("print(1)") == "1\n"
            assert len(stage.links()) == 2


async def test_a_front_end_that_comes_back_gets_what_it_missed(behind: Behind, tmp_path: Path) -> None:
    async with open_stage(behind) as stage:
        go_on = tmp_path / "go on"
        async with open_front(stage.proxy, stage.kernel_id, session="same") as front:
            asked = await front.execute(HELD.format(str(go_on)))
            await front.until("stream", asked)
        await stage.no_channels()
        await stage.nobody_connected()
        go_on.touch()
        await stage.idle()
        async with open_front(stage.proxy, stage.kernel_id, session="same") as front:
            seen = await front.whole(asked)
            assert [message.content["text"] for message in seen if message.msg_type == "stream"] == ["end"]


@pytest.mark.parametrize("frame", [b"", b"\x06", b"\x06" + bytes(47), "", "{}", "nonsense", b"\xff" * 100])
async def test_a_frame_that_is_none_ends_its_own_connection(frame: bytes | str) -> None:
    async with open_stage(None) as stage:
        async with open_front(stage.proxy, stage.kernel_id) as front, open_front(stage.proxy, stage.kernel_id) as other:
            await front.websocket.send_message(frame)
            code, reason = await front.closed()
            assert code == 1007
            assert reason
            assert await other.run("print(1)") == "1\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        ([("Authorization", "token wrong")], 401),
        ([("Authorization", f"token {TOKEN}"), ("Origin", "https://evil.example")], 403),
        ([("Authorization", f"token {TOKEN}"), ("Origin", "null")], 403),
    ],
)
async def test_a_websocket_is_guarded_as_everything_else(headers: list[tuple[str, str]], status: int) -> None:
    async with open_stage(None) as stage:
        with pytest.raises(trio_websocket.ConnectionRejected) as rejected:
            async with open_front(stage.proxy, stage.kernel_id, headers=headers):
                raise AssertionError
        assert rejected.value.status_code == status
        assert stage.links() == []


async def test_there_are_no_more_connections_than_allowed() -> None:
    async with open_stage(None, proxied={"max_channels": 1}) as stage:
        async with open_front(stage.proxy, stage.kernel_id):
            with pytest.raises(trio_websocket.ConnectionRejected) as rejected:
                async with open_front(stage.proxy, stage.kernel_id):
                    raise AssertionError
            assert rejected.value.status_code == 503
        await stage.no_channels()
        async with open_front(stage.proxy, stage.kernel_id) as front:
            assert await front.run("print(1)") == "1\n"


async def test_draining_says_goodbye() -> None:
    async with open_stage(None) as stage, open_front(stage.proxy, stage.kernel_id) as front:
        await front.run("pass")
        stage.proxy.app.drain()
        assert await front.closed() == (1001, "the proxy is shutting down")
        with pytest.raises(trio_websocket.ConnectionRejected):
            async with open_front(stage.proxy, stage.kernel_id):
                raise AssertionError


async def test_a_defect_of_ours_is_no_ordinary_goodbye(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    caplog.set_level("INFO", "trio_gateway.proxy")
    async with open_stage(None) as stage, open_front(stage.proxy, stage.kernel_id) as front:
        monkeypatch.setattr(Metrics, "to_kernel", fail)
        await front.execute("pass")
        assert await front.closed() == (1011, "")
        await stage.no_channels()
        assert b'channels_closed_total{code="1011"} 1.0' in (await stage.proxy.ask("GET", "/metrics")).body
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == ["request_failed"]
    (line,) = [line for record in caplog.records if (line := vars(record).get("proxy.access")) and line["method"] == "WEBSOCKET"]
    assert (line["status"], line["close_code"]) == (101, 1011)


@pytest.mark.parametrize("engine", ["fast", "trio-websocket"])
async def test_our_own_library_through_the_proxy(engine: str) -> None:
    await use_our_own_library(None, engine)


@pytest.mark.full
@pytest.mark.gateway
async def test_our_own_library_through_the_proxy_of_a_real_gateway(real_gateway: RunningGateway) -> None:
    await use_our_own_library(real_gateway, "fast")


async def use_our_own_library(behind: Behind, engine: str) -> None:
    async with open_stage(behind) as stage:
        async with (
            trio_gateway.open_gateway(stage.proxy.url, auth_token=TOKEN, websocket_engine=engine) as gateway,
            gateway.start_kernel("python3") as kernel,
        ):
            result = await kernel.execute("print('out'); 6 * 7")
            assert (result.text, result.output_gaps) == ("out\n42", ())
            failed = await kernel.execute("1 / 0")
            assert failed.status == "error"
            with trio.move_on_after(0.5):
                await kernel.execute("while True: pass")
            await kernel.restart()
            stage.links()[-1].reset()
            sent_into_the_cut = await kernel.execute("2 + 2")
            assert sent_into_the_cut.text == "4" or sent_into_the_cut.status == "error"
            assert (await kernel.execute("3 + 3")).text == "6"
            kernel_id = kernel.id
        with pytest.raises(trio_gateway.KernelNotFoundError):
            await stage.direct.kernels.get(kernel_id)
