"""Connections from the server's side: HTTP on raw bytes, upgrades, and what becomes of requests on command."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import h11
import pytest
import trio
import trio.testing
from wsproto.frame_protocol import FrameProtocol

import trio_gateway
from trio_gateway._protocol import codec
from trio_gateway.testing import FakeGateway, FakeKernelSpec

from .kit_parts import execute
from .kit_wire import websocket

Clock = trio.testing.MockClock


class Client:
    """An HTTP client on raw bytes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)
        self.early: list[int] = []

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes] | None:
        """Ask, and return the answer; None where the connection ends in its place."""
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        lines = [("Host", "fake"), ("Authorization", "token fake-token"), ("Content-Length", str(len(body)))]
        lines += [(name.replace("_", "-"), value) for name, value in headers.items()]
        request = h11.Request(method=method, target=target, headers=lines)
        sent = [self.http.send(event) or b"" for event in (request, h11.Data(data=body), h11.EndOfMessage())]
        await self.stream.send_all(b"".join(sent))
        head, content = None, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = await self.stream.receive_some()
                except trio.BrokenResourceError:
                    return None
                if not data and head is None:
                    return None
                self.http.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                self.early.append(event.status_code)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                content += bytes(event.data)
            else:
                assert head is not None
                return head.status_code, {name.decode(): value.decode() for name, value in head.headers}, content


@asynccontextmanager
async def connected(fake: FakeGateway) -> AsyncGenerator[Client]:
    async with await fake.connector("fake", 1) as stream:
        yield Client(stream)


# On raw bytes -----------------------------------------------------------------------------------------------------------


