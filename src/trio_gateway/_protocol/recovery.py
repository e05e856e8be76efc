"""Recovery: what a session or a relay asks after its connection was made again, what silence means, and which requests are lost.

The one idea: a pure machine, like one of QUIC's for lost packets. It gets facts and the time, and says what is to be asked. It
knows ids and no messages, so a session, which has messages, and a relay, which has frames, run the same rules. The requests that
wait for a reply stay in their owner's table: the machine reads it where it judges, and so costs nothing while all goes well.

Two tables, and all rules, in the order in which they act:

Does the connection lead to the kernel? (`HEARING_TRANSITIONS`)

1. Over a first connection everything is sent at once. Over one that was made again, or whose session the gateway knew before,
   nothing that could be lost is sent (`may_send`) before the kernel was asked something that every kernel answers, on control: a
   gateway restores the sockets that it kept for a session, and those of a connection that broke early, or that the gateway held
   for alive when the client had long come back, may lead nowhere (jupyter_server 2.21, `_register_session` and `disconnect`).
2. It is asked when something wants to be sent; at once, where the connection before carried nothing (`quiet`): how long the
   supervisor goes on depends on a word. A session's barriers need not wait for the answer, for `_kernel/poller.py` looks after
   a session that is silent; nothing looks after a relay, so its barriers wait (`polled`).
3. The answer, however late, releases what waits. Without one in `ANSWER_SECONDS` the gateway is asked about the kernel.
4. A kernel that is gone, a gateway that can't be reached, and a consumer that pauses reading prove nothing about the connection:
   what waits is released. If the gateway has the kernel, and something waits, or the kernel is idle and so would have answered,
   the kernel is asked over another connection, with another session id. After each time it takes twice as long until the next
   one: a kernel that is stopped does not answer there either.
5. Not answered there: released. Answered there: the question over this connection, which was asked first, gets `ANSWER_SECONDS`
   more, for its answer may be on the way behind much output. Then the connection is mute if what the kernel published about the
   other question came over this one, or if nothing came at all since; another session id gets new sockets, and nothing is sent
   over this connection any more. Otherwise: released.
6. The same question is asked, and the same way is gone, when a kernel that owes an answer is silent over a connection that holds
   (`ask`); then the poller asks the gateway. A question that has no answer yet is not asked a second time.
7. A question that was asked over a connection that is over says nothing, about that one or the next: nothing is found out any
   more, for a silence during an outage would seem to prove that the session leads nowhere. A question that fails, because the
   kernel was restarted, releases what waits: its process was replaced, and not its connection.

Was a request lost? (`BARRIER_TRANSITIONS`, one for each line: main shell, each subshell, control)

8. A kernel works on a line first in, first out. So behind what waits there a barrier is sent, which every kernel answers: when
   the connection was made again, and whenever the owner asks (`find_lost`: the poller, and where an interrupt brought no end).
   When it is answered, what was sent before it and has no reply is lost. There is one barrier a line: one that an earlier
   connection carried is replaced, one that was not sent yet is not.
9. Some kernels answer `kernel_info_request` beside code that runs (xeus-python, async-kernel), so there it overtakes code that is
   well. If such a kernel, or one whose answer can't be read, still owes something, then on shell empty code is sent behind it as
   a second barrier, which runs in its turn; on control, where nothing waits for its turn, `BESIDE_SECONDS` more are waited.
10. An interrupt in the moment in which a kernel has begun with code and does not run it yet makes ipykernel drop the code: it
   tells neither of a reply nor of an end. (Measured with ipykernel 7.4.) So where the process that answers the first barrier was
   seen to begin with code that is owed over this connection, and not to end it, the second barrier is sent too.
11. What the second barrier judges is what the first one overtook: what was sent between the two may be answered out of order.
12. Code that this process was seen to begin with over this connection, and not to end, is not lost where the kernel answers
   beside it: it may still run.
13. A relay judges only what an earlier connection carried: while a connection holds, replies are between front end and kernel.
14. After a verdict a line that still owes what an earlier connection carried gets another barrier.

A request that is lost may have run: it is failed, never sent again (guarantee G4).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import attrs

from .._errors import ProtocolError
from .._values import as_text
from .liveness import Liveness
from .messages import Message

__all__ = [
    "ANSWER_SECONDS",
    "BARRIER_TRANSITIONS",
    "BESIDE_SECONDS",
    "EMPTY_EXECUTION",
    "HEARING_TRANSITIONS",
    "QUESTION",
    "Action",
    "AskElsewhere",
    "AskGateway",
    "AskKernel",
    "BarrierState",
    "GatewayWord",
    "Hearing",
    "Line",
    "Lost",
    "Recovery",
    "Release",
    "ReplaceSession",
    "Request",
    "SendBarrier",
    "answers_beside",
    "line_of",
]

ANSWER_SECONDS: Final = 2.0
"""How long a kernel may take to answer on its control channel before the gateway is asked about it instead, in seconds."""
BESIDE_SECONDS: Final = 20.0
"""How long a kernel that answers out of order gets for what it has not answered on control, in seconds."""
QUESTION: Final = "kernel_info_request"
"""What every kernel answers."""
EMPTY_EXECUTION: Final = {
    "code": "",
    "silent": True,
    "store_history": False,
    "user_expressions": {},
    "allow_stdin": False,
    "stop_on_error": False,
}
"""The second barrier's content, an `execute_request`: it runs nothing, and in its turn."""
OUT_OF_ORDER: Final = ("xeus", "async")
"""How the implementations begin that were measured to answer `kernel_info` beside code that runs: it is no barrier there."""

