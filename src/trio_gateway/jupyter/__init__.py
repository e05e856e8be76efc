"""Jupyter's own tools on a gateway: jupyter_client's kernel manager and client, for nbclient, papermill, nbconvert and others.

Needs the extra `jupyter`. This module re-exports names and holds nothing else.
"""

from .._errors import missing_extra

try:
    from ._client import BlockingGatewayKernelClient as BlockingGatewayKernelClient
    from ._client import GatewayKernelClient as GatewayKernelClient
    from ._errors import NoSuchKernelError as NoSuchKernelError
    from ._errors import NotOnAGatewayError as NotOnAGatewayError
    from ._manager import BlockingGatewayKernelManager as BlockingGatewayKernelManager
    from ._manager import GatewayKernelManager as GatewayKernelManager
    from ._manager import start_new_async_kernel as start_new_async_kernel
    from ._manager import start_new_kernel as start_new_kernel
except ModuleNotFoundError as _missing:
    raise missing_extra(_missing, "trio_gateway.jupyter", "jupyter") from None

__all__ = [
    "BlockingGatewayKernelClient",
    "BlockingGatewayKernelManager",
    "GatewayKernelClient",
    "GatewayKernelManager",
    "NoSuchKernelError",
    "NotOnAGatewayError",
    "start_new_async_kernel",
    "start_new_kernel",
]
