"""jupyter_client's kernel manager on a gateway.

The one idea: a manager holds two blocks of the library's open, its gateway's and its kernel's. So a kernel is shut down with its
manager, and also when its event loop is closed under it or the program ends without a word.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import AsyncKernelManager, KernelManager, in_pending_state
from jupyter_core.utils import run_sync
from traitlets import Dict, Type, Unicode

from .._config import hidden_settings
from .._crossing.calls import Realm
from .._crossing.from_asyncio import Crossing, RealmCrossing
from .._crossing.twins import translate
from .._errors import ForkedProcessError, GatewayError
from .._gateway.gateway import Gateway, open_gateway
from .._secret import Secret, hide_values
from .._session.kernel import Kernel
from ._client import BlockingGatewayKernelClient, GatewayKernelClient
from ._environment import choose_directory, choose_variables
from ._link import Link

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = ["BlockingGatewayKernelManager", "GatewayKernelManager", "start_new_kernel"]


class _ManagerOnGateway(KernelManager):
    """What the asynchronous and the blocking manager share."""

    url: Any = Unicode("", help="The gateway's URL; empty for JUPYTER_GATEWAY_URL.").tag(config=True)
    auth_token: Any = Unicode("", help="The gateway's token; empty for JUPYTER_GATEWAY_AUTH_TOKEN.").tag(config=True)
    settings: Any = Dict(help="Other settings of trio_gateway.GatewayConfig, by name.").tag(config=True)

    kernel_id: Any = Unicode(None, allow_none=True)

    _realm: Realm | None = None
    _gateway_block: RealmCrossing[Gateway] | None = None
    _gateway: Gateway | None = None
    _kernel_block: Crossing[Kernel] | None = None
    _kernel: Kernel | None = None

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._links: list[Link] = []

    def _open_gateway(self, realm: Realm) -> AbstractAsyncContextManager[Gateway]:
        self._realm = realm
        settings = hidden_settings(self.settings)
        if self.url:
            settings["url"] = self.url
        if self.auth_token:
            settings["auth_token"] = Secret.of(self.auth_token)
        return open_gateway(**settings)

    @property
    def has_kernel(self) -> bool:
        """Whether a kernel was started and not shut down."""
        return self._kernel is not None

    @in_pending_state
    async def _async_start_kernel(self, **arguments: Any) -> None:
        """Start a kernel.

        Args:
            **arguments: `env` and `cwd`; others are for kernels on this machine, and ignored. Of `env` is sent what differs from
                this process's environment; of this process's environment its `KERNEL_*`, and what `allowed_envs` names.

        Raises:
            GatewayError: it could not be started; none is left.
        """
        arguments = {**arguments, "env": hide_values(arguments.get("env"))}
        name = self.kernel_name or None
        self._gateway_block = RealmCrossing(self._open_gateway, translate)
        self._gateway = await self._gateway_block.__aenter__()
        try:
            # jupyter_client's name for any Python, which a gateway need not have.
            if name == "python" and (await self._gateway.kernelspecs.list()).find(name) is None:
                name = None
            env = choose_variables(arguments.get("env"), os.environ, self.log.warning)
            block: Any = self._gateway.start_kernel(name, env=env, cwd=choose_directory(arguments.get("cwd"), self.log.warning))
            kernel = await block.__aenter__()
        except BaseException:
            await self._async_close()  # noqa: ASYNC102 - bounded in Trio
            raise
        self._kernel_block, self._kernel = block, kernel
        self.kernel_id = kernel.id

    async def _async_close(self) -> None:
        """Leave both blocks."""
        kernel_block, self._kernel_block, self._kernel = self._kernel_block, None, None
        gateway_block, self._gateway_block = self._gateway_block, None
        self._links.clear()
        try:
            if kernel_block is not None:
                await kernel_block.__aexit__(None, None, None)
        finally:
            if gateway_block is not None:
                await gateway_block.__aexit__(None, None, None)  # noqa: ASYNC102 - bounded in Trio

    def client(self, **arguments: Any) -> Any:
        """Make a client for the kernel that was started.

        Args:
            **arguments: traits of the client.

        Raises:
            RuntimeError: no kernel was started.
        """
        if self._kernel is None or self._gateway is None or self._realm is None:
            raise RuntimeError("No kernel is running!")
        client: Any = self.client_factory(parent=self, session=self.session, **arguments)
        original: Any = self._gateway
        client.bind(self._realm, original._original, self._kernel.id, self._links.append)
        return client

    async def _async_is_alive(self) -> bool:
        """Say whether the kernel is there, as the gateway tells."""
        if self._kernel is None:
            return False
        try:
            return (await self._kernel.hb.check()).value not in ("dead", "culled")
        except ForkedProcessError:
            raise
        except GatewayError:
            return True  # nobody can tell: only the gateway's own word makes a kernel gone

    async def _async_interrupt_kernel(self) -> None:
        """Interrupt the kernel."""
        await self._running().interrupt()

    async def _async_restart_kernel(self, now: bool = False, newports: bool = False, **arguments: Any) -> None:
        """Restart the kernel; returns when it answers again. What the arguments say is the gateway's business."""
        del now, newports, arguments
        kernel = self._running()
        for link in self._links:
            link.expect_restart()
        await kernel.restart()

    async def _async_shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        """Shut the kernel down, or restart it."""
        if restart:
            await self._async_restart_kernel(now)
        else:
            await self._async_close()

    async def _async_request_shutdown(self, restart: bool = False) -> None:
        await self._async_shutdown_kernel(restart=restart)

    async def _async_finish_shutdown(self, *arguments: Any, **more: Any) -> None:
        """Do nothing: the gateway has seen to it."""

    async def _async_kill_kernel(self, restart: bool = False) -> None:
        await self._async_shutdown_kernel(now=True, restart=restart)

    async def _async_signal_kernel(self, signum: int) -> None:
        """Interrupt the kernel, for SIGINT.

        Raises:
            NotImplementedError: it is another signal, and gateways send none.
        """
        import signal

        if signum != signal.SIGINT:
            raise NotImplementedError("a gateway sends its kernels no signal but SIGINT")
        await self._async_interrupt_kernel()

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        """Leave what is still open."""
        if not restart:
            await self._async_close()

    def _running(self) -> Kernel:
        if self._kernel is None:
            raise RuntimeError("Cannot act on the kernel. No kernel is running!")
        return self._kernel


