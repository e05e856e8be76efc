"""Values on their way: what is small goes in the step itself, what is large in pieces over a comm, a window of them at a time.

The one idea: the receiving side says how far it has come, and is sent the rest. So a piece that was lost, by a cut or a gateway's
rate limit, is sent again: by the kernel as text in an answer, which no such limit drops. The sender never is more than a window
ahead, and a transfer that is given up is forgotten. A value is whole, by its length and its checksum, or not there.
"""

from __future__ import annotations

import base64
import inspect
import zlib
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeAlias

import attrs
import trio

from .._errors import ConnectionLostError, GatewayError, ProtocolError
from .._kernel.comms import Comm, CommMessage
from .._protocol.messages import Buffer
from . import codec
from .errors import TransferError, ValueTooLargeError
from .link import NAME, Link

__all__ = [
    "GONE",
    "INLINE",
    "WINDOW",
    "OnProgress",
    "Progress",
    "Sink",
    "Source",
    "Tries",
    "bring",
    "fetch",
    "put",
    "refuse_longer",
    "take",
    "tell",
]

INLINE: Final = 32 * 1024
"""A value of so many bytes at most goes in the step itself."""
STEP: Final = 1024 * 1024
"""How much goes in a step, in bytes: where the kernel hears of no comms, or where nothing has come over one."""
WINDOW: Final = 24 * 1024 * 1024
"""How far the sender may be ahead of what the receiver has said to have, in bytes."""
GONE: Final = "the kernel's process does not have it any more"
TRIES: Final = 4
"""How often in a row nothing may come of a window before that is an error."""


@attrs.frozen
class Progress:
    """How far a value has come."""

    done: int
    """Bytes that were sent, or have come."""
    total: int
    """Bytes in all."""


OnProgress: TypeAlias = Callable[[Progress], Awaitable[object] | object]


async def tell(on_progress: OnProgress | None, done: int, total: int) -> None:
    """Tell how far a value has come."""
    await trio.lowlevel.checkpoint()
    if on_progress is not None:
        told = on_progress(Progress(done, total))
        if inspect.isawaitable(told):
            await told


