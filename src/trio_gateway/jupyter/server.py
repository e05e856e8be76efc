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

from .._errors import missing_extra

try:
    from ._http_errors import NoSuchKernelHTTPError
    from ._kernelspecs import GatewayKernelSpecManager
    from ._mapping import GatewayMappingKernelManager
    from ._server_kernel import GatewayKernel
    from ._sessions import GatewaySessionManager
    from ._websocket import GatewayWebSocketConnection
except ModuleNotFoundError as _missing:
    raise missing_extra(_missing, "trio_gateway.jupyter.server", "jupyter,jupyter_server") from None

__all__ = [
    "GatewayKernel",
    "GatewayKernelSpecManager",
    "GatewayMappingKernelManager",
    "GatewaySessionManager",
    "GatewayWebSocketConnection",
    "NoSuchKernelHTTPError",
]
