"""Jupyter Server's manager of all its kernels, on one gateway.

The one idea: it holds the gateway open, from the server's first question to its end; the others ask it.
"""

# The server awaits what its managers' methods give, and the annotations of their synchronous base classes don't say so.
# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado import web
from traitlets import Dict, Unicode, default

from .._errors import GatewayHTTPError, KernelNotFoundError, ProtocolError
from .._events import GatewayEvent
from .._gateway.gateway import Gateway, open_gateway
from .._gateway.starting import can_be_kernel_id
from .._models import KernelModel, find_name
from .._portal.asyncio_faces import translate
from .._portal.asyncio_side import PortalCrossing
from .._portal.faces import original_of
from .._portal.portal import Portal
from .._protocol.culling import CullPolicy
from .._protocol.rest import kernels_path
from .._secret import hide_values
from ._client import Place
from ._environment import NAME_HELP, SESSION_NAME, choose_directory, choose_variables, opened_by
from ._http_errors import as_http
from ._server_kernel import GatewayKernel
from ._wire import Wire

__all__ = ["GatewayMappingKernelManager"]

_MAX_GONE: Final = 1000
"""How many kernels that have ended are remembered; of more, the oldest are forgotten."""


class GatewayMappingKernelManager(AsyncMappingKernelManager):
    """Jupyter Server's `kernel_manager_class`: kernels on a gateway. Configured by `url` or `gateway_name`, `auth_token`,
    and `settings`.

    The traits `cull_idle_timeout`, `cull_interval`, `cull_busy` and `cull_connected` are honoured by this side.
    """

    last_kernel_activity: Any

    gateway_name: Any = Unicode("", help=NAME_HELP).tag(config=True)
    url: Any = Unicode("", help="The gateway's URL, or several with commas; empty for JUPYTER_GATEWAY_URL.").tag(config=True)
    auth_token: Any = Unicode("", help="The gateway's token; empty for JUPYTER_GATEWAY_AUTH_TOKEN.").tag(config=True)
    settings: Any = Dict(help="Other settings of trio_gateway.GatewayConfig, by name.").tag(config=True)

    @default("kernel_manager_class")
    def _default_kernel_manager_class(self) -> str:
        return "trio_gateway.jupyter.server.GatewayKernel"

    @default("shared_context")
    def _default_shared_context(self) -> bool:
        return False

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)  # type: ignore[no-untyped-call]
        self._opening = asyncio.Lock()
        self._starting: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._block: PortalCrossing[Gateway] | None = None
        self._gateway: Gateway | None = None
        self.portal: Portal | None = None
        self._gone: dict[str, None] = {}
        self.wires: dict[tuple[str, str], Wire] = {}
        """The browsers' connections by kernel and session; for Trio's thread."""

    # The gateway ------------------------------------------------------------------------------------------------

    async def gateway(self) -> Gateway:
        """Give the gateway, opened with the server's first question and closed with its last kernel's end, in `shutdown_all`.

        Raises:
            ConfigError: a setting can't be used.
        """
        async with self._opening:
            if self._gateway is None:
                block: PortalCrossing[Gateway] = PortalCrossing(self._open, translate)
                self._gateway = await block.__aenter__()
                self._block = block
            return self._gateway

    def _open(self, portal: Portal) -> AbstractAsyncContextManager[Gateway]:
        self.portal = portal
        config, settings = opened_by(self.gateway_name, self.url, self.auth_token, self.settings)
        loop = asyncio.get_running_loop()

        def observe(event: GatewayEvent) -> None:
            # In Trio's thread. What is done through a kernel of ours, that tells itself.
            if event.kind == "kernel" and event.action == "cull" and event.kernel_id is not None:
                with suppress(RuntimeError):  # the loop was closed
                    loop.call_soon_threadsafe(self._note_culled, event.kernel_id, event.status, event.message, event.status_code)

        return open_gateway(*config, cull=self._policy(), on_event=observe, **settings)

    async def close_gateway(self) -> None:
        """Close the gateway; the next question opens it again."""
        async with self._opening:
            block, self._block, self._gateway = self._block, None, None
            if block is not None:
                with ExitStack() as ending:
                    for kernel in self._kernels.values():
                        ending.enter_context(kernel.ending(surely=True))
                    await block.__aexit__(None, None, None)

    # Kernels ----------------------------------------------------------------------------------------------------

    async def start_kernel(self, *, kernel_id: str | None = None, path: str | None = None, **arguments: Any) -> str:
        """Start a kernel, or take one that runs on the gateway into this server's.

        Args:
            kernel_id: one that runs; or the id to start one under. The log names a gateway that chooses ids itself, and
                an id that can't be asked for: any but a random UUID.
            path: the API path of the folder to work in; the gateway gets it as `KERNEL_WORKING_DIR`.
            **arguments: `kernel_name`, and `env`: the server's whole environment and the notebook's path. Of it are sent
                `KERNEL_*`, what `allowed_envs` names, and that path, `JPY_SESSION_NAME`. What can't be sent is left out, with a
                warning.

        Returns:
            The kernel's id.

        Raises:
            tornado.web.HTTPError: what the gateway said; for an unknown kernelspec a `NoSuchKernel` too.
        """
        arguments = {**arguments, "env": hide_values(arguments.get("env"))}
        arguments.setdefault("transport_encryption", getattr(self, "transport_encryption", None))
        if path is not None:
            arguments["cwd"] = self.cwd_for_path(path)  # type: ignore[no-untyped-call]
        if kernel_id is None:
            return await self._start(None, arguments)
        # Of those who want the same kernel at once, the first starts it, and the others take it.
        lock = self._starting.setdefault(kernel_id, asyncio.Lock())
        async with lock:
            known = self._kernels.get(kernel_id)
            if known is not None and await known.refresh_model() is not None:
                return kernel_id
            return await self._start(kernel_id, arguments)

    async def _start(self, kernel_id: str | None, arguments: Mapping[str, Any]) -> str:
        kernel = self._make()
        await kernel.start_kernel(kernel_id=kernel_id, **arguments)
        self._kernels[kernel.kernel_id] = kernel
        return str(kernel.kernel_id)

    def _make(self) -> GatewayKernel:
        specs = {} if self.kernel_spec_manager is None else {"kernel_spec_manager": self.kernel_spec_manager}
        kernel: GatewayKernel = self.kernel_manager_factory(parent=self, log=self.log, **specs)
        return kernel

    async def take_in(self, kernel_id: str) -> bool:
        """Take a kernel that runs on the gateway into this server's, unless it is.

        Returns:
            Whether it is the server's now; not if the gateway says that it is gone.

        Raises:
            tornado.web.HTTPError: the gateway could not say.
        """
        async with self._starting.setdefault(kernel_id, asyncio.Lock()):
            if kernel_id not in self._kernels:
                with as_http():
                    try:
                        model = await (await self.gateway()).kernels.get(kernel_id)
                    except KernelNotFoundError:
                        self.note_gone(kernel_id)
                        return False
                    self._know(model)
                kernel = self._make()
                kernel.learn(model)
                self._kernels[kernel_id] = kernel
            return True

    def _know(self, model: KernelModel) -> None:
        """Have the library know another client's kernel: it is listed, and culled. Waits for Trio's thread."""
        place = self.place(model.id)
        place.portal.run_sync(partial(place.gateway.kernels.note_met, model))

    async def start_or_take(self, name: str | None, kernel_id: str | None, env: Any, cwd: Any) -> KernelModel:
        """Start a kernel, or look at one that runs. For a `GatewayKernel`, whose arguments these are.

        Where no kernel runs under the id, and it is none that can be asked for, the kernel gets another one. `python` is
        `python3`, as for jupyter_client, unless the gateway has a kernelspec of this name.

        Raises:
            GatewayError: what the gateway said.
        """
        gateway: Any = await self.gateway()
        model: Any = None
        if kernel_id is not None:
            with suppress(KernelNotFoundError):
                model = await gateway.kernels.get(kernel_id)
                self._know(model)
        if model is None:
            if name is None or name == "python":
                # What is started then, the list tells; where another name is given, it is looked up in it anyway.
                with suppress(GatewayHTTPError, ProtocolError):
                    specs = await gateway.kernelspecs.list()
                    if name is not None and find_name(name, specs.kernelspecs) is None:
                        name = NATIVE_KERNEL_NAME  # as jupyter_client's own managers take it
            wish = kernel_id if kernel_id is None or can_be_kernel_id(kernel_id) else None
            only = {SESSION_NAME, *gateway.config.allowed_envs}
            env = choose_variables(env, os.environ, self.log.warning, only=only)
            cwd = choose_directory(cwd, self.log.warning)
            # Nothing is awaited after this until the caller has the kernel, and nothing asks for an open gateway: if that was
            # closed meanwhile, the kernel would be nobody's. The library knows the kernels that it starts.
            model = await gateway.kernels.start(name, env=env, cwd=cwd, kernel_id=wish)
            if kernel_id is not None and wish is None:
                self.log.warning("Not every gateway takes the kernel id %r: the kernel's is %s", kernel_id, model.id)
            elif kernel_id is not None and model.id != kernel_id:
                self.log.warning("The gateway takes no kernel ids: the kernel's is %s, and not %s", model.id, kernel_id)
        found: KernelModel = model
        return found

    def place(self, kernel_id: str) -> Place:
        """Say where a kernel is reached. For a `GatewayKernel`.

        Raises:
            RuntimeError: the gateway was closed.
        """
        gateway: Any = self._gateway
        if gateway is None or self.portal is None:
            raise RuntimeError("the gateway is not open")
        return Place(self.portal, original_of(gateway), kernel_id)

    def note(self, kernel_id: str, model: KernelModel) -> None:
        """Take note of a look at a kernel. For a `GatewayKernel`."""
        self._kernel_connections[kernel_id] = model.connections or 0
        if model.last_activity is not None:
            self.last_kernel_activity = max(self.last_kernel_activity, model.last_activity)

    def drop(self, kernel: GatewayKernel) -> None:
        """Forget a kernel that has ended. For a `GatewayKernel`."""
        if self._kernels.get(kernel.kernel_id) is kernel:
            self.remove_kernel(kernel.kernel_id)
        self.last_kernel_activity = datetime.now(UTC)

    def note_gone(self, kernel_id: str) -> None:
        """Remember a kernel that the gateway says is gone: to shut it down is fine. For a `GatewayKernel`."""
        self._gone[kernel_id] = None
        if len(self._gone) > _MAX_GONE:
            del self._gone[next(iter(self._gone))]

    @property
    def kernels_url(self) -> str:
        """The URL of the gateway's kernels; `""` before it was opened."""
        if self._gateway is None:
            return ""
        config = self._gateway.config
        return config.http_url(kernels_path(config.kernels_endpoint))

    def get_kernel(self, kernel_id: str) -> GatewayKernel:
        """Give the manager of one of this server's kernels.

        Raises:
            tornado.web.HTTPError: 404: it has none of this id.
        """
        kernel: Any = super().get_kernel(kernel_id)
        found: GatewayKernel = kernel
        return found

    async def kernel_model(self, kernel_id: str) -> dict[str, Any]:
        """Give a kernel's model, as the gateway has it now.

        Raises:
            tornado.web.HTTPError: 404 only if the gateway says so.
        """
        model: dict[str, Any] | None = await self.get_kernel(str(kernel_id)).refresh_model()
        if model is None:
            raise web.HTTPError(404, f"the gateway knows no kernel {kernel_id}")
        return model

    async def list_kernels(self, **arguments: Any) -> list[dict[str, Any]]:
        """Give the models of this server's kernels. One is forgotten only if the gateway says of its very id that it is gone."""
        del arguments
        with as_http():
            models = {model.id: model for model in await (await self.gateway()).kernels.list()}
        kernels = list(self._kernels.items())
        # What the list lacks is asked about by its id.
        return [
            found
            for found in await asyncio.gather(*(self._look(kernel, models.get(kernel_id)) for kernel_id, kernel in kernels))
            if found is not None
        ]

    async def _look(self, kernel: GatewayKernel, model: KernelModel | None) -> dict[str, Any] | None:
        if model is not None and kernel.has_kernel:
            kernel.learn(model)
            return kernel.kernel
        try:
            return await kernel.refresh_model()
        except web.HTTPError:
            return {**(kernel.kernel or {"id": kernel.kernel_id}), "execution_state": "unknown"}

    def list_kernel_ids(self) -> list[str]:
        """Give the ids of this server's kernels."""
        return list(self._kernels)

    async def shutdown_kernel(self, kernel_id: str, now: bool = False, restart: bool = False) -> None:
        """Shut a kernel down; one that is gone already is fine."""
        if kernel_id in self._gone and kernel_id not in self._kernels:
            return
        await self.get_kernel(kernel_id).shutdown_kernel(now=now, restart=restart)
        if not restart:
            self.remove_kernel(kernel_id)

    async def restart_kernel(self, kernel_id: str, now: bool = False, **arguments: Any) -> None:
        """Restart a kernel."""
        await self.get_kernel(kernel_id).restart_kernel(now=now, **arguments)

    async def interrupt_kernel(self, kernel_id: str, **arguments: Any) -> None:
        """Interrupt what a kernel is doing."""
        del arguments
        await self.get_kernel(kernel_id).interrupt_kernel()

    async def shutdown_all(self, now: bool = False) -> None:
        """Shut all of this server's kernels down at once, each whatever becomes of the others, and close the gateway.

        Each is tried once, also one whose start ends while others are shut down, or while the gateway is closed. The log says
        which could not be shut down.
        """
        tried: set[GatewayKernel] = set()
        is_over = False
        while not is_over:
            while kernels := {kernel_id: kernel for kernel_id, kernel in self._kernels.items() if kernel not in tried}:
                tried.update(kernels.values())
                ended = await asyncio.gather(
                    *(self.shutdown_kernel(kernel_id, now=now) for kernel_id in kernels), return_exceptions=True
                )
                for kernel_id, failure in zip(kernels, ended, strict=True):
                    if isinstance(failure, BaseException):
                        self.log.error("Kernel %s could not be shut down: %s", kernel_id, failure)
            await self.close_gateway()
            is_over = tried.issuperset(self._kernels.values())

    def remove_kernel(self, kernel_id: str) -> Any:
        """Forget a kernel."""
        self._kernel_connections.pop(kernel_id, None)
        return self._kernels.pop(kernel_id, None)

    def update_env(self, *, kernel_id: str, env: dict[str, str]) -> None:
        """Do nothing: a gateway's kernel keeps its environment. Asked for where a session is renamed."""
        del kernel_id, env

    def initialize_culler(self) -> None:
        """Do nothing: the library culls."""

    async def cull_kernels(self) -> None:
        """Cull this server's idle kernels now, by the traits."""
        await self._cull(None)

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Cull a kernel now, if it is idle by the traits."""
        await self._cull(kernel_id)

    async def _cull(self, kernel_id: str | None) -> None:
        policy = self._policy(None if kernel_id is None else lambda model: model.id == kernel_id)
        if policy is not None:
            try:
                await (await self.gateway()).kernels.cull(policy)
            except ExceptionGroup as failures:
                for failure in failures.exceptions:
                    self.log.warning("Culling failed: %s", failure)

    def _policy(self, only: Callable[[KernelModel], bool] | None = None) -> CullPolicy | None:
        if self.cull_idle_timeout <= 0:
            return None
        return CullPolicy(
            idle_timeout=self.cull_idle_timeout,
            interval=self.cull_interval if self.cull_interval > 0 else self.cull_interval_default,
            cull_busy=self.cull_busy,
            cull_connected=self.cull_connected,
            only=only,
        )

    def _note_culled(self, kernel_id: str, status: str, message: str, status_code: int | None) -> None:
        kernel = self._kernels.get(kernel_id)
        if kernel is not None:
            kernel.tell("shutdown", status, message, **({} if status_code is None else {"status_code": status_code}))
            if status == "success":
                kernel.end("dead")

    def start_watching_activity(self, kernel_id: str) -> None:
        """Do nothing: the gateway watches its kernels."""

    def stop_watching_activity(self, kernel_id: str) -> None:
        """Do nothing: the gateway watches its kernels."""

    def ports_changed(self, kernel_id: str) -> bool:
        """Say no: a kernel on a gateway has no ports here."""
        del kernel_id
        return False

    def notify_connect(self, kernel_id: str) -> None:
        """Do nothing: the gateway counts connections."""

    def notify_disconnect(self, kernel_id: str) -> None:
        """Do nothing: the gateway counts connections."""
