"""Streams to the gateway: socket options, TLS on top, and a word for each way in which connecting fails."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from tools.failing_calls import FailingCall, os_error
from trio_gateway._errors import GatewayConnectionError
from trio_gateway._threads import NO_THREAD
from trio_gateway._transport import connector
from trio_gateway._transport.connector import TLSRefusedError, close_now, connect_tcp, open_stream, send_now, socket_of

AUTHORITY = trustme.CA()


def client_context(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server_context(*names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(*names).configure_cert(context)
    return context


async def echo(stream: trio.abc.Stream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async with stream:
            while data := await stream.receive_some():
                await stream.send_all(data)


async def serve(nursery: trio.Nursery, handler: Callable[[trio.SocketStream], Awaitable[object]]) -> int:
    (listener, *_) = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
    port: int = listener.socket.getsockname()[1]
    return port


# ------------------------------------------------------------------------------------------------------------------ TCP


async def test_tcp_without_delays():
    async with trio.open_nursery() as nursery:
        async with await connect_tcp("127.0.0.1", await serve(nursery, echo)) as stream:
            sock = socket_of(stream)
            assert sock is not None
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
        nursery.cancel_scope.cancel()


async def test_a_write_that_fails_ends_what_reads():
    """G3: after an error that is not the peer's it would wait for ever."""
    async with trio.open_nursery() as nursery:
        async with await connect_tcp("127.0.0.1", await serve(nursery, echo)) as stream:
            read: list[bytes] = []

            async def reads() -> None:
                with suppress(trio.BrokenResourceError):
                    read.append(bytes(await stream.receive_some()))

            async with trio.open_nursery() as reader:
                reader.start_soon(reads)
                await trio.testing.wait_all_tasks_blocked()
                call = FailingCall("write", 1, os_error(errno.ENOBUFS))
                with call.armed(), call.here(), pytest.raises(trio.BrokenResourceError):
                    await stream.send_all(b"hello")
            assert read in ([b""], [])
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a socket is no file")
async def test_what_a_socket_takes_goes_without_waiting(nursery: trio.Nursery):
    heard = bytearray()
    go_on, ended = trio.Event(), trio.Event()

    async def listen(stream: trio.SocketStream) -> None:
        await go_on.wait()
        async for data in stream:
            heard.extend(data)
        ended.set()

    stream = await connect_tcp("127.0.0.1", await serve(nursery, listen))
    sent = bytearray()
    async with stream:
        while taken := send_now(stream, piece := bytes([len(sent) % 251]) * 1_000_000):
            sent += piece[:taken]
        assert len(sent) % 1_000_000, "the last one was taken in part"
        go_on.set()
        await stream.send_all(b"rest")
        await stream.wait_send_all_might_not_block()
        assert send_now(stream, b"more") == 4
    await ended.wait()
    assert bytes(heard) == bytes(sent) + b"restmore"
    assert send_now(stream, b"x") == 0, "it is closed"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a socket is no file")
async def test_a_socket_that_has_broken_takes_nothing_at_once_and_says_so_to_one_who_waits(nursery: trio.Nursery):
    async def hang_up(stream: trio.SocketStream) -> None:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    stream = await connect_tcp("127.0.0.1", await serve(nursery, hang_up))
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    assert send_now(stream, b"x") == 0
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")
    await stream.aclose()


async def test_a_stream_of_another_kind_takes_nothing_at_once():
    ours, _ = trio.testing.memory_stream_pair()
    assert send_now(ours, b"x") == 0


async def test_a_name_that_is_looked_up_where_there_is_no_thread(nursery: trio.Nursery):
    port = await serve(nursery, echo)
    call = FailingCall("thread", 1, RuntimeError(NO_THREAD))
    with call.armed(), call.here(), pytest.raises(OSError, match=NO_THREAD):
        await connect_tcp("localhost", port)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux acknowledges at once on request")
async def test_acknowledgements_are_hurried_again_after_each_read(monkeypatch: pytest.MonkeyPatch):
    async with trio.open_nursery() as nursery:
        async with await connect_tcp("127.0.0.1", await serve(nursery, echo)) as stream:
            sock = socket_of(stream)
            assert sock is not None
            for _ in range(3):
                # The kernel falls back to delaying them; here we do it ourselves.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
                await stream.send_all(b"x")
                await stream.receive_some()
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
        nursery.cancel_scope.cancel()


async def test_platforms_without_quick_acknowledgements(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connector, "_TCP_QUICKACK", None)
    async with trio.open_nursery() as nursery:
        async with await connect_tcp("127.0.0.1", await serve(nursery, echo)) as stream:
            await stream.send_all(b"x")
            assert await stream.receive_some(1) == b"x"
        nursery.cancel_scope.cancel()


