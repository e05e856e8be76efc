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
import logging
import os
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn

import attrs
import trio

from .._errors import missing_extra

try:
    from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager, NoSuchKernel
    from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
    from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager, ServerKernelManager
    from jupyter_server.services.sessions.sessionmanager import SessionManager
    from jupyter_server.utils import url_escape, url_path_join
    from tornado import web
    from tornado.websocket import WebSocketClosedError
    from traitlets import Dict, DottedObjectName, Type, Unicode, default
except ModuleNotFoundError as _missing:
    raise missing_extra(_missing, "trio_gateway.jupyter.server", "jupyter,jupyter_server") from None

from .._config import hidden_settings
from .._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    ProtocolError,
)
from .._events import GatewayEvent
from .._gateway.gateway import Gateway, open_gateway
from .._gateway.kernels import can_be_kernel_id
from .._kernel.frame_relay import KernelChannels
from .._models import KernelModel, KernelSpec, find_name
from .._portal.asyncio_faces import translate
from .._portal.asyncio_side import RealmCrossing, run_in_loop
from .._portal.calls import Block, Realm
from .._portal.calls import Message as Note
from .._protocol.codec import V1_SUBPROTOCOL
from .._protocol.culling import CullPolicy
from .._protocol.rest import kernels_path, parse_kernel
from .._secret import Secret, hide_values
from ._client import GatewayKernelClient, Place
from ._environment import SESSION_NAME, choose_directory, choose_variables
from ._errors import NotOnAGatewayError
from ._manager import KernelOnGateway

__all__ = [
    "GatewayKernel",
    "GatewayKernelSpecManager",
    "GatewayMappingKernelManager",
    "GatewaySessionManager",
    "GatewayWebSocketConnection",
    "NoSuchKernelHTTPError",
]

_logger = logging.getLogger("trio_gateway.kernels")

KERNEL_ACTIONS: Final = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
"""The schema of what is told of actions on kernels (jupyter_server, event_schemas/kernel_actions/v1.yaml)."""
_MAX_ENDED: Final = 1000
"""How many sessions and kernels that have ended are remembered; of more, the oldest are forgotten."""


@contextmanager
def _as_http() -> Generator[None]:
    """Say what went wrong with the gateway in the server's words: HTTP statuses."""
    try:
        yield
    except KernelSpecNotFoundError as error:
        raise NoSuchKernelHTTPError(error.name, str(error)) from error
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


