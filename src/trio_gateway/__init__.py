"""Run code on Jupyter kernels behind a Kernel Gateway or Enterprise Gateway, with Trio's structured concurrency.

This module re-exports the library's names and holds nothing else.
"""

from ._config import GatewayConfig as GatewayConfig
from ._errors import AuthenticationError as AuthenticationError
from ._errors import ConfigError as ConfigError
from ._errors import ConfigProblem as ConfigProblem
from ._errors import ConnectionLostError as ConnectionLostError
from ._errors import ExecutionError as ExecutionError
from ._errors import GatewayConnectionError as GatewayConnectionError
from ._errors import GatewayError as GatewayError
from ._errors import GatewayHTTPError as GatewayHTTPError
from ._errors import GatewayInternalError as GatewayInternalError
from ._errors import GatewayTimeoutError as GatewayTimeoutError
from ._errors import InvalidInputError as InvalidInputError
from ._errors import KernelCulledError as KernelCulledError
from ._errors import KernelDiedError as KernelDiedError
from ._errors import KernelError as KernelError
from ._errors import KernelNotFoundError as KernelNotFoundError
from ._errors import KernelRestartedError as KernelRestartedError
from ._errors import KernelSpecNotFoundError as KernelSpecNotFoundError
from ._errors import ProtocolError as ProtocolError
from ._events import GatewayEvent as GatewayEvent
from ._gateway.gateway import Gateway as Gateway
from ._gateway.gateway import open_gateway as open_gateway
from ._gateway.gateway import open_local_gateway as open_local_gateway
from ._models import KernelModel as KernelModel
from ._models import KernelSpec as KernelSpec
from ._models import KernelSpecs as KernelSpecs
from ._outputs import ClearOutput as ClearOutput
from ._outputs import DisplayData as DisplayData
from ._outputs import Error as Error
from ._outputs import ExecuteResult as ExecuteResult
from ._outputs import ExecutionResult as ExecutionResult
from ._outputs import Output as Output
from ._outputs import OutputGap as OutputGap
from ._outputs import Stream as Stream
from ._outputs import UpdateDisplayData as UpdateDisplayData
from ._protocol.kernel_state import ConnectionState as ConnectionState
from ._protocol.kernel_state import KernelState as KernelState
from ._protocol.messages import Header as Header
from ._protocol.messages import Message as Message
from ._session.kernel import Kernel as Kernel
from ._session.kernel import OutputStream as OutputStream
from ._tokens import NoOpTokenRenewer as NoOpTokenRenewer
from ._tokens import TokenRenewer as TokenRenewer
from ._version import __version__ as __version__
