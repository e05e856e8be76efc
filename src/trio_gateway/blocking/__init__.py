"""trio_gateway for synchronous code: the same names and the same arguments, without `async` and `await`.

`with` instead of `async with`, `for` instead of `async for`, `close` instead of `aclose`; all else is as in `trio_gateway`, whose
docstrings these are. Trio runs in one thread that all gateways of the process share, which starts with the first and ends with
the last of them. Everything may be used by any number of threads, also while an event loop runs, as in a notebook's cell.

Ctrl-C cancels the call that the main thread waits for, as a cancelled scope does in Trio: the kernel is interrupted, that is
waited for, and KeyboardInterrupt is raised.

`fail_after` and `move_on_after` limit the calls of a block in the same way. `TooSlowError` is Trio's, and a `TimeoutError`.

- What a call asks of you, such as `stdin`, is called in the calling thread; it must be a plain function.
- The functions of `on_event` and a `connector` are called in Trio's thread, where nothing of this module can be called.
- Exceptions are the same, Trio's too: `trio.EndOfChannel`, `trio.WouldBlock`, `trio.ClosedResourceError`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .._config import GatewayConfig as GatewayConfig
from .._config import GatewaySettings as GatewaySettings
from .._config import hidden_settings
from .._documents import sessions as _sessions
from .._errors import AsyncLibraryError as AsyncLibraryError
from .._errors import AuthenticationError as AuthenticationError
from .._errors import ConfigError as ConfigError
from .._errors import ConfigProblem as ConfigProblem
from .._errors import ConnectionLostError as ConnectionLostError
from .._errors import ExecutionError as ExecutionError
from .._errors import ForkedProcessError as ForkedProcessError
from .._errors import GatewayConnectionError as GatewayConnectionError
from .._errors import GatewayError as GatewayError
from .._errors import GatewayHTTPError as GatewayHTTPError
from .._errors import GatewayInternalError as GatewayInternalError
from .._errors import GatewayTimeoutError as GatewayTimeoutError
from .._errors import HubServerNotRunningError as HubServerNotRunningError
from .._errors import HubSpawnError as HubSpawnError
from .._errors import InvalidInputError as InvalidInputError
from .._errors import KernelCulledError as KernelCulledError
from .._errors import KernelDiedError as KernelDiedError
from .._errors import KernelError as KernelError
from .._errors import KernelInitError as KernelInitError
from .._errors import KernelNotFoundError as KernelNotFoundError
from .._errors import KernelRestartedError as KernelRestartedError
from .._errors import KernelSpecNotFoundError as KernelSpecNotFoundError
from .._errors import KernelUnresponsiveError as KernelUnresponsiveError
from .._errors import MessageTooLargeError as MessageTooLargeError
from .._errors import NoGatewayError as NoGatewayError
from .._errors import PoolClosedError as PoolClosedError
from .._errors import ProtocolError as ProtocolError
from .._errors import SessionNotFoundError as SessionNotFoundError
from .._errors import SessionStoreError as SessionStoreError
from .._errors import SlowConsumerError as SlowConsumerError
from .._errors import TokenCommandError as TokenCommandError
from .._events import GatewayEvent as GatewayEvent
from .._fleet import fleet as _fleet
from .._fleet import kernels as _fleet_kernels
from .._fleet.options import FleetGateway as FleetGateway
from .._fleet.options import FleetKernelModel as FleetKernelModel
from .._fleet.options import GatewayStatus as GatewayStatus
from .._gateway import gateway as _gateway
from .._gateway import kernels as _kernels
from .._gateway import kernelspecs as _kernelspecs
from .._hub import opening as _hub
from .._kernel import channels as _channels
from .._kernel import comms as _comms
from .._kernel import executor as _executor
from .._kernel import frame_relay as _kernel_channels
from .._kernel import kernel as _kernel
from .._kernel.comms import CommMessage as CommMessage
from .._kernel.status import Status as Status
from .._kernel_resources import KernelResources as KernelResources
from .._models import KernelModel as KernelModel
from .._models import KernelSpec as KernelSpec
from .._models import KernelSpecResource as KernelSpecResource
from .._models import KernelSpecs as KernelSpecs
from .._models import SessionModel as SessionModel
from .._outputs import ClearOutput as ClearOutput
from .._outputs import DisplayData as DisplayData
from .._outputs import Error as Error
from .._outputs import ExecuteResult as ExecuteResult
from .._outputs import ExecutionResult as ExecutionResult
from .._outputs import Output as Output
from .._outputs import OutputGap as OutputGap
from .._outputs import Stream as Stream
from .._outputs import UpdateDisplayData as UpdateDisplayData
from .._pool import jobs as _jobs
from .._pool import pool as _pool
from .._pool.jobs import JobResult as JobResult
from .._pool.statistics import HandOutTimes as HandOutTimes
from .._pool.statistics import PoolStatistics as PoolStatistics
from .._portal.blocking_faces import BLOCKING, BlockingFace, Reader, Resource, like
from .._portal.deadlines import CancelScope as CancelScope
from .._portal.deadlines import TooSlowError as TooSlowError
from .._portal.deadlines import fail_after as fail_after
from .._portal.deadlines import move_on_after as move_on_after
from .._portal.thread_side import BlockingPortalCrossing
from .._protocol.culling import CullPolicy as CullPolicy
from .._protocol.kernel_state import ConnectionState as ConnectionState
from .._protocol.kernel_state import KernelState as KernelState
from .._protocol.liveness import Evidence as Evidence
from .._protocol.liveness import Verdict as Verdict
from .._protocol.messages import Header as Header
from .._protocol.messages import Message as Message
from .._tokens import NoOpTokenRenewer as NoOpTokenRenewer
from .._tokens import TokenRenewer as TokenRenewer
from .._version import __version__ as __version__

if TYPE_CHECKING:
    from .._transport.http.httpx_face import Client

__all__ = [
    "AsyncLibraryError",
    "AuthenticationError",
    "CancelScope",
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
    "KernelSpecDirectory",
    "KernelSpecNotFoundError",
    "KernelSpecResource",
    "KernelSpecs",
    "KernelState",
    "KernelUnresponsiveError",
    "Kernels",
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
    "Sessions",
    "SlowConsumerError",
    "Status",
    "Stream",
    "Subscription",
    "Subshell",
    "TokenCommandError",
    "TokenRenewer",
    "TooSlowError",
    "UpdateDisplayData",
    "Verdict",
    "__version__",
    "fail_after",
    "move_on_after",
    "open_fleet",
    "open_gateway",
    "open_hub",
    "open_local_gateway",
]

P = ParamSpec("P")
T = TypeVar("T")

# A class here says which members there are, in the order of the Trio class. What they take, give and mean stands there; what they
# do is made from `_portal.members`. So no body in them is ever run: they are read by people, editors and type checkers.
# mypy: disable-error-code="empty-body"


class OutputStream(Reader[Output], of=_executor.OutputStream):
    @like(_executor.OutputStream.receive_ready)
    def receive_ready(self) -> None: ...

    @property
    def result(self) -> ExecutionResult: ...

    @like(_executor.OutputStream.statistics)
    def statistics(self) -> None: ...


class Subscription(Resource, Reader[Message], of=_channels.Subscription):
    @like(_channels.Subscription.receive)
    def receive(self) -> None: ...

    @like(_channels.Subscription.receive_nowait)
    def receive_nowait(self) -> None: ...

    @like(_channels.Subscription.receive_ready)
    def receive_ready(self) -> None: ...

    @like(_channels.Subscription.aclose)
    def close(self) -> None: ...

    @like(_channels.Subscription.statistics)
    def statistics(self) -> None: ...


class Channel(BlockingFace, of=_channels.Channel):
    @property
    def name(self) -> str: ...

    @like(_channels.Channel.subscribe, Subscription)
    def subscribe(self) -> None: ...

    @like(_channels.Channel.send)
    def send(self) -> None: ...

    @like(_channels.Channel.forward)
    def forward(self) -> None: ...

    @like(_channels.Channel.statistics)
    def statistics(self) -> None: ...


class Comm(Resource, Reader[CommMessage], of=_comms.Comm):
    @property
    def id(self) -> str: ...

    @property
    def target_name(self) -> str: ...

    @property
    def opening(self) -> CommMessage: ...

    @property
    def closed(self) -> bool: ...

    @like(_comms.Comm.send)
    def send(self) -> None: ...

    @like(_comms.Comm.receive)
    def receive(self) -> None: ...

    @like(_comms.Comm.receive_ready)
    def receive_ready(self) -> None: ...

    @like(_comms.Comm.aclose)
    def close(self) -> None: ...


class IncomingComms(Resource, Reader[Comm], of=_comms.IncomingComms):
    @like(_comms.IncomingComms.receive, Comm)
    def receive(self) -> None: ...

    @like(_comms.IncomingComms.receive_ready, Comm)
    def receive_ready(self) -> None: ...

    @like(_comms.IncomingComms.aclose)
    def close(self) -> None: ...


class Comms(BlockingFace, of=_comms.Comms):
    @like(_comms.Comms.open, Comm)
    def open(self) -> None: ...

    @like(_comms.Comms.accept, IncomingComms)
    def accept(self) -> None: ...


class HeartbeatChannel(BlockingFace, of=_kernel.HeartbeatChannel):
    @property
    def verdict(self) -> Verdict: ...

    @property
    def evidence(self) -> Evidence: ...

    @like(_kernel.HeartbeatChannel.is_beating)
    def is_beating(self) -> None: ...

    @property
    def silence(self) -> float: ...

    @like(_kernel.HeartbeatChannel.check)
    def check(self) -> None: ...


class Subshell(BlockingFace, of=_kernel.Subshell):
    @property
    def id(self) -> str: ...

    @like(_kernel.Subshell.execute)
    def execute(self) -> None: ...

    @like(_kernel.Subshell.stream, OutputStream)
    def stream(self) -> None: ...


class Kernel(BlockingFace, of=_kernel.Kernel):
    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def session_id(self) -> str: ...

    @like(_kernel.Kernel.execute)
    def execute(self) -> None: ...

    @like(_kernel.Kernel.stream, OutputStream)
    def stream(self) -> None: ...

    @property
    def state(self) -> KernelState: ...

    @property
    def connection_state(self) -> ConnectionState: ...

    @property
    def verdict(self) -> Verdict: ...

    @like(_kernel.Kernel.wait_for)
    def wait_for(self) -> None: ...

    def changes(self) -> Iterator[Status]: ...

    @property
    def shell(self) -> Channel: ...

    @property
    def iopub(self) -> Channel: ...

    @property
    def stdin(self) -> Channel: ...

    @property
    def control(self) -> Channel: ...

    @property
    def hb(self) -> HeartbeatChannel: ...

    @property
    def comms(self) -> Comms: ...

    @like(_kernel.Kernel.complete)
    def complete(self) -> None: ...

    @like(_kernel.Kernel.inspect)
    def inspect(self) -> None: ...

    @like(_kernel.Kernel.history)
    def history(self) -> None: ...

    @like(_kernel.Kernel.is_complete)
    def is_complete(self) -> None: ...

    @like(_kernel.Kernel.comm_info)
    def comm_info(self) -> None: ...

    @like(_kernel.Kernel.kernel_info)
    def kernel_info(self) -> None: ...

    @like(_kernel.Kernel.debug)
    def debug(self) -> None: ...

    @like(_kernel.Kernel.subshell, Subshell)
    def subshell(self) -> None: ...

    @like(_kernel.Kernel.interrupt)
    def interrupt(self) -> None: ...

    @like(_kernel.Kernel.restart)
    def restart(self) -> None: ...

    @like(_kernel.Kernel.shutdown)
    def shutdown(self) -> None: ...


class Kernels(BlockingFace, of=_kernels.Kernels):
    @like(_kernels.Kernels.list)
    def list(self) -> None: ...

    @like(_kernels.Kernels.get)
    def get(self) -> None: ...

    @like(_kernels.Kernels.start)
    def start(self) -> None: ...

    @like(_kernels.Kernels.interrupt)
    def interrupt(self) -> None: ...

    @like(_kernels.Kernels.restart)
    def restart(self) -> None: ...

    @like(_kernels.Kernels.shutdown)
    def shutdown(self) -> None: ...

    @like(_kernels.Kernels.shutdown_all)
    def shutdown_all(self) -> None: ...

    @like(_kernels.Kernels.cull)
    def cull(self) -> None: ...


class KernelSpecDirectory(BlockingFace, of=_kernelspecs.KernelSpecDirectory):
    @like(_kernelspecs.KernelSpecDirectory.list)
    def list(self) -> None: ...

    @like(_kernelspecs.KernelSpecDirectory.get)
    def get(self) -> None: ...

    @like(_kernelspecs.KernelSpecDirectory.default_name)
    def default_name(self) -> None: ...

    @like(_kernelspecs.KernelSpecDirectory.resource)
    def resource(self) -> None: ...

    @like(_kernelspecs.KernelSpecDirectory.check)
    def check(self) -> None: ...

    @like(_kernelspecs.KernelSpecDirectory.interrupt_mode)
    def interrupt_mode(self) -> None: ...


class Sessions(BlockingFace, of=_sessions.Sessions):
    @like(_sessions.Sessions.create)
    def create(self) -> None: ...

    @like(_sessions.Sessions.get)
    def get(self) -> None: ...

    @like(_sessions.Sessions.list)
    def list(self) -> None: ...

    @like(_sessions.Sessions.update)
    def update(self) -> None: ...

    @like(_sessions.Sessions.delete)
    def delete(self) -> None: ...


class KernelChannels(BlockingFace, of=_kernel_channels.KernelChannels):
    @property
    def kernel_state(self) -> KernelState: ...

    @property
    def resumed(self) -> int: ...

    @like(_kernel_channels.KernelChannels.wait_opened)
    def wait_opened(self) -> None: ...

    @like(_kernel_channels.KernelChannels.receive)
    def receive(self) -> None: ...

    @like(_kernel_channels.KernelChannels.send)
    def send(self) -> None: ...


class JobResults(Resource, Reader[tuple[str, JobResult]], of=_jobs.JobResults):
    @like(_jobs.JobResults.aclose)
    def close(self) -> None: ...


class KernelPool(BlockingFace, of=_pool.KernelPool):
    @property
    def size(self) -> int: ...

    @property
    def warm(self) -> int: ...

    @like(_pool.KernelPool.statistics)
    def statistics(self) -> None: ...

    @like(_pool.KernelPool.kernel, Kernel)
    def kernel(self) -> None: ...

    @like(_pool.KernelPool.run)
    def run(self) -> None: ...

    @like(_pool.KernelPool.map, JobResults)
    def map(self) -> None: ...

    @like(_pool.KernelPool.wait_ready)
    def wait_ready(self) -> None: ...

    @like(_pool.KernelPool.drain)
    def drain(self) -> None: ...


class Gateway(BlockingFace, of=_gateway.Gateway):
    @property
    def config(self) -> GatewayConfig: ...

    @property
    def address(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def kernels(self) -> Kernels: ...

    @property
    def kernelspecs(self) -> KernelSpecDirectory: ...

    @property
    def sessions(self) -> Sessions: ...

    @property
    def dropped_events(self) -> int: ...

    @like(_gateway.Gateway.start_kernel, Kernel)
    def start_kernel(self) -> None: ...

    @like(_gateway.Gateway.attach_kernel, Kernel)
    def attach_kernel(self) -> None: ...

    @like(_gateway.Gateway.open_channels, KernelChannels)
    def open_channels(self) -> None: ...

    @like(_gateway.Gateway.open_pool, KernelPool)
    def open_pool(self) -> None: ...

    def http_client(self) -> AbstractContextManager[Client]: ...


class FleetKernels(BlockingFace, of=_fleet_kernels.FleetKernels):
    @like(_fleet_kernels.FleetKernels.list)
    def list(self) -> None: ...

    @like(_fleet_kernels.FleetKernels.get)
    def get(self) -> None: ...

    @like(_fleet_kernels.FleetKernels.interrupt)
    def interrupt(self) -> None: ...

    @like(_fleet_kernels.FleetKernels.restart)
    def restart(self) -> None: ...

    @like(_fleet_kernels.FleetKernels.shutdown)
    def shutdown(self) -> None: ...

    @like(_fleet_kernels.FleetKernels.start)
    def start(self) -> None: ...

    @like(_fleet_kernels.FleetKernels.shutdown_all)
    def shutdown_all(self) -> None: ...

    @like(_fleet_kernels.FleetKernels.cull)
    def cull(self) -> None: ...


class FleetKernelSpecs(BlockingFace, of=_fleet_kernels.FleetKernelSpecs):
    @like(_fleet_kernels.FleetKernelSpecs.list)
    def list(self) -> None: ...

    @like(_fleet_kernels.FleetKernelSpecs.get)
    def get(self) -> None: ...

    @like(_fleet_kernels.FleetKernelSpecs.default_name)
    def default_name(self) -> None: ...

    @like(_fleet_kernels.FleetKernelSpecs.check)
    def check(self) -> None: ...

    @like(_fleet_kernels.FleetKernelSpecs.resource)
    def resource(self) -> None: ...


class Fleet(BlockingFace, of=_fleet.Fleet):
    @property
    def gateways(self) -> tuple[GatewayStatus, ...]: ...

    @property
    def kernels(self) -> FleetKernels: ...

    @property
    def kernelspecs(self) -> FleetKernelSpecs: ...

    @property
    def dropped_events(self) -> int: ...

    def gateway(self, name: str) -> Gateway: ...

    @like(_fleet.Fleet.start_kernel, Kernel)
    def start_kernel(self) -> None: ...

    @like(_fleet.Fleet.attach_kernel, Kernel)
    def attach_kernel(self) -> None: ...

    @like(_fleet.Fleet.open_channels, KernelChannels)
    def open_channels(self) -> None: ...

    @like(_fleet.Fleet.open_pool, KernelPool)
    def open_pool(self) -> None: ...

    @like(_fleet.Fleet.drain)
    def drain(self) -> None: ...

    @like(_fleet.Fleet.resume)
    def resume(self) -> None: ...


def _opening(
    origin: Callable[P, AbstractAsyncContextManager[Any]], gives: type[T]
) -> Callable[[Callable[[], None]], Callable[P, AbstractContextManager[T]]]:
    """Make a blocking opener with the parameters and the docstring of `origin`."""

    def decorate(name_only: Callable[[], None]) -> Callable[P, AbstractContextManager[T]]:
        def opener(*args: P.args, **arguments: P.kwargs) -> AbstractContextManager[T]:
            hidden: Any = hidden_settings(arguments, but=_gateway.PLAIN_ARGUMENTS)
            first: Any = tuple(map(_gateway.hidden_url, args))
            del args, arguments
            return BlockingPortalCrossing(origin(*first, **hidden), BLOCKING.translate)  # pyright: ignore[reportCallIssue] - the arguments, hidden

        dressed: Any = functools.update_wrapper(opener, name_only)
        dressed.__doc__ = origin.__doc__
        dressed.__signature__ = inspect.signature(origin).replace(return_annotation=f"AbstractContextManager[{gives.__name__}]")
        return opener

    return decorate


@_opening(_fleet.open_fleet, Fleet)
def open_fleet() -> None: ...


@_opening(_gateway.open_gateway, Gateway)
def open_gateway() -> None: ...


@_opening(_hub.open_hub, Gateway)
def open_hub() -> None: ...


@_opening(_gateway.open_local_gateway, Gateway)
def open_local_gateway() -> None: ...
