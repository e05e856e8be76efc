"""What a fake gateway is: its settings, its kernels, its sessions.

The one idea: everything it is stands here as plain attributes, and changing one takes effect at once.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
import trio

from .._models import find_name, find_started
from ._cell import Script
from ._faults import Faults
from ._http import FakeRequest
from ._kernel import FakeKernel
from ._process import KernelProcess
from ._specs import FakeKernelSpec
from ._streams import ServerStream
from ._world import World

__all__ = ["FakeSession", "Framing", "GatewayState"]

Framing = Literal["v1", "legacy"]


@attrs.define
class FakeSession:
    """A session of the fake: which document has which kernel."""

    id: str
    """Its id."""
    path: str
    """The document's path."""
    name: str
    """The document's name."""
    type: str
    """The document's type."""
    kernel: FakeKernel
    """Its kernel."""

    def model(self) -> dict[str, Any]:
        """Return it as a gateway shows it."""
        return {"id": self.id, "path": self.path, "name": self.name, "type": self.type, "kernel": self.kernel.model()}


class GatewayState(World):
    """What a fake gateway is; `FakeGateway` documents it.

    It is its own world, so that all of both stands in one place for its users: `fake.kernels`, `fake.conversation`.
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
        start_seconds: float = 0.0,
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
        super().__init__(seed)
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
        self.start_seconds: float = start_seconds
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
        self.handshakes_abandoned: int = 0
        """How many WebSocket handshakes their client gave up before they were answered, while the kernel was there. As on a
        Kernel Gateway, each makes the kernel's count of connections one too low, and nothing is buffered for it from then on."""
        self.faults: Faults = Faults(seed)
        self.server_session: str = self.new_hex()
        self._first: GatewayState | None = None

    def _share(self, first: GatewayState) -> None:
        """Be a replica: one more door to the kernels of another, whose processes live as long as that one does."""
        self._first = first
        self.kernelspecs, self.default_kernelspec = first.kernelspecs, first.default_kernelspec
        self.kernels, self.ended_kernels, self.orphans, self.sessions = (
            first.kernels,
            first.ended_kernels,
            first.orphans,
            first.sessions,
        )

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        """Be there until the block ends; with it all kernels end, without a word, but for those of a replica."""
        async with super()._running():
            if self._first is not None:
                yield
                return
            self.spawn(self._cull_for_ever, "culling")
            try:
                yield
            finally:
                for kernel in list(self.kernels.values()):
                    self.remove_kernel(kernel, quietly=True)

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

    async def start_kernel(self, name: str, *, kernel_id: str | None = None, env: Mapping[str, str] | None = None) -> FakeKernel:
        """Start a kernel, as a client would over HTTP. It is there when this returns, and may take a while to be ready.

        Until then, for `start_seconds`, it is not known at all.
        """
        kernel_id = kernel_id or str(uuid.UUID(self.new_hex()))
        found = find_started(name, self.kernelspecs)
        if found is None:
            raise KeyError(name)
        spec = self.kernelspecs[found]
        if self.start_seconds:
            await trio.sleep(self.start_seconds)
        first = self._first or self  # its processes end with that one
        kernel = FakeKernel(
            kernel_id, spec, env or {}, world=first, settings=first, gone=self._forget_kernel, orphaned=self._keep_orphan
        )
        # As measured: a kernel has its name as its starter wrote it, but for this one.
        kernel.name = "python3" if name == "python" else name
        self.kernels[kernel_id] = kernel
        first.spawn(kernel.launch, f"launch[{kernel_id:.8}]")
        await trio.lowlevel.checkpoint()
        return kernel

    def remove_kernel(self, kernel: FakeKernel, *, quietly: bool = False) -> None:
        """Shut a kernel down and forget it."""
        kernel.end(quietly=quietly)

    def _forget_kernel(self, kernel: FakeKernel) -> None:
        if self.kernels.get(kernel.id) is kernel:
            del self.kernels[kernel.id]
        self.ended_kernels.append(kernel)

    def _keep_orphan(self, process: KernelProcess) -> None:
        self.orphans.append(process)

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
