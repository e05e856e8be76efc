"""The classes that let Jupyter Server run its kernels through this library, in place of those of `jupyter_server.gateway`.

The one idea: the kernel manager holds one gateway open for the whole server; everyone else asks it. A browser's WebSocket is tied
to a kernel's channels there, frame by frame in either framing, so a connection to the gateway that breaks is resumed without the
browser noticing. Only the gateway's own word makes a kernel gone.

In `jupyter_server_config.py`::

    c.ServerApp.kernel_manager_class = "trio_gateway.jupyter.server.GatewayMappingKernelManager"
    c.ServerApp.kernel_spec_manager_class = "trio_gateway.jupyter.server.GatewayKernelSpecManager"
    c.ServerApp.session_manager_class = "trio_gateway.jupyter.server.GatewaySessionManager"
    c.ServerApp.kernel_websocket_connection_class = "trio_gateway.jupyter.server.GatewayWebSocketConnection"
    c.GatewayMappingKernelManager.url = "https://gateway.example.org"
"""

# The server awaits what its managers' methods give, and the annotations of their synchronous base classes don't say so.
# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import attrs
import trio
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from jupyter_server.services.sessions.sessionmanager import SessionManager
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.websocket import WebSocketClosedError
from traitlets import Dict, Unicode
from traitlets.config import LoggingConfigurable

from .._config import hidden_settings
from .._crossing.calls import Block, Realm
from .._crossing.calls import Message as Note
from .._crossing.from_asyncio import RealmCrossing, run_in_loop
from .._crossing.twins import translate
from .._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelNotFoundError,
    ProtocolError,
)
from .._gateway.gateway import Gateway, open_gateway
from .._models import KernelModel, KernelSpec
from .._protocol.codec import V1_SUBPROTOCOL
from .._protocol.culling import CullPolicy
from .._secret import Secret, hide_values
from .._session.kernel_channels import KernelChannels
from ._environment import SESSION_NAME, choose_directory, choose_variables

__all__ = [
    "GatewayKernel",
    "GatewayKernelSpecManager",
    "GatewayMappingKernelManager",
    "GatewaySessionManager",
    "GatewayWebSocketConnection",
]


@contextmanager
def _as_http() -> Generator[None]:
    """Say what went wrong with the gateway in the server's words: HTTP statuses."""
    try:
        yield
    except KernelNotFoundError as error:
        raise web.HTTPError(404, str(error)) from error
    except InvalidInputError as error:
        raise web.HTTPError(400, str(error)) from error
    except GatewayTimeoutError as error:
        raise web.HTTPError(504, str(error)) from error
    except GatewayConnectionError as error:
        raise web.HTTPError(503, str(error)) from error
    except GatewayHTTPError as error:
        raise web.HTTPError(error.status_code, str(error)) from error
    except ProtocolError as error:
        raise web.HTTPError(502, str(error)) from error
    except GatewayError as error:
        raise web.HTTPError(500, str(error)) from error


class GatewayKernel(LoggingConfigurable):
    """A kernel that this server knows: its id and its kernelspec. What can be done with it is the mapping manager's business."""

    kernel_id: Any = Unicode("")
    kernel_name: Any = Unicode("")


