"""jupyter_client's kernel manager on a gateway.

The one idea: a manager holds two blocks of the library's open, its gateway's and its kernel's. So a kernel is shut down with its
manager, and also when its event loop is closed under it or the program ends without a word.
"""

from __future__ import annotations

import os
import signal
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager, KernelManager, in_pending_state
from traitlets import Dict, DottedObjectName, Type, Unicode, default

from .._errors import ForkedProcessError, GatewayError, GatewayHTTPError, KernelNotFoundError, ProtocolError
from .._gateway.gateway import Gateway, open_gateway
from .._gateway.placing import put_into_place
from .._kernel.kernel import Kernel
from .._portal.asyncio_faces import translate
from .._portal.asyncio_side import Crossing, PortalCrossing, call
from .._portal.faces import original_of
from .._portal.portal import Portal
from .._secret import hide_values
from . import _forks  # noqa: F401 - it does its work by being there
from ._absent import WithoutProcess
from ._client import BlockingGatewayKernelClient, GatewayKernelClient, Place
from ._environment import NAME_HELP, absolute_directory, choose_directory, choose_variables, opened_by
from ._errors import NotOnAGatewayError, as_jupyter_client
from ._link import Link
from ._pairs import awaiting, blocking

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = [
    "BlockingGatewayKernelManager",
    "GatewayKernelManager",
    "KernelOnGateway",
    "start_new_async_kernel",
    "start_new_kernel",
]


class KernelOnGateway(WithoutProcess, KernelManager):
    """What all managers of kernels on gateways share. Whose gateway it is, and how it is asked, is theirs to say."""

    kernel_id: Any = Unicode(None, allow_none=True)
    blocking_class: Any = Type(BlockingGatewayKernelClient, klass="jupyter_client.client.KernelClient")

    _kernel_spec: KernelSpec | None = None

    @default("cache_ports")
    def _default_cache_ports(self) -> bool:
        return False

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()

    def _place(self) -> Place:
        """Say where the kernel is reached. Raises RuntimeError: there is none."""
        raise NotImplementedError

    # Clients ----------------------------------------------------------------------------------------------------

    def client(self, **arguments: Any) -> Any:
        """Make a client for the kernel. There need be none yet: its channels can be started when there is.

        Args:
            **arguments: traits of the client.
        """
        return self._bound(self.client_factory, **arguments)

    def blocking_client(self) -> Any:
        """Make a client for the kernel whose methods block, for a thread that may wait."""
        return self._bound(self.blocking_class)

    def _bound(self, factory: Any, **arguments: Any) -> Any:
        client = factory(**{"parent": self, "session": self.session.clone(), **arguments})
        if not hasattr(client, "bind"):
            why = "a client over sockets reaches no kernel on a gateway; take GatewayKernelClient, or a class derived from it"
            raise NotOnAGatewayError("client_factory", why)
        client.bind(self._place, self._links.add)
        return client

    @contextmanager
    def ending(self, *, surely: bool = False) -> Generator[None]:
        """End the kernel: a task that waits for a message of it meanwhile is cancelled, as by `stop_channels()`.

        Args:
            surely: whether the connections end with this block also if it fails.
        """
        links = list(self._links)
        for link in links:
            link.ending = True
        try:
            yield
            surely = True
        finally:
            for link in links:
                link.ending = link.ended = surely

    def _expect_restart(self) -> None:
        for link in list(self._links):
            link.expect_restart()

    # What is known of it ----------------------------------------------------------------------------------------

    @property
    def kernel_spec(self) -> KernelSpec | None:
        """The kernelspec, as the gateway tells; None before a kernel was started, and where it does not tell."""
        if self._kernel_spec is None:
            try:
                place = self._place()
            except RuntimeError:
                return None
            self._kernel_spec = _as_kernel_spec(place.gateway.kernelspecs.last_listed(self.kernel_name))
        return self._kernel_spec

    def resolve_path(self, path: str) -> None:
        """Return None: which files the kernel sees is not known here."""
        del path

    # What jupyter_client's methods in several steps come to -----------------------------------------------------

    async def _async_request_shutdown(self, restart: bool = False) -> None:
        await self._async_shutdown_kernel(restart=restart)

    async def _async_finish_shutdown(self, *arguments: Any, **more: Any) -> None:
        """Do nothing: the gateway has seen to it."""

    async def _async_kill_kernel(self, restart: bool = False) -> None:
        await self._async_shutdown_kernel(now=True, restart=restart)

    async def _async_send_kernel_sigterm(self, restart: bool = False) -> None:
        await self._async_shutdown_kernel(restart=restart)

    async def _async_signal_kernel(self, signum: int) -> None:
        """Interrupt the kernel, for SIGINT.

        Raises:
            NotOnAGatewayError: it is another signal, and gateways send none.
        """
        if signum != signal.SIGINT:
            raise NotOnAGatewayError("signal_kernel", "a gateway sends its kernels no signal but SIGINT")
        await self._async_interrupt_kernel()

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        """End the ZeroMQ context, if somebody has asked for it."""
        if self._created_context and not restart:
            self._created_context = False
            self.context.destroy(linger=0)

    def start_restarter(self) -> None:
        """Do nothing: the gateway starts a kernel again that has died."""

    def stop_restarter(self) -> None:
        """Do nothing: the gateway starts a kernel again that has died."""

    def update_env(self, *, env: dict[str, str]) -> None:
        """Do nothing: a gateway's kernel keeps its environment."""
        del env

    def _check_encryption(self, wanted: object = None) -> None:
        """See that nobody relies on an encryption that is not there. Raises NotOnAGatewayError."""
        if "required" in (wanted, getattr(self, "transport_encryption", None)):  # older ones have no such trait
            why = "CurveZMQ is for sockets, and none lead to a kernel on a gateway; an https URL encrypts the way to the gateway"
            raise NotOnAGatewayError("transport_encryption", why)


