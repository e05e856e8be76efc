"""A connection that is kept: links that break often, networks that swallow everything, and when asking again has no sense."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import TokenCommandError
from trio_gateway._transport.websocket import opening as websocket
from trio_gateway.testing import FakeGateway

Clock = trio.testing.MockClock


@pytest.fixture(params=["fast", "trio-websocket"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `websocket_engine="auto"` stands for."""
    monkeypatch.setattr(websocket, "best_engine", lambda: request.param)
    return str(request.param)


@attrs.define
class Tally:
    """How executions ended."""

    whole: int = 0
    told: int = 0
    """With a gap that is told."""
    lost: int = 0
    """With an error that says so."""
    silent: int = 0
    """With output missing, and nobody says so."""
    after_the_last: int = 0
    """Lost although they began after the last reset."""

    async def run(self, kernel: trio_gateway.Kernel, number: int, *, after_the_last: bool = False) -> None:
        """Run one execution."""
        try:
            result = await kernel.execute(f"import time\ntime.sleep(0.4)\nprint({number})")
        except trio_gateway.ConnectionLostError:
            self.lost += 1
            self.after_the_last += after_the_last
        else:
            if result.output_gaps:
                self.told += 1
            elif result.text == f"{number}\n":
                self.whole += 1
            else:
                self.silent += 1


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_link_that_breaks_often_is_not_a_gateway_that_is_gone(autojump_clock: Clock, seed: int) -> None:  # G3, G5
    rng = random.Random(seed)
    tally = Tally()
    async with FakeGateway(seed=seed) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        resets = 0

        async def reset() -> None:
            nonlocal resets
            for _ in range(20):
                await kernel.wait_for(trio_gateway.ConnectionState.CONNECTED)
                await trio.sleep(rng.uniform(0.02, 1.6))
                fake.cut_connections()
                resets += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reset)
            for number in range(60):
                await tally.run(kernel, number, after_the_last=resets == 20)
            nursery.cancel_scope.cancel()
    print(seed, resets, tally, trio.current_time())
    assert resets == 20
    assert tally.whole + tally.told >= 55
    assert not tally.silent
    assert not tally.after_the_last


class Watcher:
    """What is told of a connection's steps."""

    def __init__(self) -> None:
        self.steps: list[trio_gateway.GatewayEvent] = []

    def __call__(self, event: trio_gateway.GatewayEvent) -> None:
        """Take an event."""
        if event.kind == "connection":
            self.steps.append(event)

    @property
    def actions(self) -> list[str]:
        """What was done."""
        return [event.action for event in self.steps]


def swallow_connects(fake: FakeGateway) -> None:
    """From now on nobody answers who wants to connect."""
    fake.faults.delay(math.inf)


def swallow_handshakes(fake: FakeGateway) -> None:
    """From now on connections are made, and nothing is heard on them."""
    fake.faults.black_hole()


def stall_handshakes(fake: FakeGateway) -> None:
    """From now on HTTP is answered, and no handshake is: as behind a proxy that does not know WebSockets."""
    fake.faults.stall_handshake()


def swallow_after_handshakes(fake: FakeGateway) -> None:
    """From now on the first bytes come through, and then nothing: as where large packets are dropped on the way."""
    fake.faults.mute()
    fake.faults.drop(".*")
    fake.ping_interval = 0
    for stream in fake.connections.values():
        stream.swallow()

    async def swallow_all() -> None:
        while True:
            await trio.sleep(1)
            fake.swallow_connections()

    fake.spawn(swallow_all, "swallow")