class _HandlerRaisedError(Exception):
    """Carries what a handler raised past what would take it for an error of the transfer's own, or put it into a group."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


async def _tell(on_progress: OnProgress | None, done: int, total: int) -> None:
    try:
        await tell(on_progress, done, total)
    except trio.Cancelled:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again outside
        raise _HandlerRaisedError(error) from None


@contextmanager
def _handlers_errors_are_bare() -> Generator[None]:
    raised: BaseException | None = None
    try:
        yield
    except _HandlerRaisedError as error:
        raised = error.error
    if raised is not None:
        raise raised


# ------------------------------------------------------------------------------------------------------------ to the kernel


class Source(Protocol):
    """What is brought to the kernel in pieces."""

    total: int
    """Its length in bytes."""

    async def piece(self, start: int) -> Buffer:
        """Return the next bytes from there on: some, at most `codec.PIECE`."""
        ...


class _Value:
    """A value, as a source.

    Args:
        encoded: the value.
    """

    def __init__(self, encoded: codec.Encoded) -> None:
        self.total: int = encoded.total
        self._encoded = encoded

    async def piece(self, start: int) -> Buffer:
        await trio.lowlevel.checkpoint()
        found: Buffer = self._encoded.piece(start, min(start + codec.PIECE, self.total))
        return found


async def put(link: Link, encoded: codec.Encoded, *, what: str, token: str, on_progress: OnProgress | None) -> Mapping[str, Any]:
    """Bring a value to the kernel, where the step that is asked for next finds it.

    Args:
        link: the kernel.
        encoded: the value.
        what: the value, for people.
        token: the name under which it will be there. The caller has it forgotten, whatever becomes of this.
        on_progress: told how far the value has come.

    Returns:
        What the step that takes it is to be given, beside its other arguments and the token.

    Raises:
        TransferError: the value did not come through.
        GatewayError: as for `Link.ask`.
        Exception: what a handler raises.

    Cancellation: safe, no step was asked for.
    """
    total = encoded.total
    if total <= INLINE:
        await tell(on_progress, total, total)
        return {"data": base64.b64encode(encoded.joined()).decode("ascii"), "check": encoded.checksum()}
    check = 0
    for piece in encoded.cut(0, total):
        check = zlib.crc32(piece, check)
        await trio.lowlevel.checkpoint()
    about = {"total": total, "check": check}
    await bring(link, _Value(encoded), Tries(what, total), about=about, token=token, on_progress=on_progress)
    return {}


async def bring(
    link: Link,
    source: Source,
    tries: Tries,
    *,
    about: Mapping[str, Any],
    token: str,
    on_progress: OnProgress | None,
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> None:
    """Bring to the kernel what is not there yet.

    Args:
        link: the kernel.
        source: what is brought.
        tries: how much of it is there.
        about: what the kernel is to know of it when it begins.
        token: the name under which it will be there.
        on_progress: told how far it has come.
        check: raises what is wrong with an answer of the kernel's.

    Raises:
        TransferError: it did not come through.
        GatewayError: as for `Link.ask`.
        Exception: what `check`, a handler or the source raises.

    Cancellation: safe.
    """
    with _handlers_errors_are_bare():
        await _bring(link, source, tries, about, token, on_progress, check)


async def _bring(
    link: Link,
    source: Source,
    tries: Tries,
    about: Mapping[str, Any],
    token: str,
    on_progress: OnProgress | None,
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> None:
    total = source.total
    while tries.done < total and not link.has_comms:
        with tries.lost_is_tried_again():
            piece = await source.piece(tries.done)
            asked = {**about, "start": tries.done, "piece": base64.b64encode(piece[:STEP]).decode("ascii")}
            tries.note(check(await link.ask("have", asked, token=token)).get("have"))
            await _tell(on_progress, tries.done, total)
    while tries.done < total:
        with tries.lost_is_tried_again():
            async with link.kernel.comms.open(NAME, {"token": token, **about}) as comm:
                while tries.done < total:
                    await _send_window(comm, source, tries.done, on_progress)
                    answer = check(await link.ask("have", {}, token=token))
                    if not tries.note(answer.get("have")):
                        break


async def _send_window(comm: Comm, source: Source, start: int, on_progress: OnProgress | None) -> None:
    stop = min(start + WINDOW, source.total)
    while start < stop:
        piece = await source.piece(start)
        await comm.send({"start": start}, buffers=[piece])
        start += len(piece)
        await _tell(on_progress, start, source.total)


class Tries:
    """How far a value has come, and how often nothing has come of a try.

    Args:
        what: the value, for people.
        total: its length in bytes.
        restarts: whether a new process of the kernel's is sent all of it again.
    """

    def __init__(self, what: str, total: int, *, restarts: bool = True) -> None:
        self.done = 0
        self._what = what
        self._total = total
        self._restarts = restarts
        self._stalls = 0

    def note(self, have: object) -> bool:
        """Note how much the receiver says to have; say whether the transfer goes on over the same comm.

        Raises:
            TransferError: nothing has come for too long.
        """
        if have is None:
            if not self._restarts:
                raise TransferError(self._what, self.done, self._total, GONE)
            have = 0  # a new process has nothing
        if type(have) is not int or not 0 <= have <= self._total:
            raise ProtocolError(f"{self._what}: the kernel says to have {have!r:.40} of {self._total} bytes")
        grown, self.done = have > self.done, have
        self._stalls = 0 if grown else self._stalls + 1
        if self._stalls >= TRIES:
            raise TransferError(self._what, self.done, self._total, f"nothing came of {TRIES} tries")
        return grown

    @contextmanager
    def lost_is_tried_again(self) -> Generator[None]:
        """Try again where the connection broke, unless that was so too often in a row, or the kernel's session has ended."""
        try:
            yield
        except (ConnectionLostError, trio.BrokenResourceError) as error:
            if self._stalls + 1 >= TRIES:
                if isinstance(error, GatewayError):
                    raise
                raise TransferError(self._what, self.done, self._total, "the kernel closed the comm") from error
            self._stalls += 1


# ---------------------------------------------------------------------------------------------------------- from the kernel


