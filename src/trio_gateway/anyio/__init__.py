"""trio_gateway for every anyio program: on asyncio, on uvloop, and on Trio.

The names are those of `trio_gateway`, and so are the types, the docstrings and what everything does. On Trio this is the library
itself. On asyncio, Trio runs in one thread that all gateways of the process share, which starts with the first and ends with the
last of them; your tasks wait for it, and when one is cancelled, so is its call there.

On asyncio:

- What a call asks of you, such as `stdin`, is called in the calling task. The functions of `on_event` are called in the event
  loop, with the context variables of the call that caused them; at most 1000 events wait for a busy loop, more are lost and
  counted in `Gateway.dropped_events`. A `token_renewer` whose `get_token` is async runs in a task of the event loop.
- Exceptions are the same, Trio's too: `trio.EndOfChannel`, `trio.WouldBlock`, `trio.ClosedResourceError`.
- A `connector` runs in Trio.
"""

from .. import *  # noqa: F403 - whatever the library's names are, these are the same
from .._portal.opening import open_fleet as open_fleet  # the alias makes it public
from .._portal.opening import open_gateway as open_gateway
from .._portal.opening import open_hub as open_hub
from .._portal.opening import open_local_gateway as open_local_gateway

__all__ = [
    "AsyncLibraryError",
    "AuthenticationError",
    "Channel",
    "ClearOutput",
    "Comm",
    "CommMessage",
    "Comms",
    "ConfigError",
    "ConfigProblem",
    "ConnectionLostError",
    "ConnectionState",
    "CullPolicy",
    "DisplayData",
    "Error",
    "Evidence",
    "ExecuteResult",
    "ExecutionError",
    "ExecutionResult",
    "Fleet",
    "FleetGateway",
    "FleetKernelModel",
    "FleetKernelSpecs",
    "FleetKernels",
    "ForkedProcessError",
    "Gateway",
    "GatewayConfig",
    "GatewayConnectionError",
    "GatewayError",
    "GatewayEvent",
    "GatewayHTTPError",
    "GatewayInternalError",
    "GatewaySettings",
    "GatewayStatus",
    "GatewayTimeoutError",
    "HandOutTimes",
    "Header",
    "HeartbeatChannel",
    "HubServerNotRunningError",
    "HubSpawnError",
    "IncomingComms",
    "InvalidInputError",
    "JobResult",
    "JobResults",
    "Kernel",
    "KernelChannels",
    "KernelCulledError",
    "KernelDiedError",
    "KernelError",
    "KernelInitError",
    "KernelModel",
    "KernelNotFoundError",
    "KernelPool",
    "KernelResources",
    "KernelRestartedError",
    "KernelSpec",
    "KernelSpecNotFoundError",
    "KernelSpecResource",
    "KernelSpecs",
    "KernelState",
    "KernelUnresponsiveError",
    "Message",
    "MessageTooLargeError",
    "NoGatewayError",
    "NoOpTokenRenewer",
    "Output",
    "OutputGap",
    "OutputStream",
    "PoolClosedError",
    "PoolStatistics",
    "ProtocolError",
    "SessionModel",
    "SessionNotFoundError",
    "SessionStoreError",
    "SlowConsumerError",
    "Status",
    "Stream",
    "Subscription",
    "Subshell",
    "TokenCommandError",
    "TokenRenewer",
    "UpdateDisplayData",
    "Verdict",
    "__version__",
    "open_fleet",
    "open_gateway",
    "open_hub",
    "open_local_gateway",
]

globals().pop("notebooks", None)  # trio_gateway's own module, where that was imported before: here is another of its name