PHASES = [swallow_connects, swallow_handshakes, stall_handshakes, swallow_after_handshakes]
NOTICED = 40.0
"""After so many seconds of silence a connection is given up: two ping intervals."""


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("settings", [{}, {"reconnect_timeout": 30}, {"gateway_retry_max": 1000}], ids=str)
async def test_a_network_that_swallows_everything_is_noticed_and_given_up_in_time(  # G3
    autojump_clock: Clock, phase: Callable[[FakeGateway], None], settings: dict[str, Any]
) -> None:
    watcher = Watcher()
    async with FakeGateway() as fake, fake.open(on_event=watcher, **settings) as gateway:
        limit = gateway.config.reconnect_timeout
        assert limit == settings.get("reconnect_timeout", 120)
        kernel_id = (await gateway.kernels.start()).id
        async with gateway.attach_kernel(kernel_id) as kernel:
            await kernel.execute("x = 1")
            fake.swallow_connections()
            phase(fake)
            begun = trio.current_time()
            with pytest.raises(trio_gateway.ConnectionLostError, match=r"gave up after \d+ attempts in") as caught:
                await kernel.execute("import time\ntime.sleep(3600)")
            took = trio.current_time() - begun
            bound = NOTICED + limit + (NOTICED if phase is swallow_after_handshakes else 0)
            assert took <= bound + 1, "it is bounded"
            assert took >= bound / 2, "it was tried for as long as the setting says"
            if phase is not swallow_after_handshakes:
                assert "reconnect_timeout" in str(caught.value)
                assert caught.value.seconds == pytest.approx(limit, abs=limit / 2)
        assert watcher.actions[0] == "lost"
        assert watcher.actions[-1] == "give_up"
        assert set(watcher.actions[1:-1]) <= {"retry", "lost", "resume"}
        assert {event.kernel_id for event in watcher.steps} == {kernel_id}
        assert all(event.message for event in watcher.steps if event.status == "error")
        fake.faults.clear()


@pytest.mark.parametrize("phase", [swallow_connects, swallow_handshakes, stall_handshakes])
async def test_a_relay_gives_up_in_time_too(autojump_clock: Clock, phase: Callable[[FakeGateway], None]) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        async with gateway.open_channels(kernel.id, session_id="front") as channels:
            await trio.sleep(1)
            fake.swallow_connections()
            phase(fake)
            begun = trio.current_time()
            with pytest.raises(trio_gateway.ConnectionLostError, match="reconnect_timeout"):
                while True:
                    await channels.receive()
            assert 120 <= trio.current_time() - begun <= NOTICED + 120 + 1
        fake.faults.clear()


async def test_a_question_over_http_that_is_swallowed_holds_nobody_up(autojump_clock: Clock) -> None:
    """The kernel answers late, and that is enough: what was asked over HTTP meanwhile, and is not answered, is not waited for."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("x = 1")
        fake.faults.delay_answer("GET /api/kernels/[^/]*", math.inf)
        fake.kernels[kernel.id].stall_for(10)
        fake.cut_connections()
        await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
        begun = trio.current_time()
        assert (await kernel.execute("x")).text == "1"
        assert trio.current_time() - begun < 15


async def test_a_start_whose_request_is_swallowed_ends_in_time(autojump_clock: Clock) -> None:  # G2, G3
    async with FakeGateway() as fake, fake.open() as gateway:
        fake.faults.delay_answer("(POST|DELETE|GET) /api/kernels.*", math.inf)
        with pytest.raises(trio_gateway.GatewayTimeoutError, match="launch"):
            async with gateway.start_kernel():
                pytest.fail("it is not answered")
        config = gateway.config
        assert trio.current_time() <= config.request_timeout_for() + config.cleanup_timeout + 1


async def test_each_step_on_the_way_back_is_told(autojump_clock: Clock) -> None:
    watcher = Watcher()
    async with FakeGateway() as fake, fake.open(on_event=watcher) as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("x = 1")
        refused = fake.faults.refuse(times=2)
        fake.cut_connections()
        await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
        await kernel.wait_for(trio_gateway.ConnectionState.CONNECTED)
        assert refused.hits == 2
        assert [(event.action, event.status, event.attempts) for event in watcher.steps] == [
            ("lost", "error", 0),
            ("retry", "error", 1),
            ("retry", "error", 2),
            ("resume", "success", 3),
        ]
        assert watcher.steps[-1].seconds == pytest.approx(trio.current_time(), abs=5)
        assert watcher.steps[-1].seconds > 1


async def test_a_gateway_that_accepts_and_hangs_up_without_a_word_is_given_up(autojump_clock: Clock) -> None:
    """Also where each connection lives for more than ten seconds: that it lives is no progress."""
    async with FakeGateway(ping_interval=0) as fake, fake.open(ping_interval=1000) as gateway, gateway.start_kernel() as kernel:

        async def hang_up() -> None:
            while True:
                await kernel.wait_for(trio_gateway.ConnectionState.CONNECTED)
                await trio.sleep(11)
                fake.cut_connections()

        fake.faults.drop(".*", direction="to_kernel")  # what is heard is what the gateway itself makes the kernel say
        fake.spawn(hang_up, "hang_up")
        with pytest.raises(trio_gateway.ConnectionLostError, match="gateway_retry_max"):
            await kernel.execute("import time\ntime.sleep(1e6)")
        fake.faults.clear()


async def test_a_silent_cell_outlasts_a_link_that_breaks_all_the_time(autojump_clock: Clock) -> None:
    """The kernel is asked for a word, which it has though its code prints none: that is progress."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:

        async def cut() -> None:
            while True:
                await trio.sleep(5)
                fake.cut_connections()

        fake.spawn(cut, "cut")
        result = await kernel.execute("import time\ntime.sleep(602)\n42")
        assert result.text == "42" or result.output_gaps


