"""A gateway that echoes what we log in with, everywhere: none of it is shown to anybody (G8).

A new attack is a line of `ATTACKS`. Each is tried with a plain secret and with one that is written otherwise in URLs, JSON and
HTML, and those on the WebSocket on both engines; all that anybody could see is looked at: exceptions with what they came from and
with the locals of all frames, what is returned, events, everybody's log, what a proxy says to its front end, and what the command
prints.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote

import attrs
import pytest
import trio

import trio_gateway
import trio_gateway.blocking
from trio_gateway import GatewayConfig, GatewayError
from trio_gateway.proxy import create_app, serve

from .hostile_tools import (
    CLOSE,
    KERNEL_ID,
    Handler,
    RawConnection,
    RawRequest,
    answer_bytes,
    connect,
    open_hostile_gateway,
    request_bytes,
    upgrade_bytes,
)
from .showing import Log, leaks, shown

PLAIN = "tok3n-" + "a1B2c3D4" * 6
ODD = "tok3n&<b>\"c'/+=%20 ä\\d" + "E5f6" * 4
LONG = "tok3n." + "L0ng" * 60
PASSWORD = "p4ssword&<of>\"basic'"
API_KEY = "0123-the-api-key-4567"
PROXY_TOKEN = "the-proxys-own-token"


@attrs.frozen
class Echo:
    """What a request says that must not be told on, for an attack to make something of."""

    request: RawRequest

    @property
    def value(self) -> str:
        """What logs in, with its scheme."""
        return self.request.header("X-Auth")

    @property
    def token(self) -> str:
        """What logs in."""
        return self.value.partition(" ")[2]

    @property
    def all(self) -> str:
        """Every header, in one line; and the password as a server reads it."""
        basic = base64.b64decode(self.request.header("Authorization").partition(" ")[2]).decode()
        return " | ".join([*(f"{name}: {value}" for name, value in self.request.headers), basic])


Answer: TypeAlias = Callable[[Echo], bytes]
Attack: TypeAlias = tuple[str, str, Answer | Handler]
"""What it is called, which requests it answers (`"METHOD path"`, a regular expression), and with what."""


def page(status: int, body: str, *headers: tuple[str, str], reason: str = "No", encoding: str = "utf-8") -> bytes:
    return answer_bytes(status, body.encode(encoding), headers, reason=reason)


def in_json(value: object, status: int = 200) -> bytes:
    return page(status, json.dumps(value), ("Content-Type", "application/json"))


def spec(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "spec": {"argv": [name], "display_name": name, "language": name, "metadata": {name: name}}, **more}


def accepted(echo: Echo, *headers: str) -> bytes:
    """A 101 with wrong headers; what is right in it does not matter."""
    head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", *headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1")


def closing(code: int, reason: Callable[[Echo], str], *, after: str = "") -> Handler:
    """Take the WebSocket, and hang up with a reason; a reason has 123 bytes at most, so a long one is cut."""

    async def act(connection: RawConnection, request: RawRequest) -> None:
        await connection.accept(request)
        if after:
            await connection.read_message()
        await connection.send_frame(
            CLOSE, code.to_bytes(2, "big") + reason(Echo(request)).encode()[:123].decode(errors="ignore").encode()
        )
        await connection.read_rest()

    return act


REST = "(GET|POST) /api/kernel(s|specs)(/[^/]*)?"
START = "POST /api/kernels"
WS = "GET .*/channels"

ATTACKS: list[Attack] = [
    # The body of a refused handshake, and of an ordinary answer.
    *[
        (f"{name} to {where}", where, answer)
        for where in (WS, START, REST)
        for name, answer in {
            "text": lambda e: page(403, f"You sent {e.all}"),
            "text in Latin-1": lambda e: page(500, f"You sent {e.all}", encoding="latin-1"),
            "text that claims to be in Latin-1": lambda e: page(500, e.all, ("Content-Type", "text/plain; charset=latin-1")),
            "a page": lambda e: page(502, f"<html><title>Bad {html.escape(e.all)}</title></html>", ("Content-Type", "text/html")),
            "a page's words": lambda e: page(401, f"<html><p>Bad {html.escape(e.all)}</p></html>", ("Content-Type", "text/html")),
            "JSON": lambda e: in_json({"message": e.all, "reason": e.token, "traceback": f"a\n{e.value}"}, 500),
            "JSON in ASCII": lambda e: in_json({"message": e.value}, 404),
            "JSON of something else": lambda e: in_json([e.all], 400),
            "JSON in JSON": lambda e: in_json({"message": json.dumps({"headers": json.dumps(e.all)})}, 400),
            "a URL": lambda e: page(400, f"/login?token={quote(e.token)}&auth={quote(e.value, safe='')}"),
            "upper case": lambda e: page(400, f"{e.value.upper()}"),
            "the reason phrase": lambda e: page(403, "", reason=e.all),
            "the reason phrase of a redirect": lambda e: page(302, "", ("Location", "/x"), reason=e.all),
            "headers": lambda e: page(403, "", ("X-Echo", e.all), ("Content-Type", e.token), ("Server", e.value)),
            "the name of a header": lambda e: answer_bytes(403, b"", [(e.token, e.token)]),
            "a redirect elsewhere": lambda e: page(302, "", ("Location", f"http://{e.token}.example/{e.value}?{e.token}")),
            "a redirect to nonsense": lambda e: page(302, "", ("Location", f"http://[{e.all}")),
            "cookies": lambda e: page(403, e.token, ("Set-Cookie", f"a={e.token}"), ("Set-Cookie", f"{e.token}=b")),
            "a status line that is none": lambda e: f"HTTP/1.1 {e.all}\r\n\r\n".encode("latin-1"),
            "no status line": lambda e: f"{e.all}\r\n\r\n".encode("latin-1"),
            "another protocol": lambda e: f"{e.token} {e.all}\n{e.all}\n".encode("latin-1"),
            "a header line that is none": lambda e: f"HTTP/1.1 200 OK\r\n{e.all.replace(':', ' ')}\r\n\r\n".encode("latin-1"),
            "a header's name that is none": lambda e: f"HTTP/1.1 200 OK\r\n{e.value} x: y\r\n\r\n".encode("latin-1"),
            "a length that is none": lambda e: f"HTTP/1.1 200 OK\r\nContent-Length: {e.token}\r\n\r\n".encode("latin-1"),
            "no chunk": lambda e: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{e.all}\r\n".encode("latin-1"),
            "another transfer": lambda e: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {e.value}\r\n\r\n".encode("latin-1"),
            "an encoding that is none": lambda e: page(200, e.all, ("Content-Encoding", e.value)),
            "a body that is not packed": lambda e: page(200, e.all, ("Content-Encoding", "gzip")),
            "half a body": lambda e: page(200, f"You sent {e.all} {e.all}")[:-20],
            "half an error page": lambda e: page(500, f"You sent {e.all} {e.all}")[:-20],
            "a hint, and no answer": lambda e: f"HTTP/1.1 103 {e.all}\r\nX-Echo: {e.all}\r\n\r\n".encode("latin-1"),
            "a page that is cut in the middle of it": lambda e: page(500, "x" * (65536 - 14) + " " + e.token),
        }.items()
    ],
    # JSON that is what was asked for, or nearly.
    ("kernelspecs", "GET /api/kernelspecs", lambda e: in_json({"default": e.token, "kernelspecs": {e.token: spec(e.token)}})),
    ("kernelspecs that are none", "GET /api/kernelspecs", lambda e: in_json({"kernelspecs": {e.token: {e.value: e.all}}})),
    ("a kernelspec", "GET /api/kernelspecs/.*", lambda e: in_json(spec(e.token, resources={"logo": quote(e.token)}))),
    ("resources", "GET /kernelspecs/.*", lambda e: page(200, e.all, ("Content-Type", e.value), ("ETag", e.token))),
    ("kernels", "GET /api/kernels(/.*)?", lambda e: in_json([{"id": e.token, "name": e.token, "execution_state": e.value}])),
    ("a kernel", START, lambda e: in_json({"id": e.token, "name": e.token, "execution_state": e.value}, 201)),
    ("a kernel that is none", START, lambda e: in_json({e.token: e.value, "id": [e.token]}, 201)),
    ("not JSON", "GET /api/kernel.*", lambda e: page(200, f'{{"a": {e.all}')),
    ("too large", "GET /api/kernel.*", lambda e: page(200, e.all * 3000)),
    # The end of a handshake that nearly was one.
    ("a subprotocol", WS, lambda e: accepted(e, f"Sec-WebSocket-Protocol: {e.token}")),
    ("an extension", WS, lambda e: accepted(e, f"Sec-WebSocket-Extensions: {e.token}")),
    ("a wrong accept", WS, lambda e: accepted(e, f"Sec-WebSocket-Accept: {e.token}")),
    ("another upgrade", WS, lambda e: accepted(e).replace(b"websocket", e.token.encode("latin-1"))),
    ("a wrong header behind", WS, lambda e: accepted(e, f"{e.value} {e.token}")),
    # The reason of a close, at once and in the middle.
    *[(f"close {code}", WS, closing(code, lambda e: e.token)) for code in (1000, 1002, 1003, 1008, 1009, 1011, 3000, 4000)],
    *[(f"close {code} later", WS, closing(code, lambda e: f"Token {e.value}", after="a message")) for code in (1008, 1009)],
    ("close, cut", WS, closing(1008, lambda e: f"You sent the header Authorization with {e.value}")),
    ("a frame that is none", WS, closing(99, lambda e: e.value)),
]  # fmt: skip


def handler_of(attack: Answer | Handler) -> Handler:
    """Bytes are made of what came, sent, and that was it."""
    if not isinstance(attack, type(lambda: 0)) or attack.__name__ == "act":
        return attack  # type: ignore[return-value]

    async def act(connection: RawConnection, request: RawRequest) -> None:
        await connection.send(attack(Echo(request)))  # type: ignore[arg-type]
        await connection.stream.aclose()

    return act


@attrs.define
class Seen:
    """All that anybody could see."""

    secrets: list[str]
    texts: list[tuple[str, str]] = attrs.field(factory=list)

    def see(self, where: str, value: object) -> None:
        self.texts.append((where, f"{value} {value!r}"))

    async def attempt(self, where: str, act: Callable[[], Awaitable[object]]) -> None:
        """Do something; see what comes of it."""
        try:
            self.see(f"what {where} gives", await act())
        except (GatewayError, trio.TooSlowError) as error:
            self.texts += [(f"{where}: {place}", text) for place, text in shown(error)]

    def leaks(self) -> list[str]:
        return leaks(iter(self.texts), self.secrets)


def parts_of(*secrets: str) -> list[str]:
    """What must not be seen: each secret as it is written in several places, and its beginning and its end."""
    found: set[str] = set()
    for secret in secrets:
        forms = {secret, quote(secret, safe=""), quote(secret), html.escape(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        found |= forms | {form[:12] for form in forms} | {form[-8:] for form in forms}
    return sorted(found)


@pytest.fixture
def log() -> Iterator[Log]:
    """Everybody's log, as loud as it can be."""
    handler = Log()
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


