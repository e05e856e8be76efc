"""A kernel of the fake, as its gateway knows it: a process that may be replaced, and the streams of those who are connected.

The one idea: this is what Jupyter Server's kernel manager keeps: a model, a restarter, and a buffer of missed messages for the
last session that was connected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import trio

from .._protocol.messages import Header, Message
from ._comm import FakeComm
from ._process import KernelProcess
from ._sockets import Sink, Streams
from ._specs import FakeKernelSpec
from ._world import DATE, World

__all__ = ["FakeKernel", "KernelSettings"]

_RESTART_LIMIT: Final = 5


class KernelSettings(Protocol):
    """What a gateway has set for its kernels, and may change at any time."""

    server_session: str
    """The session of the server's own messages."""
    restart_seconds: float
    """How long a restart takes."""
    restarter_seconds: float
    """How long after a process's death the gateway notices."""
    buffers: bool
    """Whether it keeps what a session misses while it has no connection."""


class _Way:
    """The way that a reply goes: over the network between the kernel's host and the gateway, to one client's session."""

    __slots__ = ("_carry", "_streams")

    def __init__(self, carry: Callable[[Callable[[], object]], None], streams: Streams) -> None:
        self._carry = carry
        self._streams = streams

    def reply(self, message: Message) -> None:
        """Take a reply, or a request for input."""
        self._carry(lambda: self._streams.reply(message))


