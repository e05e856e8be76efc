"""A JupyterHub in memory: its REST API about servers, its proxy, and servers that are fake gateways.

Answers are as JupyterHub 6.1.1 gave them, and what it does as its `apihandlers/users.py` has it; time is Trio's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs
import h11
import trio

from trio_gateway.testing import FakeGateway
from trio_gateway.testing._streams import memory_connection

__all__ = ["ALICE", "SERVICE", "FakeHub", "HubServer", "Owner", "open_fake_hub"]

ALICE = "alices-token-0123456789"
SERVICE = "service-token-0123456789"
VERSION = ("X-JupyterHub-Version", "6.1.1")
EVERYTHING = frozenset({"read:servers", "start:servers", "delete:servers", "access:servers"})
HTML = ("Content-Type", "text/html")
JSON = ("Content-Type", "application/json")


@attrs.frozen
class Owner:
    """Whose a token is, and what it may do."""

    name: str
    kind: str = "user"
    scopes: frozenset[str] = EVERYTHING


@attrs.define(eq=False)
class HubServer:
    """A user's server, running or not."""

    user: str
    name: str
    gateway: FakeGateway
    pending: str | None = None
    ready: bool = False
    routed: bool = False
    started: int = 0
    failure: str | None = None
    options: Any = None
    progress: list[dict[str, Any]] = attrs.field(factory=list)
    changed: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope | None = None
    url: str | None = None
    """What the hub says its URL is, where that is not its path."""

    @property
    def path(self) -> str:
        return f"/user/{self.user}/" + (f"{self.name}/" if self.name else "")

    def model(self) -> dict[str, Any]:
        started = f"2026-11-29T23:04:{self.started:02}.000000Z" if self.started else None
        return {"name": self.name, "pending": self.pending, "ready": self.ready, "started": started, "url": self.url or self.path}

    def change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


