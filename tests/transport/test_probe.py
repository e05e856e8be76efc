"""The way to a gateway, looked at step by step: each look closes what it opened and says what it met."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme
from trio.testing import MockClock

from tools.scripted_http import bench, in_turn, response
from trio_gateway import GatewayConnectionError, GatewayTimeoutError
from trio_gateway._protocol.codec import V1_SUBPROTOCOL
from trio_gateway._protocol.headers import Headers
from trio_gateway._transport.connector import Connector
from trio_gateway._transport.probe import (
    PlainAnswer,
    ask_plainly,
    check_stream,
    resolve,
    shake_hands,
    speaks_tls,
    verification_failure,
)
from trio_gateway.testing import FakeGateway

Serve = Callable[[trio.abc.Stream], Awaitable[object]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncGenerator[tuple[Connector, list[trio.abc.Stream]]]:
    """Give a connector to a server, and the server's ends of what it opened."""
    opened: list[trio.abc.Stream] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        opened.append(theirs)
        nursery.start_soon(serve, theirs)
        return ours

    async with trio.open_nursery() as nursery:
        yield connect, opened
        nursery.cancel_scope.cancel()


async def refused(host: str, port: int) -> trio.abc.Stream:
    await trio.lowlevel.checkpoint()
    raise ConnectionRefusedError(111, "Connection refused")


async def never(*_: object) -> trio.abc.Stream:
    await trio.sleep_forever()
    raise AssertionError


async def silent(stream: trio.abc.Stream) -> None:
    """Say nothing, whatever comes."""
    await trio.sleep_forever()


def saying(content: bytes) -> Serve:
    """Make a server that answers each request with these bytes, and hangs up."""

    async def serve(stream: trio.abc.Stream) -> None:
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive_some()
            asked.append(received)
            await stream.send_all(content)

    asked: list[bytes] = []
    serve.asked = asked  # type: ignore[attr-defined]
    return serve


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA) -> Serve:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("gateway.test").configure_cert(context)

    async def serve(stream: trio.abc.Stream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            async with secure:
                await secure.receive_some()
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()

    return serve


# ------------------------------------------------------------------------------------------------------------ the stream


async def test_a_number_is_its_own_address() -> None:
    assert await resolve("127.0.0.1", 80, 5) == ["127.0.0.1"]


async def test_a_stream_is_opened_and_closed_again() -> None:
    async with serving(silent) as (connect, opened):
        assert await check_stream(connect, "gateway.test", 80, 5) is None
        assert await opened[0].receive_some() == b""


async def test_a_stream_that_can_not_be_opened_says_why() -> None:
    with pytest.raises(GatewayConnectionError, match="refused"):
        await check_stream(refused, "gateway.test", 80, 5)


@pytest.mark.parametrize(("context", "phase"), [(None, "connect"), (ssl.create_default_context(), "TLS handshake")])
async def test_a_stream_that_takes_too_long(autojump_clock: MockClock, context: ssl.SSLContext | None, phase: str) -> None:  # G3
    with pytest.raises(GatewayTimeoutError) as caught:
        await check_stream(never, "gateway.test", 80, 3, ssl_context=context)
    assert (caught.value.phase, caught.value.setting, trio.current_time()) == (phase, "connect_timeout", 3)


async def test_what_tls_tells_of_itself(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serving(tls_server(authority)) as (connect, _):
        facts = await check_stream(connect, "gateway.test", 443, 50, ssl_context=context)
        assert facts is not None
        assert facts.version.startswith("TLSv1.")
        assert facts.expires is not None
        # Python's default context would write what it agrees upon where that says, and fail where it can't.
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "none" / "keys"))
        assert await speaks_tls(connect, "gateway.test", 443, 50)


async def test_a_certificate_that_is_not_trusted_is_found_below_the_error(authority: trustme.CA) -> None:
    async with serving(tls_server(authority)) as (connect, _):
        with pytest.raises(GatewayConnectionError) as caught:
            await check_stream(connect, "gateway.test", 443, 50, ssl_context=ssl.create_default_context())
    assert verification_failure(caught.value) is not None
    assert verification_failure(GatewayConnectionError("another")) is None


async def test_what_does_not_speak_tls(autojump_clock: MockClock) -> None:
    async with serving(saying(b"HTTP/1.1 400 Bad\r\n\r\n")) as (connect, _):
        assert not await speaks_tls(connect, "gateway.test", 443, 50)


# ----------------------------------------------------------------------------------------------------------- one request


async def test_a_plain_question_has_no_credentials_and_follows_nothing() -> None:  # G8
    server = saying(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nno")
    async with serving(server) as (connect, _):
        answer = await ask_plainly(connect, "::1", 81, "/a%20b", 5)
    assert answer == PlainAnswer(302, Headers([("location", "/x"), ("content-length", "2")]), b"no")
    (asked,) = server.asked  # type: ignore[attr-defined]
    head = asked.decode().split("\r\n")
    assert head[0] == "GET /a%20b HTTP/1.1"
    assert set(head[1:-2]) == {"Host: [::1]:81", "Accept: application/json", "Connection: close"}


@pytest.mark.parametrize("content", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
async def test_what_is_no_whole_answer_is_none(content: bytes) -> None:
    async with serving(saying(content)) as (connect, _):
        assert await ask_plainly(connect, "gateway.test", 80, "/", 5) is None


async def test_no_answer_in_time_is_none(autojump_clock: MockClock) -> None:
    async with serving(silent) as (connect, _):
        assert await ask_plainly(connect, "gateway.test", 80, "/", 5) is None
    assert trio.current_time() == 5
    assert await ask_plainly(refused, "gateway.test", 80, "/", 5) is None


async def test_of_a_long_answer_the_beginning_is_enough() -> None:  # G7
    async with serving(saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)) as (connect, _):
        answer = await ask_plainly(connect, "gateway.test", 80, "/", 50)
    assert answer is not None
    assert answer.body == b"x" * 65_536


# ------------------------------------------------------------------------------------------------------------- handshakes


async def test_a_handshake_that_is_refused_is_told_with_what_was_said() -> None:
    async with bench(in_turn(response(403, b"no", "X-One: 1"))) as it:
        answer = await shake_hands(it.http, "ws://gateway.test:8888/Base/x", [], V1_SUBPROTOCOL)
    assert (answer.status_code, answer.subprotocol, answer.body) == (403, None, b"no")
    assert answer.headers["x-one"] == "1"
    assert it.requests[0].headers["sec-websocket-protocol"] == V1_SUBPROTOCOL


async def test_a_handshake_that_is_let_in_is_closed_again(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        model = await gateway.kernels.start("python3")
        http = gateway._api.http
        url = f"{http.config.ws_base_url}/api/kernels/{model.id}/channels"
        open_it = partial(shake_hands, http, url, await http.handshake_headers(url))
        answer = await open_it(V1_SUBPROTOCOL)
        assert (answer.status_code, answer.subprotocol) == (101, V1_SUBPROTOCOL)
        await trio.sleep(1)
        assert (await gateway.kernels.get(model.id)).connections == 0


async def test_a_handshake_without_an_answer_has_its_limit(autojump_clock: MockClock) -> None:  # G3
    async def forever(_: object) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with bench(forever, handshake_timeout=4) as it:
        with pytest.raises(GatewayTimeoutError) as caught:
            await shake_hands(it.http, "ws://gateway.test:8888/Base/x", [], V1_SUBPROTOCOL)
        assert (caught.value.setting, trio.current_time()) == ("handshake_timeout", 4)
