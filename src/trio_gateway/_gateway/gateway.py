"""`Gateway` and the two ways to open one: the library's front door.

The one idea: a gateway is a value (its configuration) and one HTTP pool, owned by one block. Everything else hangs off it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from .._config import GatewayConfig
from .._errors import InvalidInputError
from .._events import EventSink, ignore
from .._session.kernel import Kernel
from .._session.watch import KernelWatch
from .._transport.api import KernelApi
from .._transport.connector import Connector, connect_tcp
from .._transport.http import HttpClient, open_http_client
from .._transport.services import open_services
from .kernels import Kernels
from .kernelspecs import KernelSpecDirectory
from .local import local_kernel_path, run_local_gateway
from .ownership import StartRequest, new_kernel_id, open_kernel, own_kernel, start_environment

__all__ = ["Gateway", "open_gateway", "open_local_gateway"]


class Gateway:
    """A Jupyter Kernel Gateway, Enterprise Gateway or Jupyter server. Made by `open_gateway` and `open_local_gateway`."""

    def __init__(self, http: HttpClient, watch: KernelWatch, *, path_of: Callable[[str], str] | None = None) -> None:
        api = KernelApi(http)
        self._http = http
        self._watch = watch
        self._api = api
        self._path_of = path_of
        self._kernels = Kernels(api)
        self._kernelspecs = KernelSpecDirectory(api, user=http.config.kernel_username)

    @property
    def config(self) -> GatewayConfig:
        """The configuration it was opened with."""
        return self._http.config

    @property
    def url(self) -> str:
        """The gateway's base URL, without user name and password."""
        return self._http.config.base_url

    @property
    def kernels(self) -> Kernels:
        """All kernels of the gateway, by id."""
        return self._kernels

    @property
    def kernelspecs(self) -> KernelSpecDirectory:
        """The kernelspecs of the gateway."""
        return self._kernelspecs

    def __repr__(self) -> str:
        return f"<Gateway {self.url}>"

    def start_kernel(
        self,
        name: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        path: str | None = None,
        launch_timeout: float | None = None,
    ) -> AbstractAsyncContextManager[Kernel]:
        """Start a kernel and own it: it is shut down when the block ends, by success, error or cancellation.

        Args:
            name: the kernelspec's name; None for the gateway's default.
            env: variables for the kernel's environment. A gateway takes `KERNEL_*` and what its administrator allows.
            cwd: the directory the kernel works in, on the kernel's host: honoured by a local gateway, and by Enterprise
                Gateway, which gets it as `KERNEL_WORKING_DIR`.
            path: the same as the gateway's API path, relative to its root directory.
            launch_timeout: how long the start may take, in seconds, in place of the setting.

        Returns:
            A context manager; entering it starts the kernel and connects to it.

        Raises:
            InvalidInputError: an argument can't be used; nothing was sent.
            KernelSpecNotFoundError: the gateway has no such kernelspec.
            GatewayTimeoutError: the start took too long. No kernel is left.
            GatewayError: as for each request to the gateway.

        Cancellation: waits, shielded and at most for the setting `cleanup_timeout`, until the kernel is shut down, also
            in the middle of the start request.
        """
        kernel_id = new_kernel_id()
        directory = None if cwd is None else _checked_directory(cwd)
        if directory is not None and path is not None:
            raise InvalidInputError("path", path, "None when cwd is given: both name the kernel's directory")
        if name is not None and (not isinstance(name, str) or not name):
            raise InvalidInputError("name", name, "a kernelspec's name, or None for the gateway's default")
        if launch_timeout is not None and not launch_timeout > 0:
            raise InvalidInputError("launch_timeout", launch_timeout, "seconds, more than 0")
        config = self.config
        if self._path_of is not None and path is None:
            path, directory = self._path_of(directory or str(Path.cwd())), None
        environment = start_environment(config, kernel_id, env, os.environ, launch_timeout=launch_timeout, cwd=directory)
        timeout = config.request_timeout_for(launch_timeout)
        return self._start(StartRequest(kernel_id, name, environment, path, timeout))

    @asynccontextmanager
    async def _start(self, request: StartRequest) -> AsyncGenerator[Kernel]:
        if request.name is not None:
            await self._kernelspecs.check(request.name)
        async with own_kernel(self._http, request) as model, open_kernel(self._http, self._watch, model.id, model.name) as kernel:
            yield kernel

    @asynccontextmanager
    async def attach_kernel(self, kernel_id: str) -> AsyncGenerator[Kernel]:
        """Open a session with a kernel that runs already. It is left running when the block ends.

        Args:
            kernel_id: the kernel's id.

        Yields:
            The kernel.

        Raises:
            KernelNotFoundError: the gateway does not know it.
            GatewayError: as for each request to the gateway.

        Cancellation: closes the connection; an execution that runs is interrupted.
        """
        model = await self._api.get(kernel_id)
        async with open_kernel(self._http, self._watch, model.id, model.name) as kernel:
            yield kernel


