"""Every client that is measured, by a short name, and what must be installed for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

from .base import Client

HERE = "here"
"""The environment that the benchmarks themselves run in: the one with our library."""

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "server": ("uvloop", "jupyter_kernel_gateway>=3,<4", "ipykernel"),
    "raw": ("uvloop", "picows", "websockets", "tornado", "trio", "trio-websocket", "msgspec"),
    "jupyter-server": ("jupyter_server",),
    "jupyter-server-wsaccel": ("jupyter_server", "wsaccel"),
    "jupyter-kernel-client": ("jupyter-kernel-client",),
    "agent-jupyter-toolkit": ("agent-jupyter-toolkit",),
    "jupyter-client": ("jupyter_client", "ipykernel"),
}
"""What pip is given for each environment. "server" is for what the clients are measured against."""


@dataclass(frozen=True)
class Entry:
    """One client."""

    key: str
    """Its name on the command line and in the results."""
    label: str
    """Its name in tables."""
    group: str
    """`"ours"`, `"engine"` and `"face"` (ours in another way), `"peer"`, `"floor"` or `"raw"`."""
    environment: str
    """Where it is installed."""
    path: str
    """Its class, as `module:name`."""
    module: str = ""
    """What its user imports, for the time that this takes."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the class."""
    versions: tuple[str, ...] = ()
    """The distributions whose versions are told."""

    @property
    def is_ours(self) -> bool:
        """Whether it is our library."""
        return self.group in ("ours", "engine", "face")

    def load(self) -> type[Client]:
        """Import its class; what it measures is not imported yet."""
        module, _, name = self.path.partition(":")
        return cast("type[Client]", getattr(import_module(f"{__package__}.{module}"), name))

    def make(self, url: str, token: str, options: dict[str, Any]) -> Client:
        """Make the client; only in its own environment."""
        return self.load()(url, token, **{**self.options, **options})


_ENTRIES = (
    Entry(
        "ours",
        "trio_gateway",
        "ours",
        HERE,
        "ours:OursOnTrio",
        "trio_gateway",
        {},
        ("trio-gateway", "trio", "httpcore2", "msgspec"),
    ),
    Entry(
        "ours-trio-websocket",
        "trio_gateway, engine trio-websocket",
        "engine",
        HERE,
        "ours:OursOnTrio",
        options={"engine": "trio-websocket"},
        versions=("trio-websocket", "wsproto"),
    ),
    Entry(
        "ours-fast",
        "trio_gateway, fast engine",
        "engine",
        HERE,
        "ours:OursOnTrio",
        options={"engine": "fast"},
        versions=("websockets",),
    ),
    Entry("ours-asyncio", "trio_gateway.anyio on asyncio", "face", HERE, "ours:OursOnAsyncio", "trio_gateway.anyio"),
    Entry("ours-blocking", "trio_gateway.blocking", "face", HERE, "ours:OursBlocking", "trio_gateway.blocking"),
    Entry(
        "jupyter-server",
        "jupyter_server.gateway",
        "peer",
        "jupyter-server",
        "jupyter:JupyterServerClient",
        "jupyter_server.gateway.managers",
        versions=("jupyter-server", "websocket-client", "tornado"),
    ),
    Entry(
        "jupyter-server-wsaccel",
        "jupyter_server.gateway + wsaccel",
        "peer",
        "jupyter-server-wsaccel",
        "jupyter:JupyterServerClient",
        versions=("wsaccel",),
    ),
    Entry(
        "jupyter-server-connection",
        "jupyter_server.gateway, connection",
        "peer",
        "jupyter-server",
        "jupyter:JupyterConnectionClient",
    ),
    Entry(
        "jupyter-kernel-client",
        "jupyter-kernel-client",
        "peer",
        "jupyter-kernel-client",
        "jupyter:KernelClientClient",
        "jupyter_kernel_client",
        versions=("jupyter-kernel-client",),
    ),
    Entry(
        "agent-jupyter-toolkit",
        "agent-jupyter-toolkit",
        "peer",
        "agent-jupyter-toolkit",
        "jupyter:AgentToolkitClient",
        "agent_jupyter_toolkit.kernel",
        versions=("agent-jupyter-toolkit", "aiohttp"),
    ),
    Entry(
        "zmq",
        "jupyter_client, ZeroMQ, no gateway",
        "floor",
        "jupyter-client",
        "jupyter:ZmqClient",
        "jupyter_client",
        versions=("jupyter-client", "pyzmq", "ipykernel"),
    ),
    Entry("raw-picows", "raw picows on uvloop", "raw", "raw", "raw:PicowsClient", versions=("picows", "uvloop")),
    Entry("raw-tornado", "raw tornado", "raw", "raw", "raw:TornadoClient", versions=("tornado",)),
    Entry("raw-websockets", "raw websockets on asyncio", "raw", "raw", "raw:WebsocketsClient", versions=("websockets",)),
    Entry("raw-sansio", "raw websockets sans-I/O on trio", "raw", "raw", "raw:SansioClient"),
    Entry(
        "raw-trio-websocket", "raw trio-websocket, tuned", "raw", "raw", "raw:TrioWebsocketClient", versions=("trio-websocket",)
    ),
)
CLIENTS = {entry.key: entry for entry in _ENTRIES}
