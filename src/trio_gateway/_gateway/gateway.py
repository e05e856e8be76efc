"""`Gateway` and the two ways to open one: the library's front door.

The one idea: a gateway is a value (its configuration) and one HTTP pool, owned by one block. Everything else hangs off it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from .._api import KernelApi, open_kernel_api
from .._config import GatewayConfig, GatewaySettings, LocalSettings, hidden_settings
from .._errors import ConfigError, ConfigProblem, InvalidInputError
from .._kernel.frame_relay import KernelChannels, open_kernel_channels
from .._kernel.kernel import Kernel
from .._kernel.poller import KernelWatch
from .._kernel_resources import KernelResources
from .._limits import points_to_limits
from .._local.process import local_kernel_path, run_local_gateway
from .._pool.options import PoolOptions, Reuse
from .._pool.pool import KernelPool, open_kernel_pool
from .._protocol.culling import CullPolicy
from .._secret import hide_values
from .._services import open_services
from .._transport.blocks import block, check_trio
from .._transport.connector import Connector, connect_tcp
from .attaching import open_kernel
from .kernels import Kernels
from .kernelspecs import KernelSpecDirectory
from .known_kernels import KnownKernels
from .listeners import EventFanOut, Listeners, open_fan_out
from .ownership import StartAttempt, own_kernel
from .searches import Searches, open_searches
from .starting import PathFinder, StartRequest, checked_directory

if TYPE_CHECKING:
    # Most programs neither send requests of their own nor keep sessions: httpx and sqlite3 take their time to import.
    from .._documents.sessions import Sessions
    from .._documents.store import SessionStore
    from .._transport.http.httpx_face import AsyncClient

__all__ = [
    "PLAIN_ARGUMENTS",
    "Gateway",
    "checked_policy",
    "checked_session_id",
    "hidden_url",
    "new_session_id",
    "open_gateway",
    "open_local_gateway",
    "resolve_config",
]

PLAIN_ARGUMENTS = frozenset(
    {"connector", "on_event", "session_database", "cull", "cwd", "startup_timeout", "user", "server", "placement"}
)
"""The arguments of `open_gateway`, `open_local_gateway`, `open_hub` and `open_fleet` that are no settings and hold no secrets."""

_LONGEST_SESSION_ID = 256
_MAX_RELAYED = 10_000
"""How many relayed sessions are remembered; of more, the oldest are forgotten."""
_LOCAL_SCOPE = "local"
"""Whose sessions those of local gateways are: each has another URL."""


@points_to_limits
class Gateway:
    """A Jupyter Kernel Gateway, Enterprise Gateway or Jupyter server. Made by `open_gateway` and `open_local_gateway`."""

    def __init__(
        self,
        api: KernelApi,
        watch: KernelWatch,
        fan_out: EventFanOut,
        known: KnownKernels,
        store: _Store,
        searches: Searches,
        *,
        find_path: PathFinder | None = None,
    ) -> None:
        self._api = api
        self._http = api.http
        self._watch = watch
        self._fan_out = fan_out
        self._known = known
        self._store = store
        self._searches = searches
        self._sessions: Sessions | None = None
        self._relayed: dict[tuple[str, str], None] = {}
        self._kernelspecs = KernelSpecDirectory(api, api.config)
        self._kernels = Kernels(api, self._kernelspecs, known, api.config, searches, find_path=find_path)

    @property
    def config(self) -> GatewayConfig:
        """The configuration it was opened with."""
        return self._http.config

    @property
    def url(self) -> str:
        """The gateway's base URL, without user name and password. Of a gateway with several addresses that of the first."""
        return self._http.config.base_url

    @property
    def address(self) -> str:
        """The base URL of the address in use: `url`, unless the gateway has several. Then another one is as soon as it fails."""
        return self._http.addresses.url

    @property
    def kernels(self) -> Kernels:
        """All kernels of the gateway, by id."""
        return self._kernels

    @property
    def kernelspecs(self) -> KernelSpecDirectory:
        """The kernelspecs of the gateway."""
        return self._kernelspecs

    @property
    def sessions(self) -> Sessions:
        """Which kernel belongs to which document. Kept in memory, unless `session_database` names a file."""
        if self._sessions is None:
            from .._documents.sessions import Sessions

            self._sessions = Sessions(
                self._store.get(),
                self._kernels,
                gateway_url=self.url,
                emit=self._fan_out,
                cleanup_timeout=self.config.cleanup_timeout,
            )
        return self._sessions

    @property
    def dropped_events(self) -> int:
        """How many events were lost because a channel given as `on_event` was full, or nobody read it any more."""
        return self._fan_out.dropped

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
        resources: KernelResources | None = None,
    ) -> AbstractAsyncContextManager[Kernel]:
        """Start a kernel and own it: it is shut down when the block ends, by success, error or cancellation.

        Args:
            name: the kernelspec's name; None for the gateway's default.
            env: variables for the kernel's environment. A gateway takes `KERNEL_*` and what its administrator allows. Values are
                sent as they are, but an Enterprise Gateway takes none with `$`, backticks or line breaks, nor of more than 4096
                characters.
            cwd: the directory the kernel works in, on the kernel's host: honoured by a local gateway, and by Enterprise
                Gateway, which gets it as `KERNEL_WORKING_DIR`.
            path: the same as the gateway's API path, relative to its root directory; for a local gateway, to its `cwd`. Of a
                folder that is not there, the next parent that is.
            launch_timeout: how long the start may take, in seconds, in place of the setting.
            resources: what it gets of a cluster: processors, memory, an image, a host. Sent as variables of `KERNEL_*`, which
                `env` must not have too.

        Returns:
            A context manager; entering it starts the kernel and connects to it.

        Raises:
            InvalidInputError: an argument can't be used, by any gateway or, when the block is entered, by this one; no kernel was
                started.
            KernelSpecNotFoundError: the gateway has no such kernelspec.
            GatewayTimeoutError: the start took too long.
            GatewayError: as for each request to the gateway.

        After a start that failed and may go on all the same, because its connection broke or it took too long, the kernel is
        looked for and shut down: at first before the error is raised, then in the background of the gateway's block.

        Cancellation: waits, shielded and at most for the setting `cleanup_timeout`, until the kernel is shut down, also
            in the middle of the start request.
        """
        env = hide_values(env)
        request = self._kernels.prepare(name, env=env, cwd=cwd, path=path, launch_timeout=launch_timeout, resources=resources)
        return self.start_prepared(request)

    @block("gateway.start_kernel")
    @asynccontextmanager
    async def start_prepared(
        self,
        request: StartRequest,
        *,
        is_left: Callable[[], bool] = lambda: False,
        attempt: StartAttempt | None = None,
    ) -> AsyncGenerator[Kernel]:
        """As `start_kernel`, of what `kernels.prepare` has made. For jupyter_client's managers, for notebooks, and for fleets.

        Args:
            request: what to start.
            is_left: asked when the block ends, but for cancellation: whether the kernel is left running all the same.
            attempt: learns, when the start fails, whether it is certain that nothing was started.
        """
        request = await self._kernels.fit(request)
        opened: list[Kernel] = []

        def may_live() -> bool:
            return any(kernel.hb.evidence.silent_when_lost for kernel in opened)

        def note_shut_down() -> None:
            for kernel in opened:
                kernel.note_shut_down()

        owning = own_kernel(
            self._api,
            request,
            is_left=is_left,
            may_live=may_live,
            on_shut_down=note_shut_down,
            searches=self._searches,
            attempt=attempt,
        )
        async with owning as model, self._open(model.id, model.name) as kernel:
            opened.append(kernel)
            yield kernel

    def be_called(self, name: str) -> None:
        """Have the errors of its kernels say which gateway of a fleet it is. For fleets.

        Args:
            name: what it is called there.
        """
        self._http.called = name

    def http_client(self) -> AbstractAsyncContextManager[AsyncClient]:
        """Open an `httpx.AsyncClient` for requests that have no method here: contents, an Enterprise Gateway's own, a proxy's.

        Relative URLs go below the gateway's URL. Requests share the gateway's connections, credentials, headers, cookies, TLS,
        limits, retries and events. httpx's own timeouts are off and setting them does nothing: `connect_timeout` and
        `request_timeout` apply, and cancel scopes around a call. An answer of any status comes back, read whole, up to
        `max_response_size`; requests whose method is idempotent are first repeated as the library's own are. Redirects are
        not followed unless you say so, and never to another server. A header that you set beats the gateway's of the same name.
        What httpx logs has no queries.

        Returns:
            A context manager; entering it sends nothing. Leave it before the gateway's block ends.

        Raises:
            InvalidInputError: a request is to another server, or can't be sent. Nothing was sent.
            GatewayConnectionError: there is no connection, or it broke. In place of httpx's own errors, as the following are.
            GatewayTimeoutError: connecting or an attempt took too long.
            ProtocolError: the answer can't be understood, or is too large.
            trio.ClosedResourceError: the gateway's block has ended.

        Cancellation: safe; whether the gateway has acted on a cancelled request is unknown.
        """
        from .._transport.http.httpx_face import open_httpx_client

        return open_httpx_client(self._http)

    def _open(self, kernel_id: str, name: str) -> AbstractAsyncContextManager[Kernel]:
        interrupt_mode = partial(self._kernelspecs.interrupt_mode, name)
        return open_kernel(self._api, self._watch, self._known, kernel_id, name, interrupt_mode=interrupt_mode)

    @block("gateway.open_pool")
    @asynccontextmanager
    async def open_pool(
        self,
        name: str | None = None,
        *,
        size: int,
        warm: int = 0,
        init: str | None = None,
        init_timeout: float = 60.0,
        reuse: Reuse = "never",
        max_uses: int | None = None,
        max_age: float | None = None,
        idle_timeout: float | None = 300.0,
        starts_at_once: int = 4,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        path: str | None = None,
        launch_timeout: float | None = None,
        resources: KernelResources | None = None,
    ) -> AsyncGenerator[KernelPool]:
        """Open a pool of kernels that are ready before they are asked for. They are shut down when the block ends.

        Example::

            async with gateway.open_pool("python3", size=8, warm=2, init="import numpy as np") as pool:
                async with pool.kernel() as kernel:
                    print((await kernel.execute("np.arange(3).sum()")).text)

        The first `warm` kernels are started in the background: nothing waits for them here. `pool.wait_ready()` does.

        Args:
            name: the kernelspec's name; None for the gateway's default.
            size: how many kernels there are at most, those that start and those that are being shut down included.
            warm: how many are kept ready beside those that are leased, as far as `size` allows.
            init: code that runs once in each new process, before its kernel is handed out. Where it fails, the kernel is shut
                down, and callers that wait get KernelInitError.
            init_timeout: how long `init` may take, in seconds; without it, a new kernel's first answer. A restart may take as
                long.
            reuse: what becomes of a kernel that was used: `"never"`: it is shut down, and a new one is started when one is
                wanted; `"restart"`: it is restarted and `init` runs again; `"as-is"`: the next caller gets it with all that it
                has in memory, unless it is busy, dead, or was restarted meanwhile.
            max_uses: after how many uses a kernel is shut down; None for no limit.
            max_age: how old a kernel may be that is handed out, in seconds since it was ready first; None for no limit.
            idle_timeout: how long kernels that are ready beyond `warm` are kept, in seconds; None: for good.
            starts_at_once: how many kernels are started at the same time; restarts count, and do not wait. After a start that
                failed there is a pause, of half a second and then twice as long each time, up to 30 s.
            env: variables for the kernels' environment, as for `start_kernel`; and so the rest.
            cwd: the directory they work in, on their host.
            path: the same, as the gateway's API path.
            launch_timeout: how long each start may take, in seconds, in place of the setting.
            resources: what each kernel gets of a cluster.

        Yields:
            The pool.

        Raises:
            InvalidInputError: an argument can't be used, or two contradict each other; nothing was sent.
            KernelSpecNotFoundError: the gateway has no such kernelspec. No kernel was started.
            GatewayError: as for each request to the gateway.

        Cancellation: waits, shielded and at most for the setting `cleanup_timeout`, until all kernels are shut down, also those
            whose start is under way.
        """
        env = hide_values(env)
        options = PoolOptions(
            size=size,
            warm=warm,
            init=init,
            init_timeout=init_timeout,
            reuse=reuse,
            max_uses=max_uses,
            max_age=max_age,
            idle_timeout=idle_timeout,
            starts_at_once=starts_at_once,
        )
        start = partial(self.start_kernel, name, env=env, cwd=cwd, path=path, launch_timeout=launch_timeout, resources=resources)
        # What is wrong raises now.
        self._kernels.prepare(name, env=env, cwd=cwd, path=path, launch_timeout=launch_timeout, resources=resources)
        if name is not None:
            await self._kernelspecs.check(name)
        async with open_kernel_pool(
            start,
            options,
            emit=self._fan_out,
            url=self.url,
            name=name or "",
            ask_spec=partial(self._kernelspecs.find_listed, name),
        ) as pool:
            yield pool

    @block("gateway.attach_kernel")
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

        Cancellation: closes the connection; an execution that runs is interrupted. A handshake that has begun is seen through
            in the background of the gateway's block.
        """
        model = await self._kernels.get(kernel_id)
        self._known.met(model.id, model.name)
        async with self._open(model.id, model.name) as kernel:
            yield kernel

    @block("gateway.open_channels")
    @asynccontextmanager
    async def open_channels(
        self, kernel_id: str, *, session_id: str | None = None, v1: bool = True
    ) -> AsyncGenerator[KernelChannels]:
        """Open the channels of a kernel that runs already, as frames and not as messages: for relays.

        The connection is kept and made again as that of `attach_kernel`; the caller sees frames in one framing all the while,
        whichever the gateway speaks. The kernel is left running when the block ends.

        Args:
            kernel_id: the kernel's id.
            session_id: by what the gateway keeps what was not delivered; None for one of its own. Never open it twice at a time.
            v1: the framing of the frames: `v1.kernel.websocket.jupyter.org`, or else the one without a name.

        Yields:
            The channels.

        Raises:
            InvalidInputError: an id can't be used; nothing was sent.
            KernelNotFoundError: the gateway does not know the kernel.
            GatewayError: as for each request to the gateway.

        Cancellation: closes the connection. A handshake that has begun is seen through in the background of the gateway's block;
            a caller that opens the same session meanwhile takes it over.
        """
        session_id = new_session_id() if session_id is None else checked_session_id(session_id)
        known = (kernel_id, session_id) in self._relayed
        self._relayed[kernel_id, session_id] = None
        if len(self._relayed) > _MAX_RELAYED:
            del self._relayed[next(iter(self._relayed))]
        async with open_kernel_channels(self._api, kernel_id, session_id=session_id, v1=v1, known=known) as channels:
            self._known.met(kernel_id, "")
            yield channels


@block("open_gateway")
@asynccontextmanager
async def open_gateway(
    gateway: str | Sequence[str] | GatewayConfig | None = None,
    *,
    connector: Connector | None = None,
    on_event: Listeners = None,
    session_database: str | os.PathLike[str] | None = None,
    cull: CullPolicy | None = None,
    **settings: Unpack[GatewaySettings],
) -> AsyncGenerator[Gateway]:
    """Open a gateway. Nothing is sent yet.

    Opening one costs about a millisecond, or as long as it takes to open a `session_database`.

    Args:
        gateway: its URL, or a list of the URLs of its addresses, which share its kernels; or a whole configuration; or None: the
            variables `JUPYTER_GATEWAY_*` say which.
        connector: opens byte streams in place of TCP, for tests and tunnels.
        on_event: gets each request and each action on a kernel or session, as a `GatewayEvent`: a function, which must
            neither block nor wait; the sending end of a memory channel; or a list of these. A channel that is full loses the
            event, which `Gateway.dropped_events` counts; the channel is cloned, and the clone closed with the block.
        session_database: the file in which `gateway.sessions` are kept; None for memory.
        cull: shut idle kernels down as long as the block lasts, by this policy.
        **settings: settings of `GatewayConfig` by name; they win over the environment. Not with a configuration.

    Yields:
        The gateway, until the block ends.

    Raises:
        ConfigError: one or more settings can't be used; all are named.
        InvalidInputError: another argument can't be used.
        SessionStoreError: the file of sessions is damaged.

    Cancellation: closes the gateway's connections. Waits, shielded, for WebSocket handshakes that have begun, at most for the
        shorter one of the settings `connect_timeout` and `cleanup_timeout`: a gateway that could not answer one keeps nothing any
        more of what the kernel's sessions miss. Kernels of starts that failed and may go on all the same are looked for until
        then: so long that a start has held up its caller and the end of this block for `cleanup_timeout` together. One that may
        be left all the same is told, by `kernel_may_be_left` in the log and an event.
    """
    check_trio("trio_gateway.open_gateway")
    settings = cast("GatewaySettings", hidden_settings(settings))
    gateway = hidden_url(gateway)
    config = resolve_config(gateway, settings)
    async with _open(config, connector or connect_tcp, on_event, session_database, cull) as opened:
        yield opened


@block("open_local_gateway")
@asynccontextmanager
async def open_local_gateway(
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    startup_timeout: float = 60.0,
    on_event: Listeners = None,
    session_database: str | os.PathLike[str] | None = None,
    cull: CullPolicy | None = None,
    **settings: Unpack[LocalSettings],
) -> AsyncGenerator[Gateway]:
    """Start a Jupyter Kernel Gateway of one's own on this machine and open it; it ends with the block, and its kernels too.

    It listens on a free loopback port and wants a random token. Its kernels see this process's environment and work in
    its directory. Output is not rate-limited, and `max_message_size` is its limit too. Needs the extra `local`.

    Args:
        cwd: the directory in which kernels work, unless `start_kernel` says otherwise; None for this process's.
        env: variables on top of this process's environment, for all its kernels.
        startup_timeout: how long the gateway may take to answer, in seconds.
        on_event: gets each request and each action on a kernel or session, as a `GatewayEvent`: a function, which must
            neither block nor wait; the sending end of a memory channel; or a list of these. A channel that is full loses the
            event, which `Gateway.dropped_events` counts; the channel is cloned, and the clone closed with the block.
        session_database: the file in which `gateway.sessions` are kept; None for memory.
        cull: shut idle kernels down as long as the block lasts, by this policy.
        **settings: settings of `GatewayConfig` by name. The environment's settings are not looked at.

    Yields:
        The gateway, until the block ends.

    Raises:
        GatewayConnectionError: the process could not be started or ended at once; the error quotes its log.
        GatewayTimeoutError: it did not answer within `startup_timeout`.
        ConfigError: one or more settings can't be used; all are named.
        InvalidInputError: another argument can't be used.
        SessionStoreError: the file of sessions is damaged.

    Cancellation: as for `open_gateway`; ends the process and its kernels, shielded and bounded.
    """
    check_trio("trio_gateway.open_local_gateway")
    settings = cast("LocalSettings", hidden_settings(settings))
    told = [name for name in ("url", "ws_url", "auth_token", "token_command", "token_command_timeout") if name in settings]
    if told:
        raise ConfigError([ConfigProblem(name, None, "nothing, for a local gateway has one of its own") for name in told])
    env = hide_values(env)
    directory = None if cwd is None else checked_directory(cwd)
    find_path = _make_path_finder(directory)
    # What is wrong with the settings raises before anything is started. The token is to come.
    checked = GatewayConfig.from_env({}, url="http://127.0.0.1", auth_token="-", **settings)  # noqa: S106
    limit = checked.max_message_size
    async with run_local_gateway(cwd=directory, env=env, startup_timeout=startup_timeout, max_message_size=limit) as process:
        config = GatewayConfig.from_env({}, url=process.url, auth_token=process.token, **settings)
        async with _open(
            config, connect_tcp, on_event, session_database, cull, scope=_LOCAL_SCOPE, find_path=find_path, takes_bytes=limit
        ) as opened:
            yield opened


def new_session_id() -> str:
    """Return an id for a session of channels that nobody has named."""
    return uuid.uuid4().hex


def checked_session_id(session_id: object) -> str:
    """Return the id of a session of channels.

    Raises:
        InvalidInputError: it can't be one.
    """
    if not isinstance(session_id, str) or not session_id.isprintable() or not 0 < len(session_id) <= _LONGEST_SESSION_ID:
        raise InvalidInputError("session_id", session_id, f"1 to {_LONGEST_SESSION_ID} printable characters, or None")
    return session_id


def checked_policy(cull: object) -> CullPolicy | None:
    """Return what a gateway, or a fleet, is given as `cull`.

    Raises:
        InvalidInputError: it can't be used.
    """
    if cull is not None and not isinstance(cull, CullPolicy):
        raise InvalidInputError("cull", cull, "a CullPolicy, or None")
    return cull


def hidden_url(gateway: Any) -> Any:
    """Return what `open_gateway` is given as its gateway, in which a URL with a password hides itself."""
    if isinstance(gateway, (str, list, tuple)):
        return hidden_settings({"url": gateway})["url"]
    return gateway


def resolve_config(gateway: str | Sequence[str] | GatewayConfig | None, settings: Mapping[str, Any]) -> GatewayConfig:
    """Return the configuration of what `open_gateway` is given as its gateway, and as settings.

    Raises:
        ConfigError: one or more settings can't be used; all are named.
    """
    if isinstance(gateway, GatewayConfig):
        return gateway.replace(**settings) if settings else gateway
    if gateway is not None:
        settings = {**settings, "url": gateway}
    return GatewayConfig.from_env(**settings)


def _make_path_finder(root: str | os.PathLike[str] | None) -> PathFinder:
    """Make what finds a kernel's directory for a gateway on this machine.

    Args:
        root: the gateway's directory; None for this process's.
    """
    base = Path.cwd() if root is None else Path(root).absolute()

    def find_path(cwd: str | None, path: str | None) -> str | None:
        if cwd is not None:
            return local_kernel_path(cwd)
        if path is None:
            return None  # the gateway's own directory
        # As other gateways do: of a folder that is not there, the next parent that is.
        folder = base / path
        return local_kernel_path(next((found for found in (folder, *folder.parents) if found.is_dir()), base))

    return find_path


class _Store:
    """What a gateway's document sessions are kept in: the file that was named, or memory, made when it is needed.

    Args:
        file: the file; None for memory.
        scope: whose sessions they are.
    """

    def __init__(self, file: SessionStore | None, scope: str) -> None:
        self._file = file
        self._scope = scope
        self._memory: SessionStore | None = None
        self._closed = False

    def get(self) -> SessionStore:
        """Return it; memory that was closed refuses what is asked of it."""
        if self._file is not None:
            return self._file
        if self._memory is None:
            from .._documents.store import make_memory_store

            self._memory = make_memory_store(self._scope)
            if self._closed:
                self._memory.close_memory()
        return self._memory

    def close(self) -> None:
        """Close it where it is memory; a file is closed by the block that opened it."""
        self._closed = True
        if self._memory is not None:
            self._memory.close_memory()


@asynccontextmanager
async def _open_store(database: str | os.PathLike[str] | None, scope: str) -> AsyncGenerator[_Store]:
    """Open a file of sessions now, so that what is wrong with it raises at once; memory is opened when it is needed."""
    if database is None or database == ":memory:":
        store = _Store(None, scope)
        try:
            yield store
        finally:
            store.close()
        return
    from .._documents.store import open_session_store

    async with open_session_store(database, scope=scope, field="session_database") as file:
        yield _Store(file, scope)


@asynccontextmanager
async def _open(
    config: GatewayConfig,
    connector: Connector,
    listeners: Listeners,
    database: str | os.PathLike[str] | None,
    cull: CullPolicy | None,
    *,
    scope: str | None = None,
    find_path: PathFinder | None = None,
    takes_bytes: int | None = None,
) -> AsyncGenerator[Gateway]:
    cull = checked_policy(cull)
    known = KnownKernels()
    # A block around this one may have opened it for what it tells itself.
    with nullcontext(listeners) if isinstance(listeners, EventFanOut) else open_fan_out(listeners) as fan_out:
        async with (
            _open_store(database, scope or config.base_url) as store,
            open_kernel_api(config, connector=connector, emit=fan_out, notes=known) as api,
            open_searches(api) as searches,
            open_services() as services,
        ):
            api.http.takes_bytes = takes_bytes
            watch = KernelWatch(api, config.ping_interval)
            gateway = Gateway(api, watch, fan_out, known, store, searches, find_path=find_path)
            services.start_soon(watch.run, name="trio_gateway.watch")
            if cull is not None:
                services.start_soon(gateway.kernels.keep_culling, cull, name="trio_gateway.cull")
            yield gateway
