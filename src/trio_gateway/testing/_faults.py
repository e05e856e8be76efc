"""Faults on command: what goes wrong, where, and when.

The one idea: a fault is a rule where something happens (a connection is made, a request comes, a WebSocket opens, a message
passes), and each place asks its rules in the order in which they were made. Chance, where it is asked for, comes from one
seed, so a run that went wrong can be had again.
"""

from __future__ import annotations

import enum
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import attrs
import trio

from .._errors import InvalidInputError
from .._protocol.messages import Message
from ._fault_patterns import check_message_pattern, check_request_pattern
from ._http import FakeAnswer, FakeRequest
from ._streams import ServerStream

__all__ = ["Breakable", "Chaos", "Fault", "Faults", "Garbage", "MessageAction", "RequestPlan", "Spoilt"]

Nth: TypeAlias = int | Collection[int] | None
"""Which of the things that match, counted from 1 when the fault is made; None for all."""


class Breakable(Protocol):
    """What chaos breaks beside connections: a kernel."""

    def kill_soon(self, seconds: float) -> None:
        """End its process after so many seconds."""
        ...

    def restart(self) -> None:
        """Restart it as another client does."""
        ...

    def stall_for(self, seconds: float) -> None:
        """Stop its process for so many seconds."""
        ...


class MessageAction(enum.Enum):
    """What becomes of a message."""

    DROP = "drop"
    DUPLICATE = "duplicate"
    HOLD = "reorder"
    CUT_BEFORE = "cut before a message"
    CUT_INSIDE = "cut inside a frame"


@attrs.frozen
class Garbage:
    """A frame that is no message, sent before one that is."""

    frame: bytes | str


@attrs.frozen
class Spoilt:
    """A part of a message that is sent otherwise than it was made."""

    part: str
    by: Callable[[bytes], bytes]


@attrs.define
class RequestPlan:
    """What becomes of a request."""

    answer: FakeAnswer | None = None
    delay: float = 0.0
    lose_request: bool = False
    lose_answer: bool = False


def _counts(value: object) -> bool:
    """Whether something can be the number of a thing, where the first is 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_amount(name: str, value: float | None, *, zero: bool = True) -> None:
    """Check seconds, bytes or a speed.

    Raises:
        InvalidInputError: it is no number, or negative, or zero where that can't be.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= 0 if zero else value > 0):
        raise InvalidInputError(name, value, "a number that is not negative" if zero else "a number above zero")


def _check_cut(after_received: int | None, after_sent: int | None) -> None:
    if after_received is None and after_sent is None:
        raise InvalidInputError("after_received", None, "a number of bytes, here or for after_sent")
    _check_amount("after_received", after_received)
    _check_amount("after_sent", after_sent)


@attrs.define(eq=False)
class Fault:
    """One fault that was asked for. `hits` counts how often it struck."""

    kind: str
    """What it is, in a word."""
    hits: int = 0
    """How often it struck."""
    _nth: Nth = attrs.field(default=None, alias="nth")
    _times: int | None = attrs.field(default=None, alias="times")
    pattern: str | None = None
    """What has to match, where it asks for a pattern."""
    matched: int = attrs.field(default=0, init=False)
    """How many things have matched, whether it struck them or not: requests, messages or connections."""
    _removed: bool = attrs.field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        nth = self._nth
        if nth is not None and not all(map(_counts, nth if isinstance(nth, Collection) else (nth,))):
            raise InvalidInputError("nth", nth, "a number from 1 on, several such numbers, or None for all")
        if self._times is not None and self._times != 0 and not _counts(self._times):
            raise InvalidInputError("times", self._times, "a number, or None for no limit")

    def remove(self) -> None:
        """Strike no more."""
        self._removed = True

    def strikes(self) -> bool:
        """Say whether it strikes the thing that has just matched, and count it."""
        self.matched += 1
        if self._removed or (self._times is not None and self.hits >= self._times):
            return False
        if self._nth is not None and self.matched not in ({self._nth} if isinstance(self._nth, int) else self._nth):
            return False
        self.hits += 1
        return True