class GatewayMappingKernelManager(AsyncMappingKernelManager):
    """Jupyter Server's `kernel_manager_class`: kernels on a gateway. Configured by `url`, `auth_token` and `settings`.

    The traits `cull_idle_timeout`, `cull_interval`, `cull_busy` and `cull_connected` are honoured by this side.
    """

    url: Any = Unicode("", help="The gateway's URL; empty for JUPYTER_GATEWAY_URL.").tag(config=True)
    auth_token: Any = Unicode("", help="The gateway's token; empty for JUPYTER_GATEWAY_AUTH_TOKEN.").tag(config=True)
    settings: Any = Dict(help="Other settings of trio_gateway.GatewayConfig, by name.").tag(config=True)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)  # type: ignore[no-untyped-call]
        self._opening = asyncio.Lock()
        self._block: RealmCrossing[Gateway] | None = None
        self._gateway: Gateway | None = None
        self.realm: Realm | None = None
        self.wires: dict[tuple[str, str], _Wire] = {}
        """The browsers' connections by kernel and session; for Trio's thread."""

    # The gateway ------------------------------------------------------------------------------------------------

    async def gateway(self) -> Gateway:
        """Give the gateway, opened with the server's first question and closed with its last kernel's end, in `shutdown_all`.

        Raises:
            ConfigError: a setting can't be used.
        """
        async with self._opening:
            if self._gateway is None:
                self._block = RealmCrossing(self._open, translate)
                self._gateway = await self._block.__aenter__()
            return self._gateway

    def _open(self, realm: Realm) -> AbstractAsyncContextManager[Gateway]:
        self.realm = realm
        settings = hidden_settings(self.settings)
        if self.url:
            settings["url"] = self.url
        if self.auth_token:
            settings["auth_token"] = Secret.of(self.auth_token)
        cull = None
        if self.cull_idle_timeout > 0:
            cull = CullPolicy(
                idle_timeout=self.cull_idle_timeout,
                interval=self.cull_interval,
                cull_busy=self.cull_busy,
                cull_connected=self.cull_connected,
            )
        return open_gateway(cull=cull, **settings)

    async def close_gateway(self) -> None:
        """Close the gateway; the next question opens it again."""
        async with self._opening:
            block, self._block, self._gateway = self._block, None, None
            if block is not None:
                await block.__aexit__(None, None, None)

    # Kernels ----------------------------------------------------------------------------------------------------

    async def start_kernel(self, *, kernel_id: str | None = None, path: str | None = None, **arguments: Any) -> str:
        """Start a kernel, or take one that runs on the gateway into this server's.

        Args:
            kernel_id: one that runs; or the id to start one under.
            path: the API path of the folder to work in; the gateway is told it as `KERNEL_WORKING_DIR`.
            **arguments: `kernel_name`, and `env`: the server's whole environment and the notebook's path. Of it are sent
                `KERNEL_*`, what `allowed_envs` names, and that path, `JPY_SESSION_NAME`. What can't be sent is left out, with a
                warning.

        Returns:
            The kernel's id.

        Raises:
            tornado.web.HTTPError: 404 for a kernel that is not there; else what the gateway said.
        """
        arguments = {**arguments, "env": hide_values(arguments.get("env"))}
        with _as_http():
            gateway = await self.gateway()
            model = None
            if kernel_id is not None:
                with suppress(KernelNotFoundError):
                    model = await gateway.kernels.get(kernel_id)
            if model is None:
                name, warn = arguments.get("kernel_name"), self.log.warning
                only = {SESSION_NAME, *gateway.config.allowed_envs}
                env = choose_variables(arguments.get("env"), os.environ, warn, only=only)
                cwd = None if path is None else choose_directory(self.cwd_for_path(path), warn)  # type: ignore[no-untyped-call]
                model = await gateway.kernels.start(name, env=env, cwd=cwd, kernel_id=kernel_id)
        # One that was there before is known from now on, as one that was started is: it is listed, and culled.
        self._know(gateway, model)
        name = model.name or arguments.get("kernel_name") or ""
        self._kernels[model.id] = GatewayKernel(parent=self, log=self.log, kernel_id=model.id, kernel_name=name)
        return model.id

    def _know(self, gateway: Any, model: KernelModel) -> None:
        assert self.realm is not None
        self.realm.run_sync(lambda: gateway._original._roster.add(model.id, model.name))

    async def kernel_model(self, kernel_id: str) -> dict[str, Any]:
        """Give a kernel's model, as the gateway has it now.

        Raises:
            tornado.web.HTTPError: 404 only if the gateway says so.
        """
        self.get_kernel(str(kernel_id))
        try:
            with _as_http():
                return _kernel_as_json(await (await self.gateway()).kernels.get(kernel_id))
        except web.HTTPError as error:
            if error.status_code == 404:
                self.remove_kernel(kernel_id)
            raise

    async def list_kernels(self, **arguments: Any) -> list[dict[str, Any]]:
        """Give the models of this server's kernels. One is forgotten only if the gateway says of its very id that it is gone."""
        del arguments
        with _as_http():
            models = {model.id: model for model in await (await self.gateway()).kernels.list()}
        kernel_ids = list(self._kernels)
        # What the list lacks is asked about by its id.
        await asyncio.gather(*(self._look(kernel_id, models) for kernel_id in kernel_ids if kernel_id not in models))
        return [_kernel_as_json(models[kernel_id]) for kernel_id in kernel_ids if kernel_id in models]

    async def _look(self, kernel_id: str, models: dict[str, KernelModel]) -> None:
        try:
            models[kernel_id] = await (await self.gateway()).kernels.get(kernel_id)
        except KernelNotFoundError:
            self.remove_kernel(kernel_id)
        except GatewayError:
            models[kernel_id] = KernelModel(id=kernel_id, name=self._kernels[kernel_id].kernel_name)

    async def shutdown_kernel(self, kernel_id: str, now: bool = False, restart: bool = False) -> None:
        """Shut a kernel down; one that is gone already is fine."""
        del now
        self.get_kernel(kernel_id)
        if restart:
            await self.restart_kernel(kernel_id)
            return
        with _as_http():
            await (await self.gateway()).kernels.shutdown(kernel_id)
        self.remove_kernel(kernel_id)

    async def restart_kernel(self, kernel_id: str, now: bool = False, **arguments: Any) -> None:
        """Restart a kernel."""
        del now, arguments
        self.get_kernel(kernel_id)
        with _as_http():
            await (await self.gateway()).kernels.restart(kernel_id)

    async def interrupt_kernel(self, kernel_id: str, **arguments: Any) -> None:
        """Interrupt what a kernel is doing."""
        del arguments
        self.get_kernel(kernel_id)
        with _as_http():
            await (await self.gateway()).kernels.interrupt(kernel_id)

    async def shutdown_all(self, now: bool = False) -> None:
        """Shut all of this server's kernels down at once, each whatever becomes of the others, and close the gateway."""
        kernel_ids = list(self._kernels)
        ended = await asyncio.gather(
            *(self.shutdown_kernel(kernel_id, now=now) for kernel_id in kernel_ids), return_exceptions=True
        )
        await self.close_gateway()
        for kernel_id, failure in zip(kernel_ids, ended, strict=True):
            if isinstance(failure, BaseException):
                self.log.error("Kernel %s could not be shut down: %s", kernel_id, failure)

    def remove_kernel(self, kernel_id: str) -> Any:
        """Forget a kernel."""
        return self._kernels.pop(kernel_id, None)

    def update_env(self, *, kernel_id: str, env: dict[str, str]) -> None:
        """Do nothing: a gateway's kernel keeps its environment. Asked for where a session is renamed."""
        del kernel_id, env

    def initialize_culler(self) -> None:
        """Do nothing: the library culls."""

    def notify_connect(self, kernel_id: str) -> None:
        """Do nothing: the gateway counts connections."""

    def notify_disconnect(self, kernel_id: str) -> None:
        """Do nothing: the gateway counts connections."""


