"""trio_gateway for synchronous code: the same names and the same arguments, without `async` and `await`.

`with` instead of `async with`, `for` instead of `async for`, `close` instead of `aclose`; all else is as in `trio_gateway`, whose
docstrings these are. Trio runs in one thread that all gateways of the process share, which starts with the first and ends with
the last of them. Everything may be used by any number of threads, also while an event loop runs, as in a notebook's cell.

Ctrl-C cancels the call that the main thread waits for, as a cancelled scope does in Trio: the kernel is interrupted, that is
waited for, and KeyboardInterrupt is raised.

`fail_after` and `move_on_after` limit the calls of a block in the same way.

- What a call asks of you, such as `stdin`, is called in the calling thread; it must be a plain function.
- The functions of `on_event` and a `connector` are called in Trio's thread, where nothing of this module can be called.
- Exceptions are the same, Trio's too: `trio.EndOfChannel`, `trio.WouldBlock`, `trio.ClosedResourceError`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec

from ._config import GatewayConfig as GatewayConfig
from ._config import GatewaySettings as GatewaySettings
from ._config import hidden_settings
from ._documents import sessions as _sessions
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
from ._errors import InvalidInputError as InvalidInputError
from ._errors import KernelCulledError as KernelCulledError
from ._errors import KernelDiedError as KernelDiedError
from ._errors import KernelError as KernelError
from ._errors import KernelNotFoundError as KernelNotFoundError
from ._errors import KernelRestartedError as KernelRestartedError
from ._errors import KernelSpecNotFoundError as KernelSpecNotFoundError
from ._errors import MessageTooLargeError as MessageTooLargeError
from ._errors import ProtocolError as ProtocolError
from ._errors import SessionNotFoundError as SessionNotFoundError
from ._errors import SessionStoreError as SessionStoreError
from ._errors import SlowConsumerError as SlowConsumerError
from ._events import GatewayEvent as GatewayEvent
from ._gateway import gateway as _gateway
from ._gateway import kernels as _kernels
from ._gateway import kernelspecs as _kernelspecs
from ._kernel import channels as _channels
from ._kernel import comms as _comms
from ._kernel import executor as _executor
from ._kernel import frame_relay as _kernel_channels
from ._kernel import kernel as _kernel
from ._kernel.comms import CommMessage as CommMessage
from ._kernel.inbox import READY_BYTES, READY_ITEMS
from ._kernel.status import Status as Status
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
from ._portal.blocking_faces import Face, Reader, Resource, blocking, entering, in_trio, ready
from ._portal.calls import Realm
from ._portal.deadlines import CancelScope as CancelScope
from ._portal.deadlines import fail_after as fail_after
from ._portal.deadlines import move_on_after as move_on_after
from ._portal.prefetch import Reading, read
from ._portal.thread_side import BlockingRealmCrossing, block_on, take_blocking
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

if TYPE_CHECKING:
    from ._transport.http.httpx_face import Client

P = ParamSpec("P")

# A class here says which members there are, in the order of the Trio class. What they take, give and mean stands there.


class OutputStream(Reader[_executor.OutputStream, Output], of=_executor.OutputStream):
    @ready(_executor.OutputStream.receive_ready)
    def receive_ready(self) -> None: ...

    @property
    def result(self) -> ExecutionResult:
        return self._in_trio(lambda outputs: outputs.result)

    @in_trio(_executor.OutputStream.statistics)
    def statistics(self) -> None: ...


class Subscription(Resource[_channels.Subscription], Reader[_channels.Subscription, Message], of=_channels.Subscription):
    def receive(self) -> Message:
        return self._take()

    def receive_nowait(self) -> Message:
        self._realm.thread.check_process()
        with suppress(IndexError):
            return self._reading.claim()
        return self._in_trio(lambda messages: messages.receive_nowait())

    @ready(_channels.Subscription.receive_ready)
    def receive_ready(self) -> None: ...

    @blocking(_channels.Subscription.aclose)
    def close(self) -> None: ...

    @in_trio(_channels.Subscription.statistics)
    def statistics(self) -> None: ...


class Channel(Face[_channels.Channel], of=_channels.Channel):
    @property
    def name(self) -> str:
        return self._original.name

    @entering(_channels.Channel.subscribe, Subscription)
    def subscribe(self) -> None: ...

    @blocking(_channels.Channel.send)
    def send(self) -> None: ...

    @blocking(_channels.Channel.forward)
    def forward(self) -> None: ...

    @in_trio(_channels.Channel.statistics)
    def statistics(self) -> None: ...


class Comm(Resource[_comms.Comm], Reader[_comms.Comm, CommMessage], of=_comms.Comm):
    @property
    def id(self) -> str:
        return self._original.id

    @property
    def target_name(self) -> str:
        return self._original.target_name

    @property
    def opening(self) -> CommMessage:
        return self._original.opening

    @property
    def closed(self) -> bool:
        return self._original.closed

    @blocking(_comms.Comm.send)
    def send(self) -> None: ...

    def receive(self) -> CommMessage:
        return self._take()

    @ready(_comms.Comm.receive_ready)
    def receive_ready(self) -> None: ...

    @blocking(_comms.Comm.aclose)
    def close(self) -> None: ...


class IncomingComms(Resource[_comms.IncomingComms], Reader[_comms.IncomingComms, Comm], of=_comms.IncomingComms):
    def receive(self) -> Comm:
        return self._take()

    def _take(self) -> Comm:
        original: Any = super()._take()
        return Comm(self._realm, original)

    def receive_ready(self, limit: int = READY_ITEMS, *, limit_bytes: float = READY_BYTES) -> list[Comm]:
        originals: list[Any] = self._receive_ready(limit, limit_bytes=limit_bytes)
        return [Comm(self._realm, original) for original in originals]

    @blocking(_comms.IncomingComms.aclose)
    def close(self) -> None: ...


class Comms(Face[_comms.Comms], of=_comms.Comms):
    @entering(_comms.Comms.open, Comm)
    def open(self) -> None: ...

    @entering(_comms.Comms.accept, IncomingComms)
    def accept(self) -> None: ...


class HeartbeatChannel(Face[_kernel.HeartbeatChannel], of=_kernel.HeartbeatChannel):
    @property
    def verdict(self) -> Verdict:
        return self._in_trio(lambda hb: hb.verdict)

    @property
    def evidence(self) -> Evidence:
        return self._in_trio(lambda hb: hb.evidence)

    @in_trio(_kernel.HeartbeatChannel.is_beating)
    def is_beating(self) -> None: ...

    @property
    def silence(self) -> float:
        return self._in_trio(lambda hb: hb.silence)

    @blocking(_kernel.HeartbeatChannel.check)
    def check(self) -> None: ...


class Subshell(Face[_kernel.Subshell], of=_kernel.Subshell):
    @property
    def id(self) -> str:
        return self._original.id

    @blocking(_kernel.Subshell.execute)
    def execute(self) -> None: ...

    @entering(_kernel.Subshell.stream, OutputStream)
    def stream(self) -> None: ...


class Kernel(Face[_kernel.Kernel], of=_kernel.Kernel):
    @property
    def id(self) -> str:
        return self._original.id

    @property
    def name(self) -> str:
        return self._original.name

    @property
    def session_id(self) -> str:
        return self._original.session_id

    @blocking(_kernel.Kernel.execute)
    def execute(self) -> None: ...

    @entering(_kernel.Kernel.stream, OutputStream)
    def stream(self) -> None: ...

    @property
    def state(self) -> KernelState:
        return self._original.state

    @property
    def connection_state(self) -> ConnectionState:
        return self._original.connection_state

    @blocking(_kernel.Kernel.wait_for)
    def wait_for(self) -> None: ...

    def changes(self) -> Iterator[Status]:
        return Reader(self._realm, self._original.changes())

    @property
    def shell(self) -> Channel:
        return self._part("shell", Channel)

    @property
    def iopub(self) -> Channel:
        return self._part("iopub", Channel)

    @property
    def stdin(self) -> Channel:
        return self._part("stdin", Channel)

    @property
    def control(self) -> Channel:
        return self._part("control", Channel)

    @property
    def hb(self) -> HeartbeatChannel:
        return self._part("hb", HeartbeatChannel)

    @property
    def comms(self) -> Comms:
        return self._part("comms", Comms)

    @blocking(_kernel.Kernel.complete)
    def complete(self) -> None: ...

    @blocking(_kernel.Kernel.inspect)
    def inspect(self) -> None: ...

    @blocking(_kernel.Kernel.history)
    def history(self) -> None: ...

    @blocking(_kernel.Kernel.is_complete)
    def is_complete(self) -> None: ...

    @blocking(_kernel.Kernel.comm_info)
    def comm_info(self) -> None: ...

    @blocking(_kernel.Kernel.kernel_info)
    def kernel_info(self) -> None: ...

    @blocking(_kernel.Kernel.debug)
    def debug(self) -> None: ...

    @entering(_kernel.Kernel.subshell, Subshell)
    def subshell(self) -> None: ...

    @blocking(_kernel.Kernel.interrupt)
    def interrupt(self) -> None: ...

    @blocking(_kernel.Kernel.restart)
    def restart(self) -> None: ...

    @blocking(_kernel.Kernel.shutdown)
    def shutdown(self) -> None: ...


class Kernels(Face[_kernels.Kernels], of=_kernels.Kernels):
    @blocking(_kernels.Kernels.list)
    def list(self) -> None: ...

    @blocking(_kernels.Kernels.get)
    def get(self) -> None: ...

    @blocking(_kernels.Kernels.start)
    def start(self) -> None: ...

    @blocking(_kernels.Kernels.interrupt)
    def interrupt(self) -> None: ...

    @blocking(_kernels.Kernels.restart)
    def restart(self) -> None: ...

    @blocking(_kernels.Kernels.shutdown)
    def shutdown(self) -> None: ...

    @blocking(_kernels.Kernels.shutdown_all)
    def shutdown_all(self) -> None: ...

    @blocking(_kernels.Kernels.cull)
    def cull(self) -> None: ...


class KernelSpecDirectory(Face[_kernelspecs.KernelSpecDirectory], of=_kernelspecs.KernelSpecDirectory):
    @blocking(_kernelspecs.KernelSpecDirectory.list)
    def list(self) -> None: ...

    @blocking(_kernelspecs.KernelSpecDirectory.get)
    def get(self) -> None: ...

    @blocking(_kernelspecs.KernelSpecDirectory.default_name)
    def default_name(self) -> None: ...

    @blocking(_kernelspecs.KernelSpecDirectory.resource)
    def resource(self) -> None: ...

    @blocking(_kernelspecs.KernelSpecDirectory.check)
    def check(self) -> None: ...

    @blocking(_kernelspecs.KernelSpecDirectory.interrupt_mode)
    def interrupt_mode(self) -> None: ...


class Sessions(Face[_sessions.Sessions], of=_sessions.Sessions):
    @blocking(_sessions.Sessions.create)
    def create(self) -> None: ...

    @blocking(_sessions.Sessions.get)
    def get(self) -> None: ...

    @blocking(_sessions.Sessions.list)
    def list(self) -> None: ...

    @blocking(_sessions.Sessions.update)
    def update(self) -> None: ...

    @blocking(_sessions.Sessions.delete)
    def delete(self) -> None: ...


def _make_client(realm: Realm, client: Any) -> Client:
    from ._transport.http.httpx_face import make_blocking_twin

    return make_blocking_twin(client, functools.partial(block_on, realm))


class KernelChannels(Face[_kernel_channels.KernelChannels], of=_kernel_channels.KernelChannels):
    def __init__(self, realm: Realm, original: _kernel_channels.KernelChannels) -> None:
        super().__init__(realm, original)
        self._reading: Reading[Sequence[bytes | str]] = read(original)

    @property
    def kernel_state(self) -> KernelState:
        return self._original.kernel_state

    @property
    def resumed(self) -> int:
        return self._original.resumed

    @blocking(_kernel_channels.KernelChannels.wait_opened)
    def wait_opened(self) -> None: ...

    def receive(self) -> Sequence[bytes | str]:
        return take_blocking(self._realm, self._reading)

    @blocking(_kernel_channels.KernelChannels.send)
    def send(self) -> None: ...


class Gateway(Face[_gateway.Gateway], of=_gateway.Gateway):
    @property
    def config(self) -> GatewayConfig:
        return self._original.config

    @property
    def url(self) -> str:
        return self._original.url

    @property
    def kernels(self) -> Kernels:
        return self._part("kernels", Kernels)

    @property
    def kernelspecs(self) -> KernelSpecDirectory:
        return self._part("kernelspecs", KernelSpecDirectory)

    @property
    def sessions(self) -> Sessions:
        return self._part("sessions", Sessions)

    @property
    def dropped_events(self) -> int:
        return self._original.dropped_events

    @entering(_gateway.Gateway.start_kernel, Kernel)
    def start_kernel(self) -> None: ...

    @entering(_gateway.Gateway.attach_kernel, Kernel)
    def attach_kernel(self) -> None: ...

    @entering(_gateway.Gateway.open_channels, KernelChannels)
    def open_channels(self) -> None: ...

    @entering(_gateway.Gateway.http_client, _make_client)
    def http_client(self) -> None: ...


def _opening(
    origin: Callable[P, AbstractAsyncContextManager[_gateway.Gateway]],
) -> Callable[[Callable[[], None]], Callable[P, AbstractContextManager[Gateway]]]:
    """Make a blocking opener with the parameters and the docstring of `origin`."""

    def decorate(name_only: Callable[[], None]) -> Callable[P, AbstractContextManager[Gateway]]:
        def opener(*args: P.args, **arguments: P.kwargs) -> AbstractContextManager[Gateway]:
            hidden: Any = hidden_settings(arguments, but=_gateway.PLAIN_ARGUMENTS)
            first: Any = tuple(map(_gateway.hidden_url, args))
            del args, arguments
            return BlockingRealmCrossing(origin(*first, **hidden), Gateway)  # pyright: ignore[reportCallIssue] - the arguments, hidden

        dressed: Any = functools.update_wrapper(opener, name_only)
        dressed.__doc__ = origin.__doc__
        dressed.__signature__ = inspect.signature(origin).replace(return_annotation="AbstractContextManager[Gateway]")
        return opener

    return decorate


@_opening(_gateway.open_gateway)
def open_gateway() -> None: ...


@_opening(_gateway.open_local_gateway)
def open_local_gateway() -> None: ...
