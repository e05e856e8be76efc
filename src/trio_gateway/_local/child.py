"""The program inside a local gateway's process: a Kernel Gateway that serves its one owner on this machine.

Its one idea: everything that it has to know comes as one line of JSON over standard input, so that nothing secret stands in a
command line, an environment or a file; and standard input stays open as the lifeline, so that gateway and kernels end with
their owner, however the owner ended. What it has to say comes as one line over standard output; all else goes to the log.

It is copied into the gateway's private directory and run there as a script, by a Python that need not have trio_gateway: it
must import nothing of this package, and at its top nothing but the standard library. `local.py` imports
[end_kernels][trio_gateway._local.child.end_kernels] from here, for the day the gateway can't clean up itself.
"""

# mypy: disable-error-code="import-untyped, misc"
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportIncompatibleMethodOverride=false, reportUntypedBaseClass=false
# The Kernel Gateway has no annotations, and what is done here is to it.

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn, cast

MAX_BODY_SIZE = 1 << 30
"""The largest HTTP body that a client may send to the gateway, in bytes."""


def runtime_directory(directory: str) -> str:
    """Return where a gateway keeps its kernels' connection files: below its private directory."""
    return os.path.join(directory, "runtime")  # noqa: PTH118


def end_kernels(directory: str, *, seconds: float = 3.0) -> int:
    """Kill every kernel that the gateway of this private directory left running, and wait until they are gone.

    A kernel is known by its command line, which names its connection file below the gateway's directory. This holds when the
    gateway is dead and its kernels have another parent, and the directory's random name means nobody else's kernel.

    Args:
        directory: the gateway's private directory.
        seconds: how long to wait for the killed processes to go, in seconds.

    Returns:
        How many processes were killed.
    """
    try:
        import psutil
    except ImportError:  # a Python without ipykernel: its kernels notice by themselves that their parent is gone
        return 0
    below = runtime_directory(directory) + os.sep
    doomed: list[Any] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            # jupyter_client makes each kernel the leader of a session; a console that someone attached to the kernel is none.
            if process.pid == os.getpid() or (os.name == "posix" and os.getsid(process.pid) != process.pid):
                continue
            if any(below in argument for argument in process.cmdline()):
                doomed += [process, *process.children(recursive=True)]
                if os.name == "posix":
                    os.killpg(process.pid, signal.SIGKILL)
    for process in doomed:
        with contextlib.suppress(psutil.Error):  # a Process knows its start time, so a pid used again is not killed
            process.kill()
    psutil.wait_procs(doomed, timeout=seconds)
    return len(doomed)


def hold_port(ip: str) -> tuple[int, socket.socket]:
    """Take a free TCP port so that a process of ours can still listen on it, but nobody else is given it by the system.

    jupyter_client finds free ports for a kernel by taking and leaving them; the kernel takes them again a quarter of a second
    later, and another process that asks the system for any port in between may get one: then the kernel does not start, or a
    gateway talks to somebody else's socket, and may wait for it for ever. On Linux a second socket may listen where the first
    one only has the port, if both say so (SO_REUSEADDR, as ZeroMQ and most listeners do); what the system chooses by itself
    is never such a port. On other systems the port is left at once, as jupyter_client does.

    Args:
        ip: the address of one of this machine's interfaces.

    Returns:
        The port, and the socket that holds it until it is closed.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((ip, 0))
    port = holder.getsockname()[1]
    if sys.platform != "linux":
        holder.close()
    return port, holder


class _Everything(list):  # type: ignore[type-arg]  # also run by Pythons whose list takes no parameter
    """A list of allowed names that allows every name: the owner's kernels may see and be sent any variable."""

    def __contains__(self, item: object) -> bool:
        return True