class NoSuchKernelHTTPError(web.HTTPError, NoSuchKernel):
    """404, for a kernelspec that the gateway does not have: Jupyter Server looks for jupyter_client's error too."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(404, message)
        self.name = name


class GatewayKernel(KernelOnGateway, ServerKernelManager):
    """Jupyter Server's kernel manager, of one kernel: what `get_kernel()` of the mapping manager gives.

    The kernel is the server's and no block's: it is shut down by `shutdown_kernel()`, or with the server. What is known of it,
    such as its `execution_state`, is as of the last look; each list of the kernels is one. Start, interrupt, restart and shutdown
    are told as events `kernel_actions`, with success or the error's status.

    The callbacks of `add_restart_callback` are called when a look shows that the gateway starts the kernel again (`"restart"`),
    or that it is gone (`"dead"`).
    """

    kernel_id: Any
    kernel_name: Any
    execution_state: Any
    last_activity: Any
    reason: Any
    shutting_down: Any

    client_class: Any = DottedObjectName("trio_gateway.jupyter.GatewayKernelClient", config=True)
    client_factory: Any = Type(GatewayKernelClient, klass="jupyter_client.client.KernelClient", config=True)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._model: KernelModel | None = None
        self._callbacks: list[tuple[str, Callable[[], object]]] = []
        self.execution_state = "starting"
        self.last_activity = datetime.now(UTC)

    @property
    def mapping(self) -> GatewayMappingKernelManager:
        """The mapping manager that it belongs to, which has the gateway.

        Raises:
            RuntimeError: it has none.
        """
        if not isinstance(self.parent, GatewayMappingKernelManager):
            raise RuntimeError("it has no mapping manager: trio_gateway.jupyter.GatewayKernelManager needs none")  # noqa: TRY004
        return self.parent

    def _place(self) -> Place:
        if not self.has_kernel:
            raise RuntimeError("No kernel is running!")
        return self.mapping.place(self.kernel_id)

    # What is known of it ----------------------------------------------------------------------------------------

    @property
    def has_kernel(self) -> bool:
        """Whether there is a kernel, as far as is known."""
        return self._model is not None

    @property
    def kernel(self) -> dict[str, Any] | None:
        """The kernel's model, as of the last look; None where there is none."""
        return None if self._model is None else _kernel_as_json(self._model)

    @property
    def kernels_url(self) -> str:
        """The URL of the gateway's kernels."""
        return self.mapping.kernels_url

    @property
    def kernel_url(self) -> str:
        """The kernel's URL on the gateway."""
        return url_path_join(self.kernels_url, url_escape(str(self.kernel_id)))

    async def refresh_model(self, model: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Look at the kernel.

        Args:
            model: what a look has just shown, as JSON; None to ask the gateway.

        Returns:
            The model; None if the gateway says that the kernel is gone.

        Raises:
            tornado.web.HTTPError: it can't be told.
        """
        if not self.has_kernel:
            return None
        with _as_http():
            try:
                if model is None:
                    found = await (await self.mapping.gateway()).kernels.get(self.kernel_id)
                else:
                    found = parse_kernel(dict(model), kernel_id=self.kernel_id)
            except KernelNotFoundError:
                self.end("dead")
                return None
        if self.has_kernel:  # else it was shut down meanwhile
            self.learn(found)
        return self.kernel

    def learn(self, model: KernelModel) -> None:
        """Take note of a look at the kernel. For the mapping manager."""
        before: str = self.execution_state or ""
        self._model = model
        self.kernel_id = model.id
        if model.name:
            self.kernel_name = model.name
        self.execution_state = model.execution_state
        self.reason = str(model.extra.get("reason", ""))
        if model.last_activity is not None:
            self.last_activity = model.last_activity
        self.mapping.note(self.kernel_id, model)
        if "restarting" in model.execution_state and "restarting" not in before:
            self._call_back("restart")

    def end(self, event: str = "") -> None:
        """Take note that there is no kernel any more. For the mapping manager.

        Args:
            event: which callbacks to call: `"dead"` for one that ended without our doing.
        """
        if self._model is not None:
            self._model = None
            self.execution_state = "dead"
            self.mapping.drop(self)
            if event:
                self.mapping.note_gone(self.kernel_id)
                self._call_back(event)

    def add_restart_callback(self, callback: Callable[[], object], event: str = "restart") -> None:
        """Have a function called when this server learns that the gateway starts the kernel again, or that it is gone.

        Args:
            callback: the function.
            event: `"restart"` or `"dead"`.
        """
        self._callbacks.append((event, callback))

    def remove_restart_callback(self, callback: Callable[[], object], event: str = "restart") -> None:
        """Have it called no more; one that is not known is fine."""
        with suppress(ValueError):
            self._callbacks.remove((event, callback))

    def _call_back(self, event: str) -> None:
        for of, callback in list(self._callbacks):
            if of == event:
                try:
                    callback()
                except Exception:  # it is the extension's, and no reason to end anything
                    self.log.exception("A callback for the event %r of kernel %s failed", event, self.kernel_id)

    # What is done with it ---------------------------------------------------------------------------------------

    async def start_kernel(self, *, kernel_id: str | None = None, **arguments: Any) -> None:
        """Start a kernel, or take one that runs on the gateway.

        Args:
            kernel_id: one that runs; or the id to start one under.
            **arguments: `kernel_name`, `env` and `cwd`, as for the mapping manager.

        Raises:
            tornado.web.HTTPError: what the gateway said; for an unknown kernelspec a `NoSuchKernel` too.
        """
        arguments = {**arguments, "env": hide_values(arguments.get("env"))}
        name = arguments.get("kernel_name")
        if self._ready is None or self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
        ready: Any = self._ready
        self.kernel_name = name or ""
        try:
            with self._told("start", "Kernel {} was started."), _as_http():
                self._check_encryption(arguments.get("transport_encryption"))
                self.learn(await self.mapping.start_or_take(name, kernel_id, arguments.get("env"), arguments.get("cwd")))
            ready.set_result(None)
        except Exception as error:
            ready.set_exception(error)
            ready.exception()  # whoever does not ask has heard of it
            raise
        finally:
            ready.cancel()

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        """Shut the kernel down, or restart it; one that is gone already is fine."""
        if restart:
            await self.restart_kernel(now=now)
        elif self.has_kernel:
            self.shutting_down = True
            try:
                with self._told("shutdown", "Kernel {} was shutdown."), _as_http(), self._ending():
                    await (await self.mapping.gateway()).kernels.shutdown(self.kernel_id)
                self.end()
            finally:
                self.shutting_down = False

    async def restart_kernel(self, now: bool = False, newports: bool = False, **arguments: Any) -> None:
        """Restart the kernel. What the arguments say is the gateway's business."""
        del now, newports, arguments
        with self._told("restart", "Kernel {} was restarted."), _as_http():
            self._expect_restart()
            model = await (await self.mapping.gateway()).kernels.restart(self.kernel_id)
        self.learn(model)

    async def interrupt_kernel(self) -> None:
        """Interrupt what the kernel is doing."""
        with self._told("interrupt", "Kernel {} was interrupted."), _as_http():
            await (await self.mapping.gateway()).kernels.interrupt(self.kernel_id)

    async def is_alive(self) -> bool:
        """Say whether the kernel is there, as the gateway tells; where nobody can tell, it is."""
        try:
            return self.has_kernel and await self.refresh_model() is not None and self.execution_state != "dead"
        except web.HTTPError:
            return True  # only the gateway's own word makes a kernel gone

    _async_start_kernel = start_kernel
    _async_shutdown_kernel = shutdown_kernel
    _async_restart_kernel = restart_kernel
    _async_interrupt_kernel = interrupt_kernel
    _async_is_alive = is_alive
    cleanup_resources: Any = KernelOnGateway._async_cleanup_resources
    request_shutdown: Any = KernelOnGateway._async_request_shutdown
    finish_shutdown: Any = KernelOnGateway._async_finish_shutdown
    signal_kernel: Any = KernelOnGateway._async_signal_kernel
    _kill_kernel: Any = KernelOnGateway._async_kill_kernel
    _send_kernel_sigterm: Any = KernelOnGateway._async_send_kernel_sigterm

    # Events -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _told(self, action: str, done: str) -> Generator[None]:
        """Tell how an action ends, as Jupyter Server's own managers do."""
        try:
            yield
        except Exception as error:
            status = {"status_code": error.status_code} if isinstance(error, web.HTTPError) else {}
            self.tell(action, "error", getattr(error, "log_message", None) or str(error), **status)
            raise
        self.tell(action, "success", done.format(self.kernel_id))

    def tell(self, action: str, status: str, msg: str, **more: Any) -> None:
        """Tell of an action on the kernel. Raises nothing: what was done is done, whoever hears of it.

        Args:
            action: `"start"`, `"interrupt"`, `"restart"` or `"shutdown"`.
            status: `"success"` or `"error"`.
            msg: what there is to say about it.
            **more: `status_code`.
        """
        data = {"kernel_name": self.kernel_name, "action": action, "status": status, "msg": msg, **more}
        if self.kernel_id:
            data["kernel_id"] = self.kernel_id
        try:
            self.emit(schema_id=KERNEL_ACTIONS, data=data)  # type: ignore[no-untyped-call]
        except Exception:  # a listener's failure must not cost the kernel that was just started
            self.log.exception("An event could not be told: %s", data)


class GatewayMappingKernelManager(AsyncMappingKernelManager):
    """Jupyter Server's `kernel_manager_class`: kernels on a gateway. Configured by `url`, `auth_token` and `settings`.

    The traits `cull_idle_timeout`, `cull_interval`, `cull_busy` and `cull_connected` are honoured by this side.
    """

    last_kernel_activity: Any

    url: Any = Unicode("", help="The gateway's URL; empty for JUPYTER_GATEWAY_URL.").tag(config=True)
    auth_token: Any = Unicode("", help="The gateway's token; empty for JUPYTER_GATEWAY_AUTH_TOKEN.").tag(config=True)
    settings: Any = Dict(help="Other settings of trio_gateway.GatewayConfig, by name.").tag(config=True)

    @default("kernel_manager_class")
    def _default_kernel_manager_class(self) -> str:
        return f"{__name__}.GatewayKernel"

    @default("shared_context")
    def _default_shared_context(self) -> bool:
        return False

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)  # type: ignore[no-untyped-call]
        self._opening = asyncio.Lock()
        self._starting: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._block: RealmCrossing[Gateway] | None = None
        self._gateway: Gateway | None = None
        self.realm: Realm | None = None
        self._gone: dict[str, None] = {}
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
                block: RealmCrossing[Gateway] = RealmCrossing(self._open, translate)
                self._gateway = await block.__aenter__()
                self._block = block
            return self._gateway

    def _open(self, realm: Realm) -> AbstractAsyncContextManager[Gateway]:
        self.realm = realm
        settings = hidden_settings(self.settings)
        if self.url:
            settings["url"] = self.url
        if self.auth_token:
            settings["auth_token"] = Secret.of(self.auth_token)
        loop = asyncio.get_running_loop()

        def observe(event: GatewayEvent) -> None:
            # In Trio's thread. What is done through a kernel of ours, that tells itself.
            if event.kind == "kernel" and event.action == "cull" and event.kernel_id is not None:
                with suppress(RuntimeError):  # the loop was closed
                    loop.call_soon_threadsafe(self._note_culled, event.kernel_id, event.status, event.message, event.status_code)

        return open_gateway(cull=self._policy(), on_event=observe, **settings)

    async def close_gateway(self) -> None:
        """Close the gateway; the next question opens it again."""
        async with self._opening:
            block, self._block, self._gateway = self._block, None, None
            if block is not None:
                with ExitStack() as ending:
                    for kernel in self._kernels.values():
                        ending.enter_context(kernel._ending(surely=True))
                    await block.__aexit__(None, None, None)

    # Kernels ----------------------------------------------------------------------------------------------------

    async def start_kernel(self, *, kernel_id: str | None = None, path: str | None = None, **arguments: Any) -> str:
        """Start a kernel, or take one that runs on the gateway into this server's.

        Args:
            kernel_id: one that runs; or the id to start one under. A gateway that chooses ids itself is told of in the log, and
                so is an id that can't be asked for: any but a random UUID.
            path: the API path of the folder to work in; the gateway is told it as `KERNEL_WORKING_DIR`.
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
            tornado.web.HTTPError: it can't be told.
        """
        async with self._starting.setdefault(kernel_id, asyncio.Lock()):
            if kernel_id not in self._kernels:
                with _as_http():
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
        """Have the library know a kernel, whoever started it: it is listed, and culled."""
        place = self.place(model.id)
        place.realm.run_sync(partial(place.gateway.kernels.note_met, model))

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
            # Nothing is awaited after this until whoever asked for the kernel has it.
            model = await gateway.kernels.start(name, env=env, cwd=cwd, kernel_id=wish)
            if kernel_id is not None and wish is None:
                self.log.warning("Not every gateway takes the kernel id %r: the kernel's is %s", kernel_id, model.id)
            elif kernel_id is not None and model.id != kernel_id:
                self.log.warning("The gateway takes no kernel ids: the kernel's is %s, and not %s", model.id, kernel_id)
        found: KernelModel = model
        self._know(found)
        return found

    def place(self, kernel_id: str) -> Place:
        """Say where a kernel is reached. For a `GatewayKernel`.

        Raises:
            RuntimeError: the gateway was closed.
        """
        gateway: Any = self._gateway
        if gateway is None or self.realm is None:
            raise RuntimeError("the gateway is not open")
        return Place(self.realm, gateway._original, kernel_id)

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
        if len(self._gone) > _MAX_ENDED:
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
        with _as_http():
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
        kernelspecs: dict[str, Any] = (await self.list_kernel_specs())["kernelspecs"]
        return kernelspecs

    async def list_kernel_specs(self) -> dict[str, Any]:
        """Give all kernelspecs that the trait `allowed_kernelspecs` lets through, and the name of the gateway's default.

        Returns:
            `kernelspecs`, by name, and `default`.
        """
        with _as_http():
            specs = await (await self._gateway()).kernelspecs.list()
        server: Any = self.parent
        if specs.default is not None:
            server.kernel_manager.default_kernel_name = specs.default
        allowed = self.allowed_kernelspecs or specs.kernelspecs
        kernelspecs = {name: self._as_json(spec) for name, spec in specs.kernelspecs.items() if name in allowed}
        return {"default": specs.default, "kernelspecs": kernelspecs}

    def find_kernel_specs(self) -> NoReturn:
        """Raise NotOnAGatewayError: a gateway's kernelspecs have no folders here."""
        raise NotOnAGatewayError("find_kernel_specs", "a gateway's kernelspecs have no folders here; await get_all_specs()")

    def install_native_kernel_spec(self, *arguments: Any, **more: Any) -> NoReturn:
        """Raise NotOnAGatewayError: a gateway's kernelspecs are its administrator's."""
        del arguments, more
        raise NotOnAGatewayError("install_native_kernel_spec", "kernelspecs are installed on the gateway, by its administrator")

    def install_kernel_spec(self, *arguments: Any, **more: Any) -> NoReturn:
        """Raise NotOnAGatewayError: a gateway's kernelspecs are its administrator's."""
        del arguments, more
        raise NotOnAGatewayError("install_kernel_spec", "kernelspecs are installed on the gateway, by its administrator")

    def remove_kernel_spec(self, name: str) -> NoReturn:
        """Raise NotOnAGatewayError: a gateway's kernelspecs are its administrator's."""
        del name
        raise NotOnAGatewayError("remove_kernel_spec", "kernelspecs are removed on the gateway, by its administrator")

    async def get_kernel_spec(self, kernel_name: str, **arguments: Any) -> dict[str, Any]:
        """Give one kernelspec.

        Raises:
            NoSuchKernel: the gateway has none of this name. It is a `KeyError`.
        """
        del arguments
        try:
            with _as_http():
                return self._as_json(await (await self._gateway()).kernelspecs.get(kernel_name))
        except web.HTTPError as error:
            if error.status_code == 404:
                raise NoSuchKernel(kernel_name) from error
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
    """Jupyter Server's `session_manager_class`: a session ends when the gateway says that its kernel is gone.

    It is not listed any more then, and its document gets another one when it is opened again. Whoever has the document open does
    not know that yet: asked for by its id, the session is there with a dead kernel, and can be given another one (`PATCH`).
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)  # type: ignore[no-untyped-call]
        self._names: dict[str, str] = {}
        self._ended: dict[str, dict[str, Any]] = {}

    async def row_to_model(self, row: Any, tolerate_culled: bool = False) -> dict[str, Any] | None:
        """Give the model of a session that is kept.

        Raises:
            KeyError: its kernel is gone, and so the session has ended.
        """
        kept = dict(row)
        try:
            model: dict[str, Any] | None = await super().row_to_model(row, tolerate_culled)  # type: ignore[no-untyped-call]
        except KeyError:
            self._ended[kept["session_id"]] = kept
            if len(self._ended) > _MAX_ENDED:
                self._forget(next(iter(self._ended)))
            raise
        if model is None:
            self._forget(kept["session_id"])  # its path is about to get another session
        else:
            self._names[kept["session_id"]] = model["kernel"]["name"]
        return model

    async def get_session(self, **columns: Any) -> dict[str, Any]:
        """Give the model of a session; of one that has ended, by its id alone, with a dead kernel.

        Raises:
            tornado.web.HTTPError: 404: there is none.
        """
        try:
            model: Any = await super().get_session(**columns)  # type: ignore[no-untyped-call]
        except web.HTTPError as error:
            ended = self._ended.get(columns.get("session_id", ""))
            if error.status_code != 404 or ended is None or len(columns) > 1:
                raise
            return self._ended_as_json(ended)
        found: dict[str, Any] = model
        return found

    async def save_session(self, session_id: str, path: str | None = None, **more: Any) -> dict[str, Any]:
        """Keep a new session; one of the same path that has ended is forgotten."""
        for ended in [ended for ended, row in self._ended.items() if row["path"] == path]:
            self._forget(ended)
        model: Any = await super().save_session(session_id, path=path, **more)  # type: ignore[no-untyped-call]
        found: dict[str, Any] = model
        return found

    async def update_session(self, session_id: str, **columns: Any) -> None:
        """Change what is kept of a session; one that has ended lives again with another kernel."""
        await self.get_session(session_id=session_id)
        ended = self._ended.get(session_id)
        if ended is None:
            await super().update_session(session_id, **columns)  # type: ignore[no-untyped-call]
            return
        if unknown := columns.keys() - ended.keys():
            raise TypeError(f"No such column: {min(unknown)!r}")
        ended |= columns
        if "kernel_id" in columns:
            del self._ended[session_id]
            await self.save_session(**ended)

    async def delete_session(self, session_id: str) -> None:
        """End a session, and its kernel."""
        await super().delete_session(session_id)  # type: ignore[no-untyped-call]
        self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        self._ended.pop(session_id, None)
        self._names.pop(session_id, None)

    def _ended_as_json(self, row: Mapping[str, Any]) -> dict[str, Any]:
        kernel = KernelModel(id=row["kernel_id"], name=self._names.get(row["session_id"], ""), execution_state="dead")
        model = {"id": row["session_id"], "path": row["path"], "name": row["name"], "type": row["type"]}
        notebook = {"notebook": {"path": row["path"], "name": row["name"]}} if row["type"] == "notebook" else {}
        return {**model, "kernel": _kernel_as_json(kernel), **notebook}

    async def kernel_culled(self, kernel_id: str) -> bool:
        """Say whether a kernel is gone."""
        # One that this server does not know may be of a session that was kept in a file, by a server before this one.
        if kernel_id not in self.kernel_manager and not await self.kernel_manager.take_in(kernel_id):
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