def _as_kernel_spec(spec: Any) -> KernelSpec | None:
    if spec is None:
        return None
    mode = spec.interrupt_mode if spec.interrupt_mode in ("signal", "message") else "signal"
    return KernelSpec(
        name=spec.name,
        argv=list(spec.argv),
        env=dict(spec.env),
        display_name=spec.display_name,
        language=spec.language,
        interrupt_mode=mode,
        metadata=dict(spec.metadata),
    )


@asynccontextmanager
async def _take_or_start(
    gateway: Gateway, kernel_id: str | None, name: str | None, owns: bool, **arguments: Any
) -> AsyncGenerator[tuple[Kernel, bool]]:
    """Take the kernel that runs under an id, or start one under it. In Trio.

    Yields:
        The kernel, and whether it is shut down with this block: one that ran before is not.
    """
    there = False
    if kernel_id is not None:
        try:
            await gateway.kernels.get(kernel_id)
            there = True
        except KernelNotFoundError:
            if not owns:
                raise
    if there:
        assert kernel_id is not None
        async with gateway.attach_kernel(kernel_id) as kernel:
            yield kernel, False
        return
    if name is None:
        # What is started then, the list tells; where a name is given, it is looked up in it anyway.
        with suppress(GatewayHTTPError, ProtocolError):
            await gateway.kernelspecs.list()
    request = gateway.kernels.prepare(name, path=None, launch_timeout=None, kernel_id=kernel_id, **arguments)
    async with gateway.start_prepared(request) as kernel:
        yield kernel, True