async def test_requests_one_after_the_other(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with connected(fake) as client:
        for _ in range(2):
            answer = await client.ask("GET", "/api")
            assert answer is not None
            status, headers, body = answer
            assert (status, headers["content-type"], body) == (200, "application/json", b'{"version": "2.21.1"}')
            assert headers["content-length"] == str(len(body))
        answer = await client.ask("POST", "/api/kernels", b'{"kernel_id": "a-b-c-d-e"}', X_Mine="Value")
        assert answer is not None
        assert answer[0] == 201
        assert await client.ask("DELETE", "/api/kernels/a-b-c-d-e") == (204, {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}, b"")
    assert [str(request) for request in fake.requests[1:]] == ["GET /api", "POST /api/kernels", "DELETE /api/kernels/a-b-c-d-e"]
    assert fake.requests[2].headers["x-mine"] == "Value"
    assert fake.requests[2].json() == {"kernel_id": "a-b-c-d-e"}


async def test_head_gets_no_body(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with connected(fake) as client:
        answer = await client.ask("HEAD", "/api/nothing")
        assert answer is not None
        assert (answer[0], answer[2]) == (404, b"")


async def test_a_client_that_asks_before_it_sends_a_body(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with connected(fake) as client:
        answer = await client.ask("POST", "/api/kernels", b"{", Expect="100-continue")
        assert answer is not None
        assert (client.early, answer[0]) == ([100], 400)


async def test_without_a_token_nothing_is_told(autojump_clock: Clock, fake: FakeGateway) -> None:
    fake.token = "another"
    async with connected(fake) as client:
        answer = await client.ask("GET", "/api")
        assert answer is not None
        assert answer[0] == 401


async def test_what_is_no_http_ends_the_connection(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, connected(fake) as client:
        await client.stream.send_all(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert await client.stream.receive_some() == b""
        assert len(fake.protocol_errors) == 1
        assert "not HTTP" in str(fake.conversation)


async def test_what_becomes_of_requests(autojump_clock: Clock, fake: FakeGateway) -> None:
    faults = fake.faults
    faults.answer("GET /api/a", 418, "no", {"X-Y": "z"})
    faults.delay_answer("GET /api", 5, nth=1)
    async with connected(fake) as client:
        answer = await client.ask("GET", "/api/a")
        assert answer is not None
        assert (answer[0], answer[1]["x-y"], answer[2]) == (418, "z", b"no")
        assert (await client.ask("GET", "/api")) is not None
        assert trio.current_time() == 5
    for fault, kernels in ((faults.lose_request, 0), (faults.lose_answer, 1)):
        fault("POST /api/kernels", times=1)
        async with connected(fake) as client:
            assert await client.ask("POST", "/api/kernels", b"{}") is None
            assert len(fake.kernels) == kernels
    for kernel in list(fake.kernels.values()):
        fake.remove_kernel(kernel)


async def test_a_connection_that_swallows_is_never_answered(autojump_clock: Clock, fake: FakeGateway) -> None:
    fake.faults.black_hole()
    async with connected(fake) as client:
        with trio.move_on_after(1000) as scope:
            await client.ask("GET", "/api")
        assert scope.cancelled_caught
    assert fake.requests == []


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
    "Sec_WebSocket_Version": "13",
}


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/api/kernels/0-0-0-0-0/channels", {}, 404),
        ("/api/kernels/a-b-c-d-e/other", {}, 404),
        ("/api/kernels/a-b-c-d-e/channels", {"Sec_WebSocket_Version": "99"}, 400),
    ],
)
async def test_upgrades_that_are_refused(
    autojump_clock: Clock, fake: FakeGateway, target: str, headers: dict[str, str], status: int
) -> None:
    kernel = await fake.start_kernel("python3", kernel_id="a-b-c-d-e")
    async with connected(fake) as client:
        answer = await client.ask("GET", target, **{**UPGRADE, **headers})
        assert answer is not None
        assert answer[0] == status
    fake.remove_kernel(kernel)


async def test_an_upgrade_waits_for_its_kernel_and_may_be_given_up(autojump_clock: Clock) -> None:
    spec = FakeKernelSpec(name="python3", startup_seconds=20)
    async with FakeGateway(kernelspecs=[spec], kernel_info_timeout=60) as fake:
        kernel = await fake.start_kernel("python3")
        with trio.move_on_after(5):
            async with websocket(fake, kernel.id):
                pytest.fail("it was answered before its kernel was there")
        await trio.testing.wait_all_tasks_blocked()
        assert (fake.handshakes_abandoned, kernel.connections) == (1, -1)
        async with websocket(fake, kernel.id):
            assert trio.current_time() == 20
        kernel.stall()
        async with websocket(fake, kernel.id):
            assert trio.current_time() == 80
        fake.cut_connections()


async def test_a_kernel_that_ends_during_the_handshake(autojump_clock: Clock) -> None:
    async with FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", startup_seconds=20)]) as fake:
        kernel = await fake.start_kernel("python3", kernel_id="a-b-c-d-e")
        async with connected(fake) as client, trio.open_nursery() as nursery:

            async def ask() -> None:
                answer = await client.ask("GET", "/api/kernels/a-b-c-d-e/channels", **UPGRADE)
                assert answer is not None
                assert answer[0] == 404

            nursery.start_soon(ask)
            await trio.sleep(1)
            fake.remove_kernel(kernel)


async def test_a_handshake_whose_answer_is_lost(autojump_clock: Clock, fake: FakeGateway) -> None:
    kernel = await fake.start_kernel("python3", kernel_id="a-b-c-d-e")
    fake.faults.lose_answer("GET .*/channels")
    async with connected(fake) as client:
        assert await client.ask("GET", "/api/kernels/a-b-c-d-e/channels", **UPGRADE) is None
    assert "before the answer 101" in str(fake.conversation)
    fake.remove_kernel(kernel)


async def test_what_follows_a_handshake_at_once_is_taken(autojump_clock: Clock) -> None:
    """A client that does not wait for the answer: its first frame comes with the handshake."""
    async with FakeGateway() as fake:
        kernel = await fake.start_kernel("python3", kernel_id="a-b-c-d-e")
        async with connected(fake) as client:
            headers = [("Host", "fake"), ("Authorization", "token fake-token")]
            headers += [(name.replace("_", "-"), value) for name, value in UPGRADE.items()]
            request = h11.Request(method="GET", target="/api/kernels/a-b-c-d-e/channels", headers=headers)
            handshake = [client.http.send(event) or b"" for event in (request, h11.EndOfMessage())]
            frame = codec.encode_legacy(execute("1", msg_id="early"))
            assert isinstance(frame, str)
            await client.stream.send_all(b"".join(handshake) + bytes(FrameProtocol(client=True, extensions=[]).send_data(frame)))
            with trio.move_on_after(1):
                while await client.stream.receive_some():
                    pass
        assert kernel.executed == {"early": 1}


# With the library -------------------------------------------------------------------------------------------------------


async def test_an_expired_token(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.expire_token()
        with pytest.raises(trio_gateway.AuthenticationError):
            await gateway.kernels.get(kernel.id)
        assert (await kernel.execute("1")).text == "1"  # the WebSocket was let in before
        fake.expire_token("fake-token")


async def test_the_handshake_waits_for_the_kernel(autojump_clock: Clock, fake: FakeGateway) -> None:
    fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", startup_seconds=12)
    async with fake.open() as gateway, gateway.start_kernel():
        assert trio.current_time() == pytest.approx(12)
        (kernel,) = fake.kernels.values()
        kernel.stall()
        async with gateway.attach_kernel(kernel.id):
            assert trio.current_time() == pytest.approx(72)
        kernel.resume()
