"""What becomes of requests when the connection breaks: one table of cases, played on a session and on a relay (G3, G4)."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway._protocol import codec
from trio_gateway._protocol.recovery import BESIDE_SECONDS
from trio_gateway.testing import FakeGateway, FakeKernel, FakeKernelSpec

Clock = trio.testing.MockClock
SOON = 120.0
"""Within so many seconds each request ends, but for code that runs longer: some intervals of 20."""
LONG = "import time\nprint('begin')\ntime.sleep(100)\nprint('end')\n42"


class Client(Protocol):
    """Someone who asks a kernel."""

    async def execute(self, code: str) -> str:
        """Run code; return its reply's status, or the name of the error that came in its place."""
        ...

    async def complete(self) -> str:
        """Ask on shell; return likewise."""
        ...

    async def debug(self) -> str:
        """Ask on control; return likewise."""
        ...

    @property
    def session_id(self) -> str:
        """What the gateway knows it by."""
        ...


class Session:
    """A session."""

    def __init__(self, kernel: trio_gateway.Kernel) -> None:
        self._kernel = kernel

    async def execute(self, code: str) -> str:
        return await self._outcome(self._kernel.execute, code)

    async def complete(self) -> str:
        return await self._outcome(self._kernel.complete, "impo")

    async def debug(self) -> str:
        return await self._outcome(self._kernel.debug, "debugInfo")

    async def _outcome(self, ask: Callable[[str], Awaitable[object]], what: str) -> str:
        try:
            answer = await ask(what)
        except trio_gateway.GatewayError as error:
            return type(error).__name__
        return answer.status if isinstance(answer, trio_gateway.ExecutionResult) else "ok"

    @property
    def session_id(self) -> str:
        return self._kernel.session_id


class Relay:
    """A relay, and a front end that notes all replies."""

    def __init__(self, channels: trio_gateway.KernelChannels, v1: bool) -> None:
        self._channels = channels
        self._v1 = v1
        self._asked = 0
        self._came = trio.lowlevel.ParkingLot()
        self.replies: dict[str, list[str]] = {}

    async def read(self) -> None:
        while True:
            for frame in await self._channels.receive():
                message = codec.decode(frame, v1=self._v1)
                if message.channel in ("shell", "control"):
                    status = message.content.get("status", "ok")
                    self.replies[message.parent_id].append(message.content["ename"] if status == "error" else status)
            self._came.unpark_all()

    async def _ask(self, channel: str, msg_type: str, content: dict[str, object]) -> str:
        self._asked += 1
        msg_id = f"front-{self._asked}"
        self.replies[msg_id] = []
        header = trio_gateway.Header(msg_id, msg_type, "front", "ada", "2026-01-01T00:00:00Z", "5.4")
        message = trio_gateway.Message(channel, header, content)
        await self._channels.send(codec.encode_v1(message) if self._v1 else codec.encode_legacy(message))
        while not self.replies[msg_id]:
            await self._came.park()
        return self.replies[msg_id][0]

    async def execute(self, code: str) -> str:
        return await self._ask("shell", "execute_request", {"code": code, "silent": False})

    async def complete(self) -> str:
        return await self._ask("shell", "complete_request", {"code": "impo", "cursor_pos": 4})

    async def debug(self) -> str:
        return await self._ask("control", "debug_request", {"type": "request", "seq": 1, "command": "debugInfo"})

    @property
    def session_id(self) -> str:
        return self._channels.session_id


@attrs.frozen
class Stage:
    """Where a case plays."""

    fake: FakeGateway
    kernel: FakeKernel
    client: Client

    async def cut_while_it_runs(self, times: int) -> None:
        """Cut the connection each five seconds."""
        for _ in range(times):
            await trio.sleep(5)
            self.fake.cut_connections()


@asynccontextmanager
async def open_stage(kind: str, *, beside: bool = False) -> AsyncGenerator[Stage]:
    async with FakeGateway() as fake, fake.open() as gateway:
        fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", answers_beside=beside)
        if kind == "session":
            async with gateway.start_kernel() as kernel:
                yield Stage(fake, fake.kernels[kernel.id], Session(kernel))
            return
        model = await gateway.kernels.start()
        v1 = kind == "relay"
        async with gateway.open_channels(model.id, session_id="front", v1=v1) as channels, trio.open_nursery() as nursery:
            relay = Relay(channels, v1)
            nursery.start_soon(relay.read)
            yield Stage(fake, fake.kernels[model.id], relay)
            await trio.sleep(SOON)
            assert [replies for replies in relay.replies.values() if len(replies) != 1] == [], "each has one reply"
            nursery.cancel_scope.cancel()


each_client = pytest.mark.parametrize("kind", ["session", "relay", "legacy relay"])
each_kernel = pytest.mark.parametrize("beside", [False, True], ids=["in order", "beside code"])


@each_client
@each_kernel
@pytest.mark.parametrize("cuts", [1, 3])
async def test_code_that_runs_on_while_the_connection_is_cut_has_its_own_reply(
    autojump_clock: Clock, kind: str, beside: bool, cuts: int
) -> None:
    """Also where the kernel answers at once what is asked behind it."""
    async with open_stage(kind, beside=beside) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.cut_while_it_runs, cuts)
        assert await stage.client.execute(LONG) == "ok"
        assert max(stage.kernel.executed.values()) == 1