class _ManagerOnGateway(KernelOnGateway):
    """What the asynchronous and the blocking manager share."""

    kernel_id: Any
    kernel_name: Any

    gateway_name: Any = Unicode("", help=NAME_HELP).tag(config=True)
    url: Any = Unicode("", help="The gateway's URL, or several with commas; empty for JUPYTER_GATEWAY_URL.").tag(config=True)
    auth_token: Any = Unicode("", help="The gateway's token; empty for JUPYTER_GATEWAY_AUTH_TOKEN.").tag(config=True)
    settings: Any = Dict(help="Other settings of trio_gateway.GatewayConfig, by name.").tag(config=True)

    _portal: Portal | None = None
    _gateway_block: PortalCrossing[Gateway] | None = None
    _gateway: Gateway | None = None
    _kernel_block: Crossing[Any] | None = None
    _kernel: Kernel | None = None
    _owned = False
    _wish: str | None = None
    _chosen: str | None = None
    _directory: object = None
    """Where the kernel is to work: an absolute path; None for the gateway's choice."""

    def _open_gateway(self, portal: Portal) -> AbstractAsyncContextManager[Gateway]:
        self._portal = portal
        config, settings = opened_by(self.gateway_name, self.url, self.auth_token, self.settings)
        return open_gateway(*config, **settings)

    @property
    def has_kernel(self) -> bool:
        """Whether a kernel was started and not shut down."""
        return self._kernel is not None

    @in_pending_state
    async def _async_start_kernel(self, **arguments: Any) -> None:
        """Start a kernel, or take one that runs on the gateway.

        Args:
            **arguments: `env`, `cwd`, and `resources`, a `KernelResources` as for `Gateway.start_kernel`; others are for
                kernels on this machine, and ignored. Of `env` is sent what differs from
                this process's environment; of this process's environment its `KERNEL_*`, and what `allowed_envs` names. In `cwd`,
                relative to this process's directory, the kernel works if the gateway obeys, or if it is in Python and has the
                same directory.
                And `kernel_id`, as is the trait of this name: the id to start it under. A kernel that runs under it is taken:
                `shutdown_kernel()` shuts that down too, and nothing else does. Where the gateway chooses ids itself, the log
                says so.

        Raises:
            NoSuchKernelError: the gateway has no such kernelspec.
            GatewayError: it could not be started; none is left.
            RuntimeError: this manager has a kernel already.

        Warns:
            UserWarning: the kernel does not work in `cwd`.
        """
        arguments = {**arguments, "env": hide_values(arguments.get("env"))}
        self._attempted_start = True
        if self._kernel is not None:
            raise RuntimeError("this manager has a kernel already: shut that down first")
        self._check_encryption(arguments.get("transport_encryption"))
        if self.kernel_id != self._chosen:
            self._wish = self.kernel_id
        wish = self._wish or arguments.get("kernel_id")
        if wish is None and not self.owns_kernel:
            raise RuntimeError("a manager that owns no kernel starts none: its kernel_id says which one to take")
        name = self.kernel_name or None
        gateway_block: PortalCrossing[Gateway] = PortalCrossing(self._open_gateway, translate)
        self._gateway = await gateway_block.__aenter__()
        self._gateway_block = gateway_block
        try:
            # jupyter_client's name for any Python, which a gateway need not have.
            if name == "python" and (await self._gateway.kernelspecs.list()).find(name) is None:
                name = None
            env = choose_variables(arguments.get("env"), os.environ, self.log.warning)
            directory = absolute_directory(arguments.get("cwd"))
            cwd = choose_directory(directory, self.log.warning)
            place = self._where(self._gateway)
            resources = arguments.get("resources")
            opened = _take_or_start(place.gateway, wish, name, self.owns_kernel, env=env, cwd=cwd, resources=resources)
            block: Crossing[Any] = Crossing(place.portal, opened, lambda portal, given: (translate(portal, given[0]), given[1]))
            with as_jupyter_client():
                kernel, self._owned = await block.__aenter__()
            self._kernel_block, self._kernel = block, kernel
            self._directory = directory if self._owned else None  # one that was taken stays where it is
            await self._put_into_place()
        except BaseException:
            await self._async_close()  # noqa: ASYNC102 - bounded in Trio
            raise
        self._chosen = None if kernel.id == wish else kernel.id
        self.kernel_id = kernel.id
        if kernel.name:
            self.kernel_name = kernel.name
        if wish is not None and kernel.id != wish:
            self.log.warning("the gateway takes no kernel ids: the kernel's is %s, and not %s", kernel.id, wish)

    def _where(self, gateway: Any, kernel_id: str = "") -> Place:
        assert self._portal is not None
        return Place(self._portal, original_of(gateway), kernel_id)

    def _place(self) -> Place:
        if self._kernel is None or self._gateway is None:
            raise RuntimeError("No kernel is running!")
        return self._where(self._gateway, self._kernel.id)

    async def _put_into_place(self) -> None:
        """Have a fresh process work where it was asked to, or say that it does not."""
        if not isinstance(self._directory, str):
            return
        place = self._place()
        kernel: Any = self._running()
        put = partial(put_into_place, original_of(kernel), self._directory, limit=place.gateway.config.launch_timeout)
        reason = await call(place.portal, put)
        if reason is not None:
            warnings.warn(f"the kernel does not work in {self._directory}: {reason}", UserWarning, stacklevel=2)

    async def _async_close(self) -> None:
        """Leave both blocks."""
        kernel_block, self._kernel_block, self._kernel = self._kernel_block, None, None
        gateway_block, self._gateway_block = self._gateway_block, None
        with self.ending(surely=True):
            self._links.clear()
            try:
                if kernel_block is not None:
                    await kernel_block.__aexit__(None, None, None)
            finally:
                if gateway_block is not None:
                    await gateway_block.__aexit__(None, None, None)  # noqa: ASYNC102 - bounded in Trio

    async def _async_is_alive(self) -> bool:
        """Say whether the kernel is there, as the gateway tells."""
        if self._kernel is None:
            return False
        try:
            verdict = (await self._kernel.hb.check()).value
            return verdict not in ("dead", "culled") and (verdict != "unresponsive" or self._kernel.hb.is_beating())
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
        self._expect_restart()
        await kernel.restart()
        await self._put_into_place()

    async def _async_shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        """Shut the kernel down, or restart it. A manager that owns no kernel leaves it running."""
        if restart:
            await self._async_restart_kernel(now)
            return
        with self.ending():
            if self._kernel is not None and not self._owned and self.owns_kernel:
                await self._kernel.shutdown()
            await self._async_close()

    async def _async_cleanup_resources(self, restart: bool = False) -> None:
        """Leave what is still open."""
        if not restart:
            await self._async_close()
        await super()._async_cleanup_resources(restart)

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

    client_class: Any = DottedObjectName("trio_gateway.jupyter.GatewayKernelClient", config=True)
    client_factory: Any = Type(GatewayKernelClient, klass="jupyter_client.client.KernelClient", config=True)

    start_kernel: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "start_kernel")
    shutdown_kernel: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "shutdown_kernel")
    restart_kernel: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "restart_kernel")
    interrupt_kernel: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "interrupt_kernel")
    signal_kernel: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "signal_kernel")
    request_shutdown: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "request_shutdown")
    finish_shutdown: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "finish_shutdown")
    cleanup_resources: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "cleanup_resources")
    is_alive: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "is_alive")
    _kill_kernel: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "kill_kernel")
    _send_kernel_sigterm: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ManagerOnGateway, "send_kernel_sigterm")
    client: Callable[..., Any] = _ManagerOnGateway.client