def _kernel_as_json(model: KernelModel) -> dict[str, Any]:
    last = model.last_activity or datetime.now(UTC)
    return {
        "id": model.id,
        "name": model.name,
        "last_activity": last.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "execution_state": model.execution_state,
        "connections": model.connections or 0,
    }


class GatewayKernelSpecManager(KernelSpecManager):
    """Jupyter Server's `kernel_spec_manager_class`: the kernelspecs of the gateway that the kernel manager has."""

    async def _gateway(self) -> Gateway:
        server: Any = self.parent
        gateway: Gateway = await server.kernel_manager.gateway()
        return gateway

    async def get_all_specs(self) -> dict[str, Any]:
        """Give all kernelspecs; the gateway's default becomes the server's."""
        with _as_http():
            specs = await (await self._gateway()).kernelspecs.list()
        server: Any = self.parent
        if specs.default is not None:
            server.kernel_manager.default_kernel_name = specs.default
        return {name: self._as_json(spec) for name, spec in specs.kernelspecs.items()}

    async def get_kernel_spec(self, kernel_name: str, **arguments: Any) -> dict[str, Any]:
        """Give one kernelspec.

        Raises:
            KeyError: the gateway has none of this name.
        """
        del arguments
        try:
            with _as_http():
                return self._as_json(await (await self._gateway()).kernelspecs.get(kernel_name))
        except web.HTTPError as error:
            if error.status_code == 404:
                raise KeyError(kernel_name) from error
            raise

    async def get_kernel_spec_resource(self, kernel_name: str, path: str) -> bytes:
        """Give a file of a kernelspec, such as its logo.

        Raises:
            tornado.web.HTTPError: 404: there is none.
        """
        with _as_http():
            return (await (await self._gateway()).kernelspecs.resource(kernel_name, path)).content

    def _as_json(self, spec: KernelSpec) -> dict[str, Any]:
        server: Any = self.parent
        resources = {
            key: url_path_join(server.base_url, "kernelspecs", path.rsplit("/kernelspecs/", 1)[-1])
            for key, path in spec.resources.items()
        }
        fields = attrs.asdict(spec, recurse=False)
        known = {name: fields[name] for name in ("env", "display_name", "language", "interrupt_mode", "metadata")}
        return {
            "name": spec.name,
            "spec": {"argv": list(spec.argv), **{name: _plain(value) for name, value in known.items()}},
            "resources": resources,
        }


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


class GatewaySessionManager(SessionManager):
    """Jupyter Server's `session_manager_class`: a session ends when the gateway says that its kernel is gone."""

    async def kernel_culled(self, kernel_id: str) -> bool:
        """Say whether a kernel is gone."""
        if kernel_id not in self.kernel_manager:
            return True
        try:
            await self.kernel_manager.kernel_model(kernel_id)
        except web.HTTPError as error:
            return error.status_code == 404
        return False


