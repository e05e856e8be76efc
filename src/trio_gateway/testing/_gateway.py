"""`FakeGateway`: a whole gateway inside the test process.

The one idea: everything it is stands here as plain attributes, and changing one takes effect at once; its clock is Trio's, so
under a virtual clock a test of a long wait is over in no time.
"""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self, Unpack
from urllib.parse import urlsplit

import trio

from .._config import GatewaySettings
from .._gateway.gateway import Gateway, open_gateway
from .._gateway.listeners import Listeners
from .._models import find_name
from .._protocol.culling import CullPolicy
from .._services import Services, open_services
from .._transport.blocks import AsyncBlock, block, check_trio
from ._cell import Script
from ._conversation import Conversation
from ._faults import Faults
from ._http import FakeRequest
from ._kernel import FakeKernel
from ._process import KernelProcess
from ._rest import FakeSession
from ._server import serve_connection
from ._specs import FakeKernelSpec
from ._streams import BUFFER_BYTES, ServerStream, memory_connection

__all__ = ["FakeGateway", "Framing"]

Framing = Literal["v1", "legacy"]
ON_ASYNCIO: Final = (
    "for asyncio, and for synchronous code, take the fixture fake_gateway_server, a fake on a loopback port, and open its URL "
    "with trio_gateway.anyio or trio_gateway.blocking"
)
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


class OpenArguments(GatewaySettings, total=False):
    """What `FakeGateway.open` takes."""

    on_event: Listeners
    session_database: str | os.PathLike[str] | None
    cull: CullPolicy | None


