"""A kernel's channels as frames: what a relay needs of a connection, which is to pass things on without looking into them.

The one idea: the caller speaks one framing, and the gateway is asked for the same: a frame goes through as it is, and means to
the gateway what it would mean if the caller had sent it itself. (In the legacy framing Kernel Gateway reads headers, and puts in
a version where kernels need one; in v1 it looks into nothing.) Only where the gateway does not speak the caller's framing a
message is put into the other one: with the parts that it has, and no word more. The connection is
kept by the same supervisor as a session's own, and it is resumed by the same rules (`_protocol/recovery.py`). What was asked and
is not answered is remembered by its header alone: what was lost with a connection is answered here, with an error.

What frames mean, but for that, is their readers' business.
"""

from __future__ import annotations

import functools
import logging
import struct
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import trio

from .._api import KernelApi
from .._errors import (
    ConnectionLostError,
    GatewayError,
    KernelCulledError,
    KernelNotFoundError,
    KernelUnresponsiveError,
    MessageTooLargeError,
    ProtocolError,
    fresh,
)
from .._limits import points_to_limits
from .._protocol import codec
from .._protocol.execution import OUTPUT_TYPES
from .._protocol.frames import CutMessage
from .._protocol.kernel_state import KernelState
from .._protocol.liveness import Liveness
from .._protocol.messages import CHANNELS, Message, MessageFactory, decode_json
from .._protocol.recovery import (
    QUESTION,
    AskKernel,
    Line,
    Recovery,
    SendBarrier,
    line_of,
)
from .._protocol.responsiveness import Responsiveness
from .._services import Services, open_services
from .._transport.websocket.opening import WebSocket, WebSocketClosed
from .checks import Carrier
from .exchange import SMALL
from .inbox import FAIRNESS
from .outbox import SendTurns
from .supervisor import SMALLEST_LIMIT, Supervisor

__all__ = ["KernelChannels", "open_kernel_channels"]

_logger = logging.getLogger("trio_gateway.session")

LIMIT_FRAMES: Final = 64
"""How many frames may wait to be sent."""
LIMIT_BYTES: Final = 16 * 1024**2
"""How many bytes may wait to be sent; one frame may be larger when nothing else waits."""
LIMIT_REQUESTS: Final = 10_000
"""How many unanswered requests are remembered; of more, the oldest are forgotten."""
LIMIT_REQUEST_BYTES: Final = 4 * 1024**2
"""How many bytes their headers may have together, likewise. They are the front end's, and may be as long as a message."""
GATHER_SECONDS: Final = 0.016
"""How long frames of a flood are let come together before they are read, in seconds: as long as a screen shows one picture."""
_CROWD: Final = 16
"""After so many small reads, each of them close to the one before, it is a flood. A longer wait takes some of them back, and does
not begin anew: on a busy machine a flood comes in bursts."""
_CLOSE_SECONDS: Final = 0.003
_FEW_FRAMES: Final = 64
_FEW_BYTES: Final = 64 * 1024
_LOST: Final = (
    "The connection to the gateway broke, and this request or its reply was lost with it. It may have run; it was not sent again."
)
_GARBLED: Final = (
    "What came in place of a reply to this request could not be understood, and the connection to the gateway broke. "
    "It may have run; it was not sent again."
)
_ANSWERING: Final = {b"shell": "shell", b"control": "control"}
_ENDS_IOPUB: Final = '"channel": "iopub"}'
"""So ends legacy text of Jupyter's servers with what a kernel publishes; one brace: it is the message's own channel."""
_two: Final = struct.Struct("<QQ").unpack_from


_encode_legacy: Final = functools.partial(codec.encode_legacy, as_server=True)


@attrs.define
class _Asked:
    """A request that was sent and not answered yet."""

    line: Line
    """Where the kernel works on it."""
    header: bytes
    connection: int
    order: int
    """Its place in what was sent."""
    sent_at: float
    size: int
    """How many bytes it was sent as."""
    garbled: bool = False
    """Whether a message came meanwhile that could not be understood: it may have been the answer."""

    @property
    def owed(self) -> bool:
        """Whether its reply is owed: what was answered is not remembered."""
        return True

    def runs_in(self, process: str) -> bool:  # noqa: ARG002 - what is published passes unread
        """Whether it was seen to run: nobody looks."""
        return False


