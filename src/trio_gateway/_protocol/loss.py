"""Counts the messages of a kernel that never came (guarantee G5).

The one idea: kernels built on `jupyter_client.Session` number everything they send, `{session}_{pid}_{number}` with one
number over all channels (jupyter_client, `session.py`, `Session.msg_id`). So a number that was never seen, between two
that were, is a message that was lost: to a rate limiter, a cut socket or a full queue.

Some holes are no loss: the reply to another client's request goes only to that client, while its `busy` and `idle` go to
everyone. So each request of someone else that was seen at work explains one hole after its `busy`; and so does a request
of ours whose reply is still on its way, for replies and outputs come over different sockets. A request of ours on control, which
is worked on beside code, and of which nothing was heard may have cost three numbers, or none if it never arrived: so much is in
doubt.

And a hole is reported only where something on the way could have dropped a message. A kernel also uses numbers that it never
sends: for a value that shows itself (`_ipython_display_`, so each plotly figure), where a hook of its publisher swallows a
message, where code makes a message and keeps it. What can drop is: a connection that breaks, a rate limiter, which says so, a
message that we could not read, and a queue that is full. The queues begin at `QUEUE_MESSAGES` (ZeroMQ's default mark, of the
kernel's socket and of the gateway's), and they are first in, first out: when the kernel's `busy` for an execution has arrived,
only what came after it can wait there. So a hole in a short answer over a whole connection is no loss. What was not seen though
each kernel always sends it, `busy` and `idle`, is proof of the contrary.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from typing import Final

import attrs

from .contents import execution_state
from .messages import Message

__all__ = ["DUPLICATE", "UNCERTAIN", "UNNUMBERED", "LossAccount", "MessageLedger", "Window"]

UNNUMBERED: Final = -1
"""What `observe` returns for a message whose id is no number of its sender's."""
DUPLICATE: Final = -2
"""What `observe` returns for a message that was seen before, over an earlier connection: the gateway has sent it again."""
UNCERTAIN: Final = -1
"""What `missing_outputs` returns where something is missing that may be output."""
NO_REPLY: Final = frozenset({"comm_open", "comm_msg", "comm_close"})
"""What the kernel works on without a reply."""
SHELL_REQUESTS: Final = frozenset(
    {f"{kind}_request" for kind in ("execute", "kernel_info", "complete", "inspect", "history", "is_complete", "comm_info")}
)
"""What a kernel works on in its main shell, one after the other. (A server asks for `kernel_info` on control too, and waits.)"""
MAX_HOLES: Final = 10_000
"""How many separate holes are remembered; beyond that the oldest are joined, which only makes late arrivals unknown."""
MAX_WORK: Final = 256
"""How many requests at work, and how many that have ended, are remembered; of more, the oldest count as ended, and their replies
as numbers that were seen: the reply to somebody else does not come here."""
MAX_ID: Final = 256
"""How long an id may be to be taken for a number; of longer ones nothing is kept."""
MAX_ANSWERED: Final = 256
"""How many answered requests are remembered, for a `busy` that comes after its reply."""
UNHEARD_NUMBERS: Final = 3
"""How many numbers a request costs that is worked on unheard: `busy`, its reply, and `idle`."""
QUEUE_MESSAGES: Final = 1000
"""How many messages the smallest queue between a kernel and a client holds before it drops any (`ZMQ_SNDHWM`, `ZMQ_RCVHWM`)."""
MAX_SENDERS: Final = 16
"""How many senders are followed: the kernel, the gateway, and those that came before a restart."""


@attrs.define
class _Work:
    """A request that the kernel was seen to work on, and whose reply was not seen. `main`: in its main shell."""

    busy: int
    idle: int | None = None
    """None while it is at work."""
    old: bool = False
    main: bool = False
    assumed: bool = False
    """It was taken for ended where code began in the main shell, and its `idle` had not come. `idle` is where that was."""
    replied: bool = False
    """Its reply is among what was forgotten: it explains no other hole."""