def settings(url: str, token: str, **more: Any) -> dict[str, Any]:
    return {
        "url": url,
        "auth_token": token,
        "auth_header_key": "X-Auth",
        "http_user": "me",
        "http_pwd": PASSWORD,
        "headers": {"X-Api-Key": API_KEY},
        "max_request_retries": 0,
        "gateway_retry_max": 1,
        "gateway_retry_interval": 0,
        "gateway_retry_interval_max": 0,
        "max_response_size": 256 * 1024,
        "cleanup_timeout": 1,
        **more,
    }


async def use(gateway: trio_gateway.Gateway, seen: Seen) -> None:
    """Do what a program does."""

    async def run_code() -> object:
        async with gateway.start_kernel() as kernel:
            return await kernel.execute("1")

    async def relay() -> object:
        async with gateway.open_channels(KERNEL_ID) as channels:
            return await channels.receive()

    await seen.attempt("kernelspecs.list", gateway.kernelspecs.list)
    await seen.attempt("kernelspecs.get", partial(gateway.kernelspecs.get, "cobol"))
    await seen.attempt("kernelspecs.resource", partial(gateway.kernelspecs.resource, "python3", "logo.svg"))
    await seen.attempt("kernels.list", gateway.kernels.list)
    await seen.attempt("kernels.get", partial(gateway.kernels.get, KERNEL_ID))
    await seen.attempt("kernels.start", gateway.kernels.start)
    with trio.move_on_after(3):  # a kernel whose connection is taken and never answered
        await seen.attempt("start_kernel", run_code)
    with trio.move_on_after(1):
        await seen.attempt("open_channels", relay)