class BlockingGatewayKernelManager(_ManagerOnGateway):
    """A `jupyter_client.KernelManager` whose kernel runs on a gateway. Else as `GatewayKernelManager`."""

    client_class: Any = DottedObjectName("trio_gateway.jupyter.BlockingGatewayKernelClient", config=True)
    client_factory: Any = Type(BlockingGatewayKernelClient, klass="jupyter_client.client.KernelClient", config=True)

    start_kernel: Callable[..., Any] = blocking(_ManagerOnGateway, "start_kernel")
    shutdown_kernel: Callable[..., Any] = blocking(_ManagerOnGateway, "shutdown_kernel")
    restart_kernel: Callable[..., Any] = blocking(_ManagerOnGateway, "restart_kernel")
    interrupt_kernel: Callable[..., Any] = blocking(_ManagerOnGateway, "interrupt_kernel")
    signal_kernel: Callable[..., Any] = blocking(_ManagerOnGateway, "signal_kernel")
    request_shutdown: Callable[..., Any] = blocking(_ManagerOnGateway, "request_shutdown")
    finish_shutdown: Callable[..., Any] = blocking(_ManagerOnGateway, "finish_shutdown")
    cleanup_resources: Callable[..., Any] = blocking(_ManagerOnGateway, "cleanup_resources")
    is_alive: Callable[..., Any] = blocking(_ManagerOnGateway, "is_alive")
    _kill_kernel: Callable[..., Any] = blocking(_ManagerOnGateway, "kill_kernel")
    _send_kernel_sigterm: Callable[..., Any] = blocking(_ManagerOnGateway, "send_kernel_sigterm")


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


async def start_new_async_kernel(
    startup_timeout: float = 60, kernel_name: str = "python3", **arguments: Any
) -> tuple[GatewayKernelManager, GatewayKernelClient]:
    """As `jupyter_client.manager.start_new_async_kernel`: start a kernel, and connect to it.

    Args:
        startup_timeout: how long it may take until it answers, in seconds.
        kernel_name: the kernelspec's name.
        **arguments: as for `GatewayKernelManager.start_kernel`.

    Raises:
        GatewayError: it could not be started.
        RuntimeError: it did not answer in time.
    """
    manager = GatewayKernelManager(kernel_name=kernel_name)
    await manager.start_kernel(**arguments)
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=startup_timeout)
    except BaseException:
        client.stop_channels()
        await manager.shutdown_kernel()  # noqa: ASYNC102 - bounded in Trio
        raise
    return manager, client