@attrs.define(kw_only=True)
class Chaos:
    """How likely each kind of fault is, from 0 to 1, whenever it could strike. Given to `Faults.chaos`."""

    refuse: float = 0.0
    """A connection is refused."""
    slow_connect: float = 0.0
    """A connection takes up to `longest_delay` to be made."""
    black_hole: float = 0.0
    """A connection is made, and then nothing is heard on it."""
    cut_bytes: float = 0.0
    """A connection breaks after a random number of bytes, either way."""
    server_error: float = 0.0
    """A request is answered with 500, 502 or 503, without being looked at."""
    lose_request: float = 0.0
    """A request breaks its connection before it is looked at."""
    lose_answer: float = 0.0
    """A request is carried out, and its answer is lost with the connection."""
    slow_answer: float = 0.0
    """A request takes up to `longest_delay` more."""
    cut: float = 0.0
    """The WebSocket breaks before a message, either way."""
    cut_inside: float = 0.0
    """The WebSocket breaks in the middle of a message's frame."""
    drop_output: float = 0.0
    """A message on iopub is lost, but for what says how the kernel is; a gap only as with `Faults.drop`."""
    duplicate: float = 0.0
    """A message to the client comes twice."""
    reorder: float = 0.0
    """A message to the client comes after the one behind it."""
    garbage: float = 0.0
    """A frame that is no message comes before one."""
    kill: float = 0.0
    """The kernel's process ends when a message for it comes."""
    restart: float = 0.0
    """Someone else restarts the kernel when a message for it comes."""
    stall: float = 0.0
    """The kernel stops for up to `longest_delay` when a message for it comes."""
    longest_delay: float = 5.0
    """The longest of all these delays, in seconds."""


_NO_OUTPUT: Final = frozenset({"status", "shutdown_reply"})
_GARBAGE: Final[tuple[bytes | str, ...]] = (
    b"", b"\x00", b"\xff" * 40, b"\x06\x00\x00\x00\x00\x00\x00\x00" + b"\xff" * 60, "", "{", "null", '{"header": 1}',
)  # fmt: skip


