"""A gateway's REST interface in memory: kernels and kernelspecs that a test makes wrong in whatever way it wants.

Reached through the library's own connector, so there are no sockets and the clock may be a virtual one. It has no WebSockets.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import attrs
import trio
import trio.testing

import trio_gateway
from trio_gateway._services import Services, open_services

URL = "http://gateway.test:8888/Base"
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)

ID_A, ID_B, ID_C = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")


@attrs.define
class Request:
    """A request as it came."""

    method: str
    path: str
    """Escaped, below the base URL."""
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@attrs.frozen
class Answer:
    """An answer. A body that is not bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = attrs.field(factory=dict)

    def encode(self, date: datetime | None) -> bytes:
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        lines = [f"HTTP/1.1 {self.status} Whatever"]
        if self.status not in {204, 304}:
            lines.append(f"Content-Length: {len(content)}")
        if date is not None:
            lines.append(f"Date: {format_datetime(date, usegmt=True)}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if self.status in {204, 304} else content)


def error(status: int) -> Answer:
    return Answer(status, {"reason": "Oh", "message": f"error {status}"})


Reply = Answer | None | Exception
Script = Callable[[Request], "Reply | Awaitable[Reply]"]


class RestFake:
    """The gateway. `requests` holds what came, `kernels` what runs."""

    def __init__(self) -> None:
        self.kernels: dict[str, dict[str, Any]] = {}
        self.kernelspecs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, Answer] = {}
        """By the escaped path below `/kernelspecs/`."""
        self.add_spec("python3")
        self.lists = True
        self.omitted: set[str] = set()
        """Kernels that the list lacks."""
        self.date: datetime | None = NOON
        """What time it is for the gateway; None: its answers don't say."""
        self.requests: list[Request] = []
        self.scripts: list[tuple[str, Script]] = []
        """What is done instead: a pattern of "METHOD path", and the answer; None hangs up."""
        self.unresolvable = False
        self.at_once = self.most_at_once = 0
        self._services: Services | None = None

    def add(self, kernel_id: str, **fields: Any) -> None:
        self.kernels[kernel_id] = {
            "id": kernel_id,
            "name": "python3",
            "last_activity": NOON.isoformat().replace("+00:00", "Z"),
            "execution_state": "idle",
            "connections": 0,
            **fields,
        }

    def add_spec(self, name: str, **spec: Any) -> None:
        resources = {"logo-64x64": f"/elsewhere/kernelspecs/{quote(name)}/logo-64x64.png"}
        body = {"argv": ["x"], "display_name": name, "language": "python", **spec}
        self.kernelspecs[name] = {"name": name, "spec": body, "resources": resources}

    def idle_for(self, kernel_id: str, seconds: float, **fields: Any) -> None:
        assert self.date is not None
        moment = self.date - timedelta(seconds=seconds)
        self.add(kernel_id, last_activity=moment.isoformat().replace("+00:00", "Z"), **fields)

    def script(self, pattern: str, *answers: Reply | Script, times: int | None = None) -> None:
        """Answer requests that match with these in turn, the last one for ever; or only so many times."""
        left: list[Any] = list(answers)

        def reply(request: Request) -> Any:
            answer = left.pop(0) if len(left) > 1 else left[0]
            nonlocal times
            if times is not None:
                times -= 1
                if times == 0:
                    self.scripts.remove(entry)
            return answer(request) if callable(answer) else answer

        entry: tuple[str, Script] = (pattern, reply)
        self.scripts.insert(0, entry)

    def asked(self) -> list[str]:
        return [str(request) for request in self.requests]

    # ---------------------------------------------------------------------------------------------------------- the wire

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.unresolvable:
            import socket

            raise socket.gaierror(-3, "Temporary failure in name resolution")
        assert self._services is not None
        ours, theirs = trio.testing.memory_stream_pair()
        self._services.start_soon(self._serve, ours, name="fake")
        return theirs

    async def _serve(self, stream: trio.abc.Stream) -> None:
        buffer = b""
        try:
            async with stream:
                while True:
                    while b"\r\n\r\n" not in buffer:
                        data = await stream.receive_some()
                        if not data:
                            return
                        buffer += data
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    first, *lines = head.decode("latin-1").split("\r\n")
                    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                    length = int(headers.get("content-length", 0))
                    while len(buffer) < length:
                        buffer += await stream.receive_some()
                    body, buffer = buffer[:length], buffer[length:]
                    method, target, _ = first.split(" ")
                    url = urlsplit(target)
                    path = url.path.removeprefix("/Base")
                    request = Request(method, path, parse_qs(url.query), headers, json.loads(body) if body else None)
                    self.requests.append(request)
                    self.at_once += 1
                    self.most_at_once = max(self.most_at_once, self.at_once)
                    try:
                        answer = await self._answer(request)
                    finally:
                        self.at_once -= 1
                    if answer is None:
                        return
                    await stream.send_all(answer.encode(self.date))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _answer(self, request: Request) -> Answer | None:
        for pattern, script in self.scripts:
            if re.fullmatch(pattern, str(request)):
                found = script(request)
                reply = await found if inspect.isawaitable(found) else found
                if reply is not NORMAL:
                    assert not isinstance(reply, Exception)
                    return reply
        return self.answer(request)

    def answer(self, request: Request) -> Answer:
        """Answer as Kernel Gateway does."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match [request.method, *parts]:
            case ["GET", "api", "kernels"]:
                if not self.lists:
                    return error(403)
                return Answer(200, [model for kernel_id, model in self.kernels.items() if kernel_id not in self.omitted])
            case ["POST", "api", "kernels"]:
                self.add(request.body["kernel_id"], name=request.body.get("name", "python3"), execution_state="starting")
                return Answer(201, self.kernels[request.body["kernel_id"]])
            case ["GET", "api", "kernels", kernel_id]:
                return Answer(200, self.kernels[kernel_id]) if kernel_id in self.kernels else error(404)
            case ["DELETE", "api", "kernels", kernel_id]:
                return error(404) if self.kernels.pop(kernel_id, None) is None else Answer(204)
            case ["POST", "api", "kernels", kernel_id, "interrupt"]:
                return Answer(204) if kernel_id in self.kernels else error(404)
            case ["POST", "api", "kernels", kernel_id, "restart"]:
                return Answer(200, self.kernels[kernel_id]) if kernel_id in self.kernels else error(500)
            case ["GET", "api", "kernelspecs"]:
                return Answer(200, {"default": "python3", "kernelspecs": self.kernelspecs})
            case ["GET", "api", "kernelspecs", name]:
                return Answer(200, self.kernelspecs[name]) if name in self.kernelspecs else error(404)
            case ["GET", "kernelspecs", *_]:
                return self.files.get(request.path.removeprefix("/kernelspecs/"), error(404))
        return error(404)


class _Normal(Exception):
    pass


NORMAL: Any = _Normal()
"""What a script gives for: as if there were no script."""


@asynccontextmanager
async def open_fake(fake: RestFake, *, on_event: Any = None, **settings: Any) -> AsyncGenerator[trio_gateway.Gateway]:
    """Open the fake as a gateway. The environment's settings are not looked at."""
    config = trio_gateway.GatewayConfig(url=URL)
    async with open_services() as services:
        fake._services = services
        async with trio_gateway.open_gateway(config, connector=fake.connect, on_event=on_event, **settings) as gateway:
            yield gateway


def kernel_events(events: list[trio_gateway.GatewayEvent]) -> list[tuple[str, str, str | None]]:
    return [(event.action, event.status, event.kernel_id) for event in events if event.kind == "kernel"]
