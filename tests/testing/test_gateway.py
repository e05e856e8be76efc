"""`FakeGateway`: as a context manager, opened in memory and on a port, and its connections broken all at once."""

from __future__ import annotations

import json
import sys

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway

Clock = trio.testing.MockClock


async def test_what_it_starts_ends_with_its_block(autojump_clock: Clock) -> None:
    fake = FakeGateway()
    async with fake as entered:
        assert entered is fake
        kernel = await fake.start_kernel("python3")
        assert repr(fake) == "<FakeGateway http://fake.invalid:8888, 1 kernels, 0 connections>"
        stream = await fake.connector("anything", 1)
        await trio.testing.wait_all_tasks_blocked()
        process = kernel.process
        assert process is not None
        assert list(fake.connections) == [1]
    assert not process.alive
    assert fake.ended_kernels == [kernel]
    assert fake.connections == {}
    assert await stream.receive_some() == b""


async def test_it_can_be_entered_again(autojump_clock: Clock) -> None:
    fake = FakeGateway()
    for _ in range(2):
        async with fake, fake.open() as gateway, gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
    assert len(fake.ended_kernels) == 2


async def test_on_another_library_it_says_what_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sniffio.current_async_library", lambda: "asyncio")
    with pytest.raises(trio_gateway.AsyncLibraryError, match="fake_gateway_server"):
        async with FakeGateway():
            pytest.fail("it was entered")


async def test_before_its_block_it_runs_nothing() -> None:
    fake = FakeGateway()
    with pytest.raises(AssertionError, match="`async with` block"):
        await fake.start_kernel("python3")