async def test_an_option_that_fails_breaks_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connector, "_TCP_QUICKACK", 9999)
    async with trio.open_nursery() as nursery:
        async with await connect_tcp("127.0.0.1", await serve(nursery, echo)) as stream:
            await stream.send_all(b"x")
            assert await stream.receive_some(1) == b"x"
        nursery.cancel_scope.cancel()


async def test_a_tcp_stream_is_a_stream_as_trio_wants_it():
    async def make() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        accepted, arrived = [], trio.Event()

        async def accept(stream: trio.SocketStream) -> None:
            accepted.append(stream)
            arrived.set()
            await trio.sleep_forever()

        port = await serve(nursery, accept)
        stream = await connect_tcp("127.0.0.1", port)
        await arrived.wait()
        return stream, accepted[0]

    async with trio.open_nursery() as nursery:
        await trio.testing.check_half_closeable_stream(make, None)
        nursery.cancel_scope.cancel()


async def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(GatewayConnectionError) as caught:
            await open_stream(connect_tcp, "127.0.0.1", port, ssl_context=None)
    assert str(caught.value) == f"can't connect to 127.0.0.1:{port}: Connection refused"
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "the name h.test does not resolve (Name or service not known)",
        ),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "Connection timed out"),
        (OSError("odd"), "odd"),
        (OSError(), "OSError"),
        (UnicodeError("label too long"), "h.test is no name of a host"),
        (trio.BrokenResourceError(), "BrokenResourceError"),
        (trio.ClosedResourceError("gone"), "gone"),
    ],
)
async def test_each_failure_has_its_word(error: Exception, words: str):
    async def connect(host: str, port: int) -> trio.abc.Stream:
        raise error

    with pytest.raises(GatewayConnectionError) as caught:
        await open_stream(connect, "h.test", 80, ssl_context=None)
    assert str(caught.value) == f"can't connect to h.test:80: {words}"
    assert not isinstance(caught.value, TLSRefusedError)


async def test_several_addresses_have_several_words():
    async def connect(host: str, port: int) -> trio.abc.Stream:
        group = ExceptionGroup("all", [OSError(111, "x"), OSError(113, "x"), OSError(111, "x")])
        raise OSError("all attempts failed") from group

    with pytest.raises(GatewayConnectionError, match=r"\[::1\]:80: Connection refused, No route to host$"):
        await open_stream(connect, "::1", 80, ssl_context=None)


async def test_a_name_that_can_be_no_host():
    with pytest.raises(GatewayConnectionError, match="is no name of a host"):
        await open_stream(connect_tcp, "x" * 300, 80, ssl_context=None)


async def test_errors_of_another_kind_come_out():
    async def connect(host: str, port: int) -> trio.abc.Stream:
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        await open_stream(connect, "h.test", 80, ssl_context=None)


# ------------------------------------------------------------------------------------------------------------------ TLS