@attrs.define(eq=False)
class FakeHub:
    """The hub. Every attribute may be changed while it runs."""

    nursery: trio.Nursery
    url: str = "http://hub.invalid"
    spawn_seconds: float = 3.0
    slow_spawn_seconds: float = 10.0
    """How long a start request waits before it is answered with 202 (`slow_spawn_timeout`)."""
    stop_seconds: float = 1.0
    slow_stop_seconds: float = 10.0
    spawn_failure: str | None = None
    """What a start fails with."""
    post_delay: float = 0.0
    """How long a start request is under way before the hub does anything."""
    post_answer: int | None = 0
    """In place of the answer to a start request: a status of a balancer, or None for a cut connection; 0 for the hub's own."""
    spawns: bool = True
    """Whether a start request reaches the hub at all, where `post_answer` answers it."""
    cuts_progress_after: int | None = None
    """How many events a stream of progress has before it breaks."""
    down: bool = False
    """Nobody listens."""
    no_routes: bool = False
    """The proxy was just started, and knows of no server."""
    tokens: dict[str, Owner] = attrs.Factory(
        lambda: {ALICE: Owner("alice"), SERVICE: Owner("tests", "service"), "bobs": Owner("bob")}
    )
    servers: dict[tuple[str, str], HubServer] = attrs.field(factory=dict)
    users: set[str] = attrs.Factory(lambda: {"alice", "bob"})
    requests: list[str] = attrs.field(factory=list)
    """`"POST /hub/api/users/alice/server"`, and so on, of the hub's API alone."""
    seen: list[tuple[str, str]] = attrs.field(factory=list)
    """The host that was connected to, and the token, of each request."""
    streams: set[trio.abc.Stream] = attrs.field(factory=set)

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        """Be the client's connector."""
        await trio.lowlevel.checkpoint()
        if self.down:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = memory_connection()
        self.nursery.start_soon(self._serve, theirs, host)
        return ours

    async def server(self, user: str = "alice", name: str = "") -> HubServer:
        """Return a server, which need not run."""
        key = (user, name)
        if key not in self.servers:
            path = f"/user/{user}/{name}".rstrip("/")
            gateway = await self.nursery.start(_run_gateway, self.url + path)
            self.servers.setdefault(key, HubServer(user, name, gateway))
        return self.servers[key]

    def count(self, request: str) -> int:
        """How often something was asked of the API."""
        return self.requests.count(request)

    # ------------------------------------------------------------------------------------------------------ its servers

    async def run_server(self, user: str = "alice", name: str = "") -> HubServer:
        """Have a server run, started by somebody else."""
        server = await self.server(user, name)
        server.started += 1
        server.ready = server.routed = True
        return server

    def _spawn(self, server: HubServer) -> None:
        server.pending, server.failure, server.progress = "spawn", None, []
        server.started += 1
        self.nursery.start_soon(self._spawning, server)

    async def _spawning(self, server: HubServer) -> None:
        with trio.CancelScope() as server.scope:
            for progress, message in ((0, "Server requested"), (50, "Spawning server...")):
                server.progress.append({"progress": progress, "message": message})
                server.change()
                await trio.sleep(self.spawn_seconds / 2)
            server.failure = self.spawn_failure
            if server.failure is None:
                server.ready = server.routed = True
                server.progress.append({"progress": 100, "ready": True, "message": f"Server ready at {server.path}"})
            else:
                server.progress.append({"progress": 100, "failed": True, "message": f"Spawn failed: {server.failure}"})
        server.pending = None
        server.change()

    def interrupt_spawns(self) -> None:
        """What a hub that is started again knows nothing of any more."""
        for server in self.servers.values():
            if server.pending == "spawn" and server.scope is not None:
                server.scope.cancel()
                server.progress.clear()

    async def stop_server(self, server: HubServer) -> None:
        """Stop a server, as its user, an administrator or the idle culler does."""
        if server.pending == "spawn" and server.scope is not None:
            server.scope.cancel()
            await trio.sleep(1)
        if server.ready:
            server.ready, server.pending, server.routed = False, "stop", False
            await trio.sleep(self.stop_seconds)
            for kernel in list(server.gateway.kernels.values()):
                server.gateway.remove_kernel(kernel)
            server.gateway.cut_connections()
            server.pending = None
            server.change()

    def cut(self) -> None:
        """Break every connection."""
        for stream in list(self.streams):
            stream.reset(keep=False)  # type: ignore[attr-defined]

    # ------------------------------------------------------------------------------------------------------ connections

    async def _serve(self, stream: trio.abc.Stream, host: str) -> None:
        self.streams.add(stream)
        connection = h11.Connection(h11.SERVER)
        try:
            async with stream:
                while True:
                    request, body = await self._next(stream, connection)
                    if request is None:
                        return
                    if not await self._answer(stream, connection, request, body, host):
                        return
                    connection.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, h11.LocalProtocolError):
            pass
        finally:
            self.streams.discard(stream)

    async def _next(self, stream: trio.abc.Stream, connection: h11.Connection) -> tuple[h11.Request | None, bytes]:
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return request, body
            else:
                return None, b""

    async def _answer(
        self, stream: trio.abc.Stream, connection: h11.Connection, request: h11.Request, body: bytes, host: str
    ) -> bool:
        method, path = request.method.decode(), urlsplit(request.target.decode()).path
        headers = {name.decode(): value.decode() for name, value in request.headers}
        token = headers.get("authorization", "").removeprefix("token ")
        self.seen.append((host, token))

        async def say(status: int, content: object = b"", *more: tuple[str, str]) -> bool:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            given = [*more, *([] if isinstance(content, bytes) else [JSON]), ("Content-Length", str(len(data)))]
            events = [h11.Response(status_code=status, headers=given), h11.Data(data=data), h11.EndOfMessage()]
            if status == 204:
                events = [h11.Response(status_code=status, headers=more), h11.EndOfMessage()]
            await stream.send_all(b"".join(connection.send(event) or b"" for event in events))
            return True

        owner = self.tokens.get(token)
        if path.startswith("/hub/api/"):
            self.requests.append(f"{method} {path}")
            found = await self._api(method, path, owner, json.loads(body or b"null"))
            if found is None:
                return False
            if isinstance(found, HubServer):
                return await self._send_progress(stream, connection, found)
            status, content = found
            return await say(status, content, VERSION)
        if self.no_routes:
            return await say(404, b"Not Found")
        server = next((each for each in self.servers.values() if path.startswith(each.path) and each.routed and each.name), None)
        server = server or next((each for each in self.servers.values() if path.startswith(each.path) and each.routed), None)
        if server is not None:
            if owner is None or "access:servers" not in owner.scopes:
                return await say(403, {"message": "Forbidden", "reason": None}, VERSION)
            return await self._pass_on(stream, connection, request, body, server)
        if path.startswith("/hub/user/"):
            return await say(424, {"message": f"JupyterHub server no longer running at {path[4:]}."}, VERSION)
        if method in {"GET", "HEAD"}:
            return await say(302, b"", VERSION, HTML, ("Location", f"/hub{path}"))
        return await say(403, b"<!DOCTYPE HTML><title>JupyterHub</title> 403 : Forbidden", VERSION, HTML)

    async def _pass_on(
        self, stream: trio.abc.Stream, connection: h11.Connection, request: h11.Request, body: bytes, server: HubServer
    ) -> bool:
        """Be the proxy: pass one request on, or all that follows a WebSocket's handshake."""
        upgrade = any(name == b"upgrade" for name, _ in request.headers)
        upstream = await server.gateway.connector("", 0)
        async with upstream:
            kept = [(n, v) for n, v in request.headers.raw_items() if upgrade or n.lower() != b"connection"]
            lines = [request.method + b" " + request.target + b" HTTP/1.1", *(name + b": " + value for name, value in kept)]
            if not upgrade:
                lines.append(b"Connection: close")
            await upstream.send_all(b"\r\n".join([*lines, b"", b""]) + body)
            if not upgrade:
                data = b""
                while piece := await upstream.receive_some():
                    data += piece
                await stream.send_all(data)
                return False
            async with trio.open_nursery() as nursery:

                async def carry(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
                    try:
                        while piece := await source.receive_some():
                            await sink.send_all(piece)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        pass
                    nursery.cancel_scope.cancel()

                nursery.start_soon(carry, stream, upstream)
                await carry(upstream, stream)
        return False

    # -------------------------------------------------------------------------------------------------------------- API

    async def _api(self, method: str, path: str, owner: Owner | None, body: Any) -> tuple[int, object] | HubServer | None:
        parts = [unquote(part) for part in path.removeprefix("/hub/api/").split("/")]
        if owner is None:
            message = "Missing or invalid credentials." if parts[0] == "users" else None
            return 403, {"status": 403, "message": message}
        if (method, parts) == ("GET", ["user"]):
            return 200, {"kind": owner.kind, "name": owner.name, "scopes": sorted(owner.scopes)}
        user, name = parts[1], "" if parts[2:3] != ["servers"] else parts[3]
        if user not in self.users or (owner.kind == "user" and owner.name != user):
            return 404, {"status": 404, "message": None}
        if len(parts) == 2:
            if "read:servers" not in owner.scopes:
                return 200, {"kind": "user", "name": user}
            active = [each for each in self.servers.values() if each.user == user and (each.ready or each.pending)]
            return 200, {"kind": "user", "name": user, "servers": {each.name: each.model() for each in active}}
        scope = {"GET": "read:servers", "POST": "start:servers", "DELETE": "delete:servers"}[method]
        if scope not in owner.scopes:
            message = f"Action is not authorized with current scopes; requires any of [{scope}]"
            return 403, {"status": 403, "message": message}
        server = await self.server(user, name)
        if method == "GET":
            if not server.progress or (server.pending is None and not server.ready and server.failure is None):
                return 400, {"status": 400, "message": f"{user} is not starting..."}
            return server
        if method == "DELETE":
            return await self._delete(server)
        await trio.sleep(self.post_delay)
        answer = await self._post(server, body) if self.spawns else (500, b"")
        if self.post_answer is None:
            return None
        return (self.post_answer, {"message": "the balancer's"}) if self.post_answer else answer

    async def _post(self, server: HubServer, body: Any) -> tuple[int, object]:
        if server.pending == "spawn":
            return 202, b""
        if server.pending:
            return 400, {"status": 400, "message": f"{server.user} is pending {server.pending}"}
        if server.ready:
            return 400, {"status": 400, "message": f"{server.user} is already running"}
        server.options = body
        self._spawn(server)
        with trio.move_on_after(self.slow_spawn_seconds):
            while server.pending == "spawn":
                await server.changed.wait()
        if server.pending:
            return 202, b""
        return (500, {"status": 500, "message": "Internal Server Error"}) if server.failure else (201, b"")

    async def _delete(self, server: HubServer) -> tuple[int, object]:
        if server.pending == "stop":
            return 202, b""
        done = trio.Event()

        async def stop() -> None:
            await self.stop_server(server)
            done.set()

        self.nursery.start_soon(stop)
        with trio.move_on_after(self.slow_stop_seconds):
            await done.wait()
        return (202 if server.pending == "stop" else 204), b""

    async def _send_progress(self, stream: trio.abc.Stream, connection: h11.Connection, server: HubServer) -> bool:
        head = [VERSION, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]
        await stream.send_all(connection.send(h11.Response(status_code=200, headers=head)) or b"")
        sent = 0
        while True:
            for event in server.progress[sent:]:
                if sent == self.cuts_progress_after:
                    return False
                sent += 1
                data = f"\n\ndata: {json.dumps(event)}\n\n".encode()
                await stream.send_all(connection.send(h11.Data(data=data)) or b"")
            if server.pending != "spawn":
                break
            await server.changed.wait()
        await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
        return True


async def _run_gateway(url: str, *, task_status: trio.TaskStatus[FakeGateway]) -> None:
    async with FakeGateway(url=url, token="") as gateway:
        task_status.started(gateway)
        await trio.sleep_forever()


@asynccontextmanager
async def open_fake_hub(**settings: Any) -> AsyncGenerator[FakeHub]:
    """Open a fake hub; everything of it ends with the block."""
    async with trio.open_nursery() as nursery:
        hub = FakeHub(nursery, **settings)
        yield hub
        nursery.cancel_scope.cancel()