@each_client
@each_kernel
@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("asked", ["execute", "complete", "debug"])
async def test_what_was_lost_with_a_connection_ends(
    autojump_clock: Clock, kind: str, beside: bool, asked: str, lost: str
) -> None:
    async with open_stage(kind, beside=beside) as stage:
        assert await stage.client.execute("x = 1") == "ok"
        channel = "control" if asked == "debug" else "shell"
        fault = stage.fake.faults.cut_at_message(
            f"{channel} {asked}_{lost}", direction="to_kernel" if lost == "request" else "to_client", times=1
        )
        began = trio.current_time()
        with trio.fail_after(SOON):
            if asked == "execute":
                assert await stage.client.execute("x = 2") == "ConnectionLostError"
            else:
                assert await (stage.client.debug() if asked == "debug" else stage.client.complete()) == "ConnectionLostError"
        assert fault.hits == 1
        if beside and asked == "debug":
            assert trio.current_time() - began >= BESIDE_SECONDS, "nothing there waits for its turn"
        assert await stage.client.execute("x") == "ok"
        assert max(stage.kernel.executed.values()) == 1, "nothing runs twice"


@each_client
async def test_what_is_lost_behind_code_that_runs_beside_the_answers_ends_after_it(autojump_clock: Clock, kind: str) -> None:
    async with open_stage(kind, beside=True) as stage, trio.open_nursery() as nursery:
        outcomes: dict[str, str] = {}

        async def run() -> None:
            outcomes["code"] = await stage.client.execute(LONG)

        async def complete() -> None:
            stage.fake.faults.cut_at_message("shell complete_request", direction="to_kernel", times=1)
            outcomes["lost"] = await stage.client.complete()

        nursery.start_soon(run)
        await trio.sleep(5)
        nursery.start_soon(complete)
        await trio.sleep(50)
        assert outcomes == {}
        await trio.sleep(SOON)
        assert outcomes == {"code": "ok", "lost": "ConnectionLostError"}


@each_client
@each_kernel
@pytest.mark.parametrize("silent", [False, True], ids=["the gateway answers", "the gateway does not say"])
async def test_a_connection_that_leads_nowhere_is_replaced(autojump_clock: Clock, kind: str, beside: bool, silent: bool) -> None:
    async with open_stage(kind, beside=beside) as stage:
        before = stage.client.session_id
        if silent:
            stage.fake.faults.answer("GET /api/kernels/[^/]*", 403, {"message": "forbidden"})
        mute = stage.fake.faults.mute(times=1)
        stage.fake.cut_connections()
        await trio.sleep(1)
        with trio.fail_after(SOON):
            assert await stage.client.execute("n = globals().get('n', 0) + 1") == "ok"
        assert mute.hits == 1
        assert stage.client.session_id != before
        assert len(stage.kernel.executed) == 1
        stage.fake.faults.clear()


@each_client
async def test_a_kernel_that_is_stopped_is_no_connection_that_leads_nowhere(autojump_clock: Clock, kind: str) -> None:
    async with open_stage(kind) as stage:
        before = stage.client.session_id
        stage.kernel.stall_for(1000)
        stage.fake.cut_connections()
        await trio.sleep(1)
        assert await stage.client.execute("x = 1") == "ok"
        assert trio.current_time() >= 1000
        assert stage.client.session_id == before


@each_client
async def test_an_answer_that_comes_while_another_way_is_tried_is_enough(autojump_clock: Clock, kind: str) -> None:
    """What is asked of the gateway meanwhile, and is not answered, is not waited for."""
    async with open_stage(kind) as stage:
        stage.fake.faults.delay_answer("GET /api/kernels/[^/]*", math.inf)
        stage.kernel.stall_for(10)
        stage.fake.cut_connections()
        await trio.sleep(1)
        begun = trio.current_time()
        assert await stage.client.execute("x = 1") == "ok"
        assert trio.current_time() - begun < 15
        stage.fake.faults.clear()


@each_client
async def test_a_gateway_that_can_not_be_asked_holds_nobody_up(autojump_clock: Clock, kind: str) -> None:
    """The kernel does not answer on control, and the gateway breaks each request off."""
    async with open_stage(kind) as stage:
        stage.fake.faults.drop("control .*", direction="to_kernel")
        stage.fake.faults.lose_request("GET /api/kernels/[^/]*")
        stage.fake.cut_connections()
        await trio.sleep(1)
        with trio.fail_after(SOON):
            assert await stage.client.execute("x = 1") == "ok"
        stage.fake.faults.clear()


# A server that repeats its ids --------------------------------------------------------------------------------------------------


def always_the_same(header: bytes) -> bytes:
    """Number each message of a type alike, as a mock does that always gives the same answer."""
    fields = json.loads(header)
    fields["msg_id"] = f"{fields['session']}_1_{zlib.crc32(fields['msg_type'].encode()) % 100}"
    return json.dumps(fields).encode()


@each_client
async def test_a_server_that_repeats_ids_over_one_connection_is_understood(autojump_clock: Clock, kind: str) -> None:
    async with open_stage(kind) as stage:
        stage.fake.faults.spoil(".*", part="header", by=always_the_same)
        for _ in range(3):
            assert await stage.client.execute("print(1)") == "ok"
            assert await stage.client.complete() == "ok"
            assert await stage.client.debug() == "ok"
        assert trio.current_time() < 1, "none is waited for"


async def test_each_answer_of_such_a_server_is_whole(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.spoil(".*", part="header", by=always_the_same)
        for _ in range(3):
            result = await kernel.execute("print(1)\n2")
            assert (result.status, result.text, result.output_gaps) == ("ok", "1\n2", ())
        fake.cut_connections()
        await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
        await kernel.wait_for(trio_gateway.ConnectionState.CONNECTED)
        fake.faults.clear()
        assert (await kernel.execute("print(1)\n2")).text == "1\n2"
