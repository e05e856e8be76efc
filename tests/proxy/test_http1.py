"""HTTP/1.1 on streams in memory, with applications of a few lines: what is answered, what is read, when the connection ends."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import h11
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_gateway._protocol.websocket import UpgradeRequest
from trio_gateway.proxy._http1 import LET_IN, Peer, serve_http1

PEER = Peer(secure=False, client=("1.2.3.4", 5), server=("6.7.8.9", 10))
GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef") + b"\r\n\r\n"
)


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    size = len(body) if length is None else length
    return b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%b\r\n%b" % (size, lines, body)


App = Callable[[Any, Any, Any], Awaitable[None]]


class FrontEnd:
    """One connection: the application's server at one end, bytes at the other."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)
        self.ended = trio.Event()
        self.asked: UpgradeRequest | None = None
        self.answering = 0
        self.let_in = 0
        self.is_ending = False

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def heard(self) -> bytes:
        """Return all that came until the connection is over."""
        await self.ended.wait()
        data = b""
        while more := await self.stream.receive_some():
            data += more
        return data

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Wait for one answer; the request was said before."""
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        self.http.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        self.http.send(h11.EndOfMessage())
        response: Any = None
        body = b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.stream.receive_some())
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return response.status_code, {name.decode(): value.decode() for name, value in response.headers}, body


@asynccontextmanager
async def open_front(app: App, *, patience: float = 10, linger: float = 2) -> AsyncGenerator[FrontEnd]:
    """Serve one connection."""
    ours, theirs = memory_stream_pair()
    front = FrontEnd(theirs)

    @contextmanager
    def answering() -> Generator[None]:
        front.answering += 1
        try:
            yield
        finally:
            front.answering -= 1

    def let_in() -> None:
        front.let_in += 1

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        front.asked = await serve_http1(
            app,
            ours,
            PEER,
            answering=answering,
            let_in=let_in,
            is_ending=lambda: front.is_ending,
            patience=patience,
            linger=linger,
        )
        await ours.aclose()
        front.ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        yield front
        nursery.cancel_scope.cancel()


async def say(send: Any, body: bytes = b"", status: int = 200, headers: Any = None) -> None:
    """Answer, as an application does."""
    fields = [(b"content-length", b"%d" % len(body))] if headers is None else headers
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def greet(scope: Any, receive: Any, send: Any) -> None:
    await say(send, scope["method"].encode())


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            break
    await say(send, body)


def statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


# Requests and answers -----------------------------------------------------------------------------------------------


async def test_what_the_application_is_told() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        scope[LET_IN]()
        await say(send)

    async with open_front(app) as front:
        await front.say(b"GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX-A: \xe4\r\n\r\n")
        await front.answer()
        assert front.let_in == 1
    (scope,) = scopes
    assert (scope["type"], scope["method"], scope["scheme"], scope["http_version"]) == ("http", "GET", "http", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c=d")
    assert scope["headers"] == [(b"host", b"h"), (b"x-a", b"\xe4")]
    assert (scope["client"], scope["server"]) == (("1.2.3.4", 5), ("6.7.8.9", 10))


async def test_headers_and_query_hide_themselves() -> None:
    """G8"""
    shown: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shown.append(repr(scope))
        await say(send)

    async with open_front(app) as front:
        await front.say(b"GET /?token=hidden HTTP/1.1\r\nHost: h\r\nAuthorization: hidden\r\n\r\n")
        await front.answer()
    assert "hidden" not in shown[0]
    assert "authorization" in shown[0]


async def test_requests_one_after_the_other_on_one_connection() -> None:
    async with open_front(echo) as front:
        for body in (b"one", b"", b"x" * 200_000):
            await front.say(post(body))
            status, headers, answer = await front.answer("POST")
            assert (status, answer) == (200, body)
            assert headers["date"].endswith(" GMT")
            assert "connection" not in headers
        assert not front.ended.is_set()


async def test_requests_that_come_at_once_are_answered_in_order_and_nothing_is_read_ahead() -> None:
    answered = trio.Event()
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await answered.wait()
        await say(send, scope["path"].encode())

    async with open_front(app) as front:
        await front.say(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(3)))
        await wait_all_tasks_blocked()
        assert seen == ["/0"]
        assert front.answering == 1
        answered.set()
        assert [(await front.answer())[2] for _ in range(3)] == [b"/0", b"/1", b"/2"]
        assert front.answering == 0


async def test_a_body_in_chunks_and_pieces() -> None:
    async with open_front(echo) as front:
        data = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        for at in range(len(data)):
            await front.say(data[at : at + 1])
        assert (await front.answer("POST"))[2] == b"abcde"


async def test_after_the_body_nothing_comes() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with trio.move_on_after(0):
            await receive()
        await say(send)

    async with open_front(app) as front:
        await front.say(GET)
        assert (await front.answer())[0] == 200


@pytest.mark.parametrize(
    ("method", "status", "headers", "sent"),
    [
        (b"HEAD", 200, [(b"content-length", b"4")], b""),
        (b"GET", 204, [], b""),
        (b"GET", 304, [], b""),
        (b"GET", 200, [], b"4\r\nbody\r\n0\r\n\r\n"),
        (b"GET", 200, [(b"content-length", b"4")], b"body"),
    ],
)
async def test_bodies_as_they_may_be_sent(method: bytes, status: int, headers: Any, sent: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await say(send, b"body", status, headers)

    async with open_front(app) as front:
        await front.say(GET.replace(b"GET", method) + GET)
        await front.stream.send_eof()
        first = (await front.heard()).split(b"HTTP/1.1 ")[1]
    assert first.partition(b"\r\n\r\n")[2] == sent


async def test_an_answer_in_pieces_goes_out_as_it_comes() -> None:
    more = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"c"})

    async with open_front(app) as front:
        await front.say(GET)
        assert b"ab" in await front.stream.receive_some()
        more.set()
        assert b"c" in await front.stream.receive_some()


@pytest.mark.parametrize(
    "request_", [GET.replace(b"1.1", b"1.0"), GET.replace(b"Host: h", b"Host: h\r\nConnection: close")], ids=["1.0", "close"]
)
async def test_a_connection_that_is_to_end_with_its_answer(request_: bytes, autojump_clock: MockClock) -> None:
    async with open_front(greet) as front:
        await front.say(request_)
        heard = await front.heard()
        assert trio.current_time() < 1
    assert heard.endswith(b"GET")
    assert b"connection: close" in heard.lower()


async def test_when_the_server_is_about_to_end_so_does_the_connection() -> None:
    async with open_front(greet) as front:
        await front.say(GET)
        await front.answer()
        front.is_ending = True
        await front.say(GET)
        _, headers, _ = await front.answer()
        assert headers["connection"] == "close"
        assert await front.heard() == b""


async def test_when_the_server_ends_behind_an_answers_head_so_does_the_connection(autojump_clock: MockClock) -> None:
    """The head has announced no end: nobody waits for another request all the same."""
    more = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"c"})

    async with open_front(app) as front:
        await front.say(GET)
        begun = await front.stream.receive_some()
        front.is_ending = True
        more.set()
        heard = begun + await front.heard()
        assert trio.current_time() < 1
    assert heard.endswith(b"\r\n\r\nabc")
    assert b"connection: close" not in heard.lower()


async def test_who_comes_when_the_server_is_about_to_end_is_not_waited_for(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    ending: Any = {"answering": nullcontext, "let_in": lambda: None, "is_ending": lambda: True}
    assert await serve_http1(greet, ours, PEER, **ending, patience=10, linger=2) is None
    assert trio.current_time() < 1
    assert await theirs.receive_some() == b""


# A word before the body ---------------------------------------------------------------------------------------------


async def test_who_waits_for_a_word_gets_it_when_the_body_is_wanted() -> None:
    wanted = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await wanted.wait()
        await echo(scope, receive, send)

    async with open_front(app) as front:
        await front.say(post(b"", b"Expect: 100-continue", length=4))
        await wait_all_tasks_blocked()
        wanted.set()
        assert (await front.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await front.say(b"body")
        assert (await front.answer("POST"))[2] == b"body"
        assert not front.ended.is_set()


async def test_who_waits_for_a_word_and_gets_an_answer_is_not_waited_for(autojump_clock: MockClock) -> None:
    """It may send its body or not; which one nobody knows, so the connection ends."""
    async with open_front(greet) as front:
        await front.say(post(b"", b"Expect: 100-continue", length=4))
        _, headers, answer = await front.answer("POST")
        assert (headers["connection"], answer) == ("close", b"POST")
        await front.stream.send_eof()
        assert await front.heard() == b""
    assert trio.current_time() < 1


# Bodies that nobody wants -------------------------------------------------------------------------------------------


async def test_the_rest_of_a_body_is_taken_and_the_connection_goes_on() -> None:
    async with open_front(greet) as front:
        await front.say(post(b"", length=300_000))
        assert (await front.answer("POST"))[0] == 200
        await front.say(b"x" * 300_000 + GET)
        assert (await front.answer())[2] == b"GET"


async def test_a_body_that_does_not_come_is_not_waited_for_long(autojump_clock: MockClock) -> None:
    async with open_front(greet) as front:
        await front.say(post(b"abc", length=300_000))
        assert (await front.answer("POST"))[0] == 200
        await front.ended.wait()
        assert 2 <= trio.current_time() <= 4


@pytest.mark.parametrize("how", ["end", "nonsense"])
async def test_a_body_that_breaks_off_is_told(how: str) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            heard.append((await receive())["type"])
            if heard[-1] == "http.disconnect":
                break
        await say(send, b"too bad", 400)

    async with open_front(app) as front:
        await front.say(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await (front.stream.send_eof() if how == "end" else front.say(b"zz\r\n"))
        if how == "nonsense":
            await wait_all_tasks_blocked()
            await front.stream.send_eof()
        assert statuses(await front.heard()) == [400]
    assert heard == ["http.request", "http.disconnect"]


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (GET.replace(b"GET", b"head"), 501),
        (GET.replace(b"GET", b"gET"), 501),
        (UPGRADE.replace(b"GET", b"get"), 501),
        (GET[:-2] + b"X-A: " + b"a" * 17_000 + b"\r\n\r\n", 431),
        (GET[:-2] + b"X-A: " + b"a" * 70_000, 431),
        (post(b"", b"Transfer-Encoding: chunked"), 400),
        (post(b"", b"Content-Length: 7"), 400),
        (GET[:-2] + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (UPGRADE.replace(b"13", b"8"), 400),
        (UPGRADE.replace(b"Key", b"Lock"), 400),
        (GET[:10], 400),
    ],
)
@pytest.mark.parametrize("before", [b"", GET])
async def test_what_is_refused(sent: bytes, status: int, before: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with open_front(greet) as front:
        await front.say(before + sent)
        await front.stream.send_eof()
        heard = await front.heard()
    assert statuses(heard) == [*([200] if before else []), status]
    last = heard.lower().rpartition(b"http/1.1 ")[2]
    assert last.endswith(b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    assert b"\r\ndate: " in last
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("trio_gateway.proxy", "INFO", "request_refused")
    assert (vars(record)["proxy.status"], vars(record)["proxy.client"]) == (status, "1.2.3.4")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /?token=hidden\r\n\r\n",
        b"GET /?token=hidden HTTP/1.1\r\nAuthorization: hidden\r\n\r\n",
        b"get /?token=hidden HTTP/1.1\r\nHost: h\r\nAuthorization: hidden\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: hidden\r\nAuthorization : hidden\r\n\r\n",
    ],
)
async def test_what_is_refused_is_logged_without_a_word_of_it(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """G8"""
    caplog.set_level("DEBUG")
    async with open_front(greet) as front:
        await front.say(sent)
        await front.stream.send_eof()
        await front.heard()
    assert [record.getMessage() for record in caplog.records] == ["request_refused"]
    assert "hidden" not in repr([vars(record) for record in caplog.records])


async def test_what_comes_behind_a_refusal_is_taken_for_a_moment_so_that_it_is_read(autojump_clock: MockClock) -> None:
    async with open_front(greet) as front:
        await front.say(b"nonsense\r\n\r\n")
        assert statuses(await front.stream.receive_some()) == [400]
        assert await front.stream.receive_some() == b""
        await front.say(b"more of it")
        assert not front.ended.is_set()
        await front.ended.wait()
        assert trio.current_time() == pytest.approx(2)


@pytest.mark.parametrize("sent", [b"", b"GET /", GET, GET + b"GET /"])
async def test_who_says_nothing_more_is_not_waited_for_long(sent: bytes, autojump_clock: MockClock) -> None:
    async with open_front(greet) as front:
        await front.say(sent)
        assert statuses(await front.heard()) == ([200] if GET in sent else [])
        assert trio.current_time() == pytest.approx(10)


# WebSockets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_a_websocket_is_asked_for_at_any_time(before: int) -> None:
    async with open_front(greet) as front:
        for _ in range(before):
            await front.say(GET)
            await front.answer()
        await front.say(UPGRADE + b"first frames")
        await front.ended.wait()
        assert front.asked is not None
        assert (front.asked.target, front.asked.rest) == (b"/ws", b"first frames")


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.3, websocket2"])
async def test_another_protocol_is_not_spoken(upgrade: bytes) -> None:
    async with open_front(greet) as front:
        await front.say(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n" + GET)
        assert [(await front.answer())[0] for _ in range(2)] == [200, 200]


# Defects ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raises", [True, False])
async def test_an_application_that_does_not_answer(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        if raises:
            raise ZeroDivisionError

    async with open_front(app) as front:
        await front.say(GET)
        assert statuses(await front.heard()) == [500]
    assert [record.getMessage() for record in caplog.records] == (["application_failed"] if raises else [])


async def test_an_answer_that_breaks_off_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError

    async with open_front(app) as front:
        await front.say(GET + GET)
        heard = await front.heard()
    assert statuses(heard) == [200]
    assert heard.endswith(b"half")


async def test_an_application_that_says_more_than_it_announced(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await say(send, b"too much", headers=[(b"content-length", b"2")])

    async with open_front(app) as front:
        await front.say(GET + GET)
        assert statuses(await front.heard()) == []
    assert "application_failed" in caplog.text


async def test_a_front_end_that_is_gone_is_no_error_of_the_application() -> None:
    done = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await front.stream.aclose()
        await say(send, b"x" * 100)
        await say_more(send)
        done.set()

    async def say_more(send: Any) -> None:
        await trio.lowlevel.checkpoint()

    async with open_front(app) as front:
        await front.say(GET + GET)
        await front.ended.wait()
        assert done.is_set()