class GatewayKernelManager(_ManagerOnGateway, AsyncKernelManager):
    """A `jupyter_client.AsyncKernelManager` whose kernel runs on a gateway.

    For nbclient (`kernel_manager_class=GatewayKernelManager`), papermill (`--engine trio_gateway`) and `nbconvert --execute`
    (`--ExecutePreprocessor.kernel_manager_class=trio_gateway.jupyter.GatewayKernelManager`). Which gateway is said by the traits
    `url`, `auth_token` and `settings`, or by the variables `JUPYTER_GATEWAY_*`.
    """

    client_factory: Any = Type(GatewayKernelClient, klass="jupyter_client.client.KernelClient", config=True)

    start_kernel: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_start_kernel
    shutdown_kernel: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_shutdown_kernel
    restart_kernel: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_restart_kernel
    interrupt_kernel: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_interrupt_kernel
    signal_kernel: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_signal_kernel
    request_shutdown: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_request_shutdown
    finish_shutdown: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_finish_shutdown
    cleanup_resources: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_cleanup_resources
    is_alive: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_is_alive
    _kill_kernel: Callable[..., Coroutine[Any, Any, Any]] = _ManagerOnGateway._async_kill_kernel
    client: Callable[..., Any] = _ManagerOnGateway.client


class BlockingGatewayKernelManager(_ManagerOnGateway):
    """A `jupyter_client.KernelManager` whose kernel runs on a gateway. Else as `GatewayKernelManager`."""

    client_factory: Any = Type(BlockingGatewayKernelClient, klass="jupyter_client.client.KernelClient", config=True)

    start_kernel: Callable[..., Any] = run_sync(_ManagerOnGateway._async_start_kernel)
    shutdown_kernel: Callable[..., Any] = run_sync(_ManagerOnGateway._async_shutdown_kernel)
    restart_kernel: Callable[..., Any] = run_sync(_ManagerOnGateway._async_restart_kernel)
    interrupt_kernel: Callable[..., Any] = run_sync(_ManagerOnGateway._async_interrupt_kernel)
    signal_kernel: Callable[..., Any] = run_sync(_ManagerOnGateway._async_signal_kernel)
    request_shutdown: Callable[..., Any] = run_sync(_ManagerOnGateway._async_request_shutdown)
    finish_shutdown: Callable[..., Any] = run_sync(_ManagerOnGateway._async_finish_shutdown)
    cleanup_resources: Callable[..., Any] = run_sync(_ManagerOnGateway._async_cleanup_resources)
    is_alive: Callable[..., Any] = run_sync(_ManagerOnGateway._async_is_alive)
    _kill_kernel: Callable[..., Any] = run_sync(_ManagerOnGateway._async_kill_kernel)


def start_new_kernel(
    startup_timeout: float = 60, kernel_name: str = "python3", **arguments: Any
) -> tuple[BlockingGatewayKernelManager, BlockingGatewayKernelClient]:
    """As `jupyter_client.manager.start_new_kernel`: start a kernel, and connect to it.

    Args:
        startup_timeout: how long it may take until it answers, in seconds.
        kernel_name: the kernelspec's name.
        **arguments: as for `BlockingGatewayKernelManager.start_kernel`.

    Raises:
        GatewayError: it could not be started.
        RuntimeError: it did not answer in time.
    """
    manager = BlockingGatewayKernelManager(kernel_name=kernel_name)
    manager.start_kernel(**arguments)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=startup_timeout)
    except BaseException:
        client.stop_channels()
        manager.shutdown_kernel()
        raise
    return manager, client