@asynccontextmanager
async def attacked(attack: Attack, token: str, engine: str, log: Log) -> AsyncGenerator[tuple[trio_gateway.Gateway, Seen]]:
    """Open a gateway that does it; at the end nothing may have been seen."""
    _, pattern, answer = attack
    basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    seen = Seen(parts_of(token, PASSWORD, API_KEY, basic))
    async with (
        open_hostile_gateway({pattern: handler_of(answer)}) as hostile,
        trio_gateway.open_gateway(
            GatewayConfig(**settings(hostile.url, token, websocket_engine=engine)), on_event=partial(seen.see, "an event")
        ) as gateway,
    ):
        yield gateway, seen
        assert any(token in request.header("X-Auth") for request in hostile.requests)
    seen.texts += log.texts
    assert len(seen.texts) > 10
    assert seen.leaks() == []


EACH = pytest.mark.parametrize(
    "attack", [pytest.param(attack, id=attack[0], marks=[pytest.mark.full] * (attack[1] == START)) for attack in ATTACKS]
)
OF_THE_WEBSOCKET = pytest.mark.parametrize(
    "attack", [pytest.param(attack, id=attack[0]) for attack in ATTACKS if attack[1] == WS and "later" not in attack[0]]
)


def combinations() -> Iterator[object]:
    """Give each attack with each token, and what comes over the WebSocket on the other engine too."""
    for attack in ATTACKS:
        for engine, token, name in (
            ("fast", PLAIN, "plain"),
            ("fast", ODD, "odd"),
            ("fast", LONG, "long"),
            ("trio-websocket", PLAIN, "plain"),
            ("trio-websocket", ODD, "odd"),
            ("trio-websocket", LONG, "long"),
        ):
            if engine == "fast" or attack[1] == WS:
                quick = engine == "fast" and token == PLAIN and attack[1] != START
                marks = () if quick else pytest.mark.full
                yield pytest.param(attack, token, engine, id=f"{engine}-{name}-{attack[0]}", marks=marks)


