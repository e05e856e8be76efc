"""`FakeHub`: a whole JupyterHub inside the test process, whose users' servers are fake gateways.

The one idea: what answers at a server's address is the server, the hub, or a proxy that knows neither, as it is with a real one;
which of them it is, and how long they take, can be set at any time. Answers are those of JupyterHub 6.1.1 behind
configurable-http-proxy 5.3, and what the hub does is what its `apihandlers/users.py` does.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, Unpack

import attrs
import h11
import trio

from .._config import HubSettings
from .._gateway.gateway import Gateway
from .._gateway.listeners import Listeners
from .._hub.opening import open_hub
from .._services import open_services
from .._transport.blocks import AsyncBlock, block, check_trio
from ._faults import Faults
from ._gateway import FakeGateway
from ._http import FakeAnswer, FakeRequest
from ._streams import BUFFER_BYTES, ServerStream, memory_connection
from ._world import World

__all__ = ["EVERY_SCOPE", "FakeHub", "FakeHubServer", "FakeHubToken"]

EVERY_SCOPE: Final = frozenset({"read:servers", "start:servers", "delete:servers", "access:servers"})
"""What a token may do to a user's servers: what a user's own token may."""
_VERSION: Final = {"X-JupyterHub-Version": "6.1.1"}
_PAGE: Final = "<!DOCTYPE HTML><title>JupyterHub</title> {status} : {reason}"
_ON_ASYNCIO: Final = (
    "for asyncio, and for synchronous code, run the hub by Trio in a thread of its own, and open the URL that `hub.listen()` "
    "gives with trio_gateway.anyio or trio_gateway.blocking"
)
_SHUTS_DOWN_SECONDS: Final = 1.0
"""How long a start that is stopped takes to end."""


@attrs.frozen
class FakeHubToken:
    """Whose a token of the hub is, and what it may do."""

    owner: str
    """The user's or the service's name."""
    kind: str = "user"
    """`"user"`, for that user's servers alone, or `"service"`, for those of all."""
    scopes: frozenset[str] = EVERY_SCOPE
    """What it may do to servers."""


@attrs.define(eq=False)
class FakeHubServer:
    """A user's server, running or not. Made by `FakeHub.server`."""

    user: str
    """Whose it is."""
    name: str
    """Its name; `""` for the user's default one."""
    gateway: FakeGateway
    """What answers when it runs, with faults of its own."""
    pending: str | None = None
    """What the hub does with it: `"spawn"`, `"stop"`, or nothing."""
    ready: bool = False
    """Whether the hub says that it runs."""
    routed: bool = False
    """Whether the proxy leads to it; where it does not, the hub answers in its place."""
    alive: bool = True
    """Whether its process runs. Where the proxy leads to one that does not, it answers 503."""
    starts: int = 0
    """How often it was started."""
    failure: str | None = None
    """What its last start failed with."""
    options: Any = None
    """What it was last asked for with."""
    url: str | None = None
    """What the hub says its URL is, where that is not its path."""
    progress: list[dict[str, Any]] = attrs.field(factory=list, init=False, repr=False)
    """The steps of its start, as its stream of progress has them."""
    changed: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    """Is set at the next change."""
    there: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    """Is set when `gateway` can be connected to."""
    spawning: trio.CancelScope | None = attrs.field(default=None, init=False, repr=False)
    """The start that is under way."""

    @property
    def path(self) -> str:
        """Its path at the hub."""
        return f"/user/{self.user}/" + (f"{self.name}/" if self.name else "")

    @property
    def is_pending(self) -> bool:
        """Whether it is started or stopped right now."""
        return self.pending is not None

    def model(self) -> dict[str, Any]:
        """Return it as the hub shows it."""
        started = f"2026-01-01T00:00:{self.starts:02}.000000Z" if self.starts else None
        return {"name": self.name, "pending": self.pending, "ready": self.ready, "started": started, "url": self.url or self.path}

    async def has_ended(self, pending: str) -> None:
        """Wait while the hub does this with it."""
        await trio.lowlevel.checkpoint()
        while self.pending == pending:
            await self.changed.wait()

    def tell(self) -> None:
        """Wake those who wait for a change."""
        self.changed.set()
        self.changed = trio.Event()


