"""A user's server is started once, by whom it is, and stopped by whom it was started: at whatever moment its block ends."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from tools.fake_hub import ALICE, SERVICE, open_fake_hub
from trio_gateway import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayEvent,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubSpawnError,
    open_hub,
)
from trio_gateway.testing import FakeHub

Clock = trio.testing.MockClock
SERVER = "/hub/api/users/alice/server"


def opened(hub: FakeHub, **arguments: Any):
    return open_hub(hub.url, **{"token": ALICE, "connector": hub.connector, **arguments})


async def test_a_server_that_runs_already_is_used_and_left(autojump_clock: Clock) -> None:
    events: list[GatewayEvent] = []
    async with open_fake_hub() as hub:
        server = await hub.run_server()
        async with opened(hub, on_event=events.append) as gateway:
            await gateway.kernels.list()
        assert server.ready
        assert hub.count(f"POST {SERVER}") == hub.count(f"DELETE {SERVER}") == 0
    assert [event.action for event in events if event.kind == "hub"] == ["found"]


async def test_a_start_of_somebody_elses_is_waited_for_and_left(autojump_clock: Clock) -> None:
    async with open_fake_hub(spawn_seconds=30) as hub:
        server = await hub.start_server()
        async with opened(hub):
            assert trio.current_time() >= 30
        assert server.ready
        assert hub.count(f"POST {SERVER}") == 0


async def test_a_slow_start_is_asked_for_once_and_its_progress_is_told_meanwhile(autojump_clock: Clock) -> None:  # G4
    told: list[tuple[float, str]] = []

    def note(event: GatewayEvent) -> None:
        if event.kind == "hub":
            told.append((round(trio.current_time()), event.message))

    async with open_fake_hub(spawn_seconds=120) as hub:
        async with opened(hub, on_event=note):
            pass
        assert hub.count(f"POST {SERVER}") == 1
        assert hub.count(f"GET {SERVER}/progress") == 1  # followed, not asked for again and again
    assert told[:3] == [
        (0, "alice: 0 %: Server requested"),
        (60, "alice: 50 %: Spawning server..."),
        (120, "alice: 100 %: Server ready at /user/alice/"),
    ]


async def test_a_stream_of_progress_that_a_proxy_cuts_off_is_followed_again(autojump_clock: Clock) -> None:
    async with open_fake_hub(spawn_seconds=20, progress_events=1) as hub:
        async with opened(hub) as gateway:
            await gateway.kernels.list()
        assert hub.count(f"POST {SERVER}") == 1


@pytest.mark.parametrize("slow", [False, True])
async def test_a_server_that_does_not_start(autojump_clock: Clock, slow: bool) -> None:
    async with open_fake_hub(spawn_failure="no such image", spawn_seconds=20 if slow else 0) as hub:
        with pytest.raises(HubSpawnError, match="no such image") as caught:
            async with opened(hub):
                pass
        assert (caught.value.user, caught.value.server) == ("alice", "")
        assert hub.count(f"POST {SERVER}") == 1


async def test_a_start_that_takes_too_long_is_stopped(autojump_clock: Clock) -> None:  # G2, G3
    async with open_fake_hub(spawn_seconds=10_000) as hub:
        with pytest.raises(GatewayTimeoutError, match="startup_timeout"):
            async with opened(hub, startup_timeout=100):
                pass
        server = await hub.server()
        assert (server.pending, server.ready) == (None, False)
        assert trio.current_time() < 110


async def test_somebody_elses_start_that_takes_too_long_is_left(autojump_clock: Clock) -> None:
    async with open_fake_hub(spawn_seconds=10_000) as hub:
        server = await hub.start_server()
        with pytest.raises(GatewayTimeoutError, match="startup_timeout"):
            async with opened(hub, startup_timeout=100):
                pass
        assert server.pending == "spawn"


MOMENTS = [
    0.0,
    0.05,
    0.1,
    0.15,
    0.3,
    0.5,
    0.85,
    1.0,
    1.5,
    2.0,
    2.5,
    2.9,
    3.0,
    3.1,
    3.3,
    4.0,
    5.0,
    9.9,
    10.1,
    15.0,
    19.9,
    20.1,
    25.0,
]


@pytest.mark.parametrize("post_delay", [0.0, 2.0])
@pytest.mark.parametrize("spawn_seconds", [0.0, 3.0, 20.0])
async def test_whenever_the_block_is_cancelled_no_server_is_left(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture, spawn_seconds: float, post_delay: float
) -> None:  # G2
    for moment in MOMENTS:
        async with open_fake_hub(spawn_seconds=spawn_seconds) as hub:
            hub.faults.delay_answer(f"POST {SERVER}", post_delay)
            began = trio.current_time()
            with trio.move_on_after(moment):
                async with opened(hub):
                    await trio.sleep_forever()
            ended = trio.current_time()
            await trio.sleep(60)  # whatever the hub has in hand
            server = hub.servers.get(("alice", ""))
            assert server is None or (server.pending, server.ready) == (None, False), moment
            assert hub.count(f"POST {SERVER}") <= 1
            assert ended - began <= moment + 30  # cleanup_timeout
    assert "may_be_left" not in caplog.text


@pytest.mark.parametrize("answer", [502, 503, 504, None])
async def test_an_answer_that_is_lost_on_its_way_costs_nothing(autojump_clock: Clock, answer: int | None) -> None:  # G4
    async with open_fake_hub(start_answer=answer) as hub:
        if answer is None:
            hub.faults.lose_answer(f"POST {SERVER}")
        async with opened(hub) as gateway:
            await gateway.kernels.list()
        assert hub.count(f"POST {SERVER}") == hub.count(f"DELETE {SERVER}") == 1
        assert not (await hub.server()).ready


async def test_a_request_that_did_not_reach_the_hub_is_told_and_not_sent_again(autojump_clock: Clock) -> None:  # G4
    async with open_fake_hub() as hub:
        hub.faults.answer(f"POST {SERVER}", 503, {"message": "the balancer's"})
        with pytest.raises(GatewayHTTPError, match="503"):
            async with opened(hub):
                pass
        assert hub.count(f"POST {SERVER}") == 1
        assert trio.current_time() < 30


async def test_a_hub_that_refuses_is_told_in_its_words(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub:
        hub.faults.answer(f"POST {SERVER}", 429, {"message": "the balancer's"})
        with pytest.raises(GatewayHTTPError, match=r"429.*balancer's"):
            async with opened(hub):
                pass
        assert trio.current_time() < 5
        assert hub.count(f"DELETE {SERVER}") == 0


async def test_a_server_that_is_being_stopped_is_waited_for_and_started(autojump_clock: Clock) -> None:
    async with open_fake_hub(stop_seconds=40) as hub:
        server = await hub.run_server()
        hub.spawn(hub.stop_server, "stop")
        await trio.sleep(1)
        async with opened(hub) as gateway:
            await gateway.kernels.list()
            assert trio.current_time() > 40
            hub.stop_seconds = 1
        assert hub.count(f"POST {SERVER}") == 1
        assert not server.ready


async def test_a_stop_that_is_slower_than_the_answer_is_waited_for(autojump_clock: Clock) -> None:  # G2
    async with open_fake_hub(stop_seconds=25) as hub:
        async with opened(hub):
            pass
        assert (await hub.server()).pending is None
        assert hub.count(f"DELETE {SERVER}") == 1


@pytest.mark.parametrize("body_fails", [False, True])
async def test_a_server_that_does_not_stop_is_told(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture, body_fails: bool
) -> None:  # G2
    async with open_fake_hub(stop_seconds=10_000) as hub:
        with pytest.raises(
            ZeroDivisionError if body_fails else GatewayTimeoutError, match=None if body_fails else "cleanup_timeout"
        ):
            async with opened(hub, cleanup_timeout=20):
                if body_fails:
                    raise ZeroDivisionError
        assert "hub_server_may_be_left: alice" in caplog.text


async def test_a_server_that_somebody_else_has_started_since_is_left(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub:
        async with opened(hub):
            server = await hub.server()
            await hub.stop_server()
            await hub.run_server()
        assert server.ready
        assert hub.count(f"DELETE {SERVER}") == 0


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_server_that_is_gone_at_the_end_is_no_error(autojump_clock: Clock, deleted: bool) -> None:
    async with open_fake_hub() as hub, opened(hub, token=SERVICE, user="alice", server="gpu"):
        await hub.stop_server("alice", "gpu")
        if deleted:
            del hub.servers["alice", "gpu"]


async def test_a_hub_that_is_started_again_meanwhile(autojump_clock: Clock) -> None:
    async with open_fake_hub(spawn_seconds=30) as hub:

        async def restart() -> None:
            await trio.sleep(15)
            hub.down = True
            hub.cut_connections()
            await trio.sleep(8)
            hub.down = False

        hub.spawn(restart, "restart")
        async with opened(hub) as gateway:
            await gateway.kernels.list()
        assert hub.count(f"POST {SERVER}") == 1
        assert not (await hub.server()).ready


async def test_a_hub_that_forgets_a_start_when_it_is_started_again(autojump_clock: Clock) -> None:
    async with open_fake_hub(spawn_seconds=30) as hub:

        async def restart() -> None:
            await trio.sleep(15)
            hub.forget_starts()
            hub.cut_connections()

        hub.spawn(restart, "restart")
        with pytest.raises(HubSpawnError, match="ended before it was ready"):
            async with opened(hub):
                pass
        assert hub.count(f"POST {SERVER}") == 1


async def test_a_hub_that_stays_away_is_told_and_what_may_be_left(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:  # G2, G3
    caplog.set_level(logging.WARNING)
    async with open_fake_hub(spawn_seconds=30) as hub:

        async def go() -> None:
            await trio.sleep(15)
            hub.down = True
            hub.cut_connections()

        hub.spawn(go, "go")
        with pytest.raises(GatewayConnectionError):
            async with opened(hub):
                pass
        assert trio.current_time() < 200
        assert "hub_server_may_be_left: alice" in caplog.text


async def test_a_hub_that_is_away_from_the_beginning(autojump_clock: Clock) -> None:
    async with open_fake_hub(down=True) as hub:
        with pytest.raises(GatewayConnectionError):
            async with opened(hub):
                pass
        assert trio.current_time() < 10


async def test_a_server_that_died_before_the_hub_noticed_is_started(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub:
        server = await hub.run_server()
        server.routed = False

        async def notice() -> None:
            await trio.sleep(30)
            server.ready = False

        hub.spawn(notice, "notice")
        async with opened(hub) as gateway:
            await gateway.kernels.list()
        assert hub.count(f"POST {SERVER}") == 1
        assert not server.ready


async def test_what_the_body_raises_comes_out_bare(autojump_clock: Clock) -> None:  # G9
    async with open_fake_hub() as hub:
        with pytest.raises(ZeroDivisionError):
            async with opened(hub):
                raise ZeroDivisionError
        assert not (await hub.server()).ready


async def test_a_token_that_may_stop_nothing_any_more_is_told(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    async with open_fake_hub() as hub:
        with pytest.raises(AuthenticationError):
            async with opened(hub):
                del hub.tokens[ALICE]
        assert "hub_server_may_be_left: alice" in caplog.text
        assert ALICE not in caplog.text