@pytest.mark.parametrize(("attack", "token", "engine"), list(combinations()))
async def test_nobody_sees_a_secret(attack: Attack, token: str, engine: str, log: Log) -> None:
    async with attacked(attack, token, engine, log) as (gateway, seen):
        await use(gateway, seen)


@pytest.mark.full
@EACH
async def test_no_front_end_of_a_proxy_sees_one(attack: Attack, log: Log) -> None:
    """All bytes that come to a front end, of HTTP and of its WebSocket."""
    async with attacked(attack, PLAIN, "fast", log) as (gateway, seen), trio.open_nursery() as nursery:
        listening = await nursery.start(partial(serve, create_app(gateway, token=PROXY_TOKEN), port=0))
        asked = [
            ("GET", "/api/kernelspecs", b""),
            ("GET", "/api/kernelspecs/python3", b""),
            ("GET", "/kernelspecs/python3/logo.svg", b""),
            ("GET", "/api/kernels", b""),
            ("GET", f"/api/kernels/{KERNEL_ID}", b""),
            ("POST", "/api/kernels", b"{}"),
            ("POST", "/api/sessions", b'{"path": "a.ipynb", "type": "notebook", "kernel": {"name": "python3"}}'),
        ]
        login = [("Authorization", f"token {PROXY_TOKEN}")]
        for method, path, body in asked:
            async with connect(listening.port) as front:
                await front.send(request_bytes(method, path, [*login, ("Connection", "close")], body))
                seen.see(f"what a front end gets of {method} {path}", await front.read_rest())
        async with connect(listening.port) as front:
            await front.send(upgrade_bytes(f"/api/kernels/{KERNEL_ID}/channels", login))
            with trio.move_on_after(0.3):  # where the WebSocket stays open
                seen.see("what a front end gets of the WebSocket", await front.read_rest())
        nursery.cancel_scope.cancel()