@attrs.define
class _Sender:
    """What is known of one sender's numbers. A hole is a range of numbers, first and last, none of which was seen."""

    floor: int
    last: int
    earlier: int = -1
    """The last number that came over an earlier connection."""
    firsts: list[int] = attrs.field(factory=list)
    lasts: list[int] = attrs.field(factory=list)
    at_work: dict[str, _Work] = attrs.field(factory=dict)
    ended: dict[str, _Work] = attrs.field(factory=dict)
    answered: dict[str, None] = attrs.field(factory=dict)

    def see(self, number: int) -> bool:
        """Take in a number that is not the next; say whether it is new."""
        last = self.last
        if number > last:
            self.firsts.append(last + 1)
            self.lasts.append(number - 1)
            self.last = number
            if len(self.firsts) > MAX_HOLES:
                self._join_oldest()
            return True
        return self._fill(number) or number < self.floor

    def _fill(self, number: int) -> bool:
        index = bisect_right(self.firsts, number) - 1
        if index < 0 or self.lasts[index] < number:
            return False
        first, last = self.firsts[index], self.lasts[index]
        pieces = [(a, b) for a, b in ((first, number - 1), (number + 1, last)) if a <= b]
        self.firsts[index : index + 1] = [a for a, _ in pieces]
        self.lasts[index : index + 1] = [b for _, b in pieces]
        return True

    def _join_oldest(self) -> None:
        # Counted as a whole they would be too many: keep the sum by cutting the joined range to as many numbers.
        missing = (self.lasts[0] - self.firsts[0] + 1) + (self.lasts[1] - self.firsts[1] + 1)
        end = self.lasts[1]
        self.floor = max(self.floor, end + 1)  # before it, what was seen and what was not is not known any more
        self.firsts[:2] = [end - missing + 1]
        self.lasts[:2] = [end]

    def hole_before(self, number: int) -> int:
        """Return where the hole right before a number begins; the number itself if there is none."""
        index = bisect_right(self.firsts, number) - 1
        return self.firsts[index] if index >= 0 and self.lasts[index] == number - 1 else number

    def note_busy(self, parent: str, number: int, *, main: bool, runs_code: bool, counting: bool) -> None:
        """A request was seen at work, unless its reply, which comes another way, was here first."""
        if main and runs_code:
            # The main shell does one thing after the other: what was at work there is over, though its `idle` was lost.
            for over in [key for key, work in self.at_work.items() if work.main]:
                self.at_work[over].assumed = True
                self._end(over, self.at_work.pop(over), number, counting=counting)
        if parent not in self.answered:
            known = self.ended.get(parent)
            if known is not None and known.idle is not None and number < known.idle:
                known.busy = number  # it came after its idle
                return
            self._close_earlier(parent)
            self.at_work[parent] = _Work(number, main=main)
            if len(self.at_work) > MAX_WORK:
                oldest = next(iter(self.at_work))
                self._end(oldest, self.at_work.pop(oldest), number, counting=counting)

    def note_idle(self, parent: str, number: int, *, counting: bool) -> None:
        """The kernel is done with a request."""
        work = self.at_work.pop(parent, None)
        if work is not None:
            self._end(parent, work, number, counting=counting)
        elif (known := self.ended.get(parent)) is not None and known.idle is not None and (known.assumed or number < known.idle):
            # It was taken for ended where other work began, and this had not come. With a later number it was at work beside
            # that, on control, as a gateway's question is when a client connects.
            known.idle = number
            known.assumed = False
        elif parent not in self.answered:
            self._close_earlier(parent)
            # Its busy was lost, or came before we listened, as of the requests a gateway makes itself when a client
            # connects. Its reply is numbered right before its idle, and explains that hole alone.
            self._end(parent, _Work(max(self.floor, number - 2)), number, counting=counting)

    def _close_earlier(self, parent: str) -> None:
        """Account for an earlier request of the same id: a gateway numbers its own anew with each connection of a session.

        Taken for one, they would explain holes that lie between them, and so be our lost output.
        """
        work = self.ended.pop(parent, None)
        if work is not None:
            self._close_hole(work)

    def _end(self, parent: str, work: _Work, number: int, *, counting: bool) -> None:
        """Remember work that is over, if an execution is being accounted for, or if other work may last until one is.

        Of the time before an execution nothing else is asked.
        """
        work.idle = number
        if not counting and not self.at_work:
            return
        self.ended[parent] = work
        if len(self.ended) > MAX_WORK:
            self._close_hole(self.ended.pop(next(iter(self.ended))))

    def _close_hole(self, work: _Work) -> None:
        """Take the hole that work explains for a number that was seen, so that the work need not be remembered."""
        assert work.idle is not None
        index = bisect_right(self.firsts, work.idle - 1) - 1
        if index >= 0 and not work.replied:
            number = min(self.lasts[index], work.idle - 1)
            if number > work.busy:
                self._fill(number)
        self.floor = max(self.floor, work.idle)  # it may have been our own reply after all: it is no duplicate if it comes

    def note_reply(self, parent: str) -> None:
        """The reply to a request came."""
        self.at_work.pop(parent, None)
        self.ended.pop(parent, None)
        self.answered[parent] = None
        if len(self.answered) > MAX_ANSWERED:
            del self.answered[next(iter(self.answered))]

    def forget_past(self) -> None:
        """Forget what was before now, but for work that still goes on. Its `idle` may be lost too: so not for ever."""
        if self.at_work and self.firsts:
            works = [*self._ranges(self.ended), *self._ranges(self.at_work)]
            for parent in _match(works, self._pieces(0, self.last)) & self.at_work.keys():
                self.at_work[parent].replied = True
        self.floor = self.last
        self.firsts.clear()
        self.lasts.clear()
        self.ended.clear()
        self.at_work = {parent: work for parent, work in self.at_work.items() if not work.old}
        for work in self.at_work.values():
            work.old = True

    def holes(self, start: int, end: int) -> int:
        """Count the unseen numbers from start to end, both included."""
        total = 0
        for index in range(max(bisect_right(self.firsts, start) - 1, 0), len(self.firsts)):
            first = max(self.firsts[index], start)
            if first > end:
                break
            total += max(min(self.lasts[index], end) - first + 1, 0)
        return total

    def _has_hole(self, start: int, end: int) -> bool:
        """Whether one of the numbers from start to end, both included, was not seen."""
        index = bisect_right(self.firsts, end) - 1
        return start <= end and index >= 0 and self.lasts[index] >= start

    def missing(self, start: int, end: int) -> tuple[int, int]:
        """Count the unseen numbers from start to end: those that nothing explains, and those that only unended work does.

        A request that has ended explains one number between its `busy` and its `idle`: its reply's. Of two that it may be it is
        the one outside of what is asked about, so that no loss is explained away. Of work in the main shell that was not seen to
        end, `idle` may be lost, and then it explains nothing.
        """
        holes = self.holes(start, end)
        if not holes:
            return 0, 0
        ended = self._ranges(self.ended)
        outside = _match(ended, [*self._pieces(0, start - 1), *self._pieces(end + 1, self.last)])
        works = [work for work in ended if work[2] not in outside]
        works += [(work.busy + 1, end, parent) for parent, work in self.at_work.items() if not (work.main or work.replied)]
        unexplained = holes - len(_match(works, self._pieces(start, end)))
        doubtful = sum(work.main and self._has_hole(max(work.busy + 1, start), end) for work in self.at_work.values())
        doubtful = min(doubtful, unexplained)
        return unexplained - doubtful, doubtful

    def _ranges(self, works: dict[str, _Work]) -> list[tuple[int, int, str]]:
        """The first and the last number that the reply to each may have, and its id; without replies that were forgotten."""
        return [
            (work.busy + 1, self.last if work.idle is None else work.idle - 1, parent)
            for parent, work in works.items()
            if not work.replied
        ]

    def _pieces(self, start: int, end: int) -> list[tuple[int, int]]:
        """The holes from start to end, both included, in order."""
        found = []
        for index in range(max(bisect_right(self.firsts, start) - 1, 0), len(self.firsts)):
            if self.firsts[index] > end:
                break
            first, last = max(self.firsts[index], start), min(self.lasts[index], end)
            if first <= last:
                found.append((first, last))
        return found