class _Carrier(Carrier):
    """Carries out what recovery wants of a relay."""

    __slots__ = ("_channels",)

    def __init__(
        self,
        channels: KernelChannels,
        recovery: Recovery,
        responsiveness: Responsiveness,
        api: KernelApi,
        services: Services,
    ) -> None:
        super().__init__(recovery, responsiveness, api, channels.kernel_id, services.start_soon)
        self._channels = channels

    @property
    def paused(self) -> bool:
        return self._channels.paused

    def make_question(self) -> Message:
        return self._channels._make("control", QUESTION, {})

    def put(self, action: AskKernel | SendBarrier) -> None:
        self._channels._put_question(action)  # noqa: SLF001 - its other half

    def lose(self, requests: Iterable[str]) -> None:
        self._channels._answer_lost(requests)  # noqa: SLF001 - its other half

    def give_up(self, requests: Iterable[str], seconds: float) -> None:
        self._channels._answer_given_up(requests, seconds)  # noqa: SLF001 - its other half

    def replace_session(self) -> None:
        self._channels._replace_session()  # noqa: SLF001 - its other half


@points_to_limits
class KernelChannels:
    """The four channels of one kernel as frames, in one framing, over a connection that is made again when it breaks.

    Made by `Gateway.open_channels`. One task may receive and one send at a time.

    Args:
        kernel_id: the kernel.
        session_id: this client's session; the gateway buffers and replays by it.
        v1: the framing of `send` and `receive`: `v1.kernel.websocket.jupyter.org`, or else the legacy one.
        api: the gateway's REST interface, with its HTTP client.
        services: the nursery that owns its tasks.
        known: whether the gateway may know the session already, so that it may restore sockets that lead nowhere.
    """

    __slots__ = (
        "__weakref__",
        "_arrived",
        "_asked",
        "_asked_bytes",
        "_came",
        "_carrier",
        "_crowd",
        "_decode",
        "_factory",
        "_filled",
        "_known",
        "_largest",
        "_looking",
        "_opened_once",
        "_outgoing",
        "_outgoing_bytes",
        "_over",
        "_recovery",
        "_room",
        "_supervisor",
        "_taken",
        "_there_v1",
        "_turns",
        "_untold",
        "_v1",
        "_websocket",
        "_writing",
        "connections",
        "ended",
        "kernel_id",
        "liveness",
        "paused",
        "session_id",
    )

    def __init__(
        self, kernel_id: str, *, session_id: str, v1: bool, api: KernelApi, services: Services, known: bool = False
    ) -> None:
        http = api.http
        self.kernel_id: str = kernel_id
        self.session_id: str = session_id
        self.connections: int = 0
        config = http.config
        self.liveness: Liveness = Liveness(config.ping_interval, trio.current_time(), limit=config.unresponsive_timeout)
        self._writing = False
        self._websocket: WebSocket | None = None  # of the task that writes
        self.paused: bool = False
        self.ended: Exception | None = None
        self._known = known
        self._v1 = v1
        self._there_v1 = v1
        self._supervisor = Supervisor(self, self, http, v1=v1)
        self._opened_once = trio.Event()
        # One batch that waits and one that is being handed over: the gateway is not read further until somebody took them. (A
        # memory channel would do, and take a kilobyte of each connection.)
        self._arrived: Sequence[bytes | str] | None = None
        self._came = trio.lowlevel.ParkingLot()
        self._taken = trio.lowlevel.ParkingLot()
        self._over = False
        self._outgoing: list[tuple[bytes | str | None, Message]] = []  # few; an empty deque takes ten times as much
        self._outgoing_bytes = 0
        self._filled = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._turns = SendTurns()
        self._decode = codec.Decoder(v1=v1, relayed=True).decode
        self._asked: dict[str, _Asked] = {}
        self._asked_bytes = 0
        self._largest = 0  # of the frames that nobody waits for, over this connection
        self._untold: list[Message] | None = None  # what is to be passed on beside what comes
        self._looking = False  # whether what comes is being looked at
        self._crowd = 0.0
        self._factory = MessageFactory(f"{session_id}-{uuid.uuid4().hex[:8]}", http.config.kernel_username or "trio_gateway")
        self._recovery = Recovery(self._asked, self.liveness, polled=False)
        responsiveness = Responsiveness(self._asked, self.liveness, recovery=self._recovery, works_on=None)
        self._carrier = _Carrier(self, self._recovery, responsiveness, api, services)

    @property
    def resumed(self) -> int:
        """How often the connection was lost and made again."""
        return max(self.connections - 1, 0)

    @property
    def kernel_state(self) -> KernelState:
        """Nothing is known of the kernel: nobody looks."""
        return KernelState.STARTING

    # For the relay's user ---------------------------------------------------------------------------------------

    async def receive(self) -> Sequence[bytes | str]:
        """Wait for frames from the kernel: at least one, and those that came together.

        What is not received waits here, at most about twice what is read from a socket at once; then the gateway is not read.

        Raises:
            KernelNotFoundError: the gateway did not know the kernel.
            KernelCulledError: it does not know it any more.
            ConnectionLostError: the connection broke and could not be resumed.
            GatewayError: another reason why there is no connection any more. All that came before was received.

        Cancellation: safe, nothing is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._arrived is None:
            if self._over:
                raise self._end()
            await self._came.park()
        frames, self._arrived = self._arrived, None
        self._taken.unpark()
        return frames

    async def send(self, frame: bytes | str) -> None:
        """Send a frame to the kernel; waits while too many wait already, and while there is no connection they do.

        A frame is sent at most once. One that was sent into a connection that broke may be lost; a request is answered then,
        by an error reply that says so.

        Raises:
            ProtocolError: it is no frame in the framing that was chosen, or for a channel that there is not. What its headers
                say or lack is between the caller and the kernel.
            GatewayError: there is no connection any more; `receive` says the same.

        Cancellation: safe: a cancelled call has sent nothing. What need not wait costs no scheduling, but for every 64th time.
        """
        await self._turns.give()
        message = self._decode(frame)
        if message.channel not in CHANNELS:
            raise ProtocolError(f"a message is for the channel {message.channel[:40]!r}, which there is not")
        while self.ended is None and self._outgoing and not self._fits(message.size):
            await self._room.park()
        if self.ended is not None:
            raise self._end()
        if self._outgoing or self._writing or not self._send_now(frame, message):
            self._outgoing.append((frame, message))
            self._outgoing_bytes += message.size
            self._filled.unpark_all()

    def _send_now(self, frame: bytes | str, message: Message) -> bool:
        """Send a frame without waiting, if it is small and goes as it is, and the connection takes it; say whether that was so.

        The caller sees to it that nothing waits before it.
        """
        websocket = self._websocket
        if websocket is None or message.size >= SMALL or not self._goes_as_it_is(frame):
            return False
        if not self._recovery.may_send(message.msg_id) or not websocket.send_now(frame):
            return False
        self._crowd = 0.0
        self._note_sent(message, codec.frame_size(frame))
        return True

    def _goes_as_it_is(self, frame: bytes | str) -> bool:
        # Text where v1 was selected is in the legacy framing: a gateway takes it for nothing.
        return self._v1 == self._there_v1 and not (self._there_v1 and isinstance(frame, str))

    def _note_sent(self, message: Message, size: int) -> None:
        order, now = self._carrier.sent(message.msg_id)
        if not self._remember(message, size, order, now):
            self._largest = max(self._largest, size)

    @property
    def sending(self) -> bool:
        """Whether something is being written at the moment. For the supervisor."""
        return self._writing or (self._websocket is not None and self._websocket.unfinished)

    def _fits(self, size: int) -> bool:
        return len(self._outgoing) < LIMIT_FRAMES and self._outgoing_bytes + size <= LIMIT_BYTES

    def _end(self) -> Exception:
        return ConnectionLostError("the channels were closed with their block") if self.ended is None else fresh(self.ended)

    # The life of the connection ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep connected until cancelled or until there is no hope; then the last frame is a status that says so. A service."""
        try:
            self.ended = await self._supervisor.keep_connected()
            self._opened_once.set()
            self._room.unpark_all()
            if self.connections:
                state = "dead" if isinstance(self.ended, KernelCulledError) else "unknown"
                encode = codec.encode_v1 if self._v1 else _encode_legacy
                await self._hand_over([encode(self._make("iopub", "status", {"execution_state": state}))])
        finally:
            self._carrier.close()
            self._carrier.responsiveness.lost()
            self._opened_once.set()
            self._over = True
            self._came.unpark_all()
            self._room.unpark_all()

    async def wait_opened(self) -> None:
        """Wait for the first connection.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel.
            GatewayError: the connection could not be made.

        Cancellation: safe.
        """
        await self._opened_once.wait()
        if self.connections == 0:
            raise self._end()

    def opened(self) -> None:
        """A connection was made. For the supervisor."""
        self.connections += 1
        quiet = self.connections > 1 and not self.liveness.progressed
        self.liveness.connected(trio.current_time())
        self._opened_once.set()
        actions = self._recovery.connected(self.connections, first=self.connections == 1 and not self._known, quiet=quiet)
        for item in [item for item in self._outgoing if item[0] is None and item[1].msg_id not in self._recovery]:
            self._outgoing.remove(item)  # a question of the connection before
            self._outgoing_bytes -= item[1].size
        self._carrier.connected(actions)

    def lost(self, reason: Exception) -> None:
        """The connection broke, or could not be made; another attempt follows. For the supervisor."""
        self.liveness.lost()
        self._carrier.lost()
        _logger.debug("channels_lost", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": repr(reason)})

    def refused(self, reason: str) -> bool:
        """The gateway closed the connection because a frame is larger than it takes: answer that one. For the supervisor."""
        sent = {key: asked for key, asked in self._asked.items() if asked.connection == self.connections}
        found = max(sent, key=lambda key: sent[key].size, default=None)
        size = 0 if found is None else sent[found].size
        if max(size, self._largest) < SMALLEST_LIMIT:
            return False
        error = MessageTooLargeError(self.kernel_id, "message", max(size, self._largest), None, reason)
        _logger.warning("message_refused", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": str(error)})
        if found is not None and size >= self._largest:
            self._forget(found)
            self._tell(self._answer_for(sent[found], "MessageTooLargeError", str(error)))
        return True

    async def is_gone(self) -> bool:
        """Ask whether the gateway itself says that it does not know the kernel. Raises nothing. For the supervisor."""
        return await self._carrier.is_gone()

    def gone(self) -> Exception:
        """Return the error that says that the gateway does not know the kernel. For the supervisor."""
        if self.connections == 0:
            return KernelNotFoundError(self.kernel_id)
        return KernelCulledError(self.kernel_id, self._supervisor.why_gone())

    # What goes over it ------------------------------------------------------------------------------------------

    def begin(self, *, v1: bool) -> None:
        """A connection was made, and this framing selected on it. For the supervisor."""
        self._there_v1 = v1
        self._largest = 0

    async def send_all(self, websocket: WebSocket) -> None:
        """The one task that writes frames, but for those that `send` has written."""
        encode = codec.parts_v1 if self._there_v1 else codec.encode_legacy
        recovery = self._recovery
        self._websocket = websocket
        try:
            while True:
                while not self._outgoing:
                    await self._filled.park()
                frame, message = self._outgoing[0]
                if not recovery.may_send(message.msg_id):
                    await self._carrier.hold()
                    continue
                del self._outgoing[0]
                self._outgoing_bytes -= message.size
                self._room.unpark_all()
                self._crowd = 0.0  # a request is answered without delay
                self._writing = True
                try:
                    data = encode(message) if frame is None or not self._goes_as_it_is(frame) else frame
                    size = codec.frame_size(data)
                    if frame is None:
                        self._carrier.sent(message.msg_id)
                    else:
                        self._note_sent(message, size)
                    await websocket.send(data)
                except WebSocketClosed:
                    return  # the receiver takes in what had come before the end, and tells how it ended
                except GatewayError as error:
                    self._note_garbage(error)
                finally:
                    self._writing = False
        finally:
            self._websocket = None

    def _put_question(self, action: AskKernel | SendBarrier) -> None:
        """Queue a question before what is passed on: to the kernel first of all, and barriers in their order after it."""
        if isinstance(action, AskKernel):
            message, place = self._make("control", QUESTION, {}), 0
        else:
            message = self._make(action.line[0], *action.request, subshell_id=action.line[1])
            place = next((index for index, (frame, _) in enumerate(self._outgoing) if frame is not None), len(self._outgoing))
        self._recovery.asks(action, message.msg_id)
        self._outgoing.insert(place, (None, message))
        self._outgoing_bytes += message.size
        self._filled.unpark_all()

    def _replace_session(self) -> None:
        """Give up a session that leads nowhere."""
        self.session_id = uuid.uuid4().hex
        self._supervisor.reconnect()

    async def receive_all(self, websocket: WebSocket) -> None:
        """The one task that reads frames. It waits for the relay, and says to the gateway that it is there meanwhile.

        Of a flood of small frames, which come one by one, those of some milliseconds are read together.
        """
        agree = self._v1 == self._there_v1
        decode = codec.Decoder(v1=self._there_v1, relayed=True).decode
        encode = codec.encode_v1 if self._v1 else _encode_legacy
        last = trio.current_time()
        cut = websocket.cut
        recovery = self._recovery
        while True:
            frames = await websocket.receive()
            now = trio.current_time()
            self.liveness.message(now)
            if not self.liveness.progressed:
                self._note_progress(frames, decode)
            small = len(frames) < _FEW_FRAMES and sum(map(len, frames)) < _FEW_BYTES
            left = max(self._crowd - (now - last) / _CLOSE_SECONDS, 0.0)
            self._crowd = min(left + 1.0, 2.0 * _CROWD) if small else 0.0
            last = now
            if recovery.sought and _mention(frames, recovery.sought):
                recovery.published()
            if not agree or self._asked or recovery.asking or websocket.cut != cut:
                cut = websocket.cut
                frames = await self._look_at(frames, decode, None if agree else encode)
            if frames:
                await self._hand_over(frames)
            del frames  # not kept while nothing comes
            if self._crowd >= _CROWD:
                # A kernel that prints line by line: read one by one, a line costs more than twice as much.
                await trio.sleep(GATHER_SECONDS)
                last = trio.current_time()

    def _note_progress(self, frames: Sequence[bytes | str], decode: Callable[[bytes | str], Message]) -> None:
        """Note it if one of these frames is more than a gateway makes a kernel say whenever someone connects."""
        for frame in frames:
            try:
                message = decode(frame)
            except GatewayError:
                continue
            if message.header.msg_type != "status" or message.parent_id in self._recovery or message.parent_id in self._asked:
                self.liveness.progressed = True
                return

    async def _look_at(
        self,
        frames: Sequence[bytes | str],
        decode: Callable[[bytes | str], Message],
        encode: Callable[[Message], bytes | str] | None,
    ) -> Sequence[bytes | str]:
        """Return what is to be passed on of these: replies are noted, and told anew where requests were lost.

        Args:
            frames: as the gateway sent them.
            decode: reads one.
            encode: puts a message into the caller's framing; None where it is the gateway's.
        """
        passed: list[bytes | str] = []
        self._looking = True
        try:
            for number, frame in enumerate(frames, 1):
                if encode is None and type(frame) is not CutMessage and not self._may_answer(frame):
                    passed.append(frame)
                    continue
                try:
                    message = decode(frame)
                    if not self._settle(message):
                        passed.append(frame if encode is None else encode(message))
                except codec.TooLargeError as error:
                    self._note_garbage(error)
                    self._tell(self._tell_too_large(error))
                except GatewayError as error:
                    self._note_garbage(error)
                    for asked in self._asked.values():
                        asked.garbled = True
                passed += self._take_untold()
                if number % FAIRNESS == 0:
                    await trio.lowlevel.cancel_shielded_checkpoint()
            return [*passed, *self._take_untold()]  # what was answered at the last checkpoint too
        finally:
            self._looking = False

    def _tell(self, messages: Iterable[Message]) -> None:
        """Pass on messages that did not come: after what is being looked at, or else at once."""
        self._untold = [*(self._untold or ()), *messages]
        if not self._looking and (frames := self._take_untold()):
            self._arrived = [*(self._arrived or ()), *frames]
            self._came.unpark()

    def _take_untold(self) -> Sequence[bytes | str]:
        """Take what is to be passed on, in the caller's framing."""
        if self._untold is None:
            return ()
        untold, self._untold = self._untold, None
        return [codec.encode_v1(message) if self._v1 else _encode_legacy(message) for message in untold]

    async def _hand_over(self, frames: Sequence[bytes | str]) -> None:
        """Give frames to the relay when it has taken those before; it gets them also if the connection is dropped meanwhile."""
        try:
            while self._arrived is not None:
                self.paused = True
                await self._taken.park()
        except BaseException:
            frames = [*(self._arrived or ()), *frames]
            raise
        finally:
            self.paused = False
            self._arrived = frames
            self._came.unpark()

    def _may_answer(self, frame: bytes | str) -> bool:
        """Whether a frame, in the framing that the gateway selected, may be a reply; without reading more than its channel."""
        if isinstance(frame, str):
            return self._there_v1 or not frame.endswith(_ENDS_IOPUB)
        if not self._there_v1 or len(frame) < 24:
            return True
        start, end = _two(frame, 8)
        return frame[start:end] in _ANSWERING if end - start < 16 else True

    def _remember(self, message: Message, size: int, order: int, now: float) -> bool:
        """Note a request that is being sent, if it will be answered on its channel; say whether it is noted.

        Args:
            message: the request.
            size: how many bytes it is sent as.
            order: its place in what is sent.
            now: the time.
        """
        if message.channel not in {"shell", "control"} or not message.msg_type.endswith("_request"):
            return False
        if not message.msg_id:
            return False
        header = bytes(message.header_raw)
        if len(header) > LIMIT_REQUEST_BYTES:
            return False
        self._forget(message.msg_id)
        while self._asked and (len(self._asked) >= LIMIT_REQUESTS or self._asked_bytes + len(header) > LIMIT_REQUEST_BYTES):
            self._forget(next(iter(self._asked)))
        self._asked[message.msg_id] = _Asked(line_of(message), header, self.connections, order, now, size)
        self._asked_bytes += len(header)
        return True

    def _forget(self, msg_id: str) -> _Asked | None:
        """Remember a request no more; return what was known of it."""
        asked = self._asked.pop(msg_id, None)
        if asked is not None:
            self._asked_bytes -= len(asked.header)
        return asked

    def _settle(self, message: Message) -> bool:
        """Look at what may be a reply; say whether it is one to a question of recovery's, which is nobody else's business."""
        if message.channel not in {"shell", "control"}:
            return False
        if message.parent_session != self._factory.session:
            self._forget(message.parent_id)
            return False
        if message.parent_id in self._recovery:
            self._carrier.answered(message.parent_id, message)
        return True

    def _tell_too_large(self, error: codec.TooLargeError) -> Iterable[Message]:
        """Say in a kernel's message's place that it was too large, as far as somebody waits for it or would have seen it."""
        message = error.message
        if message is None:
            return ()
        asked = self._asked.get(message.parent_id)
        if self._settle(message):
            return ()
        kind, parent = message.msg_type, dict(message.parent_header)
        # Cut legacy text does not say any more on which channel it came.
        channel = message.channel if asked is None else asked.line[0]
        if message.channel == "iopub":
            notice = {"name": "stderr", "text": f"{error}; it was left out.\n"}
            return [self._make("iopub", "stream", notice, parent=parent)] if kind in OUTPUT_TYPES else ()
        reply: dict[str, Any] = {"status": "error", "ename": "MessageTooLarge", "evalue": str(error), "traceback": [str(error)]}
        if kind == "execute_reply":
            reply["execution_count"] = 0
        return [self._make(channel, kind, reply, parent=parent)] if kind.endswith("_reply") else ()

    def _answer_lost(self, requests: Iterable[str]) -> None:
        """Answer requests in the kernel's place: they or their replies were lost."""
        answers: list[Message] = []
        for msg_id in requests:
            asked = self._forget(msg_id)
            if asked is not None:
                name, text = ("ProtocolError", _GARBLED) if asked.garbled else ("ConnectionLostError", _LOST)
                answers += self._answer_for(asked, name, text)
        self._tell(answers)

    def _answer_given_up(self, requests: Iterable[str], seconds: float) -> None:
        """Answer requests in the kernel's place: it has been silent for too long."""
        error = KernelUnresponsiveError(self.kernel_id, self.liveness.limit, seconds=seconds)
        answers: list[Message] = []
        for msg_id in requests:
            asked = self._forget(msg_id)
            if asked is not None:
                answers += self._answer_for(asked, "KernelUnresponsiveError", str(error))
        self._tell(answers)

    def _answer_for(self, asked: _Asked, name: str, text: str) -> Iterable[Message]:
        """Answer a request in the kernel's place, with an error."""
        header: dict[str, Any] = decode_json(asked.header)
        kind = str(header.get("msg_type"))
        error = {"ename": name, "evalue": text, "traceback": [text]}
        if kind == "execute_request":
            yield self._make("iopub", "error", error, parent=header)
        reply = {"status": "error", **error, **({"execution_count": 0} if kind == "execute_request" else {})}
        yield self._make(asked.line[0], kind.removesuffix("_request") + "_reply", reply, parent=header)
        yield self._make("iopub", "status", {"execution_state": "idle"}, parent=header)

    def _make(
        self,
        channel: str,
        kind: str,
        content: Mapping[str, Any],
        *,
        parent: dict[str, Any] | None = None,
        subshell_id: str | None = None,
    ) -> Message:
        # The wall clock, for the message's reader.
        date = datetime.now(UTC).isoformat()  # noqa: TID251
        return self._factory.make(channel, kind, content, date=date, parent_header=parent, subshell_id=subshell_id)

    def _note_garbage(self, error: GatewayError) -> None:
        _logger.warning("message_not_understood", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": str(error)})


def _mention(frames: Sequence[bytes | str], name: str) -> bool:
    """Say whether an id, which is ASCII, is in one of these frames."""
    raw = name.encode()
    return any((name in frame) if isinstance(frame, str) else (raw in frame) for frame in frames)


@asynccontextmanager
async def open_kernel_channels(
    api: KernelApi, kernel_id: str, *, session_id: str, v1: bool, known: bool = False
) -> AsyncGenerator[KernelChannels]:
    """Open a kernel's channels; the block owns the connection.

    Args:
        api: the gateway's REST interface, with its HTTP client.
        kernel_id: the kernel.
        session_id: this client's session.
        v1: the framing to speak with the caller.
        known: whether the gateway may know the session already.

    Raises:
        KernelNotFoundError: the gateway does not know the kernel.
        GatewayError: the connection could not be made.
    """
    async with open_services() as services:
        channels = KernelChannels(kernel_id, session_id=session_id, v1=v1, api=api, services=services, known=known)
        services.start_soon(channels.run, name=f"trio_gateway.channels[{kernel_id:.8}]")
        await channels.wait_opened()
        yield channels
