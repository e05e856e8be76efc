"""Jupyter Server's kernel manager of one kernel, for a kernel on the mapping manager's gateway.

The one idea: it knows what the last look at the gateway showed, and asks its mapping manager for everything else.
"""

# The server awaits what its managers' methods give, and the annotations of their synchronous base classes don't say so.
# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol, runtime_checkable

from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from jupyter_server.utils import url_escape, url_path_join
from tornado import web
from traitlets import DottedObjectName, Type

from .._errors import KernelNotFoundError
from .._gateway.gateway import Gateway
from .._models import KernelModel
from .._protocol.rest import parse_kernel
from .._secret import hide_values
from ._client import GatewayKernelClient, Place
from ._http_errors import as_http
from ._manager import KernelOnGateway
from ._pairs import awaiting

__all__ = ["GatewayKernel", "kernel_as_json"]

KERNEL_ACTIONS: Final = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
"""The schema of events about actions on kernels (jupyter_server, event_schemas/kernel_actions/v1.yaml)."""


def kernel_as_json(model: KernelModel) -> dict[str, Any]:
    """Give a kernel's model as Jupyter Server answers it."""
    last = model.last_activity or datetime.now(UTC)
    return {
        "id": model.id,
        "name": model.name,
        "last_activity": last.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "execution_state": model.execution_state,
        "connections": model.connections or 0,
    }


@runtime_checkable
class KernelHost(Protocol):
    """What a kernel asks of the mapping manager that it belongs to."""

    @property
    def kernels_url(self) -> str:
        """The URL of the gateway's kernels."""
        ...

    async def gateway(self) -> Gateway:
        """Give the gateway."""
        ...

    def place(self, kernel_id: str) -> Place:
        """Say where a kernel is reached."""
        ...

    async def start_or_take(self, name: str | None, kernel_id: str | None, env: Any, cwd: Any) -> KernelModel:
        """Start a kernel, or look at one that runs."""
        ...

    def note(self, kernel_id: str, model: KernelModel) -> None:
        """Take note of a look at a kernel."""
        ...

    def note_gone(self, kernel_id: str) -> None:
        """Remember a kernel that the gateway says is gone."""
        ...

    def drop(self, kernel: GatewayKernel) -> None:
        """Forget a kernel that has ended."""
        ...


class GatewayKernel(KernelOnGateway, ServerKernelManager):
    """Jupyter Server's kernel manager, of one kernel: what `get_kernel()` of the mapping manager gives.

    The kernel is the server's and no block's: it is shut down by `shutdown_kernel()`, or with the server. What is known of it,
    such as its `execution_state`, is as of the last look; each list of the kernels is one. Start, interrupt, restart and shutdown
    give events `kernel_actions`, with success or the error's status.

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
    def mapping(self) -> KernelHost:
        """The mapping manager that it belongs to, which has the gateway.

        Raises:
            RuntimeError: it has none.
        """
        if not isinstance(self.parent, KernelHost):
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
        return None if self._model is None else kernel_as_json(self._model)

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
            tornado.web.HTTPError: the gateway could not say.
        """
        if not self.has_kernel:
            return None
        with as_http():
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
        self.kernel_name = name or ""
        with self._getting_ready(), self._told("start", "Kernel {} was started."), as_http():
            self._check_encryption(arguments.get("transport_encryption"))
            self.learn(await self.mapping.start_or_take(name, kernel_id, arguments.get("env"), arguments.get("cwd")))

    @contextmanager
    def _getting_ready(self) -> Generator[None]:
        """Have `ready` say how a start or a restart ends, to those who have it already and to those who ask meanwhile.

        Of restarts at once it says how the first one to end has ended.
        """
        if self._ready is None or self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
        ready: Any = self._ready
        try:
            yield
            if not ready.done():  # another restart at the same time was faster
                ready.set_result(None)
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)
                ready.exception()  # retrieved, so that asyncio does not complain
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
                with self._told("shutdown", "Kernel {} was shutdown."), as_http(), self.ending():
                    await (await self.mapping.gateway()).kernels.shutdown(self.kernel_id)
                self.end()
            finally:
                self.shutting_down = False

    async def restart_kernel(self, now: bool = False, newports: bool = False, **arguments: Any) -> None:
        """Restart the kernel. What the arguments say is the gateway's business."""
        del now, newports, arguments
        with self._getting_ready():
            with self._told("restart", "Kernel {} was restarted."), as_http():
                self._expect_restart()
                model = await (await self.mapping.gateway()).kernels.restart(self.kernel_id)
            self.learn(model)

    async def interrupt_kernel(self) -> None:
        """Interrupt what the kernel is doing."""
        with self._told("interrupt", "Kernel {} was interrupted."), as_http():
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
    cleanup_resources: Any = awaiting(KernelOnGateway, "cleanup_resources")
    request_shutdown: Any = awaiting(KernelOnGateway, "request_shutdown")
    finish_shutdown: Any = awaiting(KernelOnGateway, "finish_shutdown")
    signal_kernel: Any = awaiting(KernelOnGateway, "signal_kernel")
    _kill_kernel: Any = awaiting(KernelOnGateway, "kill_kernel")
    _send_kernel_sigterm: Any = awaiting(KernelOnGateway, "send_kernel_sigterm")

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
        """Tell of an action on the kernel. Raises nothing: what was done is done, whether a listener hears of it or not.

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
            self.log.exception("An event could not be emitted: %s", data)