def _match(works: list[tuple[int, int, str]], pieces: list[tuple[int, int]]) -> set[str]:
    """Give as many works as can be a number of their own.

    Args:
        works: of each the first and the last number that it may have, and its key.
        pieces: the numbers that there are: ranges in order, first and last.

    Returns:
        The keys of those that have one: of those that could have a number, the one whose numbers end first gets it.
    """
    waiting = sorted(works, reverse=True)
    ready: list[tuple[int, str]] = []
    matched: set[str] = set()
    for first, end in pieces:
        number = first
        while number <= end:
            while waiting and waiting[-1][0] <= number:
                _, last, key = waiting.pop()
                heappush(ready, (last, key))
            while ready and ready[0][0] < number:
                heappop(ready)
            if ready:
                matched.add(heappop(ready)[1])
                number += 1
            elif waiting:
                number = waiting[-1][0]
            else:
                return matched
    return matched


@attrs.define
class Window:
    """The stretch of a kernel's numbers that belongs to one execution. Made by `MessageLedger.open`."""

    marks: dict[str, int]
    """How far each sender had come when the request was made."""
    settled: int = 0
    """How many possible drops had been noted, and were known to have ended, when the request was made."""
    sender: str | None = None
    """The sender that answers it, once that is known."""
    first: int = 0
    """The number of its first message."""
    last: int = 0
    """The number of its last message."""
    saw_busy: bool = False
    saw_input: bool = False

    def note(self, message: Message, sender: str, number: int) -> None:
        """Take in a message that belongs to the execution."""
        kind = message.header.msg_type
        if kind == "stream" and number == self.last + 1 and sender == self.sender:
            self.last = number
            return
        if self.sender is None:
            self.sender = sender
            self.first = number
        if sender != self.sender:
            return
        self.first = min(self.first, number)
        self.last = max(self.last, number)
        if kind == "execute_input":
            self.saw_input = True
        elif kind == "status":
            self.saw_busy = self.saw_busy or execution_state(message) == "busy"


