"""Values on their way: what is small goes in the step itself, what is large in pieces over a comm, a window of them at a time.

The one idea: the receiving side says how far it has come, and is sent the rest. So a piece that was lost, by a cut or a gateway's
rate limit, is sent again, the sender never is more than a window ahead, and a transfer that is given up is forgotten. A value is
whole, by its length and its checksum, or not there.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import math
import zlib
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import attrs
import trio

from .._errors import ConnectionLostError, GatewayError, ProtocolError
from .._kernel.comms import Comm, CommMessage
from . import codec
from .errors import TransferError
from .link import NAME, Link

__all__ = ["INLINE", "WINDOW", "OnProgress", "Progress", "fetch", "put"]

INLINE: Final = 32 * 1024
"""A value of so many bytes at most goes in the step itself."""
STEP: Final = 1024 * 1024
"""How much goes in a step where the kernel hears of no comms, in bytes."""
WINDOW: Final = 6 * codec.PIECE
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


# ------------------------------------------------------------------------------------------------------------ to the kernel


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
    for piece in codec.cut(encoded.parts, 0, total):
        check = zlib.crc32(piece, check)
        await trio.lowlevel.checkpoint()
    tries = _Tries(what, total)
    about = {"total": total, "check": check}
    while tries.done < total and not link.has_comms:
        with tries.lost_is_tried_again():
            piece = b"".join(codec.cut(encoded.parts, tries.done, min(tries.done + STEP, total)))
            asked = {**about, "start": tries.done, "piece": base64.b64encode(piece).decode("ascii")}
            tries.note((await link.ask("have", asked, token=token)).get("have"))
            await tell(on_progress, tries.done, total)
    while tries.done < total:
        with tries.lost_is_tried_again():
            async with link.kernel.comms.open(NAME, {"token": token, **about}) as comm:
                while tries.done < total:
                    await _send_window(comm, encoded, tries.done, on_progress)
                    answer = await link.ask("have", {}, token=token)
                    if not tries.note(answer.get("have")):
                        break
    return {}


async def _send_window(comm: Comm, encoded: codec.Encoded, start: int, on_progress: OnProgress | None) -> None:
    for piece in codec.cut(encoded.parts, start, min(start + WINDOW, encoded.total)):
        await comm.send({"start": start}, buffers=[piece])
        start += piece.nbytes
        await tell(on_progress, start, encoded.total)


class _Tries:
    """How far a value has come, and how often nothing has come of a try.

    Args:
        what: the value, for people.
        total: its length in bytes.
    """

    def __init__(self, what: str, total: int) -> None:
        self.done = 0
        self._what = what
        self._total = total
        self._stalls = 0

    def note(self, have: object) -> bool:
        """Note how much the receiver says to have; say whether the transfer goes on over the same comm.

        Raises:
            TransferError: nothing has come for too long.
        """
        if have is None:
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
) -> Any:
    """Return the value that a step has told, or has ready.

    Args:
        link: the kernel.
        answer: the step's answer.
        what: the value, for people.
        token: the name under which the value is there. The caller has it forgotten, whatever becomes of this.
        on_progress: told how far the value has come.
        how: how it is read; see `codec.decode`.

    Raises:
        TransferError: the value did not come through, or has changed meanwhile.
        ProtocolError: what came is no value, or one that is not taken from this kernel.
        GatewayError: as for `Link.ask`.
        Exception: what a handler raises.

    Cancellation: safe.
    """
    receiver = codec.Receiver(8, 0)
    try:
        if "data" in answer:
            raw = base64.b64decode(answer["data"], validate=True)
            receiver = codec.Receiver(len(raw), answer.get("check"))
            receiver.feed(raw)
            await tell(on_progress, len(raw), len(raw))
        else:
            receiver = codec.Receiver(answer.get("total"), answer.get("check"))
            await _receive(link, receiver, what, token, on_progress)
        return receiver.value(**how)
    except codec.Damaged as error:
        raise TransferError(what, receiver.received, receiver.total, str(error)) from None
    except (codec.BadData, binascii.Error, TypeError) as error:
        raise ProtocolError(f"{what}: what the kernel sent is not taken: {error}") from error


async def _receive(link: Link, receiver: codec.Receiver, what: str, token: str, on_progress: OnProgress | None) -> None:
    tries = _Tries(what, receiver.total)
    while not receiver.complete and not link.has_comms:
        with tries.lost_is_tried_again():
            asked = {"start": receiver.received, "stop": min(receiver.received + STEP, receiver.total), "inline": True}
            answer = await link.ask("send", asked, token=token)
            if answer.get("gone"):
                raise TransferError(what, receiver.received, receiver.total, GONE)
            receiver.feed(base64.b64decode(answer.get("piece", ""), validate=True))
            tries.note(receiver.received)
            await tell(on_progress, receiver.received, receiver.total)
    while not receiver.complete:
        with tries.lost_is_tried_again():
            async with link.kernel.comms.open(NAME, {"token": token}) as comm:
                while not receiver.complete:
                    answer = await _receive_window(link, comm, receiver, token, on_progress)
                    if answer.get("gone"):
                        raise TransferError(what, receiver.received, receiver.total, GONE)
                    if not tries.note(receiver.received):
                        break


async def _receive_window(
    link: Link, comm: Comm, receiver: codec.Receiver, token: str, on_progress: OnProgress | None
) -> Mapping[str, Any]:
    """Have a window of pieces sent, and take them as they come. Those that are lost are missing afterwards."""
    start = receiver.received
    failure: Exception | None = None
    answers: list[Mapping[str, Any]] = []

    async def ask() -> None:
        nonlocal failure
        try:
            stop = min(start + WINDOW, receiver.total)
            answers.append(await link.ask("send", {"start": start, "stop": stop}, token=token))
        except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery
            failure = error
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        try:
            async for message in comm:
                await _take(receiver, message, on_progress)
        except Exception as error:  # noqa: BLE001 - likewise
            failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    for message in comm.receive_ready(1_000_000, limit_bytes=math.inf):
        await _take(receiver, message, on_progress)
    return answers[0] if answers else {}


async def _take(receiver: codec.Receiver, message: CommMessage, on_progress: OnProgress | None) -> None:
    if message.data.get("start") == receiver.received:  # else one before it is lost: it will come again
        for piece in message.buffers:
            receiver.feed(piece)
        await tell(on_progress, receiver.received, receiver.total)
    else:
        await trio.lowlevel.checkpoint()