@pytest.mark.full
@pytest.mark.parametrize(
    "name",
    ["JSON to POST /api/kernels", "text to GET .*/channels", "close 1008", "kernelspecs", "no status line to GET .*/channels"],
)
async def test_the_command_prints_none(name: str) -> None:
    """The command as people run it, with its own log as loud as it can be: standard output and error."""
    attack = next(attack for attack in ATTACKS if attack[0] == name)
    secrets = parts_of(PLAIN, PASSWORD, API_KEY)
    async with open_hostile_gateway({attack[1]: handler_of(attack[2])}) as hostile:
        environ = {
            **os.environ,
            "JUPYTER_GATEWAY_URL": hostile.url,
            "JUPYTER_GATEWAY_AUTH_TOKEN": PLAIN,
            "JUPYTER_GATEWAY_AUTH_HEADER_KEY": "X-Auth",
            "JUPYTER_GATEWAY_HTTP_USER": "me",
            "JUPYTER_GATEWAY_HTTP_PWD": PASSWORD,
            "JUPYTER_GATEWAY_HEADERS": json.dumps({"X-Api-Key": API_KEY}),
            "JUPYTER_GATEWAY_RETRY_MAX": "0",
            "JUPYTER_GATEWAY_MAX_REQUEST_RETRIES": "0",
        }
        for command in (["exec", "--debug", "1"], ["kernelspecs", "--debug"], ["doctor", "--debug"]):
            done = await trio.run_process(
                [sys.executable, "-m", "trio_gateway", *command],
                env=environ,
                check=False,
                capture_stdout=True,
                capture_stderr=True,
            )
            said = (done.stdout + done.stderr).decode()
            assert said
            assert leaks(iter([(" ".join(command), said)]), secrets) == []
        assert hostile.requests


@pytest.mark.full
@OF_THE_WEBSOCKET
def test_a_program_without_async_sees_none(attack: Attack) -> None:
    """The stack of the calling thread, and that of the thread in which Trio runs."""
    started, stop = threading.Event(), []
    url = ""

    async def serve_it() -> None:
        nonlocal url
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(scope.cancel))
            async with open_hostile_gateway({attack[1]: handler_of(attack[2])}) as hostile:
                url = hostile.url
                started.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(serve_it,))
    thread.start()
    started.wait()
    try:
        with pytest.raises(GatewayError) as caught, trio_gateway.blocking.open_gateway(**settings(url, PLAIN)) as gateway:
            with gateway.open_channels(KERNEL_ID) as channels:
                while True:
                    channels.receive()
    finally:
        stop[0]()
        thread.join()
    assert leaks(shown(caught.value), parts_of(PLAIN, PASSWORD, API_KEY)) == []