class FakeKernel:
    """A kernel of the fake gateway. Reached as `fake.kernels[kernel_id]`; a test breaks it here.

    Attributes:
        id: its id.
        name: its kernelspec's name.
        execution_state: what the gateway's model says.
        connections: how many WebSockets are open to it.
        executed: how often each request to execute was run, by `msg_id`: more than once is a broken guarantee G4.
        codes: the code of each execution, in order.
        restarts: how often its process was replaced.
        interrupts: how often it was interrupted over HTTP.
        env: the environment of its start request.
    """

    def __init__(
        self,
        kernel_id: str,
        spec: FakeKernelSpec,
        env: Mapping[str, str],
        *,
        world: World,
        settings: KernelSettings,
        gone: Callable[[FakeKernel], object],
        orphaned: Callable[[KernelProcess], object],
    ) -> None:
        self._world = world
        self._settings = settings
        self._gone = gone
        self._orphaned = orphaned
        self._ended = False
        self._spec = spec
        self._process: KernelProcess | None = None
        self._ready = trio.Event()
        self._streams: list[Streams] = []
        self._buffered: Streams | None = None
        self._waiting: list[tuple[Message, Streams]] = []
        self._server_counter = 0
        self._deaths = 0
        self._held: list[Callable[[], object]] | None = None
        self._rejoined = trio.Event()
        self._rejoined.set()
        self.id: str = kernel_id
        self.name: str = spec.name
        self.env: dict[str, str] = dict(env)
        self.execution_state: str = "starting"
        self.last_activity: float = trio.current_time()
        self.connections: int = 0
        self.executed: dict[str, int] = {}
        self.codes: list[str] = []
        self.restarts: int = 0
        self.interrupts: int = 0

    def __repr__(self) -> str:
        return f"<FakeKernel {self.name} {self.id} {self.execution_state}, {self.connections} connections>"

    # What a test does to it -----------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End its process without a word, as the system does when memory is short. The gateway starts it again a little later."""
        if self._process is not None:
            self._process.end()
            self.crashed(self._process)

    def die(self) -> None:
        """End its process, and let the gateway give up on it: `dead`, and then nobody knows it."""
        self._deaths = _RESTART_LIMIT
        self.kill()

    def cull(self) -> None:
        """Shut it down as the gateway's culling does: a farewell on iopub, and the WebSocket stays open."""
        self.end(quietly=False)

    def restart(self) -> None:
        """Restart it as another client does: over HTTP, with no word on the wire but a farewell on iopub."""
        self._world.spawn(self.restart_process, f"restart[{self.id:.8}]")

    def stall(self) -> None:
        """Stop its process, as SIGSTOP does: it answers nothing until `resume`."""
        if self._process is not None:
            self._process.stall()

    def kill_soon(self, seconds: float) -> None:
        """Kill it after so many seconds."""
        self._world.spawn(lambda: self._later(seconds, self.kill), f"kill[{self.id:.8}]")

    def stall_for(self, seconds: float) -> None:
        """Stall it for so many seconds."""
        self.stall()
        self._world.spawn(lambda: self._later(seconds, self.resume), f"stall[{self.id:.8}]")

    async def _later(self, seconds: float, act: Callable[[], object]) -> None:
        await trio.sleep(seconds)
        act()

    def resume(self) -> None:
        """Let its process go on."""
        if self._process is not None:
            self._process.resume()

    def cut_off(self) -> None:
        """Cut the network between the gateway and its host: it runs on, and nothing comes or goes until `rejoin`.

        The gateway's model says what it said before. A gateway that is asked to interrupt it answers 500.
        """
        if self._held is None:
            self._held = []
            self._rejoined = trio.Event()

    def rejoin(self, *, lost: bool = False) -> None:
        """Make that network again.

        Args:
            lost: whether what was sent meanwhile is lost, as it is where the connections broke; else it comes now, in order.
        """
        held, self._held = self._held, None
        self._rejoined.set()
        for arrive in () if lost or held is None else held:
            arrive()

    @property
    def is_cut_off(self) -> bool:
        """Whether the network between the gateway and its host is cut."""
        return self._held is not None

    def _carry(self, arrive: Callable[[], object]) -> None:
        """Have something arrive over that network, now or when it is made again."""
        if self._held is None:
            arrive()
        else:
            self._held.append(arrive)

    def interrupt(self) -> None:
        """Interrupt the code that runs."""
        if self._process is not None:
            self._process.interrupt()

    def publish(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Publish any message on iopub, with no parent."""
        if self._process is not None:
            self._process.publish(msg_type, content, None)

    # What its process gets and tells -----------------------------------------------------------------------------------------

    def take(self, message: Message, streams: Streams) -> None:
        """Take a message of a client's. While there is no process it waits, as in ZeroMQ's queue."""
        process = self._process
        if process is not None:
            self._carry(lambda: process.take(message, _Way(self._carry, streams)))
        elif not self._ended:
            self._waiting.append((message, streams))

    def note_state(self, state: str) -> None:
        """Take the state that the process publishes."""
        self._carry(lambda: self._learn(state))

    def _learn(self, state: str) -> None:
        self.last_activity = trio.current_time()
        if state != self.execution_state:
            self.execution_state = state

    def note_execution(self, request: Message) -> None:
        """Count an execution."""
        self.last_activity = trio.current_time()
        self.executed[request.msg_id] = self.executed.get(request.msg_id, 0) + 1
        self.codes.append(str(request.content.get("code", "")))

    @property
    def subshells(self) -> list[str]:
        """The ids of its subshells."""
        return [] if self._process is None else self._process.subshells

    @property
    def has_subshells(self) -> bool:
        """Whether its processes offer subshells."""
        return self._spec.subshells

    @property
    def answers_beside(self) -> bool:
        """Whether its processes answer `kernel_info_request` beside code that runs."""
        return self._spec.answers_beside

    @property
    def control_at_work(self) -> bool:
        """Whether its processes answer on their control channel while code runs."""
        return self._spec.control_at_work

    @property
    def stop_on_error_timeout(self) -> float:
        """How long after a failure its processes skip what they are asked to execute, in seconds."""
        return self._spec.stop_on_error_timeout

    def debug(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what the kernelspec's debugger answers; None if it has none, or can't. For its process."""
        return None if self._spec.debugger is None else self._spec.debugger(command, arguments)

    def comm_target(self, name: str) -> Callable[[FakeComm, Message], object] | None:
        """Return what opens comms of a target."""
        return self._spec.comm_targets.get(name)

    def broadcast(self, message: Message) -> None:
        """Publish to all clients that are connected, or that it is buffered for."""
        self._carry(lambda: self._broadcast(message))

    def _broadcast(self, message: Message) -> None:
        self.last_activity = trio.current_time()
        for streams in list(self._streams):
            streams.take(message)

    def _announce(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Tell those who are connected something of the server's own."""
        for streams in list(self._streams):
            if streams.sink is not None:
                streams.sink.give(self.server_message(msg_type, content, None))

    def server_message(self, msg_type: str, content: Mapping[str, Any], parent: Message | None) -> Message:
        """Make a message of the server's own, which numbers apart from the kernel."""
        self._server_counter += 1
        session = self._settings.server_session
        header = Header(f"{session}_1_{self._server_counter}", msg_type, session, "gateway", DATE, "5.4")
        parent_header = {} if parent is None else parent.parent_header
        return Message("iopub", header, content, parent_header=parent_header)

    # Its life -------------------------------------------------------------------------------------------------------

    @property
    def process(self) -> KernelProcess | None:
        """Its process, if there is one."""
        return self._process

    async def wait_ready(self) -> None:
        """Wait until its process can answer."""
        await self._ready.wait()
        if self._process is not None:
            await self._process.wait_awake()
        await self._rejoined.wait()

    async def launch(self) -> None:
        """Start a process. As measured, of two restarts that overlap each starts one, and the first of them is forgotten."""
        self._abandon()
        number = self._world.next_pid()
        session = self._world.new_hex()
        process = KernelProcess(self, self._spec.make_engine(self.env, number), session, number)
        self._process = process
        self.rejoin(lost=True)  # it is on another host, or the network is there
        self._world.spawn(process.run, f"process[{self.id:.8}]")
        waiting, self._waiting = self._waiting, []
        for message, streams in waiting:
            process.take(message, _Way(self._carry, streams))
        await trio.sleep(self._spec.startup_seconds)
        if self._process is process:
            self._ready.set()
            if self.execution_state in {"starting", "restarting"}:
                # The server's own kernel_info_request.
                self.greet()

    def greet(self) -> None:
        """Do what the server's own `kernel_info_request` does: a `busy` and an `idle` with a parent that nobody knows."""
        process = self._process
        if process is None or process.stalled or self.is_cut_off or self.execution_state == "busy":
            return
        request = self.server_message("kernel_info_request", {}, None)
        process.publish("status", {"execution_state": "busy"}, request)
        process.skip_number()
        process.publish("status", {"execution_state": "idle"}, request)

    async def restart_process(self) -> None:
        """Replace the process, on a client's request."""
        process = self._process
        if process is not None:
            process.say_goodbye(restart=True)
            process.end()
        self._process = None
        self.restarts += 1
        self._ready = trio.Event()
        self.execution_state = "restarting"
        await trio.sleep(self._settings.restart_seconds)
        await self.launch()
        if self._ended:
            # As measured: a gateway that is asked to shut a kernel down in the middle of its restart starts it all the same.
            self._abandon()

    def _abandon(self) -> None:
        """Forget the process, which goes on: nobody can end it any more."""
        if self._process is not None:
            self._orphaned(self._process)
            self._process = None

    def crashed(self, process: KernelProcess) -> None:
        """Its process has ended by itself: start it again, or give up."""
        if process is not self._process:
            return
        self._process = None
        self._ready = trio.Event()
        self._world.spawn(self._revive, f"restarter[{self.id:.8}]")

    async def _revive(self) -> None:
        # The restarter looks every few seconds.
        await trio.sleep(self._settings.restarter_seconds)
        if self._ended or self._process is not None:
            return
        self._deaths += 1
        if self._deaths > _RESTART_LIMIT:
            self.execution_state = "dead"
            self._announce("status", {"execution_state": "dead"})
            self.end(quietly=True)
            return
        self.restarts += 1
        self.execution_state = "restarting"
        self._announce("status", {"execution_state": "restarting"})
        await self.launch()

    def end(self, *, quietly: bool) -> None:
        """Shut it down, and have its gateway forget it. The connections to it stay open. A second time does nothing."""
        if self._ended:
            return
        self._ended = True
        self._gone(self)
        process, self._process = self._process, None
        if process is not None:
            if not quietly:
                process.say_goodbye(restart=False)
            process.end()
        self._ready.set()
        for streams in self._streams:
            streams.open = False
        self._streams.clear()
        self._buffered = None

    # Connections ----------------------------------------------------------------------------------------------------

    def connect(self, sink: Sink, session_id: str, door: object = None) -> Streams:
        """Connect a client's session through a door: with what was buffered for it there, or afresh."""
        for other in list(self._streams):
            if other.session_id == session_id and other.door is door and other.sink is not None:
                stale = other.sink
                stale.hang_up("Replacing stale connection")
                self.disconnect(other, stale)
        self.connections += 1
        buffered, self._buffered = self._buffered, None
        if buffered is not None and buffered.session_id == session_id and buffered.door is door:
            buffered.sink = sink
            return buffered
        if buffered is not None:
            self._close(buffered)
        streams = Streams(session_id, sink, door)
        self._streams.append(streams)
        return streams

    def disconnect(self, streams: Streams, sink: Sink) -> None:
        """A client's connection is over: the last one's messages are buffered, those of others are not.

        Not so of one whose place another connection has taken since: what was its is that one's now.
        """
        if streams.sink is not sink:
            return
        streams.sink = None
        self.connections -= 1
        self.last_activity = trio.current_time()
        if self.connections == 0 and not self._ended and streams.open and self._settings.buffers:
            self._buffered = streams
        else:
            self._close(streams)

    def _close(self, streams: Streams) -> None:
        streams.open = False
        if streams in self._streams:
            self._streams.remove(streams)

    def model(self) -> dict[str, Any]:
        """Return the model that the gateway shows."""
        return {
            "id": self.id,
            "name": self.name,
            "last_activity": self._world.timestamp(self.last_activity),
            "execution_state": self.execution_state,
            "connections": self.connections,
        }
