"""Where a scenario plays.

The one idea: a scenario opens a gateway as a user would. The stage knows which one, how its kernels are started and what code
they understand, and breaks the network when the scenario wants it.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Unpack

import trio

from .._config import GatewayConfig, GatewaySettings
from .._errors import GatewayError, GatewayHTTPError, KernelNotFoundError
from .._gateway.gateway import Gateway, open_gateway
from .._kernel.kernel import Kernel
from .._transport.connector import Connector, connect_tcp
from ._languages import LANGUAGES, Language

__all__ = ["Absent", "Stage"]


class Absent(Exception):
    """The server does not have this, which servers may lack.

    Args:
        what: what it does instead.
    """


class _Cuttable(trio.abc.HalfCloseableStream):
    """A stream that can be cut from outside."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._scope = trio.CancelScope()
        self.cut: bool = False

    def sever(self) -> None:
        self.cut = True
        self._scope.cancel()

    async def _do(self, function: Callable[..., Awaitable[Any]], *args: object) -> Any:
        if not self.cut:
            with trio.CancelScope() as scope:
                before, self._scope = self._scope, scope
                try:
                    return await function(*args)
                finally:
                    self._scope = before
        await trio.lowlevel.checkpoint()
        await trio.aclose_forcefully(self._stream)
        raise trio.BrokenResourceError("cut by the scenario")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.cut:
            raise trio.BrokenResourceError("cut by the scenario")
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        received: bytes = await self._do(self._stream.receive_some, max_bytes)
        return received

    async def send_eof(self) -> None:
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Stage:
    """Where a scenario plays: a gateway to be opened, a kernelspec, and a network that can be cut.

    Args:
        config: the gateway's configuration.
        connector: opens byte streams; None for TCP.
        kernel_name: the kernelspec; None for the gateway's default.
        language: what it runs, `"python"` or `"bash"`, if that is known.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        connector: Connector | None = None,
        kernel_name: str | None = None,
        language: str = "python",
    ) -> None:
        self._connect = connector or connect_tcp
        self._streams: list[_Cuttable] = []
        self._language = language
        self._shared: str | None = None
        self.config: GatewayConfig = config
        self.kernel_name: str | None = kernel_name
        self.by_sessions_only: bool = False
        """Whether the server starts kernels only with a session, as jupyverse does. Found out by the first start."""
        self.patience: float = 1.0
        """How many times as long as usual a scenario may wait for what should come: more than 1 on a machine that is busy."""

    @property
    def say(self) -> Language:
        """How things are said in the kernel's language. Raises Absent where it is not known."""
        found = LANGUAGES.get(self._language)
        if found is None:
            raise Absent(f"no code is known in {self._language or 'its language'}")
        return found

    async def _connector(self, host: str, port: int) -> trio.abc.Stream:
        stream = _Cuttable(await self._connect(host, port))
        self._streams.append(stream)
        return stream

    def cut(self) -> None:
        """Break every connection that was opened here."""
        for stream in self._streams:
            stream.sever()
        self._streams.clear()

    def open(self, **settings: Unpack[GatewaySettings]) -> AbstractAsyncContextManager[Gateway]:
        """Open the gateway, with these settings in place of some."""
        config = self.config.replace(**settings) if settings else self.config
        return open_gateway(config, connector=self._connector)

    @asynccontextmanager
    async def kernel(self) -> AsyncGenerator[Kernel]:
        """Open the gateway, and a kernel: one of our own, or the one that is shared while all scenarios are played."""
        if self._shared is None:
            async with self.own_kernel() as kernel:
                yield kernel
        else:
            async with self.open() as gateway, gateway.attach_kernel(self._shared) as kernel:
                yield kernel

    @asynccontextmanager
    async def own_kernel(self, **settings: Unpack[GatewaySettings]) -> AsyncGenerator[Kernel]:
        """Open the gateway, with these settings in place of some, and start a kernel that nobody else is connected to."""
        async with self.open(**settings) as gateway, self.start(gateway) as kernel:
            yield kernel

    @asynccontextmanager
    async def start(self, gateway: Gateway) -> AsyncGenerator[Kernel]:
        """Start a kernel, which ends with the block; with a session, where the server does not start them otherwise."""
        async with AsyncExitStack() as stack:
            yield await self._enter_start(stack, gateway)

    async def _enter_start(self, stack: AsyncExitStack, gateway: Gateway) -> Kernel:
        if not self.by_sessions_only:
            try:
                return await stack.enter_async_context(gateway.start_kernel(self.kernel_name))
            except GatewayHTTPError as error:
                if error.status_code != 405:
                    raise
                self.by_sessions_only = True
        return await stack.enter_async_context(self._start_with_a_session(gateway))

    @asynccontextmanager
    async def _start_with_a_session(self, gateway: Gateway) -> AsyncGenerator[Kernel]:
        path = f"scenario-{uuid.uuid4()}.ipynb"  # some servers have one kernel for all clients that name a path
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": self.kernel_name or "python3"}}
        kernel_id = ""
        with trio.CancelScope(shield=True):  # the answer has the kernel's id; the setting `request_timeout` bounds it
            async with gateway.http_client() as client:
                answer = await client.post("api/sessions", json=body)
            if answer.status_code not in {200, 201}:
                raise Absent(f"neither POST /api/kernels nor POST /api/sessions: {answer.status_code}")
            kernel_id = answer.json()["kernel"]["id"]
        try:
            async with gateway.attach_kernel(kernel_id) as kernel:
                yield kernel
        finally:
            with trio.move_on_after(20, shield=True), suppress(KernelNotFoundError):
                await gateway.kernels.shutdown(kernel_id)

    @asynccontextmanager
    async def sharing(self) -> AsyncGenerator[None]:
        """Share one kernel among the scenarios, where one can be started: starting them takes most of the time."""
        async with AsyncExitStack() as stack:
            with suppress(GatewayError):
                kernel = await stack.enter_async_context(self.own_kernel())
                self._shared = kernel.id
            try:
                yield
            finally:
                self._shared = None