class Faults:
    """The faults of a fake gateway. Reached as `fake.faults`; each method asks for one fault and returns it.

    `nth` says which of the things that match are struck, counted from 1 when the fault is asked for: a number, several, or
    None for all; `times` how many at most. With no number in `nth`, or with `times=0`, a fault counts what matches, and strikes
    none. What can strike nothing by mistake is an InvalidInputError: a pattern that can match nothing, an `nth` below 1, a cut
    after no number of bytes.

    Args:
        seed: where `chaos` starts.
    """

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        """How often each kind of fault has struck."""
        self._random = random.Random(seed)  # noqa: S311 - chance that can be had again
        self._chaos: Chaos | None = None
        self._connections: list[tuple[Fault, Mapping[str, Any]]] = []
        self._requests: list[tuple[Fault, str, Callable[[RequestPlan], None]]] = []
        self._websockets: list[tuple[Fault, int | None, int | None]] = []
        self._messages: list[tuple[Fault, str, bool, MessageAction | Garbage | Spoilt]] = []
        self._mutes: list[Fault] = []
        self._mute_sessions: set[str] = set()

    # Connections ----------------------------------------------------------------------------------------------------

    def _connection(self, kind: str, nth: Nth, times: int | None, **what: Any) -> Fault:
        fault = Fault(kind, nth=nth, times=times)
        self._connections.append((fault, what))
        return fault

    def refuse(self, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Refuse connections, as a port does that nobody listens on."""
        return self._connection("refuse", nth, times, refuse=True)

    def delay(self, seconds: float, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Let connections take so many seconds to be made; `math.inf` for ever."""
        _check_amount("seconds", seconds)
        return self._connection("delay", nth, times, delay=seconds)

    def black_hole(self, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Let connections be made, and then swallow what is sent and say nothing."""
        return self._connection("black_hole", nth, times, swallow=True)

    def cut(
        self, *, after_received: int | None = None, after_sent: int | None = None, nth: Nth = None, times: int | None = None
    ) -> Fault:
        """Break connections after so many bytes.

        Args:
            after_received: after so many bytes from the client.
            after_sent: after so many bytes to the client.
            nth: which connections.
            times: how many at most.
        """
        _check_cut(after_received, after_sent)
        return self._connection("cut_bytes", nth, times, received=after_received, sent=after_sent)

    def slow(self, bytes_per_second: float, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Let connections carry no more than so many bytes a second, each way."""
        _check_amount("bytes_per_second", bytes_per_second, zero=False)
        return self._connection("slow", nth, times, speed=bytes_per_second)

    # Requests -------------------------------------------------------------------------------------------------------

    def _request(self, kind: str, pattern: str, nth: Nth, times: int | None, act: Callable[[RequestPlan], None]) -> Fault:
        check_request_pattern(pattern)
        fault = Fault(kind, nth=nth, times=times, pattern=pattern)
        self._requests.append((fault, pattern, act))
        return fault

    def answer(
        self,
        pattern: str,
        status: int,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        nth: Nth = None,
        times: int | None = None,
    ) -> Fault:
        """Answer requests without looking at them; upgrades to a WebSocket too.

        Args:
            pattern: a regular expression for the whole of "GET /api/kernels".
            status: the answer's status.
            body: its body: bytes, text, or what becomes JSON.
            headers: its headers.
            nth: which requests.
            times: how many at most.
        """
        made = FakeAnswer.of(status, body, headers)
        return self._request("answer", pattern, nth, times, lambda plan: setattr(plan, "answer", made))

    def delay_answer(self, pattern: str, seconds: float, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Let requests wait so many seconds before they are carried out; `math.inf` for ever."""
        _check_amount("seconds", seconds)
        return self._request("slow_answer", pattern, nth, times, lambda plan: setattr(plan, "delay", seconds))

    def stall_handshake(self, seconds: float = math.inf, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Let WebSocket handshakes wait, as a gateway does whose kernel does not answer."""
        return self.delay_answer(r"GET .*/channels", seconds, nth=nth, times=times)

    def lose_request(self, pattern: str, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Break the connection before a request is carried out."""
        return self._request("lose_request", pattern, nth, times, lambda plan: setattr(plan, "lose_request", True))

    def lose_answer(self, pattern: str, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Carry a request out, and break the connection in place of an answer."""
        return self._request("lose_answer", pattern, nth, times, lambda plan: setattr(plan, "lose_answer", True))

    # WebSockets and messages ----------------------------------------------------------------------------------------

    def cut_websocket(
        self, *, after_received: int | None = None, after_sent: int | None = None, nth: Nth = None, times: int | None = None
    ) -> Fault:
        """Break WebSockets after so many bytes that follow the handshake; also inside a frame. As `cut`."""
        _check_cut(after_received, after_sent)
        fault = Fault("cut_bytes", nth=nth, times=times)
        self._websockets.append((fault, after_received, after_sent))
        return fault

    def _message(
        self, action: MessageAction | Garbage | Spoilt, pattern: str, direction: str, nth: Nth, times: int | None
    ) -> Fault:
        if direction not in ("to_client", "to_kernel"):
            raise InvalidInputError("direction", direction, '"to_client" or "to_kernel"')
        check_message_pattern(pattern, to_client=direction == "to_client")
        kind = action.value if isinstance(action, MessageAction) else "garbage" if isinstance(action, Garbage) else "spoil"
        fault = Fault(kind, nth=nth, times=times, pattern=pattern)
        self._messages.append((fault, pattern, direction == "to_client", action))
        return fault

    def drop(
        self,
        pattern: str,
        *,
        direction: Literal["to_client", "to_kernel"] = "to_client",
        nth: Nth = None,
        times: int | None = None,
    ) -> Fault:
        """Lose messages, as a full queue does.

        A client tells of lost output only where a queue could have been full, or the connection broke: a short answer with a hole
        over a whole connection is taken for one whose kernel has used a number for nothing. To see a gap, lose messages of an
        answer of 1,000 and more, or use `cut_at_message`.

        Args:
            pattern: a regular expression for the whole of channel and type, such as "iopub stream".
            direction: which way they go.
            nth: which of them.
            times: how many at most.
        """
        return self._message(MessageAction.DROP, pattern, direction, nth, times)

    def duplicate(self, pattern: str, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Send messages twice to the client."""
        return self._message(MessageAction.DUPLICATE, pattern, "to_client", nth, times)

    def reorder(self, pattern: str, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Send messages to the client after the one that follows them, or a second late."""
        return self._message(MessageAction.HOLD, pattern, "to_client", nth, times)

    def spoil(
        self,
        pattern: str,
        *,
        part: Literal["channel", "header", "parent_header", "metadata", "content"] = "content",
        by: bytes | Callable[[bytes], bytes] = b"[]",
        nth: Nth = None,
        times: int | None = None,
    ) -> Fault:
        """Send messages to the client as a sloppy kernel would, one part of them being something else.

        Args:
            pattern: as for `drop`.
            part: which part: one of the four of JSON, or the name of the channel.
            by: the bytes to send in its place, or a function that makes them of what was to be sent; without it a content that is
                no object. They need be neither JSON nor UTF-8. In the older framing, as gateways do, bytes that are no UTF-8 are
                sent as U+FFFD; what is no JSON makes the whole frame no JSON.
            nth: which of them.
            times: how many at most.
        """
        if part not in ("channel", "header", "parent_header", "metadata", "content"):
            raise InvalidInputError("part", part, "channel, header, parent_header, metadata or content")
        make = by if callable(by) else lambda _: by
        return self._message(Spoilt(part, make), pattern, "to_client", nth, times)

    def cut_at_message(
        self,
        pattern: str,
        *,
        direction: Literal["to_client", "to_kernel"] = "to_client",
        inside: bool = False,
        nth: Nth = None,
        times: int | None = None,
    ) -> Fault:
        """Break the WebSocket at a message: before it, or in the middle of its frame. As `drop`."""
        return self._message(MessageAction.CUT_INSIDE if inside else MessageAction.CUT_BEFORE, pattern, direction, nth, times)

    def garbage(self, frame: bytes | str, pattern: str = ".*", *, nth: Nth = None, times: int | None = None) -> Fault:
        """Send a frame that is no message before messages to the client."""
        return self._message(Garbage(frame), pattern, "to_client", nth, times)

    def mute(self, *, nth: Nth = None, times: int | None = None) -> Fault:
        """Make connections mute, and each later one with the same session id: what the client sends goes nowhere, no reply comes.

        So it is where a gateway restores a session from sockets that another connection has taken over, as jupyter_server 2.21
        does when a connection breaks soon after it took the place of one that had not been noticed to be gone.
        """
        fault = Fault("mute", nth=nth, times=times)
        self._mutes.append(fault)
        return fault

    def chaos(self, chaos: Chaos | None) -> None:
        """Let faults strike at random from now on; None: no more. What is drawn goes on from the seed, also after a pause."""
        self._chaos = chaos

    def clear(self) -> None:
        """Let nothing strike any more."""
        self._chaos = None
        for rules in (self._connections, self._requests, self._websockets, self._messages, self._mutes):
            cast("list[object]", rules).clear()
        self._mute_sessions.clear()

    @property
    def missed(self) -> list[Fault]:
        """The faults that were asked for and have struck nothing yet. The report of a failed test names them."""
        asked: list[Fault] = []
        for rules in (self._connections, self._requests, self._websockets, self._messages):
            asked += [rule[0] for rule in cast("list[tuple[Fault, object]]", rules)]
        return [fault for fault in (*asked, *self._mutes) if fault.hits == 0]

    # For the fake ---------------------------------------------------------------------------------------------------

    def _chance(self, name: str) -> bool:
        chaos = self._chaos
        if chaos is None or not (likely := getattr(chaos, name)) or self._random.random() >= likely:
            return False
        self.counts[name] += 1
        return True

    def _delay(self) -> float:
        return 0.0 if self._chaos is None else self._random.random() * self._chaos.longest_delay

    async def on_connect(self, stream: ServerStream) -> None:
        """Do what strikes a new connection. Raises ConnectionRefusedError."""
        refused = False
        wait = 0.0
        for fault, what in self._connections:
            if not fault.strikes():
                continue
            self.counts[fault.kind] += 1
            refused = refused or what.get("refuse", False)
            wait += what.get("delay", 0.0)
            if what.get("swallow"):
                stream.swallow()
            stream.cut_after_received = what.get("received", stream.cut_after_received)
            stream.cut_after_sent = what.get("sent", stream.cut_after_sent)
            stream.bytes_per_second = what.get("speed", stream.bytes_per_second)
        refused = refused or self._chance("refuse")
        if self._chance("slow_connect"):
            wait += self._delay()
        if self._chance("black_hole"):
            stream.swallow()
        if self._chance("cut_bytes"):
            limit = int(self._random.expovariate(1 / 2000))
            if self._random.random() < 0.5:
                stream.cut_after_received = limit
            else:
                stream.cut_after_sent = limit
        if wait:
            await trio.sleep(wait)
        if refused:
            raise ConnectionRefusedError(111, "Connection refused")

    def on_request(self, request: FakeRequest) -> RequestPlan:
        """Say what becomes of a request."""
        plan = RequestPlan()
        for fault, pattern, act in self._requests:
            if re.fullmatch(pattern, str(request)) and fault.strikes():
                self.counts[fault.kind] += 1
                act(plan)
        if self._chance("server_error"):
            plan.answer = FakeAnswer.of(self._random.choice((500, 502, 503)), {"reason": "chaos", "message": "chaos"})
        plan.lose_request = plan.lose_request or self._chance("lose_request")
        plan.lose_answer = plan.lose_answer or self._chance("lose_answer")
        if self._chance("slow_answer"):
            plan.delay += self._delay()
        return plan

    def on_websocket(self, stream: ServerStream) -> None:
        """Do what strikes a WebSocket whose handshake is done."""
        for fault, received, sent in self._websockets:
            if fault.strikes():
                self.counts[fault.kind] += 1
                if received is not None:
                    stream.cut_after_received = stream.received + received
                if sent is not None:
                    stream.cut_after_sent = stream.sent + sent

    def silences(self, session_id: str) -> bool:
        """Say whether a connection of a session that has just been made is mute."""
        for fault in self._mutes:
            if session_id not in self._mute_sessions and fault.strikes():
                self.counts[fault.kind] += 1
                self._mute_sessions.add(session_id)
        return session_id in self._mute_sessions

    def on_message(self, kernel: Breakable, message: Message, *, to_client: bool) -> list[MessageAction | Garbage | Spoilt]:
        """Say what becomes of a message."""
        if not self._messages and self._chaos is None:
            return []
        name = f"{message.channel} {message.msg_type}"
        found: list[MessageAction | Garbage | Spoilt] = []
        for fault, pattern, direction, action in self._messages:
            if direction is to_client and re.fullmatch(pattern, name) and fault.strikes():
                self.counts[fault.kind] += 1
                found.append(action)
        if self._chaos is not None:
            found += self._chaotic(kernel, message, to_client=to_client)
        return found

    def _chaotic(self, kernel: Breakable, message: Message, *, to_client: bool) -> list[MessageAction | Garbage | Spoilt]:
        found: list[MessageAction | Garbage | Spoilt] = []
        if self._chance("cut"):
            found.append(MessageAction.CUT_BEFORE)
        if self._chance("cut_inside"):
            found.append(MessageAction.CUT_INSIDE)
        if to_client:
            if message.channel == "iopub" and message.msg_type not in _NO_OUTPUT and self._chance("drop_output"):
                found.append(MessageAction.DROP)
            if self._chance("duplicate"):
                found.append(MessageAction.DUPLICATE)
            if self._chance("reorder"):
                found.append(MessageAction.HOLD)
            if self._chance("garbage"):
                found.append(Garbage(self._random.choice(_GARBAGE)))
        elif message.channel == "shell":
            if self._chance("kill"):
                kernel.kill_soon(self._delay() / 10)
            if self._chance("restart"):
                kernel.restart()
            if self._chance("stall"):
                kernel.stall_for(self._delay())
        return found