@asynccontextmanager
async def open_gateway(
    gateway: str | GatewayConfig | None = None,
    *,
    connector: Connector | None = None,
    on_event: EventSink | None = None,
    **settings: Any,
) -> AsyncGenerator[Gateway]:
    """Open a gateway. Nothing is sent yet.

    Args:
        gateway: its URL; or a whole configuration; or None: the variables `JUPYTER_GATEWAY_*` say which.
        connector: opens byte streams in place of TCP, for tests and tunnels.
        on_event: called with a `GatewayEvent` for each request.
        **settings: settings of `GatewayConfig` by name; they win over the environment. Not with a configuration.

    Yields:
        The gateway, until the block ends.

    Raises:
        ConfigError: one or more settings can't be used; all are named.

    Cancellation: closes the gateway's connections.
    """
    config = _resolve(gateway, settings)
    async with _open(config, connector or connect_tcp, on_event or ignore, None) as opened:
        yield opened


@asynccontextmanager
async def open_local_gateway(
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    startup_timeout: float = 60.0,
    on_event: EventSink | None = None,
    **settings: Any,
) -> AsyncGenerator[Gateway]:
    """Start a Jupyter Kernel Gateway of one's own on this machine and open it; it ends with the block, and its kernels too.

    It listens on a free loopback port and wants a random token. Its kernels see this process's environment and work in
    its directory. Output is not rate-limited. Needs the extra `local`.

    Args:
        cwd: the directory in which kernels work, unless `start_kernel` says otherwise.
        env: variables on top of this process's environment, for all its kernels.
        startup_timeout: how long the gateway may take to answer, in seconds.
        on_event: called with a `GatewayEvent` for each request.
        **settings: settings of `GatewayConfig` by name. The environment's settings are not looked at.

    Yields:
        The gateway, until the block ends.

    Raises:
        GatewayConnectionError: the process could not be started or ended at once; the error quotes its log.
        GatewayTimeoutError: it did not answer within `startup_timeout`.
        ConfigError: one or more settings can't be used; all are named.

    Cancellation: ends the process and its kernels, shielded and bounded.
    """
    directory = None if cwd is None else _checked_directory(cwd)

    def path_of(wanted: str) -> str:
        return local_kernel_path(wanted)

    async with run_local_gateway(cwd=directory, env=env, startup_timeout=startup_timeout) as process:
        config = GatewayConfig.from_env({}, url=process.url, auth_token=process.token, **settings)
        async with _open(config, connect_tcp, on_event or ignore, path_of) as opened:
            yield opened


def _resolve(gateway: str | GatewayConfig | None, settings: Mapping[str, Any]) -> GatewayConfig:
    if isinstance(gateway, GatewayConfig):
        return gateway.replace(**settings) if settings else gateway
    if gateway is not None:
        settings = {**settings, "url": gateway}
    return GatewayConfig.from_env(**settings)


def _checked_directory(cwd: str | os.PathLike[str]) -> str:
    directory = os.fspath(cwd)
    if not isinstance(directory, str) or not directory or "\0" in directory:
        raise InvalidInputError("cwd", cwd, "a directory's path")
    return directory


@asynccontextmanager
async def _open(
    config: GatewayConfig, connector: Connector, emit: EventSink, path_of: Callable[[str], str] | None
) -> AsyncGenerator[Gateway]:
    async with open_http_client(config, connector=connector, emit=emit) as http, open_services() as services:
        watch = KernelWatch(KernelApi(http), config.ping_interval)
        services.start_soon(watch.run, name="trio_gateway.watch")
        yield Gateway(http, watch, path_of=path_of)