class Network:
    """TLS servers in memory, and the streams that were opened to them."""

    def __init__(self, nursery: trio.Nursery, context: ssl.SSLContext | None) -> None:
        self.nursery, self.context = nursery, context
        self.streams: list[trio.StapledStream[Any, Any]] = []

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        self.streams.append(theirs)
        if self.context is None:
            self.nursery.start_soon(self.say, ours, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        else:
            self.nursery.start_soon(self.serve, trio.SSLStream(ours, self.context, server_side=True, https_compatible=True))
        return theirs

    async def serve(self, stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await echo(stream)

    async def say(self, stream: trio.abc.Stream, data: bytes) -> None:
        await stream.receive_some()
        await stream.send_all(data)
        await stream.aclose()

    async def all_closed(self) -> None:
        for stream in self.streams:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()


async def test_tls():
    async with trio.open_nursery() as nursery:
        net = Network(nursery, server_context("h.test"))
        async with await open_stream(net.connect, "h.test", 443, ssl_context=client_context()) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            assert socket_of(stream) is None
        await net.all_closed()


async def test_tls_over_tcp_hurries_too():
    async with trio.open_nursery() as nursery:
        context = server_context("127.0.0.1")
        port = await serve(nursery, lambda stream: echo(trio.SSLStream(stream, context, server_side=True)))
        async with await open_stream(connect_tcp, "127.0.0.1", port, ssl_context=client_context()) as stream:
            sock = socket_of(stream)
            assert sock is not None
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert isinstance(stream, trio.SSLStream)
            assert isinstance(stream.transport_stream, connector._QuickStream)
        nursery.cancel_scope.cancel()


async def test_another_name_may_be_expected():
    async with trio.open_nursery() as nursery:
        net = Network(nursery, server_context("real.test"))
        await close_now(await open_stream(net.connect, "h.test", 443, ssl_context=client_context(), server_hostname="real.test"))
        await close_now(await open_stream(net.connect, "real.test.", 443, ssl_context=client_context()))


async def refused(net: Network, host: str, context: ssl.SSLContext, words: str) -> None:
    with pytest.raises(TLSRefusedError, match=words):
        await open_stream(net.connect, host, 443, ssl_context=context)
    await net.all_closed()


async def test_a_certificate_of_an_unknown_authority():
    async with trio.open_nursery() as nursery:
        net = Network(nursery, server_context("h.test"))
        await refused(
            net, "h.test", client_context(trustme.CA()), r"h\.test:443 shows a certificate that is not accepted: .*ca_certs"
        )


async def test_a_certificate_of_another_host():
    async with trio.open_nursery() as nursery:
        net = Network(nursery, server_context("other.test"))
        await refused(net, "h.test", client_context(), r"Hostname mismatch, certificate is not valid for 'h\.test'")


async def test_a_server_that_does_not_speak_tls():
    async with trio.open_nursery() as nursery:
        await refused(Network(nursery, None), "h.test", client_context(), r"does not speak TLS: is its URL http:// or ws://\?")


class SilentToTLS:
    """As tornado without TLS: it waits for the end of a line, which a TLS hello does not have. Or it is only slow."""

    def __init__(self, nursery: trio.Nursery, answer: bytes, *, tls: ssl.SSLContext | None = None) -> None:
        self.nursery, self.answer, self.tls = nursery, answer, tls
        self.streams: list[Any] = []
        self.asked: list[bytes] = []

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        self.streams.append(theirs)
        self.nursery.start_soon(self.serve, ours)
        return theirs

    async def serve(self, stream: Any) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if self.tls is not None and len(self.streams) == 1:
                await trio.sleep(10)
                await trio.SSLStream(stream, self.tls, server_side=True).do_handshake()
                return
            data = bytearray(await stream.receive_some())
            while not data.endswith(b"\r\n\r\n"):
                data += await stream.receive_some() or b"\r\n\r\n"
            self.asked.append(bytes(data))
            for byte in self.answer:
                await stream.send_all(bytes([byte]))
            await stream.aclose()


async def test_a_server_of_plain_http_that_waits_for_more(autojump_clock: trio.testing.MockClock):  # G3
    """It is found out within seconds, without a secret, and without waiting for `connect_timeout`."""
    async with trio.open_nursery() as nursery:
        net = SilentToTLS(nursery, b"HTTP/1.1 404 Not Found\r\n\r\n")
        with pytest.raises(TLSRefusedError, match=r"h\.test:443 does not speak TLS: it answers in plain HTTP; use http://"):
            await open_stream(net.connect, "h.test", 443, ssl_context=client_context())
        assert trio.current_time() == connector.TLS_PATIENCE
        assert net.asked[0] == b"GET / HTTP/1.1\r\nHost: h.test:443\r\nConnection: close\r\n\r\n"
        for stream in net.streams:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01", b""])
async def test_a_server_of_tls_that_is_slow_is_waited_for(autojump_clock: trio.testing.MockClock, answer: bytes):
    async with trio.open_nursery() as nursery:
        net = SilentToTLS(nursery, answer, tls=server_context("h.test"))
        await close_now(await open_stream(net.connect, "h.test", 443, ssl_context=client_context()))
        assert (trio.current_time(), len(net.streams)) == (10, 2)


async def test_a_server_that_says_nothing_at_all_is_waited_for_as_long_as_its_caller_does(autojump_clock: trio.testing.MockClock):
    opened: list[Any] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        opened.append(trio.testing.memory_stream_pair())
        stream: trio.abc.Stream = opened[-1][0]
        return stream

    with trio.move_on_after(40) as scope:
        await open_stream(connect, "h.test", 443, ssl_context=client_context())
    assert (scope.cancelled_caught, len(opened)) == (True, 2)
    for ours, _ in opened:
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_some()


async def test_versions_that_do_not_meet():
    old = server_context("h.test")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new = client_context()
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    async with trio.open_nursery() as nursery:
        await refused(Network(nursery, old), "h.test", new, "the TLS handshake with h.test:443 failed: ")


async def test_a_name_that_tls_can_not_send():
    async with trio.open_nursery() as nursery:
        net = Network(nursery, server_context("h.test"))
        await refused(net, ".test", client_context(), "can't begin")


async def test_a_server_that_hangs_up_in_the_handshake_may_be_tried_again():
    async def connect(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        await ours.aclose()
        return theirs

    with pytest.raises(GatewayConnectionError, match="closed the connection in the TLS handshake") as caught:
        await open_stream(connect, "h.test", 443, ssl_context=client_context())
    assert not isinstance(caught.value, TLSRefusedError)


async def test_a_cancelled_handshake_leaves_nothing_open():
    opened: list[trio.StapledStream[Any, Any]] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        opened.extend([ours, theirs])
        return theirs

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(open_stream, connect, "h.test", 443, ssl_context=client_context()))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (await opened[0].receive_some())[:1] == b"\x16"
    assert await opened[0].receive_some() == b""


async def test_closing_works_in_a_cancelled_scope():
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await close_now(theirs)
    assert await ours.receive_some() == b""