class MessageLedger:
    """Follows the numbers of all who send to one session."""

    __slots__ = ("_drops", "_name", "_open", "_senders", "_settled", "_unheard")

    def __init__(self) -> None:
        self._name = ""  # of the sender of the message that was observed last
        self._senders: dict[str, _Sender] = {}
        self._unheard: dict[str, bool] = {}  # whether it was asked before the present executions
        self._open = 0
        self._drops = 0  # how often something on the way could have dropped messages
        self._settled = 0  # how many of these are over: an execution after them came whole

    def note_possible_drop(self) -> None:
        """Note that messages may have been dropped: the connection broke, a limiter said so, one could not be read.

        It counts for the executions that are open, and for those that are opened until one of them has come whole: a limiter does
        not say when it stops.
        """
        self._drops += 1

    def asked(self, request: str) -> None:
        """Note the id of a request of ours on control that is about to be sent."""
        self._unheard[request] = False
        if len(self._unheard) > MAX_ANSWERED:
            del self._unheard[next(iter(self._unheard))]

    def connected(self) -> None:
        """Note that another connection was made: what was seen before may be sent again over this one."""
        for sender in self._senders.values():
            sender.earlier = sender.last

    def observe(self, message: Message) -> int:
        """Take in a message; return its number, or `UNNUMBERED`, or `DUPLICATE` if it was seen before.

        What repeats a number over one connection is no replay: such a sender numbers wrongly, or, as a mock does, always answers
        the same, and means each of its messages.
        """
        header = message.header
        msg_id = header.msg_id
        if len(msg_id) > MAX_ID:
            return UNNUMBERED
        name, separator, digits = msg_id.rpartition("_")
        if not separator or not digits.isdecimal() or not name.startswith(header.session):
            return UNNUMBERED
        number = int(digits)
        self._name = name
        sender = self._senders.get(name)
        if sender is None:
            if len(self._senders) >= MAX_SENDERS:
                del self._senders[next(iter(self._senders))]
            sender = self._senders[name] = _Sender(number, number)
        elif number == sender.last + 1:
            sender.last = number
        elif not sender.see(number) and number <= sender.earlier:
            return DUPLICATE
        kind = header.msg_type
        if kind == "stream":
            return number
        if self._unheard:
            self._unheard.pop(message.parent_id, None)
        if kind == "status":
            self._note_status(sender, message, number)
        elif message.channel != "iopub" and kind.endswith("_reply"):  # a `shutdown_reply` is published too
            sender.note_reply(_key(message.parent_id))
        return number

    def _note_status(self, sender: _Sender, message: Message, number: int) -> None:
        parent = message.parent_id
        if not parent or message.parent_type in NO_REPLY:
            return
        state = execution_state(message)
        counting = self._open > 0
        if state == "busy":
            kind = message.parent_type
            main = kind in SHELL_REQUESTS and message.parent_subshell is None
            sender.note_busy(_key(parent), number, main=main, runs_code=kind == "execute_request", counting=counting)
        elif state == "idle":
            sender.note_idle(_key(parent), number, counting=counting)

    def open(self) -> Window:
        """Begin to account for an execution whose request is about to be sent."""
        if self._open == 0:
            self._unheard = {request: True for request, old in self._unheard.items() if not old}
            for sender in self._senders.values():
                sender.forget_past()
        self._open += 1
        return Window({name: sender.last for name, sender in self._senders.items()}, self._settled)

    def close(self) -> None:
        """End the accounting of one execution."""
        self._open -= 1

    def note(self, window: Window, message: Message, number: int) -> None:
        """Take in a message that belongs to the window's execution, right after it was observed.

        Args:
            window: the execution's.
            message: the message.
            number: what `observe` returned for it.
        """
        if number >= 0:
            window.note(message, self._name, number)

    def is_whole_before(self, window: Window, msg_id: str, *, since: int = 0) -> bool | None:
        """Say whether all is there that its sender has numbered before a message, from an execution's beginning on.

        What comes over another socket may come before it.

        Args:
            window: the execution's.
            msg_id: the message's id, which may be anything.
            since: the number to begin at, if that is later.

        Returns:
            None where the id is no number of a sender that is known.
        """
        name, _, digits = msg_id.rpartition("_")
        sender = self._senders.get(name)
        if sender is None or len(msg_id) > MAX_ID or not digits.isdecimal():  # as `observe` has it
            return None
        if window.saw_busy and window.sender == name:
            start = window.first
        elif name in window.marks or since:
            start = window.marks.get(name, 0) + 1
        else:
            return False  # nobody knows where it began
        return sender.holes(max(start, since), int(digits) - 1) == 0

    def lost_outputs(self, window: Window, *, silent: bool, saw_idle: bool) -> int | None:
        """Count the execution's outputs that may have been lost on the way: none where nothing could have dropped any.

        Args:
            window: the execution's, when it has ended.
            silent: whether the request was silent.
            saw_idle: whether the kernel's `idle` came.

        Returns:
            As `missing_outputs`: at most so many, for a kernel may have used some of the numbers for what it never sent.
        """
        missing = self.missing_outputs(window, silent=silent)
        if missing is not None and self._drops > window.settled and self._lost_its_beginning(window):
            return UNCERTAIN
        if missing == 0:
            self._settled = self._drops
        elif missing is not None and saw_idle and not self._could_be_dropped(window):
            return 0
        return missing

    def may_drop(self, window: Window) -> bool:
        """Say whether something could have dropped messages since a window was opened, or shortly before."""
        return self._drops > window.settled

    def lost_since(self, window: Window) -> int:
        """Count what was sent since a window was opened and never came, at most; 0 where nothing could have dropped any."""
        if not self.may_drop(window):
            return 0
        known = [(sender, mark) for name, mark in window.marks.items() if (sender := self._senders.get(name)) is not None]
        return sum(sender.missing(mark + 1, sender.last)[0] for sender, mark in known)

    def _lost_its_beginning(self, window: Window) -> bool:
        """Whether `busy` never came, and may be in a hole before what the kernel said to others in between: so may be output."""
        sender = self._senders.get(window.sender or "")
        if sender is None or window.saw_busy:
            return False
        start, end = window.marks.get(window.sender or "", -1) + 1, sender.hole_before(window.first) - 1
        return any(sender.missing(start, end))

    def _could_be_dropped(self, window: Window) -> bool:
        """Whether a message of an execution whose `idle` came can have been dropped on the way."""
        return self._drops > window.settled or not window.saw_busy or window.last - window.first >= QUEUE_MESSAGES

    def missing_outputs(self, window: Window, *, silent: bool) -> int | None:
        """Count the execution's outputs that never came, or whose numbers the kernel has used for nothing.

        What belongs to it lies between its `busy` and its `idle`. Where those are themselves among the lost, it begins
        with the hole before the first message that did come, and ends right after its reply: a kernel publishes all
        output, then replies, then says `idle`.

        Args:
            window: the execution's, when it has ended.
            silent: whether the request was silent: then the kernel does not echo its input.

        Returns:
            How many outputs are missing, at most where other requests were lost beside them; None where the kernel numbers
            nothing, so nothing can be known; and `UNCERTAIN` where so much was lost that what is missing may be output, or what
            the kernel said to another request.
        """
        if window.sender is None:
            return None
        sender = self._senders.get(window.sender)
        if sender is None:
            return None
        start = window.first
        if not window.saw_busy:
            start = max(sender.hole_before(start), window.marks.get(window.sender, -1) + 1)
        missing, doubtful = sender.missing(start, window.last)
        # Of the messages that an execution always has, those that were not seen are among the missing, and are no output.
        unseen = (not window.saw_busy) + (not window.saw_input and not silent)
        certain = max(missing - unseen, 0)
        if 0 < certain <= UNHEARD_NUMBERS * len(self._unheard):
            return UNCERTAIN
        if window.saw_busy or not doubtful:
            return certain
        # Our `busy` would have told that the work before was over.
        return certain + doubtful if certain else UNCERTAIN


class LossAccount:
    """Accounts for what comes while no execution of ours does: of work that goes on in the background. Close it before the next.

    Args:
        ledger: follows the numbers.
    """

    __slots__ = ("_ledger", "_window")

    def __init__(self, ledger: MessageLedger) -> None:
        self._ledger = ledger
        self._window: Window | None = ledger.open()

    @property
    def may_have_lost(self) -> bool:
        """Whether something on the way could have dropped messages."""
        return self._window is not None and self._ledger.may_drop(self._window)

    def lost(self) -> int:
        """Count the messages that never came, at most.

        Of what comes last nobody knows that it is lost: ask the kernel something before, whose answer comes behind it.
        """
        return 0 if self._window is None else self._ledger.lost_since(self._window)

    def close(self) -> None:
        """End the accounting."""
        if self._window is not None:
            self._window = None
            self._ledger.close()


def _key(parent: str) -> str:
    """Return what a request is remembered by: its id, unless that is so long that it would cost memory to keep."""
    return parent if len(parent) <= MAX_ID else f"{parent[:32]}… {hash(parent)}"