async def fetch(
    link: Link,
    answer: Mapping[str, Any],
    *,
    what: str,
    token: str,
    on_progress: OnProgress | None,
    how: Mapping[str, Any],
    max_bytes: int | None = None,
) -> Any:
    """Return the value that a step has told, or has ready.

    Args:
        link: the kernel.
        answer: the step's answer.
        what: the value, for people.
        token: the name under which the value is there. The caller has it forgotten, whatever becomes of this.
        on_progress: told how far the value has come.
        how: how it is read; see `codec.decode`.
        max_bytes: how long it may be.

    Raises:
        ValueTooLargeError: it is longer.
        TransferError: the value did not come through, or has changed meanwhile.
        ProtocolError: what came is no value, or one that is not taken from this kernel.
        GatewayError: as for `Link.ask`.
        Exception: what a handler raises.

    Cancellation: safe.
    """
    receiver = codec.Receiver(8, 0)
    try:
        if "data" in answer:
            raw = _bytes_of(answer["data"], what, INLINE)
            refuse_longer(what, len(raw), max_bytes)
            receiver = codec.Receiver(len(raw), answer.get("check"))
            receiver.feed(raw)
            await tell(on_progress, len(raw), len(raw))
        else:
            refuse_longer(what, answer.get("total"), max_bytes)
            receiver = codec.Receiver(answer.get("total"), answer.get("check"))
            await take(link, _Into(receiver), what=what, token=token, on_progress=on_progress)
        return receiver.value(**how)
    except codec.Damaged as error:
        raise TransferError(what, receiver.received, receiver.total, str(error)) from None
    except codec.BadData as error:
        raise ProtocolError(f"{what}: what the kernel sent is not taken: {error}") from error


def refuse_longer(what: str, size: object, max_bytes: int | None) -> None:
    """Refuse what the kernel says to be longer than it may be. Raises ValueTooLargeError."""
    if max_bytes is not None and type(size) is int and size > max_bytes:
        raise ValueTooLargeError(what, size, max_bytes)


def _bytes_of(text: Any, what: str, limit: int) -> bytes:
    """Return what came as text: so many bytes at most. A longer text is refused before anything is made of it."""
    try:
        found = base64.b64decode(text, validate=True) if len(text) // 4 * 3 <= limit + 2 else None
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"{what}: what the kernel sent is not taken: {error}") from error
    if found is None or len(found) > limit:
        raise ProtocolError(f"{what}: the kernel sent more than {limit} bytes in an answer")
    return found


class Sink(Protocol):
    """What takes pieces from the kernel."""

    @property
    def total(self) -> int:
        """How many bytes come."""
        ...

    @property
    def received(self) -> int:
        """How many have come."""
        ...

    async def feed(self, data: Buffer) -> None:
        """Take the next bytes. When it is cancelled, they were taken or not, and `received` says so."""
        ...


class _Into:
    """A value, as a sink.

    Args:
        receiver: makes the value.
    """

    def __init__(self, receiver: codec.Receiver) -> None:
        self.total: int = receiver.total
        self._receiver = receiver

    @property
    def received(self) -> int:
        """How many bytes have come."""
        found: int = self._receiver.received
        return found

    async def feed(self, data: Buffer) -> None:
        """Take the next bytes."""
        self._receiver.feed(data)
        await trio.lowlevel.checkpoint()


