"""`FakeGateway`: a whole gateway inside the test process.

The one idea: it is the state of `_state`, and clients reach that through bytes, in memory or on a port. Its clock is Trio's, so
under a virtual clock a test of a long wait is over in no time.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, Unpack

import trio

from .._config import GatewayConfig, GatewaySettings
from .._gateway.gateway import Gateway, open_gateway
from .._gateway.listeners import Listeners
from .._protocol.culling import CullPolicy
from .._services import open_services
from .._transport.blocks import AsyncBlock, block, check_trio
from ._server import serve_connection
from ._state import GatewayState
from ._streams import BUFFER_BYTES, ServerStream, memory_connection

__all__ = ["FakeGateway"]

ON_ASYNCIO: Final = (
    "for asyncio, and for synchronous code, take the fixture fake_gateway_server, a fake on a loopback port, and open its URL "
    "with trio_gateway.anyio or trio_gateway.blocking"
)


class OpenArguments(GatewaySettings, total=False):
    """What `FakeGateway.open` takes."""

    on_event: Listeners
    session_database: str | os.PathLike[str] | None
    cull: CullPolicy | None


class FakeGateway(GatewayState, AsyncBlock):
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
        start_seconds: how long a start takes. Until it has succeeded the kernel is known at no door, and a start whose connection
            breaks goes on all the same: as on Kernel Gateway and Enterprise Gateway.
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

    _connection_count: int = 0
    _block: AbstractAsyncContextManager[None] | None = None

    def __repr__(self) -> str:
        return f"<FakeGateway {self.url}, {len(self.kernels)} kernels, {len(self.connections)} connections>"

    # As a context manager -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        check_trio("FakeGateway", ON_ASYNCIO)
        self._block = self._running()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._block is not None
        return await self._block.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - its services end when they are cancelled

    # For its users --------------------------------------------------------------------------------------------------

    def open(self, **settings: Unpack[OpenArguments]) -> AbstractAsyncContextManager[Gateway]:
        """Open it as a `Gateway`, in memory, with the token it wants. The environment's settings are not looked at.

        Args:
            **settings: settings of `GatewayConfig`, and arguments of `open_gateway`.

        Returns:
            A context manager, as `open_gateway` gives.
        """
        own = ("on_event", "session_database", "cull")
        arguments: dict[str, Any] = {name: value for name, value in settings.items() if name in own}
        given: Any = {"url": self.url, "auth_token": self.token or None}
        given |= {name: value for name, value in settings.items() if name not in own}
        config = GatewayConfig.from_env({}, **given)
        return open_gateway(config, connector=self.connector, **arguments)

    @block("fake.replica")
    @asynccontextmanager
    async def replica(self, *, url: str = "http://replica.invalid:8888") -> AsyncGenerator[FakeGateway]:
        """Run one more gateway with the same kernels, as Enterprise Gateway does in replication: one more door to them.

        It has the settings that this one has now, and this one's kernelspecs, kernels and document sessions. Its faults,
        requests, connections and conversation are its own, and so are what it limits and when it pings. A kernel is known at each
        door from when its start, which any door takes, has succeeded; its process lives as long as this one's block.

        A balancer is a function of yours: give `open_gateway(connector=...)` one that calls the `connector` of this door or that.

        Args:
            url: its base URL.

        Yields:
            The replica; when the block ends its connections break, and the kernels live on.
        """
        names = inspect.signature(GatewayState).parameters.keys() - {"script", "kernelspecs", "seed", "url"}
        made = FakeGateway(seed=self.new_seed(), url=url, **{name: getattr(self, name) for name in names})
        made.refusal_status = self.refusal_status
        made._share(self)
        async with made:
            yield made

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

    def cut_connections(self) -> None:
        """Break every connection there is, now."""
        for stream in list(self.connections.values()):
            self.note_cut(stream.number)
            stream.reset()

    def swallow_connections(self) -> None:
        """Let every connection there is go silent, now: nothing comes through any more, and nobody learns of it."""
        for stream in list(self.connections.values()):
            stream.swallow()

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