# ------------------------------------------------------------------------------------------------------------ the WebSocket


class GatewayWebSocketConnection(BaseKernelWebsocketConnection):
    """Jupyter Server's `kernel_websocket_connection_class`: ties a browser's WebSocket to a kernel's channels on the gateway.

    Frames go through as they are, in order, whatever the gateway's framing; nothing but what a resumed connection asks for is
    looked into. What the kernel sends is read as fast as the browser takes it. While the connection to the gateway is broken the
    browser's frames wait, and a request that was lost with it is answered by an error that says so. A browser that comes back
    under the same session id gets what it has missed, as far as the gateway has kept it. When the channels have ended for good,
    its socket is closed.
    """

    _block: Block | None = None

    async def connect(self) -> None:
        """Start connecting to the kernel."""
        manager: Any = self.multi_kernel_manager
        gateway: Any = await manager.gateway()
        self._wire = _Wire(asyncio.get_running_loop(), self._write, self._finish, self.log)
        v1 = self.websocket_handler.selected_subprotocol == V1_SUBPROTOCOL
        opened = self._wire.open(gateway._original, self.kernel_id, self.session_id, v1, manager.wires)
        self._block = Block(manager.realm, opened, _NobodyWaits())
        self._realm: Realm = manager.realm
        self._block.enter()

    def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        """Send a message of the browser's to the kernel."""
        if self._block is not None:
            self._realm.thread.post(self._wire.feed, incoming_msg)

    def disconnect(self) -> None:
        """End the connection to the kernel; the kernel runs on."""
        if self._block is not None:
            self._block.leave(_NobodyWaits())
            self._block = None

    async def _write(self, frames: Sequence[str | bytes]) -> None:
        try:
            for frame in frames:
                await self.websocket_handler.write_message(frame, binary=isinstance(frame, bytes))
        except WebSocketClosedError:
            self.disconnect()

    async def _finish(self) -> None:
        self.websocket_handler.close(1011, "the kernel is gone")


class _NobodyWaits:
    """Whoever connects or disconnects does not wait for it."""

    def deliver(self, message: Note) -> bool:
        """Take no notice."""
        del message
        return False


class _Wire:
    """The part of a browser's connection that runs in Trio."""

    def __init__(self, loop: asyncio.AbstractEventLoop, write: Any, finish: Any, log: Any) -> None:
        self._loop = loop
        self._write = write
        self._finish = finish
        self._log = log
        self._unsent: deque[str | bytes] = deque()
        self._fed = trio.Event()
        self._scope = trio.CancelScope()
        self._closed = trio.Event()

    def feed(self, frame: str | bytes) -> None:
        """Queue a message of the browser's."""
        self._unsent.append(frame)
        self._fed.set()

    @asynccontextmanager
    async def open(
        self, gateway: Gateway, kernel_id: str, session_id: str, v1: bool, others: dict[tuple[str, str], _Wire]
    ) -> AsyncGenerator[None]:
        """Connect to the kernel, and relay in both directions until the block ends, or another one takes the session over."""
        key = (kernel_id, session_id)
        while (older := others.get(key)) is not None:
            older._scope.cancel(reason="the front end has come back")
            await older._closed.wait()
        others[key] = self
        try:
            with self._scope:
                async with (
                    gateway.open_channels(kernel_id, session_id=session_id, v1=v1) as channels,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(self._send, channels)
                    nursery.start_soon(self._relay, channels)
                    yield
                    nursery.cancel_scope.cancel(reason="the front end has gone")
        except GatewayError as error:
            self._log.warning("Kernel %s can't be reached: %s", kernel_id, error)
            await self._hang_up()
        finally:
            del others[key]
            self._closed.set()

    async def _send(self, channels: KernelChannels) -> None:
        while True:
            await self._fed.wait()
            self._fed = trio.Event()
            while self._unsent:
                try:
                    await channels.send(self._unsent.popleft())
                except ProtocolError as error:
                    self._log.warning("A message of a front end can't be understood: %s", error)
                except GatewayError:
                    return  # the reader sees it too

    async def _relay(self, channels: KernelChannels) -> None:
        try:
            while True:
                await run_in_loop(self._loop, self._write, await channels.receive())
        except GatewayError as error:
            self._log.info("A connection to a kernel has ended: %s", error)
            await self._hang_up()

    async def _hang_up(self) -> None:
        try:
            await run_in_loop(self._loop, self._finish)
        except RuntimeError:  # the loop was closed
            await trio.lowlevel.checkpoint()