class FakeGateway(AsyncBlock):
    """A Jupyter gateway in memory: the real protocol, in whatever time Trio's clock has, which breaks on command.

    Example::

        async def test_mine(autojump_clock):
            async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"

    Every argument is an attribute too, and may be changed while it runs.

    Args:
        script: what runs the code of its kernels; None for a tiny Python.
        kernelspecs: its kernelspecs; the first is the default. None: one, `python3`, with `script`.
        token: what clients must show; `""` to let everyone in.
        seed: where its ids and its chaos begin: two fakes of one seed do the same.
        framings: the framings of WebSockets it speaks: `("legacy",)` for a server that knows no subprotocol.
        url: its base URL; connections to any address reach it.
        list_kernels: whether it lists kernels and sessions. Kernel Gateway by default does not.
        takes_kernel_id: whether a client can choose its kernel's id.
        takes_bearer: whether `Bearer` is as good as `token` before the token.
        max_kernels: how many kernels it may have; None for no limit.
        ping_interval: seconds between its pings; 0 for none. A client that answers none for long is hung up on.
        kernel_info_timeout: how long a handshake waits for a kernel that does not answer, in seconds.
        restart_seconds: how long a restart takes.
        restarter_seconds: how long after a kernel's death the gateway notices.
        shutdown_seconds: how long a shutdown takes.
        max_message_size: the largest WebSocket message it takes, in bytes; a larger one closes the connection with code 1009.
        buffers: whether it keeps what a session misses while nobody is connected, and replays it.
        iopub_msg_rate_limit: messages a second on iopub, beyond which it drops them; 0 for no limit.
        iopub_data_rate_limit: bytes a second of streams on iopub, likewise.
        rate_limit_window: over how many seconds it counts.
        cull_idle_timeout: how long a kernel may be idle before it is culled, in seconds; 0 for ever.
        cull_interval: how often it looks, in seconds.
        cull_connected: whether it culls kernels that someone is connected to.
        cull_busy: whether it culls kernels that are busy.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        kernelspecs: Sequence[FakeKernelSpec] | None = None,
        token: str = "fake-token",  # noqa: S107 - no secret: nothing but a fake takes it
        seed: int = 0,
        framings: Sequence[Framing] = ("v1", "legacy"),
        url: str = "http://fake.invalid:8888",
        list_kernels: bool = True,
        takes_kernel_id: bool = True,
        takes_bearer: bool = False,
        max_kernels: int | None = None,
        ping_interval: float = 30.0,
        kernel_info_timeout: float = 60.0,
        restart_seconds: float = 0.0,
        restarter_seconds: float = 3.0,
        shutdown_seconds: float = 0.0,
        max_message_size: int = 10 * 1024 * 1024,  # tornado's, so Kernel Gateway's
        buffers: bool = True,
        iopub_msg_rate_limit: float = 1000.0,
        iopub_data_rate_limit: float = 1_000_000.0,
        rate_limit_window: float = 3.0,
        cull_idle_timeout: float = 0.0,
        cull_interval: float = 300.0,
        cull_connected: bool = False,
        cull_busy: bool = False,
    ) -> None:
        specs = list(kernelspecs) if kernelspecs is not None else [FakeKernelSpec(name="python3", script=script)]
        self.kernelspecs: dict[str, FakeKernelSpec] = {spec.name: spec for spec in specs}
        self.default_kernelspec: str = specs[0].name if specs else ""
        self.token: str = token
        self.refusal_status: int = 401
        self.framings: tuple[Framing, ...] = tuple(framings)
        self.url: str = url
        self.list_kernels: bool = list_kernels
        self.takes_kernel_id: bool = takes_kernel_id
        self.takes_bearer: bool = takes_bearer
        self.max_kernels: int | None = max_kernels
        self.ping_interval: float = ping_interval
        self.kernel_info_timeout: float = kernel_info_timeout
        self.restart_seconds: float = restart_seconds
        self.restarter_seconds: float = restarter_seconds
        self.shutdown_seconds: float = shutdown_seconds
        self.max_message_size: int = max_message_size
        self.buffers: bool = buffers
        self.iopub_msg_rate_limit: float = iopub_msg_rate_limit
        self.iopub_data_rate_limit: float = iopub_data_rate_limit
        self.rate_limit_window: float = rate_limit_window
        self.cull_idle_timeout: float = cull_idle_timeout
        self.cull_interval: float = cull_interval
        self.cull_connected: bool = cull_connected
        self.cull_busy: bool = cull_busy
        self.kernels: dict[str, FakeKernel] = {}
        self.ended_kernels: list[FakeKernel] = []
        self.orphans: list[KernelProcess] = []
        """Kernels' processes that nobody can end any more: a real gateway would have left them too."""
        self.sessions: dict[str, FakeSession] = {}
        self.requests: list[FakeRequest] = []
        self.connections: dict[int, ServerStream] = {}
        self.protocol_errors: list[str] = []
        self.handshakes_abandoned: int = 0
        """How many WebSocket handshakes their client gave up before they were answered, while the kernel was there. As on a
        Kernel Gateway, each makes the kernel's count of connections one too low, and nothing is buffered for it from then on."""
        self.conversation: Conversation = Conversation()
        self.faults: Faults = Faults(seed)
        self._random = random.Random(seed)  # noqa: S311 - ids that can be had again
        self._pids = 1000
        self._connection_count = 0
        self._services: Services | None = None
        self._stack = AsyncExitStack()
        self._started_at = 0.0
        self.server_session: str = self.new_hex()

    def __repr__(self) -> str:
        return f"<FakeGateway {self.url}, {len(self.kernels)} kernels, {len(self.connections)} connections>"

    # As a context manager -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        check_trio("FakeGateway", ON_ASYNCIO)
        self.conversation.begin()
        self._started_at = trio.current_time()
        self._services = await self._stack.enter_async_context(open_services())
        self.spawn(self._cull_for_ever, "culling")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        for kernel in list(self.kernels.values()):
            self.remove_kernel(kernel, quietly=True)
        return await self._stack.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - its services end when they are cancelled

    # For its users --------------------------------------------------------------------------------------------------

    def open(self, **settings: Unpack[OpenArguments]) -> AbstractAsyncContextManager[Gateway]:
        """Open it as a `Gateway`, in memory, with the token it wants. The environment's settings are not looked at.

        Args:
            **settings: settings of `GatewayConfig`, and arguments of `open_gateway`.

        Returns:
            A context manager, as `open_gateway` gives.
        """
        from .._config import GatewayConfig

        own = ("on_event", "session_database", "cull")
        arguments: dict[str, Any] = {name: value for name, value in settings.items() if name in own}
        given: Any = {"url": self.url, "auth_token": self.token or None}
        given |= {name: value for name, value in settings.items() if name not in own}
        config = GatewayConfig.from_env({}, **given)
        return open_gateway(config, connector=self.connector, **arguments)

    async def connector(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to it in memory: give this to `open_gateway(connector=...)`. The address does not matter.

        Raises:
            ConnectionRefusedError: a fault says so.

        Cancellation: safe; no connection is left.
        """
        del host, port
        ours, theirs = memory_connection(BUFFER_BYTES)
        stream = self._new_stream(theirs)
        await self.faults.on_connect(stream)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._serve_soon(stream)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return ours

    @block("fake.listen")
    @asynccontextmanager
    async def listen(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str]:
        """Listen on a real port too, for clients in other processes and languages.

        Args:
            host: the address; loopback, unless you know better.
            port: the port; 0 for a free one.

        Yields:
            Its URL. The token is wanted there too.
        """
        async with open_services() as services:
            listeners = await trio.open_tcp_listeners(port, host=host)

            async def take(tcp: trio.SocketStream) -> None:
                stream = self._new_stream(tcp)
                try:
                    await self.faults.on_connect(stream)
                except OSError:
                    stream.reset()
                else:
                    await self._serve(stream)

            services.start_soon(partial(trio.serve_listeners, take, listeners), name="fake.listen")
            yield f"http://{host}:{listeners[0].socket.getsockname()[1]}{self.base_path}"

    def find_kernelspec(self, name: str) -> FakeKernelSpec | None:
        """Return the kernelspec of a name, which Jupyter's servers compare without case; None where there is none."""
        found = find_name(name, self.kernelspecs)
        return None if found is None else self.kernelspecs[found]

    def expire_token(self, new: str = "another-token") -> None:
        """Let no one in with the present token any more, only with this one."""
        self.token = new

    @property
    def base_path(self) -> str:
        """The path of its URL, without a slash at the end."""
        return urlsplit(self.url).path.rstrip("/")

    def cut_connections(self) -> None:
        """Break every connection there is, now."""
        for stream in list(self.connections.values()):
            self.note_cut(stream.number)
            stream.reset()

    def swallow_connections(self) -> None:
        """Let every connection there is go silent, now: nothing comes through any more, and nobody is told."""
        for stream in list(self.connections.values()):
            stream.swallow()

    # For its parts --------------------------------------------------------------------------------------------------

    def spawn(self, function: Callable[[], Awaitable[object]], name: str) -> None:
        """Run something until the fake ends."""
        assert self._services is not None, "a FakeGateway is used in its `async with` block"
        self._services.start_soon(function, name=f"fake.{name}")

    def new_hex(self) -> str:
        """Make an id of 32 hexadecimal digits."""
        return uuid.UUID(int=self._random.getrandbits(128), version=4).hex

    def next_pid(self) -> int:
        """Make a process id."""
        self._pids += 1
        return self._pids

    def timestamp(self, moment: float) -> str:
        """Say when a moment of Trio's clock is, as the server does: without a fraction where it is 0."""
        date = _EPOCH + timedelta(seconds=moment - self._started_at)
        return date.isoformat().replace("+00:00", "Z")

    def note_cut(self, number: int) -> None:
        """Note that a connection was cut."""
        self.conversation.note(f"#{number} x", "connection cut")

    async def start_kernel(self, name: str, *, kernel_id: str | None = None, env: Mapping[str, str] | None = None) -> FakeKernel:
        """Start a kernel, as a client would over HTTP. It is there when this returns, and may take a while to be ready."""
        kernel_id = kernel_id or str(uuid.UUID(self.new_hex()))
        spec = self.find_kernelspec(name)
        if spec is None:
            raise KeyError(name)
        kernel = FakeKernel(self, kernel_id, spec, env or {})
        kernel.name = name  # as measured: a kernel has its name as who started it wrote it
        self.kernels[kernel_id] = kernel
        self.spawn(kernel.launch, f"launch[{kernel_id:.8}]")
        await trio.lowlevel.checkpoint()
        return kernel

    def remove_kernel(self, kernel: FakeKernel, *, quietly: bool = False) -> None:
        """Shut a kernel down and forget it."""
        if self.kernels.pop(kernel.id, None) is not None:
            self.ended_kernels.append(kernel)
            kernel.end(quietly=quietly)

    def _new_stream(self, stream: trio.abc.Stream) -> ServerStream:
        self._connection_count += 1
        made = ServerStream(stream, self._connection_count)
        made.on_cut = lambda: self.note_cut(made.number)
        return made

    def _serve_soon(self, stream: ServerStream) -> None:
        self.connections[stream.number] = stream
        self.spawn(partial(self._serve, stream), f"connection[{stream.number}]")

    async def _serve(self, stream: ServerStream) -> None:
        self.connections[stream.number] = stream
        try:
            await serve_connection(self, stream)
        finally:
            del self.connections[stream.number]

    async def _cull_for_ever(self) -> None:
        while True:
            await trio.sleep(self.cull_interval)
            limit = self.cull_idle_timeout
            if limit <= 0:
                continue
            for kernel in list(self.kernels.values()):
                idle = trio.current_time() - kernel.last_activity >= limit
                spared = (kernel.execution_state == "busy" and not self.cull_busy) or (
                    kernel.connections and not self.cull_connected
                )
                if idle and not spared:
                    kernel.cull()