class FakeHubArguments(HubSettings, total=False):
    """What `FakeHub.open` takes."""

    token: str | None
    user: str | None
    server: str
    options: dict[str, Any] | None
    startup_timeout: float
    on_event: Listeners


class FakeHub(World, AsyncBlock):
    """A JupyterHub in memory: its REST interface for servers, its proxy, and servers that are fakes; it breaks on command.

    Example::

        async def test_mine(autojump_clock):
            async with FakeHub() as hub, hub.open() as gateway, gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"

    Every argument is an attribute too, and may be changed while it runs.

    Attributes:
        faults: what goes wrong on the way to the hub: connections that are refused or break, answers of a balancer, slow ones.
            Patterns are for the whole of `POST /hub/api/users/alice/server`. What goes wrong in a server:
            `(await hub.server("alice")).gateway.faults`.
        tokens: whose each token is; `token` is the first user's.
        requests: what was asked of the hub and through its proxy, in order.
        servers: the servers that were ever asked about, by user and name.

    Args:
        users: its users; the first is the one of `token`.
        token: a token of the first user.
        url: its URL; connections to any address reach it.
        seed: where the chance of its faults begins.
        spawn_seconds: how long a start takes.
        slow_spawn_seconds: how long the hub lets a start request wait before it answers that the start goes on.
        stop_seconds: how long a stop takes.
        slow_stop_seconds: how long the hub lets the request for a stop wait.
        spawn_failure: what each start fails with, when its time is over; None for starts that succeed.
        notice_seconds: how long the hub takes to see that a server's process has ended.
        stopped_status: what the hub answers below `/hub/user/` for a server that does not run: 424, or 503 where
            `use_legacy_stopped_server_status_code` is set.
        start_answer: what a balancer in front of the hub answers to a start request that the hub carries out all the same: a
            status; None for the hub's own answer. For one that does not reach the hub there is `faults.answer`.
        progress_events: how many events a stream of progress has before it breaks; None for all.
        down: nobody listens: connections are refused.
        no_routes: the proxy has just been started and knows of no server and no hub: 404 for servers.
    """

    def __init__(
        self,
        *,
        users: Sequence[str] = ("alice", "bob"),
        token: str = "fake-hub-token",  # noqa: S107 - no secret: nothing but a fake takes it
        url: str = "http://hub.invalid",
        seed: int = 0,
        spawn_seconds: float = 3.0,
        slow_spawn_seconds: float = 10.0,
        stop_seconds: float = 1.0,
        slow_stop_seconds: float = 10.0,
        spawn_failure: str | None = None,
        notice_seconds: float = 30.0,
        stopped_status: Literal[424, 503] = 424,
        start_answer: int | None = None,
        progress_events: int | None = None,
        down: bool = False,
        no_routes: bool = False,
    ) -> None:
        super().__init__(seed)
        self.users: list[str] = list(users)
        self.token = token
        self.url = url
        self.spawn_seconds = spawn_seconds
        self.slow_spawn_seconds = slow_spawn_seconds
        self.stop_seconds = stop_seconds
        self.slow_stop_seconds = slow_stop_seconds
        self.spawn_failure = spawn_failure
        self.notice_seconds = notice_seconds
        self.stopped_status = stopped_status
        self.start_answer = start_answer
        self.progress_events = progress_events
        self.down = down
        self.no_routes = no_routes
        self.faults: Faults = Faults(self.new_seed())
        self.tokens: dict[str, FakeHubToken] = {token: FakeHubToken(self.users[0])} if self.users else {}
        self.requests: list[FakeRequest] = []
        self.servers: dict[tuple[str, str], FakeHubServer] = {}
        self._streams: dict[int, ServerStream] = {}
        self._connection_count = 0
        self._block: AbstractAsyncContextManager[None] | None = None

    def __repr__(self) -> str:
        running = [server.path for server in self.servers.values() if server.ready]
        return f"<FakeHub {self.url}, running: {', '.join(running) or 'none'}>"

    # As a context manager -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        check_trio("FakeHub", _ON_ASYNCIO)
        self._block = self._running()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._block is not None
        return await self._block.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - its services end when they are cancelled

    # For its users --------------------------------------------------------------------------------------------------

    def open(self, **arguments: Unpack[FakeHubArguments]) -> AbstractAsyncContextManager[Gateway]:
        """Open a user's server, as `open_hub` does, in memory: the first user's, with the token of that user.

        Args:
            **arguments: arguments of `open_hub`, and settings of `GatewayConfig`, which win over the environment.

        Returns:
            A context manager, as `open_hub` gives.
        """
        given: Any = {"token": self.token, **arguments}
        return open_hub(self.url, connector=self.connector, **given)

    async def connector(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to it in memory: give this to `open_hub(connector=...)` and `open_gateway(connector=...)`.

        Raises:
            ConnectionRefusedError: it is down, or a fault says so.

        Cancellation: safe; no connection is left.
        """
        del host, port
        ours, theirs = memory_connection(BUFFER_BYTES)
        stream = self._new_stream(theirs)
        await self._let_in(stream)
        await trio.lowlevel.checkpoint_if_cancelled()
        self.spawn(partial(self._serve, stream), f"hub.connection[{stream.number}]")
        await trio.lowlevel.cancel_shielded_checkpoint()
        return ours

    @block("hub.listen")
    @asynccontextmanager
    async def listen(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str]:
        """Listen on a real port too, for asyncio, other threads and other processes.

        Args:
            host: the address; loopback, unless you know better.
            port: the port; 0 for a free one.

        Yields:
            Its URL there.
        """
        async with open_services() as services:
            listeners = await trio.open_tcp_listeners(port, host=host)

            async def take(tcp: trio.SocketStream) -> None:
                stream = self._new_stream(tcp)
                try:
                    await self._let_in(stream)
                except OSError:
                    stream.reset()
                else:
                    await self._serve(stream)

            services.start_soon(partial(trio.serve_listeners, take, listeners), name="hub.listen")
            yield f"http://{host}:{listeners[0].socket.getsockname()[1]}"

    def count(self, request: str) -> int:
        """Say how often something was asked for, such as "POST /hub/api/users/alice/server"."""
        return sum(str(made) == request for made in self.requests)

    async def server(self, user: str | None = None, name: str = "") -> FakeHubServer:
        """Return a server, which need not run: the first user's default one, or that of another user or name."""
        key = (self.users[0] if user is None else user, name)
        if key not in self.servers:
            path = "/".join(("", "user", *key)).rstrip("/")
            self.servers[key] = FakeHubServer(*key, FakeGateway(url=self.url + path, token="", seed=self.new_seed()))
            self.spawn(partial(self._keep, self.servers[key]), f"hub.server[{path}]")
        await self.servers[key].there.wait()
        return self.servers[key]

    async def run_server(self, user: str | None = None, name: str = "") -> FakeHubServer:
        """Have a server run that somebody else has started, at once."""
        server = await self.server(user, name)
        server.starts += 1
        server.ready = server.routed = server.alive = True
        return server

    async def start_server(self, user: str | None = None, name: str = "") -> FakeHubServer:
        """Begin a start, as another client does; it takes `spawn_seconds`."""
        server = await self.server(user, name)
        self._spawn(server)
        return server

    async def stop_server(self, user: str | None = None, name: str = "") -> None:
        """Stop a server, as its user, an administrator or an idle culler does; return when it has stopped.

        Cancellation: the stop stays where it is.
        """
        await self._stop(await self.server(user, name))

    async def kill_server(self, user: str | None = None, name: str = "") -> None:
        """End a server's process; the proxy answers 503 until the hub sees it, after `notice_seconds`."""
        server = await self.server(user, name)
        server.alive = False
        self._end_process(server)

        async def notice() -> None:
            await trio.sleep(self.notice_seconds)
            if not server.alive:
                server.ready = server.routed = False
                server.alive = True
                server.tell()

        self.spawn(notice, f"hub.notice[{server.path}]")

    def forget_starts(self) -> None:
        """Have the hub know nothing any more of the starts that are under way, as one that is started again."""
        for server in self.servers.values():
            if server.pending == "spawn" and server.spawning is not None:
                server.spawning.cancel()
                server.progress.clear()

    def cut_connections(self) -> None:
        """Break every connection there is, to the hub and through its proxy, now."""
        for stream in list(self._streams.values()):
            self.note_cut(stream.number)
            stream.reset()

    # Its servers ----------------------------------------------------------------------------------------------------

    async def _keep(self, server: FakeHubServer) -> None:
        async with server.gateway:
            server.there.set()
            await trio.sleep_forever()

    def _spawn(self, server: FakeHubServer) -> None:
        server.pending, server.failure, server.progress = "spawn", None, []
        server.starts += 1
        self.spawn(partial(self._start, server), f"hub.spawn[{server.path}]")

    async def _start(self, server: FakeHubServer) -> None:
        with trio.CancelScope() as server.spawning:
            for progress, message in ((0, "Server requested"), (50, "Spawning server...")):
                server.progress.append({"progress": progress, "message": message})
                server.tell()
                await trio.sleep(self.spawn_seconds / 2)
            server.failure = self.spawn_failure
            if server.failure is None:
                server.ready = server.routed = server.alive = True
                server.progress.append({"progress": 100, "ready": True, "message": f"Server ready at {server.path}"})
            else:
                server.progress.append({"progress": 100, "failed": True, "message": f"Spawn failed: {server.failure}"})
        server.pending = None
        server.tell()

    async def _stop(self, server: FakeHubServer) -> None:
        if server.pending == "spawn" and server.spawning is not None:
            server.spawning.cancel()
            await trio.sleep(_SHUTS_DOWN_SECONDS)
        if server.ready:
            server.ready, server.pending, server.routed = False, "stop", False
            await trio.sleep(self.stop_seconds)
            self._end_process(server)
            server.pending = None
            server.tell()

    def _end_process(self, server: FakeHubServer) -> None:
        for kernel in list(server.gateway.kernels.values()):
            server.gateway.remove_kernel(kernel)
        server.gateway.cut_connections()

    # Connections ----------------------------------------------------------------------------------------------------

    def _new_stream(self, stream: trio.abc.Stream) -> ServerStream:
        self._connection_count += 1
        made = ServerStream(stream, self._connection_count)
        made.on_cut = lambda: self.note_cut(made.number)
        return made

    async def _let_in(self, stream: ServerStream) -> None:
        if self.down:
            raise ConnectionRefusedError(111, "Connection refused")
        await self.faults.on_connect(stream)

    async def _serve(self, stream: ServerStream) -> None:
        self._streams[stream.number] = stream
        try:
            if stream.swallows:
                await stream.receive_some()
            else:
                await _Connection(self, stream, self._answer, self._route).run()
        finally:
            del self._streams[stream.number]
            await stream.aclose()  # noqa: ASYNC102 - it does not wait

    # Its REST interface ---------------------------------------------------------------------------------------------

    async def _answer(self, request: FakeRequest) -> FakeAnswer | FakeHubServer:
        """Answer what is asked of the hub itself; a server: its progress is to be sent."""
        owner = self.tokens.get(request.headers.get("authorization", "").removeprefix("token "))
        parts = request.segments[2:]
        if owner is None:
            return _refusal(403, "Missing or invalid credentials." if parts[0] == "users" else None)
        if (request.method, parts) == ("GET", ("user",)):
            return _said({"kind": owner.kind, "name": owner.owner, "scopes": sorted(owner.scopes)})
        if parts[0] != "users" or len(parts) < 2:
            return _refusal(404, None)
        user, name = parts[1], parts[3] if parts[2:3] == ("servers",) and len(parts) > 3 else ""
        if user not in self.users or (owner.kind == "user" and owner.owner != user):
            return _refusal(404, None)
        if len(parts) == 2:
            shown: dict[str, object] = {"kind": "user", "name": user}
            if "read:servers" in owner.scopes:
                active = [each for each in self.servers.values() if each.user == user and (each.ready or each.pending)]
                shown["servers"] = {each.name: each.model() for each in active}
            return _said(shown)
        scope = {"GET": "read:servers", "POST": "start:servers", "DELETE": "delete:servers"}.get(request.method)
        if scope is None:
            return _refusal(405, None)
        if scope not in owner.scopes:
            return _refusal(403, f"Action is not authorized with current scopes; requires any of [{scope}]")
        return await self._do(request, await self.server(user, name))

    async def _do(self, request: FakeRequest, server: FakeHubServer) -> FakeAnswer | FakeHubServer:
        if request.method == "GET":
            if not server.progress or (server.pending is None and not server.ready and server.failure is None):
                return _refusal(400, f"{server.user} is not starting...")
            return server
        if request.method == "DELETE":
            return await self._delete(server)
        answer = await self._post(server, request.json())
        if self.start_answer is not None:
            return FakeAnswer.of(self.start_answer, {"message": "the balancer's"})
        return answer

    async def _post(self, server: FakeHubServer, options: object) -> FakeAnswer:
        if server.pending == "spawn":
            return FakeAnswer(202, headers=_VERSION)
        if server.pending:
            return _refusal(400, f"{server.user} is pending {server.pending}")
        if server.ready:
            return _refusal(400, f"{server.user} is already running")
        server.options = options
        self._spawn(server)
        with trio.move_on_after(self.slow_spawn_seconds):
            await server.has_ended("spawn")
        if server.is_pending:
            return FakeAnswer(202, headers=_VERSION)
        return _refusal(500, "Internal Server Error") if server.failure else FakeAnswer(201, headers=_VERSION)

    async def _delete(self, server: FakeHubServer) -> FakeAnswer:
        if server.pending == "stop":
            return FakeAnswer(202, headers=_VERSION)
        done = trio.Event()

        async def stop() -> None:
            await self._stop(server)
            done.set()

        self.spawn(stop, f"hub.stop[{server.path}]")
        with trio.move_on_after(self.slow_stop_seconds):
            await done.wait()
        return FakeAnswer(202 if server.pending == "stop" else 204, headers=_VERSION)

    # Its proxy ------------------------------------------------------------------------------------------------------

    def _route(self, request: FakeRequest) -> FakeHubServer | FakeAnswer:
        """Say which server the proxy leads to; or what is answered in a server's place."""
        path = request.path
        if self.no_routes:
            return FakeAnswer.of(404, b"Not Found")
        routed = [each for each in self.servers.values() if each.routed and path.startswith(each.path)]
        if routed:
            server = max(routed, key=lambda each: len(each.path))  # a named server's path is below the default one's
            owner = self.tokens.get(request.headers.get("authorization", "").removeprefix("token "))
            if not server.alive:
                return FakeAnswer.of(503, _PAGE.format(status=503, reason="Service Unavailable"))
            if owner is None or "access:servers" not in owner.scopes:
                return FakeAnswer.of(403, {"message": "Forbidden", "reason": None}, _VERSION)
            return server
        if path.startswith("/hub/user/"):
            return FakeAnswer.of(
                self.stopped_status, {"message": f"JupyterHub server no longer running at {path[4:]}."}, _VERSION
            )
        if request.method in {"GET", "HEAD"}:
            return FakeAnswer.of(302, "", {**_VERSION, "Location": f"/hub{path}"})
        return FakeAnswer.of(403, _PAGE.format(status=403, reason="Forbidden"), _VERSION)


def _said(content: object) -> FakeAnswer:
    return FakeAnswer.of(200, content, _VERSION)


def _refusal(status: int, message: str | None) -> FakeAnswer:
    return FakeAnswer.of(status, {"status": status, "message": message}, _VERSION)


_Answerer: TypeAlias = Callable[[FakeRequest], Awaitable[FakeAnswer | FakeHubServer]]
_Router: TypeAlias = Callable[[FakeRequest], FakeAnswer | FakeHubServer]


class _Connection:
    """One connection to the proxy: what is for the hub is answered here, the rest goes on to a server."""

    def __init__(self, hub: FakeHub, stream: ServerStream, answer: _Answerer, route: _Router) -> None:
        self._hub = hub
        self._hubs_answer = answer
        self._route = route
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None

    async def run(self) -> None:
        try:
            while (request := await self._next()) is not None and await self._serve(request):
                self._http.start_next_cycle()
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as problem:
            self._hub.protocol_errors.append(str(problem))

    async def _next(self) -> FakeRequest | None:
        body = b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._stream.receive_some()
                if not data and self._http.their_state is not h11.SEND_BODY:
                    return None
                self._http.receive_data(data)
            elif isinstance(event, h11.Request):
                self._head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert self._head is not None
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._head.headers}
                return FakeRequest.parse(self._head.method.decode(), self._head.target.decode("latin-1"), headers, body, "")
            else:
                return None

    async def _serve(self, request: FakeRequest) -> bool:
        """Answer; say whether the connection can go on."""
        hub = self._hub
        hub.requests.append(request)
        hub.conversation.note(f"#{self._stream.number} <", str(request))
        plan = hub.faults.on_request(request)
        if plan.lose_request:
            self._stream.reset()
            return False
        if plan.delay:
            await trio.sleep(plan.delay)
        found: FakeAnswer | FakeHubServer
        if plan.answer is not None:
            found = plan.answer
        elif request.path.startswith("/hub/api/"):
            found = await self._hubs_answer(request)
            if isinstance(found, FakeHubServer) and not plan.lose_answer:
                return await self._send_progress(found)
        else:
            found = self._route(request)
            if isinstance(found, FakeHubServer) and not plan.lose_answer:
                return await self._pass_on(request, found)
        if plan.lose_answer or isinstance(found, FakeHubServer):
            self._stream.reset()
            return False
        hub.conversation.note(f"#{self._stream.number} >", f"{found.status} {found.reason}")
        headers = [*found.headers.items(), *([] if found.status == 204 else [("Content-Length", str(len(found.body)))])]
        events = [h11.Response(status_code=found.status, headers=headers), h11.Data(data=found.body), h11.EndOfMessage()]
        if found.status == 204 or request.method == "HEAD":
            del events[1]
        return await self._stream.send_all(b"".join(bytes(self._http.send(event) or b"") for event in events))

    async def _send_progress(self, server: FakeHubServer) -> bool:
        head = [*_VERSION.items(), ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]
        await self._stream.send_all(self._http.send(h11.Response(status_code=200, headers=head)) or b"")
        sent = 0
        while True:
            for event in server.progress[sent:]:
                if sent == self._hub.progress_events:
                    return False
                sent += 1
                data = f"\n\ndata: {json.dumps(event)}\n\n".encode()
                await self._stream.send_all(self._http.send(h11.Data(data=data)) or b"")
            if server.pending != "spawn":
                break
            await server.changed.wait()
        return await self._stream.send_all(bytes(self._http.send(h11.EndOfMessage()) or b""))

    async def _pass_on(self, request: FakeRequest, server: FakeHubServer) -> bool:
        """Pass one request on to a server; or all that follows a WebSocket's handshake."""
        assert self._head is not None
        try:
            upstream = await server.gateway.connector("", 0)
        except ConnectionRefusedError:  # a fault of the server's
            await self._stream.send_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        kept = [(n, v) for n, v in self._head.headers.raw_items() if request.is_upgrade or n.lower() != b"connection"]
        lines = [self._head.method + b" " + self._head.target + b" HTTP/1.1", *(n + b": " + v for n, v in kept)]
        lines += [] if request.is_upgrade else [b"Connection: close"]
        async with upstream:
            await upstream.send_all(b"\r\n".join([*lines, b"", b""]) + request.body + self._http.trailing_data[0])
            async with trio.open_nursery() as nursery:
                # The one ends with the other.
                nursery.start_soon(self._carry_up, upstream, nursery.cancel_scope)
                await self._carry_down(upstream)
                nursery.cancel_scope.cancel()
        return False

    async def _carry_up(self, upstream: trio.abc.Stream, both: trio.CancelScope) -> None:
        while data := await self._stream.receive_some():
            try:
                await upstream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        both.cancel()

    async def _carry_down(self, upstream: trio.abc.Stream) -> None:
        try:
            while data := await upstream.receive_some():
                if not await self._stream.send_all(bytes(data)):
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