Line: TypeAlias = tuple[str, str | None]
"""A place where a kernel works on one thing after the other: a channel, and on shell the subshell, or None for the main one."""


class Hearing(enum.Enum):
    """What is known of whether the connection leads to the kernel."""

    FRESH = "fresh"
    """Nothing was asked over it."""
    GREETING = "greeting"
    """The kernel was asked, and has some seconds to answer."""
    HEARD = "heard"
    """The kernel has answered the latest question."""
    SUSPECT = "suspect"
    """The kernel has not answered in time."""
    ELSEWHERE = "elsewhere"
    """The kernel is asked over another connection."""
    DOUBTED = "doubted"
    """The kernel has answered over another connection; its answer over this one gets some seconds more."""
    MUTE = "mute"
    """It leads nowhere: its session is replaced."""

    if not TYPE_CHECKING:  # which takes it for another method than the one it stands for
        __hash__ = object.__hash__  # in C: each is there once


_OPEN: Final = (Hearing.GREETING, Hearing.SUSPECT, Hearing.ELSEWHERE, Hearing.DOUBTED)

HEARING_TRANSITIONS: Final[Mapping[tuple[Hearing, str], Hearing]] = {
    **{(state, "connected"): Hearing.FRESH for state in Hearing},
    **{(state, "lost"): Hearing.FRESH for state in _OPEN},
    (Hearing.FRESH, "asked"): Hearing.GREETING,
    (Hearing.HEARD, "asked"): Hearing.GREETING,
    **{(state, "answered"): Hearing.HEARD for state in _OPEN},
    **{(state, "failed"): Hearing.FRESH for state in _OPEN},
    (Hearing.GREETING, "no answer in time"): Hearing.SUSPECT,
    (Hearing.SUSPECT, "the gateway has the kernel"): Hearing.ELSEWHERE,
    (Hearing.ELSEWHERE, "no answer there"): Hearing.SUSPECT,
    (Hearing.ELSEWHERE, "answered there"): Hearing.DOUBTED,
    (Hearing.DOUBTED, "nothing proved"): Hearing.SUSPECT,
    (Hearing.DOUBTED, "leads nowhere"): Hearing.MUTE,
}


class BarrierState(enum.Enum):
    """How far a line's barrier is."""

    NONE = "none"
    """Nothing is looked for."""
    ASKED = "asked"
    """A question is on its way behind what waits, or about to be."""
    CODE = "code"
    """Empty code is on its way behind that."""
    WAITING = "waiting"
    """The kernel answers out of order, and control has some seconds more."""

    if not TYPE_CHECKING:
        __hash__ = object.__hash__