async def test_a_silent_kernel_that_does_not_answer_beside_its_code_outlasts_a_balancer(autojump_clock: Clock) -> None:
    """Which recycles its connections each minute: they carry pings and their answers, so they lead somewhere."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:

        async def cut() -> None:
            while True:
                await trio.sleep(61)
                fake.cut_connections()

        fake.faults.drop("control .*", direction="to_kernel")
        fake.spawn(cut, "cut")
        result = await kernel.execute("import time\ntime.sleep(602)\n42")
        assert result.text == "42" or result.output_gaps


async def test_a_relay_outlasts_a_link_that_breaks_often(autojump_clock: Clock) -> None:
    """Twenty resets, and nobody asks anything: a kernel that is asked for a word has one."""
    async with FakeGateway() as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        async with gateway.open_channels(kernel.id, session_id="front") as channels, trio.open_nursery() as nursery:

            async def read() -> None:
                while True:
                    await channels.receive()

            nursery.start_soon(read)
            for _ in range(20):
                await trio.sleep(5)
                fake.cut_connections()
            await trio.sleep(5)
            assert channels.ended is None
            assert channels.resumed == 20
            nursery.cancel_scope.cancel()


async def test_a_relay_gives_up_a_gateway_that_hangs_up_without_a_word(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        fake.faults.drop(".*", direction="to_kernel")
        async with gateway.open_channels(kernel.id, session_id="front") as channels:

            async def hang_up() -> None:
                while True:
                    await trio.sleep(5)
                    fake.cut_connections()

            fake.spawn(hang_up, "hang_up")
            with pytest.raises(trio_gateway.ConnectionLostError, match="gave up after 6 attempts"):
                while True:
                    await channels.receive()


async def test_what_is_lost_before_a_word_to_someone_else_is_told(autojump_clock: Clock) -> None:  # G5
    """The code's `busy` and its first line go with the connection, and what the kernel says next answers another question."""
    async with FakeGateway() as fake, fake.open() as gateway:
        fake.faults.cut_websocket(after_sent=1000, nth=1)
        async with gateway.start_kernel() as kernel, trio.open_nursery() as nursery:

            async def ask() -> None:
                await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
                await kernel.debug({"type": "request", "seq": 1, "command": "debugInfo"})

            nursery.start_soon(ask)
            result = await kernel.execute("import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(1)")
            assert result.text == "1\n2\n"
            assert [gap.kind for gap in result.output_gaps][-1:] == ["lost"]
            nursery.cancel_scope.cancel()


