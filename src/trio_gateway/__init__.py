"""Run code on Jupyter kernels behind a Kernel Gateway or Enterprise Gateway, with Trio's structured concurrency.

This module re-exports the library's names and holds nothing else.
"""

from ._config import GatewayConfig as GatewayConfig
from ._config import GatewaySettings as GatewaySettings
from ._errors import AsyncLibraryError as AsyncLibraryError
from ._errors import AuthenticationError as AuthenticationError
from ._errors import ConfigError as ConfigError
from ._errors import ConfigProblem as ConfigProblem
from ._errors import ConnectionLostError as ConnectionLostError
from ._errors import ExecutionError as ExecutionError
from ._errors import ForkedProcessError as ForkedProcessError
from ._errors import GatewayConnectionError as GatewayConnectionError
from ._errors import GatewayError as GatewayError
from ._errors import GatewayHTTPError as GatewayHTTPError
from ._errors import GatewayInternalError as GatewayInternalError
from ._errors import GatewayTimeoutError as GatewayTimeoutError
from ._errors import HubServerNotRunningError as HubServerNotRunningError
from ._errors import HubSpawnError as HubSpawnError
from ._errors import InvalidInputError as InvalidInputError
from ._errors import KernelCulledError as KernelCulledError
from ._errors import KernelDiedError as KernelDiedError
from ._errors import KernelError as KernelError
from ._errors import KernelInitError as KernelInitError
from ._errors import KernelNotFoundError as KernelNotFoundError
from ._errors import KernelRestartedError as KernelRestartedError
from ._errors import KernelSpecNotFoundError as KernelSpecNotFoundError
from ._errors import KernelUnresponsiveError as KernelUnresponsiveError
from ._errors import MessageTooLargeError as MessageTooLargeError
from ._errors import NoGatewayError as NoGatewayError
from ._errors import PoolClosedError as PoolClosedError
from ._errors import ProtocolError as ProtocolError
from ._errors import SessionNotFoundError as SessionNotFoundError
from ._errors import SessionStoreError as SessionStoreError
from ._errors import SlowConsumerError as SlowConsumerError
from ._errors import TokenCommandError as TokenCommandError
from ._events import GatewayEvent as GatewayEvent
from ._fleet.fleet import Fleet as Fleet
from ._fleet.fleet import open_fleet as open_fleet
from ._fleet.kernels import FleetKernels as FleetKernels
from ._fleet.kernels import FleetKernelSpecs as FleetKernelSpecs
from ._fleet.options import FleetGateway as FleetGateway
from ._fleet.options import FleetKernelModel as FleetKernelModel
from ._fleet.options import GatewayStatus as GatewayStatus
from ._gateway.gateway import Gateway as Gateway
from ._gateway.gateway import open_gateway as open_gateway
from ._gateway.gateway import open_local_gateway as open_local_gateway
from ._hub.opening import open_hub as open_hub
from ._kernel.channels import Channel as Channel
from ._kernel.channels import Subscription as Subscription
from ._kernel.comms import Comm as Comm
from ._kernel.comms import CommMessage as CommMessage
from ._kernel.comms import Comms as Comms
from ._kernel.comms import IncomingComms as IncomingComms
from ._kernel.executor import OutputStream as OutputStream
from ._kernel.frame_relay import KernelChannels as KernelChannels
from ._kernel.kernel import HeartbeatChannel as HeartbeatChannel
from ._kernel.kernel import Kernel as Kernel
from ._kernel.kernel import Subshell as Subshell
from ._kernel.status import Status as Status
from ._kernel_resources import KernelResources as KernelResources
from ._models import KernelModel as KernelModel
from ._models import KernelSpec as KernelSpec
from ._models import KernelSpecResource as KernelSpecResource
from ._models import KernelSpecs as KernelSpecs
from ._models import SessionModel as SessionModel
from ._outputs import ClearOutput as ClearOutput
from ._outputs import DisplayData as DisplayData
from ._outputs import Error as Error
from ._outputs import ExecuteResult as ExecuteResult
from ._outputs import ExecutionResult as ExecutionResult
from ._outputs import Output as Output
from ._outputs import OutputGap as OutputGap
from ._outputs import Stream as Stream
from ._outputs import UpdateDisplayData as UpdateDisplayData
from ._pool.jobs import JobResult as JobResult
from ._pool.jobs import JobResults as JobResults
from ._pool.pool import KernelPool as KernelPool
from ._pool.statistics import HandOutTimes as HandOutTimes
from ._pool.statistics import PoolStatistics as PoolStatistics
from ._protocol.culling import CullPolicy as CullPolicy
from ._protocol.kernel_state import ConnectionState as ConnectionState
from ._protocol.kernel_state import KernelState as KernelState
from ._protocol.liveness import Evidence as Evidence
from ._protocol.liveness import Verdict as Verdict
from ._protocol.messages import Header as Header
from ._protocol.messages import Message as Message
from ._tokens import NoOpTokenRenewer as NoOpTokenRenewer
from ._tokens import TokenRenewer as TokenRenewer
from ._version import __version__ as __version__

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