async def take(
    link: Link,
    sink: Sink,
    *,
    what: str,
    token: str,
    on_progress: OnProgress | None,
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> None:
    """Take from the kernel what has not come yet.

    Args:
        link: the kernel.
        sink: takes it.
        what: what it is, for people.
        token: the name under which it is there.
        on_progress: told how far it has come.
        check: raises what is wrong with an answer of the kernel's.

    Raises:
        TransferError: it did not come through.
        GatewayError: as for `Link.ask`.
        Exception: what `check`, a handler or the sink raises.

    Cancellation: safe.
    """
    total = sink.total
    tries = Tries(what, total)
    tries.done = sink.received

    def checked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
        if answer.get("gone"):
            raise TransferError(what, sink.received, total, GONE)
        return check(answer)

    with _handlers_errors_are_bare():
        await _take_all(link, sink, tries, what, token, on_progress, checked)


async def _take_all(
    link: Link,
    sink: Sink,
    tries: Tries,
    what: str,
    token: str,
    on_progress: OnProgress | None,
    checked: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> None:
    total = sink.total
    text_to, text = 0, STEP  # how far it comes as text, and how much more of it does after the next stall
    while sink.received < total:
        with tries.lost_is_tried_again():
            if not link.has_comms or sink.received < text_to:
                start = sink.received
                asked = {"start": start, "stop": min(start + STEP, total), "inline": True}
                answer = checked(await link.ask("send", asked, token=token))
                await sink.feed(_bytes_of(answer.get("piece", ""), what, asked["stop"] - start))
                tries.note(sink.received)
                await _tell(on_progress, sink.received, total)
                continue
            async with link.kernel.comms.open(NAME, {"token": token}) as comm:
                while sink.received < total:
                    await _Taking(link, comm, sink, token, on_progress, checked).run()
                    if not tries.note(sink.received):
                        # As text no limit of the gateway's drops it. A try over the comm may cost half a window that is dropped
                        # again, so there is a window of text or more between two of them, from the second one on.
                        text_to, text = sink.received + text, max(2 * text, WINDOW)
                        break


class _Taking:
    """Has pieces sent, and takes them as they come, until all are there or one is missing.

    The kernel is asked for half a window at a time, and for the next half when the first piece of this one has come, so it need
    not wait for us. (Not before, for two questions that are asked at once may reach it in any order.) When it has answered a
    question, what it has sent for that is here, or lost.

    Args:
        link: the kernel.
        comm: over it they come.
        sink: takes them.
        token: the name of what is taken.
        on_progress: told how far it has come.
        checked: raises what is wrong with an answer.
    """

    def __init__(
        self,
        link: Link,
        comm: Comm,
        sink: Sink,
        token: str,
        on_progress: OnProgress | None,
        checked: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> None:
        self._link = link
        self._comm = comm
        self._sink = sink
        self._token = token
        self._on_progress = on_progress
        self._checked = checked
        self._asked_from = -1
        self._asked_to = self._answered_to = self._looked_to = sink.received
        self._unanswered = 0
        """How many questions wait for their answers."""
        self._failure: Exception | None = None
        self._waiting = trio.CancelScope()

    async def run(self) -> None:
        """Do it.

        Raises:
            Exception: what is wrong with the kernel, its answers, a handler or the sink.

        Cancellation: safe, what was taken is taken.
        """
        async with trio.open_nursery() as nursery:
            try:
                while await self._go_on(nursery):
                    pass
            except trio.EndOfChannel:
                await trio.lowlevel.checkpoint()
            except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery
                self._failure = error
                nursery.cancel_scope.cancel(reason="what was asked for is not wanted any more")
        if self._failure is not None:
            raise self._failure

    async def _go_on(self, nursery: trio.Nursery) -> bool:
        """Ask for what may be sent, and take what comes next; say whether there may be more."""
        if self._answered_to > self._looked_to:
            self._looked_to = self._answered_to
            while ready := self._comm.receive_ready(1):
                await _take(self._sink, ready[0], self._on_progress)
        # A piece of what was answered is missing: what was asked for after it is of no use, and its answers alone are waited for.
        missing = self._looked_to > self._sink.received
        if self._sink.received > self._asked_from and not missing and self._failure is None and self._asked_to < self._sink.total:
            self._asked_from, self._asked_to = self._asked_to, min(self._asked_to + max(WINDOW // 2, 1), self._sink.total)
            self._unanswered += 1
            nursery.start_soon(self._ask, self._asked_from, self._asked_to)
        if self._answered_to > self._looked_to or not self._unanswered:
            return self._answered_to > self._looked_to
        message = None
        with trio.CancelScope() as self._waiting:  # around the wait alone: what is done with a piece is not cut off
            message = await self._comm.receive()
        if message is not None:
            await _take(self._sink, message, self._on_progress)
        return True

    async def _ask(self, start: int, stop: int) -> None:
        try:
            self._checked(await self._link.ask("send", {"start": start, "stop": stop}, token=self._token))
        except Exception as error:  # noqa: BLE001 - raised when the other question has ended: to cancel that interrupts the kernel
            self._failure = self._failure or error
        self._unanswered -= 1
        self._answered_to = max(self._answered_to, stop)
        self._waiting.cancel(reason="the kernel has sent all that it was asked for")


async def _take(sink: Sink, message: CommMessage, on_progress: OnProgress | None) -> None:
    if message.data.get("start") == sink.received:  # else one before it is lost: it will come again
        for piece in message.buffers:
            await sink.feed(piece)
        await _tell(on_progress, sink.received, sink.total)
    else:
        await trio.lowlevel.checkpoint()