async def test_a_websocket_over_tls_where_plain_http_is_spoken(autojump_clock: Clock) -> None:  # G3
    """`ws_url` is wss:// by mistake: it is said at once, and not after all attempts of `reconnect_timeout`."""
    asked: list[tuple[str, int]] = []

    async with FakeGateway() as fake:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            asked.append((host, port))
            if port != 443:
                return await fake.connector(host, port)
            ours, theirs = trio.testing.memory_stream_pair()
            await ours.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return theirs

        config = trio_gateway.GatewayConfig(url=fake.url, ws_url="wss://gateway.test", auth_token=fake.token)
        async with trio_gateway.open_gateway(config, connector=connect) as gateway:
            with pytest.raises(
                trio_gateway.GatewayConnectionError, match=r"can't connect to wss://gateway\.test.*does not speak TLS"
            ):
                async with gateway.start_kernel() as kernel:
                    await kernel.execute("1")
        assert fake.kernels == {}
    assert asked.count(("gateway.test", 443)) == 1


async def test_a_token_that_expires_is_asked_for_until_the_command_gives_one(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command needs may be away for the same reason as the connection: that is no end of the session."""
    watcher = Watcher()
    answers: list[str | Exception] = [
        TokenCommandError("vault", "ended with status 2"),
        trio_gateway.GatewayTimeoutError("token_command", 30, "token_command_timeout"),
        "new",
    ]

    async def run_token_command(*_: object) -> str:
        await trio.sleep(1)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("trio_gateway._transport.http.credentials.run_token_command", run_token_command)
    async with (
        FakeGateway(token="old") as fake,
        fake.open(on_event=watcher, token_command=[sys.executable]) as gateway,
        gateway.start_kernel() as kernel,
    ):
        await kernel.execute("x = 1")
        fake.expire_token("new")
        fake.cut_connections()
        await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
        assert (await kernel.execute("x")).text == "1"
        assert answers == []
    assert watcher.actions == ["lost", "retry", "retry", "resume"]


class Rotating(trio_gateway.TokenRenewer):
    """Gives the token that is in force."""

    token = "old"

    async def get_token(self, *args: Any, **kwargs: Any) -> str:  # in a thread it would be late for a virtual clock
        return self.token


async def test_a_handshake_whose_token_was_renewed_meanwhile_is_made_again(autojump_clock: Clock) -> None:
    """G3: what it was refused for is that token, and there is another."""
    renewer = Rotating()
    async with FakeGateway(token="old") as fake, fake.open(token_renewer=renewer) as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("x = 1")
        fault = fake.faults.delay_answer("GET .*/channels", 5, times=1)
        fake.cut_connections()
        await trio.sleep(2)
        assert fault.hits == 1
        fake.expire_token("new")
        renewer.token = "new"
        await gateway.kernelspecs.list()  # renews it
        assert (await kernel.execute("x")).text == "1"


async def test_a_command_that_never_gives_one_ends_the_session_in_time(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:  # G3
    async def run_token_command(*_: object) -> str:
        await trio.sleep(1)
        raise TokenCommandError("vault", "ended with status 2", stderr="sealed")

    monkeypatch.setattr("trio_gateway._transport.http.credentials.run_token_command", run_token_command)
    async with FakeGateway(token="old") as fake, fake.open(token_command=[sys.executable], cleanup_timeout=1) as gateway:
        model = await gateway.kernels.start()
        async with gateway.attach_kernel(model.id) as kernel:
            await kernel.execute("x = 1")
            fake.expire_token("new")
            fake.cut_connections()
            with pytest.raises(trio_gateway.ConnectionLostError, match=r"gave up after .* sealed"):
                await kernel.execute("import time\ntime.sleep(3600)")
            assert trio.current_time() < 200
        with pytest.raises(TokenCommandError, match="sealed"):
            async with gateway.attach_kernel(model.id):
                pytest.fail("it was connected")


# A 404 to the handshake -------------------------------------------------------------------------------------------------

JSON_404 = {"reason": "Not Found", "message": "Kernel does not exist"}
NO_HANDSHAKE = "GET /api/kernels/[^/]*/channels"


@pytest.mark.parametrize("relayed", [False, True], ids=["session", "relay"])
@pytest.mark.parametrize(
    ("pattern", "body", "times"),
    [(NO_HANDSHAKE, JSON_404, 3), (NO_HANDSHAKE, "404 page not found\n", 3), ("GET /api/kernels/.*", "404 page not found\n", 6)],
    ids=["a replica that does not know the kernel", "an ingress without a route", "and it answers everything"],
)
async def test_a_404_that_the_gateway_does_not_stand_by_is_no_end(
    autojump_clock: Clock, relayed: bool, pattern: str, body: object, times: int
) -> None:  # G3
    watcher = Watcher()
    async with FakeGateway() as fake, fake.replica() as other:
        doors = [fake]

        async def balancer(host: str, port: int) -> trio.abc.Stream:
            return await doors[0].connector(host, port)

        opened = trio_gateway.open_gateway(fake.url, auth_token=fake.token, connector=balancer, on_event=watcher)
        async with opened as gateway, gateway.start_kernel() as kernel:
            async with gateway.open_channels(kernel.id) if relayed else gateway.attach_kernel(kernel.id):
                other.faults.answer(pattern, 404, body, times=times * (1 + relayed))
                doors[0] = other
                fake.cut_connections()
                await trio.sleep(60)
                assert "give_up" not in watcher.actions
                assert watcher.actions.count("resume") == 2
            assert (await kernel.execute("6 * 7")).text == "42"
            assert kernel.hb.verdict is trio_gateway.Verdict.ALIVE


async def test_a_404_that_the_gateway_stands_by_is_the_end(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.remove_kernel(fake.kernels[kernel.id], quietly=True)
        begun = trio.current_time()
        fake.cut_connections()
        await kernel.wait_for(trio_gateway.KernelState.CULLED)
        assert trio.current_time() - begun < 2
        with pytest.raises(trio_gateway.KernelCulledError):
            await kernel.execute("1")


async def test_a_first_handshake_that_meets_a_replica_that_has_not_heard_of_the_kernel_is_made_again(
    autojump_clock: Clock,
) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        fake.faults.answer(NO_HANDSHAKE, 404, JSON_404, times=2)
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
    assert len(fake.ended_kernels) == 1


# Many at once -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "times", "expected"),
    [(1.0, None, [4, 8, 12]), (1e6, 4, [0, 0, 0, 0, 8])],
    ids=["each takes a second", "four hang"],
)
async def test_so_many_sessions_reconnect_at_once(
    autojump_clock: Clock, seconds: float, times: int | None, expected: list[int]
) -> None:
    """A gateway that comes back is not buried, and those that hang keep nobody out for good (G3)."""
    watcher = Watcher()
    async with FakeGateway() as fake, fake.open(on_event=watcher, reconnects_at_once=4) as gateway, AsyncExitStack() as stack:
        kernels = [await stack.enter_async_context(gateway.start_kernel()) for _ in range(12)]
        fake.faults.stall_handshake(seconds, times=times)
        fake.cut_connections()
        resumed = []
        await trio.sleep(0.5)
        for _ in expected:
            await trio.sleep(1)
            resumed.append(watcher.actions.count("resume"))
        assert resumed == expected
        fake.faults.clear()
        if times is None:
            assert [(await kernel.execute("1")).text for kernel in kernels] == ["1"] * 12


async def test_first_connections_wait_for_nobody(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open(reconnects_at_once=1) as gateway:
        fake.faults.stall_handshake(1.0)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def use() -> None:
                async with gateway.start_kernel() as kernel:
                    await kernel.execute("1")

            for _ in range(8):
                nursery.start_soon(use)
        assert trio.current_time() - began < 2