async def test_settings_of_both_kinds(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a configuration and arguments of `open_gateway`; those of the environment are not looked at."""
    monkeypatch.setenv("JUPYTER_GATEWAY_REQUEST_TIMEOUT", "1")
    events: list[trio_gateway.GatewayEvent] = []
    async with FakeGateway(token="mine") as fake:
        async with fake.open(connect_timeout=7, on_event=events.append) as gateway:
            await gateway.kernelspecs.list()
            assert gateway.config.connect_timeout == 7
            assert gateway.config.request_timeout == trio_gateway.GatewayConfig(url=fake.url).request_timeout
            assert gateway.config.auth_token == "mine"
        assert events
        fake.token = ""
        async with fake.open() as gateway:
            assert not gateway.config.auth_token


async def test_a_refused_connection_leaves_nothing(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake:
        fake.faults.refuse(times=1)
        with pytest.raises(ConnectionRefusedError):
            await fake.connector("anything", 1)
        assert fake.connections == {}
        async with await fake.connector("anything", 1):
            assert list(fake.connections) == [2]


async def test_a_cancelled_connection_leaves_nothing(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake:
        with trio.CancelScope() as scope:
            scope.cancel()
            await fake.connector("anything", 1)
        assert scope.cancelled_caught
        assert fake.connections == {}


async def test_all_connections_are_cut(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake:
        streams = [await fake.connector("anything", 1) for _ in range(2)]
        fake.cut_connections()
        for stream in streams:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        assert str(fake.conversation).count("connection cut") == 2
        await trio.testing.wait_all_tasks_blocked()
        assert fake.connections == {}


async def test_all_connections_swallow(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, await fake.connector("anything", 1) as stream:
        fake.swallow_connections()
        await stream.send_all(b"GET /api HTTP/1.1\r\nHost: fake\r\n\r\n")
        with trio.move_on_after(1000) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        assert fake.requests == []


async def test_faults_strike_on_a_port_too() -> None:
    async with FakeGateway(url="http://fake.invalid/base") as fake, fake.listen() as url:
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/base")
        fake.faults.refuse(times=1)
        config = trio_gateway.GatewayConfig(url=url, auth_token=fake.token, max_request_retries=0)
        async with trio_gateway.open_gateway(config) as gateway:
            with pytest.raises(trio_gateway.GatewayConnectionError):
                await gateway.kernelspecs.list()
            assert (await gateway.kernelspecs.list()).default == "python3"
        assert [str(request) for request in fake.requests] == ["GET /api/kernelspecs"]


async def test_on_a_real_port() -> None:
    """Another process, without the library, reaches it."""
    program = (
        "import json, sys, urllib.request\n"
        "request = urllib.request.Request(sys.argv[1] + '/api/kernelspecs', headers={'Authorization': 'token fake-token'})\n"
        "print(json.dumps(json.load(urllib.request.urlopen(request))))"
    )
    async with FakeGateway() as fake, fake.listen() as url:
        done = await trio.run_process([sys.executable, "-c", program, url], capture_stdout=True)
        assert json.loads(done.stdout)["default"] == "python3"
        async with trio_gateway.open_gateway(trio_gateway.GatewayConfig(url=url, auth_token=fake.token)) as gateway:
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"


async def test_its_failures_are_the_bodys_own(autojump_clock: Clock, fake: FakeGateway) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with FakeGateway() as another, another.open() as gateway, gateway.start_kernel():
            raise ValueError("mine")
    assert not another.kernels
    assert not another.connections


# Replicas ---------------------------------------------------------------------------------------------------------------


async def test_a_replica_is_another_door_to_the_same_kernels(autojump_clock: Clock) -> None:
    async with FakeGateway(token="t", start_seconds=8) as fake, fake.replica() as other:
        assert (other.token, other.start_seconds, other.url != fake.url) == ("t", 8, True)
        async with fake.open() as gateway, other.open() as beside, gateway.start_kernel() as kernel:
            assert trio.current_time() == pytest.approx(8)
            await kernel.execute("x = 42")
            async with beside.attach_kernel(kernel.id) as same:
                assert (await same.execute("x")).text == "42"
            assert [request.path for request in fake.requests if request.method == "POST"] == ["/api/kernels"]
            assert {request.path for request in other.requests} == {
                f"/api/kernels/{kernel.id}",
                f"/api/kernels/{kernel.id}/channels",
            }
            await beside.kernels.shutdown(kernel.id)
            assert not fake.kernels


async def test_a_start_goes_on_though_its_connection_breaks_and_is_known_at_no_door_before_its_end(autojump_clock: Clock) -> None:
    async with FakeGateway(start_seconds=8) as fake, fake.replica() as other:
        kernel_id = "c0ffee00-1111-4222-8333-444455556666"
        body = json.dumps({"kernel_id": kernel_id}).encode()
        stream = await fake.connector("anything", 1)
        head = (
            f"POST /api/kernels HTTP/1.1\r\nHost: a\r\nAuthorization: token {fake.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await stream.send_all(head.encode() + body)
        await trio.sleep(1)
        fake.cut_connections()
        async with fake.open() as gateway, other.open() as beside:
            for door in (gateway, beside):
                with pytest.raises(trio_gateway.KernelNotFoundError):
                    await door.kernels.get(kernel_id)
            await trio.sleep(8)
            for door in (gateway, beside):
                assert (await door.kernels.get(kernel_id)).id == kernel_id


async def test_what_one_replica_keeps_for_a_session_the_other_does_not_have(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.replica() as other:
        doors = [fake]

        async def balancer(host: str, port: int) -> trio.abc.Stream:
            return await doors[0].connector(host, port)

        opened = trio_gateway.open_gateway(fake.url, auth_token=fake.token, connector=balancer)
        async with opened as gateway, gateway.start_kernel() as kernel:

            async def go_on_elsewhere() -> None:
                await trio.sleep(1)
                doors[0] = other
                fake.cut_connections()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(go_on_elsewhere)
                with pytest.raises(trio_gateway.ConnectionLostError, match="was not sent again"):
                    await kernel.execute("import time\nfor i in range(5): time.sleep(1); print(i, flush=True)")
            assert (await kernel.execute("i")).text == "4"


async def test_a_replica_ends_alone(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake:
        async with fake.replica(url="http://b.invalid") as other:
            kernel = await other.start_kernel("python3")
            assert other.url == "http://b.invalid"
        assert list(fake.kernels) == [kernel.id]
        async with fake.open() as gateway, gateway.attach_kernel(kernel.id) as again:
            assert (await again.execute("6 * 7")).text == "42"
    assert not fake.kernels