BARRIER_TRANSITIONS: Final[Mapping[tuple[BarrierState, str], BarrierState]] = {
    (BarrierState.NONE, "something is owed"): BarrierState.ASKED,
    (BarrierState.ASKED, "answered in order"): BarrierState.NONE,
    (BarrierState.ASKED, "no proof on shell"): BarrierState.CODE,
    (BarrierState.ASKED, "no proof on control"): BarrierState.WAITING,
    (BarrierState.CODE, "answered"): BarrierState.NONE,
    (BarrierState.WAITING, "time is up"): BarrierState.NONE,
    (BarrierState.ASKED, "failed"): BarrierState.NONE,
    (BarrierState.CODE, "failed"): BarrierState.NONE,
    (BarrierState.ASKED, "connected"): BarrierState.NONE,
    (BarrierState.CODE, "connected"): BarrierState.NONE,
}


class GatewayWord(enum.Enum):
    """What the gateway says when it is asked about a kernel."""

    IDLE = "idle"
    """The kernel waits for requests: it would have answered."""
    BUSY = "busy"
    """The kernel is there, and may be at work."""
    UNKNOWN = "unknown"
    """There is no such kernel, or it is dead."""
    UNREACHABLE = "unreachable"
    """The gateway can't be reached."""
    NO_ANSWER = "no answer"
    """The gateway is there, and does not say."""


class Request(Protocol):
    """What the machine reads of a request in its owner's table."""

    connection: int
    """The number of the connection that carried it; 0 while it waits to be sent."""
    order: int
    """What `Recovery.sent` returned when it was sent."""
    sent_at: float
    """When it was sent, in seconds of the clock that `now` is of."""

    @property
    def line(self) -> Line:
        """Where the kernel works on it."""
        ...

    @property
    def owed(self) -> bool:
        """Whether it was sent, someone waits for its reply, and that has not come."""
        ...

    def runs_in(self, process: str) -> bool:
        """Whether a process of the kernel, known by its session, was seen to begin with it and not to end it."""
        ...


@attrs.frozen
class AskKernel:
    """Ask the kernel on its control channel, before all that waits; name the question with `asks`."""


@attrs.frozen
class AskGateway:
    """Ask the gateway about the kernel, and say with `gateway_said` what it answers."""


@attrs.frozen
class AskElsewhere:
    """Ask the kernel over another connection; name the question with `seeks`, and say with `elsewhere_said` how that ended."""


@attrs.frozen
class Release:
    """What waits may be sent: `may_send` says so from now on, and the owner looks again."""


@attrs.frozen
class ReplaceSession:
    """Drop the connection, and make another one with another session id."""


@attrs.frozen
class SendBarrier:
    """Send a barrier behind all that was sent; name it with `asks`."""

    line: Line
    """Where."""
    code: bool = False
    """Whether it is empty code; else it is the question that each kernel answers."""

    @property
    def request(self) -> tuple[str, Mapping[str, object]]:
        """The type and the content of the request that it is made of."""
        return ("execute_request", EMPTY_EXECUTION) if self.code else (QUESTION, {})


@attrs.frozen
class Lost:
    """These requests were lost, or their replies were: there will be none."""

    requests: tuple[str, ...]
    """Their ids in the owner's table."""


Action: TypeAlias = AskKernel | AskGateway | AskElsewhere | Release | ReplaceSession | SendBarrier | Lost


@attrs.define
class _Barrier:
    """One line's barrier."""

    state: BarrierState = BarrierState.NONE
    msg_id: str = ""
    mark: int = 0
    """Its place in the order of what is sent; 0 while it waits to be sent."""
    connection: int = 0
    """Which connection carried it; 0 while it waits to be sent."""
    beside: bool = False
    """Whether the kernel may answer out of order."""
    process: str = ""
    """Which process of the kernel answered."""
    until: float = math.inf

    def feed(self, event: str) -> None:
        self.state = BARRIER_TRANSITIONS[self.state, event]