class _Lifeline:
    """Ends this process when its owner says so, or is gone.

    Args:
        settings: what the owner sent.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._directory: str = settings["directory"]
        self._owner: int = settings["owner"]
        self._grace: float = settings["grace"]
        self._finished = threading.Event()
        self._lock = threading.Lock()
        self._orphan = False
        self._app: Any = None
        self._cut = False
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def guard(self, app: Any) -> None:
        """From now on stop this application first, so that it shuts its kernels down."""
        with self._lock:
            self._app = app
            cut = self._cut
        if cut:
            self.exit(0)

    def exit(self, status: int) -> NoReturn:
        """End the kernels that are left, and this process with them. An orphan removes its directory too."""
        self._finished.set()
        # Nothing may keep this process: interpreter and ZeroMQ tear down for up to seconds, or wait for ever.
        try:
            end_kernels(self._directory)
            if self._orphan:
                shutil.rmtree(self._directory, ignore_errors=True)
        except Exception:  # noqa: BLE001  # the log says it; the process ends
            traceback.print_exc()
        finally:
            os._exit(status)

    def _watch(self) -> None:
        asked = self._wait_for_owner()
        with self._lock:
            self._orphan = not asked
            self._cut = True
            app = self._app
        if app is None:
            self.exit(0)
        app.io_loop.add_callback(app.stop)
        if not self._finished.wait(self._grace):
            self.exit(1)

    def _wait_for_owner(self) -> bool:
        """Block until the owner asks for the end (True), or has closed the pipe or died (False)."""
        if hasattr(os, "pidfd_open"):
            # A process forked off the owner, as by multiprocessing, holds the pipe's other end too: watch the owner itself.
            with contextlib.suppress(OSError):
                poll = select.poll()
                poll.register(0, select.POLLIN)
                poll.register(os.pidfd_open(self._owner), select.POLLIN)
                if 0 not in dict(poll.poll()):
                    return False
        return os.read(0, 16).startswith(b"end")


def _application(settings: dict[str, Any], ready: Any) -> Any:
    """Build the gateway's application class. Its imports take half a second."""
    import asyncio  # noqa: TID251  # tornado's loop
    from contextvars import ContextVar

    import zmq
    from jupyter_client.connect import LocalPortCache
    from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
    from kernel_gateway.gatewayapp import KernelGatewayApp
    from kernel_gateway.services.kernels.manager import SeedingMappingKernelManager
    from tornado import httpserver, netutil
    from traitlets.config import Application, Config

    start_of_this_request: ContextVar[Any] = ContextVar("start_of_this_request")

    class HeldPorts(LocalPortCache):
        """The kernels' ports, which are held from when they are chosen until the kernel has ended for good."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._holders: dict[int, socket.socket] = {}

        def find_available_port(self, ip: str) -> int:
            while True:
                port, holder = hold_port(ip)
                if port not in self.currently_used_ports:
                    break
                holder.close()
            self.currently_used_ports.add(port)
            self._holders[port] = holder
            return port

        def return_port(self, port: int) -> None:
            super().return_port(port)
            if holder := self._holders.pop(port, None):
                holder.close()

    class LocalKernelManager(SeedingMappingKernelManager):
        """Kernels in any directory, and more room for what they print."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            # ZeroMQ drops what comes in above this mark (1,000 messages) while the gateway is busy: without this, bursts of
            # 20,000 lines lost some in 3 of 5 runs. It is no promise: a gateway that stood still for 8 seconds lost some all
            # the same. A context's socket options are the defaults of the sockets it makes.
            self.context.setsockopt(zmq.RCVHWM, 0)

        @property
        def start_kernel(self) -> Any:
            """How this request starts a kernel.

            To pass a request's variables on, the Kernel Gateway puts a function of its own here until that request is answered.
            On a plain attribute overlapping requests would leave one's variables to all later ones (measured).
            """
            return start_of_this_request.get(super().start_kernel)

        @start_kernel.setter
        def start_kernel(self, start: Any) -> None:
            start_of_this_request.set(start)

        def cwd_for_path(self, path: Any, **kwargs: Any) -> Any:
            """Take an absolute directory as it is; else a path is relative to the gateway's working directory."""
            if os.path.isabs(path) and os.path.isdir(path):  # noqa: PTH112, PTH117
                return path
            return super().cwd_for_path(path, **kwargs)

    class LocalConnection(ZMQChannelsWebsocketConnection):
        """A kernel's WebSocket without Nagle's delay."""

        def connect(self) -> Any:
            # Not earlier: tornado switches Nagle's algorithm on again at the end of each HTTP request.
            self.websocket_handler.set_nodelay(True)
            return super().connect()

    class LocalGateway(KernelGatewayApp):
        """A gateway on a free loopback port that reads nobody's configuration."""

        _stopping = False

        def migrate_config(self) -> None:
            """Leave the user's files alone."""

        def load_config_file(self, suppress_errors: bool = True) -> None:  # noqa: ARG002
            """Read no configuration but one named by an argument: a server's port or certificate must not come in here."""
            if self.config_file:
                path, name = os.path.split(self.config_file)
                Application.load_config_file(self, name, path=path)

        def init_webapp(self) -> None:
            self.auth_token = settings["token"]
            super().init_webapp()
            self.web_app.settings["websocket_max_message_size"] = settings["max_message_size"]

        def init_http_server(self) -> None:
            """Let the system choose the port of a socket that is already ours: nobody can take it in between."""
            sockets = netutil.bind_sockets(0, "127.0.0.1")
            ssl_options = self._build_ssl_options()
            self.http_server = httpserver.HTTPServer(
                self.web_app,
                ssl_options=ssl_options,
                max_body_size=MAX_BODY_SIZE,
                # It bounds a WebSocket's messages too (tornado's own: 100 MiB).
                max_buffer_size=max(settings["max_message_size"], MAX_BODY_SIZE) + (1 << 20),
            )
            self.http_server.add_sockets(sockets)
            self.ip, self.port = sockets[0].getsockname()
            scheme = "https" if ssl_options else "http"
            self._url = f"{scheme}://{self.ip}:{self.port}/{self.base_url.strip('/')}".rstrip("/")

        def start_app(self) -> None:
            super().start_app()
            self.io_loop.add_callback(ready, self._url)

        def stop(self, from_signal: bool = False) -> None:
            """Stop once: a second stop at the same time would trip over the first one's kernels."""
            if not self._stopping:
                self._stopping = True
                super().stop(from_signal)

        async def _stop(self) -> None:
            """Shut the kernels down, all at once: one by one each takes 0.1 s. What goes wrong is left to `end_kernels`."""
            limit = settings["grace"] / 3
            kernels = self.kernel_manager
            if ids := kernels.list_kernel_ids():
                await asyncio.wait([asyncio.ensure_future(kernels.shutdown_kernel(i, now=True)) for i in ids], timeout=limit)
            await asyncio.wait([asyncio.ensure_future(super()._stop())], timeout=limit)
            self.io_loop.stop()

    HeldPorts.instance()  # jupyter_client's own from now on: each LocalPortCache is this one
    config = Config()
    config.KernelGatewayApp.kernel_manager_class = LocalKernelManager
    config.KernelGatewayApp.kernel_websocket_connection_class = LocalConnection
    config.KernelGatewayApp.cookie_secret = os.urandom(32)
    config.KernelGatewayApp.env_process_whitelist = _Everything()
    config.JupyterWebsocketPersonality.env_whitelist = _Everything()
    config.JupyterWebsocketPersonality.list_kernels = True
    config.ZMQChannelsWebsocketConnection.limit_rate = False
    config.AsyncIOLoopKernelRestarter.time_to_dead = 1.0  # seconds between looks whether a kernel's process lives; 3 by default
    return LocalGateway.instance(config=config, runtime_dir=runtime_directory(settings["directory"]))


def _read_settings() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 1)  # byte by byte: what follows the line belongs to the lifeline
        if not data:
            sys.exit("the owner went away before it said what to do")
        line += data
    settings: dict[str, Any] = json.loads(line)
    return settings


def main() -> None:
    """Run a gateway until its owner ends it or is gone."""
    # Standard output carries one line to the owner; whatever else is printed here or by a kernel goes to the log.
    out = os.dup(1)
    os.dup2(2, 1)
    settings = _read_settings()
    lifeline = _Lifeline(settings)

    def say(**fields: object) -> None:
        os.write(out, json.dumps(fields).encode() + b"\n")
        os.close(out)

    def ready(url: str) -> None:
        os.environ.update(kept)
        say(url=url)

    if importlib.util.find_spec("kernel_gateway") is None:
        say(missing="jupyter_kernel_gateway", python=sys.executable)
        return
    # Building this package's grammar takes a second, for a check of IRIs in JSON schemas that jsonschema leaves out without it.
    cast("dict[str, object]", sys.modules)["rfc3987_syntax"] = None
    from kernel_gateway import __version__ as version

    if int(version.split(".")[0]) != 3:
        say(unfit=f"jupyter_kernel_gateway {version}", python=sys.executable)
        return
    # The Kernel Gateway's settings come in through KG_ variables too. These are not meant for this gateway; its kernels get them.
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("KG_")}
    app = _application(settings, ready)
    app.initialize(settings["arguments"])
    import logging

    logging.getLogger("tornado.access").setLevel(logging.WARNING)  # else the log grows by a line a request
    lifeline.guard(app)
    app.start()
    lifeline.exit(0)


if __name__ == "__main__":
    main()