class Recovery:
    """The machine for one session or relay.

    Args:
        requests: the owner's table of requests, by the ids that their replies name; questions of this machine may be in it.
        liveness: the evidence about the connection: an answer is noted there, and read how long nothing came.
        polled: whether the owner is looked after while it is silent, and judges requests of a connection that holds.
    """

    __slots__ = (
        "_asked_at",
        "_barriers",
        "_connection",
        "_deadline",
        "_holding",
        "_liveness",
        "_look_at",
        "_look_pause",
        "_order",
        "_polled",
        "_published",
        "_question",
        "_requests",
        "_sought",
        "_sought_at",
        "_state",
    )

    def __init__(self, requests: Mapping[str, Request], liveness: Liveness, *, polled: bool) -> None:
        self._requests = requests
        self._liveness = liveness
        self._polled = polled
        self._state = Hearing.FRESH
        self._connection = 0
        self._holding = False
        self._order = 0
        self._question = ""  # the latest one on control, until it is answered
        self._asked_at = 0.0
        self._deadline = math.inf
        self._sought = ""  # the question over another connection, while it says something about this one
        self._sought_at = 0.0
        self._published = False
        self._look_at = -math.inf
        self._look_pause = liveness.interval
        self._barriers: dict[Line, _Barrier] | None = None  # mostly there is none

    def __contains__(self, msg_id: str) -> bool:
        """Whether this is the id of a question of the machine's that is still open, which nothing is lost with."""
        if self._barriers is None:
            return msg_id == self._question != ""
        return msg_id != "" and (msg_id == self._question or any(msg_id == one.msg_id for one in self._barriers.values()))

    @property
    def state(self) -> Hearing:
        """What is known of the connection."""
        return self._state

    @property
    def asking(self) -> bool:
        """Whether a question is open."""
        return self._question != "" or self._barriers is not None

    @property
    def suspect(self) -> bool:
        """Whether the kernel was asked over this connection, and has not answered."""
        return self._state in _OPEN

    @property
    def seeking(self) -> bool:
        """Whether it is being found out over another connection whether this one leads to the kernel."""
        return self._state in (Hearing.ELSEWHERE, Hearing.DOUBTED)

    @property
    def holding(self) -> bool:
        """Whether something may not be sent now: `may_send` says what."""
        return self._holding

    def next_deadline(self) -> float:
        """Return when `timed_out` is to be called, in seconds of the clock that `now` is of; infinity for never."""
        if self._barriers is None:
            return self._deadline
        return min([self._deadline, *[barrier.until for barrier in self._barriers.values()]])

    # The connection ---------------------------------------------------------------------------------------------

    def connected(self, connection: int, *, first: bool, quiet: bool = False) -> list[Action]:
        """A connection was made.

        Args:
            connection: its number, from 1.
            first: whether the gateway can't know the session.
            quiet: whether the connection before carried nothing, so that a word is asked for at once.
        """
        self._connection = connection
        self._feed("connected")
        self._holding = not first
        self._question = self._sought = ""
        self._deadline = math.inf
        self._look_at = -math.inf
        self._look_pause = self._liveness.interval
        for line, barrier in list((self._barriers or {}).items()):
            if barrier.connection and barrier.state is not BarrierState.WAITING:
                barrier.feed("connected")
                self._drop_barrier(line)
        actions = self.find_lost()
        return [*actions, AskKernel()] if quiet else actions

    def lost(self) -> list[Action]:
        """The connection is over, or could not be made."""
        if self.suspect:
            self._question = self._sought = ""
            self._deadline = math.inf
        self._feed("lost")
        return []

    def asks(self, action: AskKernel | SendBarrier, msg_id: str) -> None:
        """Name the question that was made for an action; it is about to be sent."""
        if isinstance(action, AskKernel):
            self._question = msg_id
        elif self._barriers is not None and action.line in self._barriers:
            self._barriers[action.line].msg_id = msg_id

    def may_send(self, msg_id: str) -> bool:
        """Whether this may be sent now."""
        if not self._holding:
            return True
        if self._state is Hearing.MUTE:
            return False
        return msg_id == self._question != "" or (self._polled and msg_id in self)

    def wants_to_send(self) -> list[Action]:
        """Something may not be sent yet, and waits for `Release`."""
        return [AskKernel()] if self._holding and self._state is Hearing.FRESH and not self._question else []

    def sent(self, msg_id: str, now: float) -> int:
        """Something begins to be sent; return its place in the order of all that is."""
        self._order += 1
        if self._question and msg_id == self._question:
            self._asked_at = now
            self._liveness.asked(now)
            self._deadline = now + ANSWER_SECONDS
            self._feed("asked")
        elif self._barriers is not None:
            for barrier in self._barriers.values():
                if barrier.msg_id == msg_id:
                    barrier.mark = barrier.mark or self._order
                    barrier.connection = self._connection
        return self._order

    @property
    def question(self) -> str:
        """The id of the latest question on control, until it is answered; else `""`."""
        return self._question

    @property
    def asked_at(self) -> float:
        """When that was sent, in seconds of the clock that `now` is of."""
        return self._asked_at

    def ask(self, *, again: bool = False) -> list[Action]:
        """Ask the kernel, which owes an answer and is silent, unless it owes this one too.

        Args:
            again: whether a question that is open is given up for another one.
        """
        return [] if (self._question and not again) or self._state is Hearing.MUTE else [AskKernel()]

    def answered(self, msg_id: str, now: float, *, beside: bool = False, process: str = "") -> list[Action]:
        """A reply came.

        Args:
            msg_id: which request it answers. Of one that is none of the machine's nothing is learned.
            now: the time.
            beside: what `answers_beside` says of the reply; True where it can't be read.
            process: the kernel's process, known by its session.
        """
        if msg_id == self._question != "":
            self._liveness.answered(now, self._asked_at)
            return self._end_question("answered")
        for line, barrier in (self._barriers or {}).items():
            if msg_id == barrier.msg_id != "":
                return self._overtake(line, barrier, now, beside=beside, process=process)
        return []

    def failed(self, msg_id: str) -> list[Action]:
        """A question of the machine's will have no answer."""
        if msg_id == self._question != "":
            self._liveness.dropped()
            return self._end_question("failed")
        for line, barrier in list((self._barriers or {}).items()):
            if msg_id == barrier.msg_id != "":
                barrier.feed("failed")
                self._drop_barrier(line)
        return []

    def gateway_said(self, word: GatewayWord, now: float, *, paused: bool) -> list[Action]:
        """The gateway has answered, or has not: after `AskGateway`, or when the owner asked it.

        Args:
            word: what it said.
            now: the time.
            paused: whether a consumer keeps the owner from reading.
        """
        if word in (GatewayWord.IDLE, GatewayWord.BUSY):
            self._liveness.vouched_for(now)
        elif word is GatewayWord.UNREACHABLE:
            self._liveness.unreachable()
        if self._state is Hearing.GREETING and not self._holding:
            self._feed("no answer in time")  # the owner has waited for it
            self._deadline = math.inf
        if self._state is not Hearing.SUSPECT:
            return []
        there = word is GatewayWord.IDLE or (self._holding and word in (GatewayWord.BUSY, GatewayWord.NO_ANSWER))
        if not there or paused or now < self._look_at:
            return self._release()
        self._look_at = now + self._look_pause
        self._look_pause *= 2
        self._sought_at = now
        self._feed("the gateway has the kernel")
        return [AskElsewhere()]

    def seeks(self, msg_id: str) -> None:
        """Name the question that is asked over another connection."""
        self._sought = msg_id
        self._published = False

    @property
    def sought(self) -> str:
        """The id of the question over another connection while what the kernel publishes about it counts; else `""`."""
        return self._sought

    def published(self) -> None:
        """What the kernel published about the question over another connection came over this one."""
        self._published = True
        self._sought = ""

    def elsewhere_said(self, answered: bool, now: float) -> list[Action]:
        """The question over another connection was answered, or was not."""
        if self._state is not Hearing.ELSEWHERE:
            return []
        if answered:
            self._feed("answered there")
            self._deadline = now + ANSWER_SECONDS
            return []
        self._feed("no answer there")
        self._sought = ""
        return self._release()

    def timed_out(self, now: float, *, paused: bool) -> list[Action]:
        """The time has come that `next_deadline` named, or any other.

        Args:
            now: the time.
            paused: whether a consumer keeps the owner from reading.
        """
        actions: list[Action] = []
        if now >= self._deadline:
            self._deadline = math.inf
            if self._state is Hearing.GREETING:
                self._feed("no answer in time")
                actions += [AskGateway()] if self._holding else []
            elif self._state is Hearing.DOUBTED:
                nothing_came = not paused and self._liveness.quiet(now) >= now - self._sought_at
                proved = self._published or nothing_came
                self._sought = ""
                self._feed("leads nowhere" if proved else "nothing proved")
                self._holding = self._holding or proved
                actions += [ReplaceSession()] if proved else self._release()
        for line, barrier in list((self._barriers or {}).items()):
            if now >= barrier.until:
                barrier.feed("time is up")
                actions += self._judge(line, barrier)
        return actions

    def _end_question(self, event: str) -> list[Action]:
        self._question = self._sought = ""
        self._deadline = math.inf
        self._feed(event)
        return self._release()

    def _release(self) -> list[Action]:
        if not self._holding or self._state is Hearing.MUTE:
            return []
        self._holding = False
        return [Release()]

    def _feed(self, event: str) -> None:
        self._state = HEARING_TRANSITIONS.get((self._state, event), self._state)

    # Lost requests ----------------------------------------------------------------------------------------------

    def find_lost(self) -> list[Action]:
        """Look, some time, whether what waits was lost. The answer may take hours, behind code that runs."""
        return [action for action in [self._open_barrier(line) for line in self._lines()] if action is not None]

    def _lines(self) -> list[Line]:
        """The lines that owe something, in order of their first request."""
        lines: dict[Line, None] = {}
        for msg_id, request in self._requests.items():
            if request.owed and msg_id not in self:
                lines[request.line] = None
        return list(lines)

    def _open_barrier(self, line: Line) -> Action | None:
        barriers = self._barriers = {} if self._barriers is None else self._barriers
        if line in barriers:
            return None
        barrier = barriers[line] = _Barrier()
        barrier.feed("something is owed")
        return SendBarrier(line)

    def _drop_barrier(self, line: Line) -> None:
        assert self._barriers is not None
        del self._barriers[line]
        if not self._barriers:
            self._barriers = None

    def _overtaken(self, line: Line, barrier: _Barrier) -> list[tuple[str, Request]]:
        """What was sent before a barrier in its line and is still owed."""
        return [
            (msg_id, request)
            for msg_id, request in self._requests.items()
            if request.owed
            and 0 < request.order < barrier.mark
            and (self._polled or request.connection < barrier.connection)
            and request.line == line
            and msg_id not in self
        ]

    def _overtake(self, line: Line, barrier: _Barrier, now: float, *, beside: bool, process: str) -> list[Action]:
        """A barrier was answered."""
        barrier.msg_id = ""
        barrier.process = process
        if barrier.state is BarrierState.CODE:
            barrier.feed("answered")
            return self._judge(line, barrier)
        barrier.beside = beside
        overtaken = self._overtaken(line, barrier)
        on_shell = line[0] == "shell"
        dropped = on_shell and any(self._runs(request, process) for _, request in overtaken)
        if not overtaken or not (beside or dropped):
            barrier.feed("answered in order")
            return self._judge(line, barrier)
        if on_shell:
            barrier.feed("no proof on shell")
            return [SendBarrier(line, code=True)]
        barrier.feed("no proof on control")
        barrier.until = now + BESIDE_SECONDS
        return []

    def _runs(self, request: Request, process: str) -> bool:
        """Whether a process was seen over this connection to begin with something, and not to end it."""
        return request.connection == self._connection and request.runs_in(process)

    def _judge(self, line: Line, barrier: _Barrier) -> list[Action]:
        """Say what a barrier has shown to be lost, and look on if an earlier connection is still owed for."""
        lost = tuple(
            msg_id
            for msg_id, request in self._overtaken(line, barrier)
            if not (barrier.beside and self._runs(request, barrier.process))
        )
        self._drop_barrier(line)
        actions: list[Action] = [Lost(lost)] if lost else []
        left = any(
            request.owed and request.connection < self._connection and request.line == line and msg_id not in lost
            for msg_id, request in self._requests.items()
            if msg_id not in self
        )
        again = self._open_barrier(line) if left else None
        return actions if again is None else [*actions, again]


def line_of(message: Message) -> Line:
    """Return where a kernel works on a request."""
    return message.channel, message.header.subshell_id if message.channel == "shell" else None


def answers_beside(reply: Message) -> bool:
    """Whether the kernel that gave this `kernel_info_reply` may answer beside code that runs; if it can't be read, it may."""
    try:
        return as_text(reply.content.get("implementation")).startswith(OUT_OF_ORDER)
    except ProtocolError:
        return True
