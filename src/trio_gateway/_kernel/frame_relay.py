"""A kernel's channels as frames: what a relay needs of a connection, which is to pass things on without looking into them.

The one idea: the caller speaks one framing, and the gateway is asked for the same: a frame goes through as it is, and means to
the gateway what it would mean if the caller had sent it itself. (In the legacy framing Kernel Gateway reads headers, and puts in
a version where kernels need one; in v1 it looks into nothing.) Only where the gateway does not speak the caller's framing a
message is put into the other one: with the parts that it has, and no word more. The connection is
kept by the same supervisor as a session's own. What was asked and is answered is remembered by id alone, so that after a
connection was lost nobody waits for ever: a `kernel_info_request` is sent as a barrier, and what it overtakes is answered
here, with an error (as for a session).

A gateway can tie a session to sockets that lead nowhere. So over a connection that was made again, by us or by a front end, a
question is sent before a frame is; where it is not answered here, but over another connection, another session id takes this
one's place.

What frames mean, but for that, is their readers' business.
"""

from __future__ import annotations

import functools
import logging
import struct
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import trio

from .._errors import (
    ConnectionLostError,
    GatewayError,
    KernelCulledError,
    KernelNotFoundError,
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
from .._services import open_services
from .._transport.http.client import HttpClient
from .._transport.websocket.opening import WebSocket, WebSocketClosed
from .inbox import FAIRNESS
from .supervisor import SMALLEST_LIMIT, Supervisor

__all__ = ["ANSWER_SECONDS", "KernelChannels", "answers_elsewhere", "open_kernel_channels"]

_logger = logging.getLogger("trio_gateway.session")

ANSWER_SECONDS: Final = 2.0
"""How long a kernel may take to answer on its control channel before the gateway is asked about it instead, in seconds."""
ELSEWHERE_SECONDS: Final = 5.0
"""How long asking a kernel over another connection may take, in seconds, the handshake included."""
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

    line: tuple[str, str | None]
    """Where the kernel works on it: the channel, and on shell the subshell, or None for the main one."""
    header: bytes
    connection: int
    size: int
    """How many bytes it was sent as."""
    garbled: bool = False
    """Whether a message came meanwhile that could not be understood: it may have been the answer."""


@points_to_limits
class KernelChannels:
    """The four channels of one kernel as frames, in one framing, over a connection that is made again when it breaks.

    Made by `Gateway.open_channels`. One task may receive and one send at a time.

    Args:
        kernel_id: the kernel.
        session_id: this client's session; the gateway buffers and replays by it.
        v1: the framing of `send` and `receive`: `v1.kernel.websocket.jupyter.org`, or else the legacy one.
        http: the gateway's HTTP client.
        known: whether the gateway may know the session already, so that it may restore sockets that lead nowhere.
    """

    def __init__(self, kernel_id: str, *, session_id: str, v1: bool, http: HttpClient, known: bool = False) -> None:
        self.kernel_id: str = kernel_id
        self.session_id: str = session_id
        self.connections: int = 0
        self.liveness: Liveness = Liveness(http.config.ping_interval, trio.current_time())
        self.sending: bool = False
        self.paused: bool = False
        self.ended: Exception | None = None
        self._known = known
        self._unheard = False  # whether the connection before this one brought nothing
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
        self._decode = codec.Decoder(v1=v1, relayed=True).decode
        self._asked: dict[str, _Asked] = {}
        self._asked_bytes = 0
        self._largest = 0  # of the frames that nobody waits for, over this connection
        self._untold: list[bytes | str] = []  # what is to be passed on when the connection was made again
        self._crowd = 0.0
        self._barriers: dict[str, tuple[tuple[str, str | None], int]] = {}
        self._greeting = ""  # the id of the question that a connection which was made again begins with, while it is open
        self._heard: trio.Event | None = None
        self._sought = ""  # an id that is looked for in what comes
        self._factory = MessageFactory(f"{session_id}-{uuid.uuid4().hex[:8]}", http.config.kernel_username or "trio_gateway")
        self._http = http

    @property
    def resumed(self) -> int:
        """How often the connection was lost and made again."""
        return max(self.connections - 1, 0)

    @property
    def kernel_state(self) -> KernelState:
        """Nothing is known of the kernel: nobody looks."""
        return KernelState.STARTING

    # For whoever relays -----------------------------------------------------------------------------------------

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

        Cancellation: safe: it is sent whole or not at all.
        """
        message = self._decode(frame)
        if message.channel not in CHANNELS:
            raise ProtocolError(f"a message is for the channel {message.channel[:40]!r}, which there is not")
        while self.ended is None and self._outgoing and not self._fits(message.size):
            await self._room.park()
        if self.ended is not None:
            raise self._end()
        self._outgoing.append((frame, message))
        self._outgoing_bytes += message.size
        self._filled.unpark_all()
        await trio.lowlevel.checkpoint_if_cancelled()

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
        self._unheard = self.connections > 1 and not self.liveness.progressed
        self.liveness.connected(trio.current_time())
        self._opened_once.set()
        for line in {asked.line for asked in self._asked.values()}:
            barrier = self._make(line[0], "kernel_info_request", {}, subshell_id=line[1])
            self._barriers[barrier.msg_id] = (line, self.connections)
            self._outgoing.insert(0, (None, barrier))
            self._outgoing_bytes += barrier.size

    def lost(self, reason: Exception) -> None:
        """The connection broke, or could not be made; another attempt follows. For the supervisor."""
        self.liveness.lost()
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
            told = self._answer_for(sent[found], "MessageTooLargeError", str(error))
            self._untold += map(codec.encode_v1 if self._v1 else _encode_legacy, told)
        return True

    def gone(self) -> Exception:
        """Return the error that says that the gateway does not know the kernel. For the supervisor."""
        if self.connections == 0:
            return KernelNotFoundError(self.kernel_id)
        return KernelCulledError(self.kernel_id, "the gateway does not know it any more: it was culled, or shut down by someone")

    # What goes over it ------------------------------------------------------------------------------------------

    def begin(self, *, v1: bool) -> None:
        """A connection was made, and this framing selected on it. For the supervisor."""
        self._there_v1 = v1
        self._largest = 0

    async def send_all(self, websocket: WebSocket) -> None:
        """The one task that writes frames."""
        encode = codec.parts_v1 if self._there_v1 else codec.encode_legacy
        greeted = self.connections == 1 and not self._known
        # After a connection that brought nothing a word is asked for at once: on that depends for how long it goes on.
        heard = await self._greet(websocket) if self._unheard else None
        while True:
            while not self._outgoing:
                await self._filled.park()
            if not greeted:
                if heard is None and (heard := await self._greet(websocket)) is None:
                    return
                await self._hear(heard)
                greeted = True
                continue
            frame, message = self._outgoing.pop(0)
            self._outgoing_bytes -= message.size
            self._room.unpark_all()
            self._crowd = 0.0  # whoever asks is answered without delay
            # Text where v1 was selected is in the legacy framing: a gateway takes it for nothing.
            agree = self._v1 == self._there_v1 and not (self._there_v1 and isinstance(frame, str))
            self.sending = True
            try:
                data = encode(message) if frame is None or not agree else frame
                size = codec.frame_size(data)
                if not self._remember(message, size):
                    self._largest = max(self._largest, size)
                await websocket.send(data)
            except WebSocketClosed:
                return  # the receiver takes in what had come before the end, and tells how it ended
            except GatewayError as error:
                self._note_garbage(error)
            finally:
                self.sending = False

    async def _greet(self, websocket: WebSocket) -> trio.Event | None:
        """Ask whether the kernel hears us before a frame is sent; return what its answer sets; None if it is over."""
        greeting = self._make("control", "kernel_info_request", {})
        self._greeting = greeting.msg_id
        heard = self._heard = trio.Event()
        self.sending = True
        try:
            await websocket.send(codec.parts_v1(greeting) if self._there_v1 else codec.encode_legacy(greeting))
        except WebSocketClosed:
            return None
        finally:
            self.sending = False
        return heard

    async def _hear(self, heard: trio.Event) -> None:
        """Wait for the answer to the greeting; where the kernel answers over another connection only, this one is dropped."""
        begun = trio.current_time()
        with trio.move_on_after(ANSWER_SECONDS):
            await heard.wait()
        if not heard.is_set() and not self.paused and await self._is_mute(heard, begun):
            _logger.warning("connection_is_mute", extra={"gateway.kernel_id": self.kernel_id})
            self.session_id = uuid.uuid4().hex
            self._supervisor.reconnect()
            await trio.lowlevel.checkpoint_if_cancelled()  # it is: nothing more is sent here

    async def _is_mute(self, heard: trio.Event, begun: float) -> bool:
        """Say whether the kernel answers elsewhere only, and what it publishes about that, or nothing at all, comes here."""
        asked = self._make("control", "kernel_info_request", {})
        self._sought = asked.msg_id
        try:
            if not await answers_elsewhere(self._http, self.kernel_id, asked):
                return False
            with trio.move_on_after(ANSWER_SECONDS):
                await heard.wait()  # it was asked first
            now = trio.current_time()
            nothing_came = not self.paused and self.liveness.quiet(now) >= now - begun
            return not heard.is_set() and (not self._sought or nothing_came)
        finally:
            self._sought = ""

    async def receive_all(self, websocket: WebSocket) -> None:
        """The one task that reads frames. It waits for the relay, and says to the gateway that it is there meanwhile.

        Of a flood of small frames, which come one by one, those of some milliseconds are read together.
        """
        agree = self._v1 == self._there_v1
        decode = codec.Decoder(v1=self._there_v1, relayed=True).decode
        encode = codec.encode_v1 if self._v1 else _encode_legacy
        last = trio.current_time()
        cut = websocket.cut
        if self._untold:
            untold, self._untold = self._untold, []
            await self._hand_over(untold)
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
            if self._sought and _mention(frames, self._sought):
                self._sought = ""
            if not agree or self._asked or self._barriers or self._greeting or websocket.cut != cut:
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
        ours = {self._greeting, *self._barriers, *self._asked}
        for frame in frames:
            try:
                message = decode(frame)
            except GatewayError:
                continue
            if message.header.msg_type != "status" or message.parent_id in ours:
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
        for number, frame in enumerate(frames, 1):
            if encode is None and type(frame) is not CutMessage and not self._may_answer(frame):
                passed.append(frame)
                continue
            try:
                message = decode(frame)
                made = self._settle(message)
                if made is not None:
                    passed += map(codec.encode_v1 if self._v1 else _encode_legacy, made)
                else:
                    passed.append(frame if encode is None else encode(message))
            except codec.TooLargeError as error:
                self._note_garbage(error)
                passed += map(codec.encode_v1 if self._v1 else _encode_legacy, self._tell_too_large(error))
            except GatewayError as error:
                self._note_garbage(error)
                for asked in self._asked.values():
                    asked.garbled = True
            if number % FAIRNESS == 0:
                await trio.lowlevel.cancel_shielded_checkpoint()
        return passed

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

    def _remember(self, message: Message, size: int) -> bool:
        """Note a request that is being sent, if it will be answered on its channel; say whether it is noted.

        Args:
            message: the request.
            size: how many bytes it is sent as.
        """
        if message.channel not in {"shell", "control"} or not message.msg_type.endswith("_request"):
            return False
        if not message.msg_id or message.msg_id in self._barriers:
            return False
        header = bytes(message.header_raw)
        if len(header) > LIMIT_REQUEST_BYTES:
            return False
        self._forget(message.msg_id)
        while self._asked and (len(self._asked) >= LIMIT_REQUESTS or self._asked_bytes + len(header) > LIMIT_REQUEST_BYTES):
            self._forget(next(iter(self._asked)))
        line = (message.channel, message.header.subshell_id if message.channel == "shell" else None)
        self._asked[message.msg_id] = _Asked(line, header, self.connections, size)
        self._asked_bytes += len(header)
        return True

    def _forget(self, msg_id: str) -> _Asked | None:
        """Remember a request no more; return what was known of it."""
        asked = self._asked.pop(msg_id, None)
        if asked is not None:
            self._asked_bytes -= len(asked.header)
        return asked

    def _settle(self, message: Message) -> Iterable[Message] | None:
        """Look at what may be a reply; return None for one to pass on, and else what is to be told in its place."""
        if message.channel not in {"shell", "control"}:
            return None
        if self._greeting and message.parent_id == self._greeting:
            self._greeting = ""
            if self._heard is not None:
                self._heard.set()
            return ()
        barrier = self._barriers.pop(message.parent_id, None)
        if barrier is None:
            self._forget(message.parent_id)
            return None
        line, connection = barrier
        lost = [key for key, asked in self._asked.items() if asked.line == line and asked.connection < connection]
        told: list[Message] = []
        for key in lost:
            asked = self._forget(key)
            assert asked is not None
            told += self._answer_lost(asked)
        return told

    def _tell_too_large(self, error: codec.TooLargeError) -> Iterable[Message]:
        """Say in a kernel's message's place that it was too large, as far as somebody waits for it or would have seen it."""
        message = error.message
        if message is None:
            return ()
        asked = self._asked.get(message.parent_id)
        made = self._settle(message)
        if made is not None:
            return made
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

    def _answer_lost(self, asked: _Asked) -> Iterable[Message]:
        """Answer a request in the kernel's place: it or its reply was lost."""
        name, text = ("ProtocolError", _GARBLED) if asked.garbled else ("ConnectionLostError", _LOST)
        return self._answer_for(asked, name, text)

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
        content: dict[str, Any],
        *,
        parent: dict[str, Any] | None = None,
        subshell_id: str | None = None,
    ) -> Message:
        # The wall clock, for whoever reads the message.
        date = datetime.now(UTC).isoformat()  # noqa: TID251
        return self._factory.make(channel, kind, content, date=date, parent_header=parent, subshell_id=subshell_id)

    def _note_garbage(self, error: GatewayError) -> None:
        _logger.warning("message_not_understood", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": str(error)})


def _mention(frames: Sequence[bytes | str], name: str) -> bool:
    """Say whether an id, which is ASCII, is in one of these frames."""
    raw = name.encode()
    return any((name in frame) if isinstance(frame, str) else (raw in frame) for frame in frames)


async def answers_elsewhere(http: HttpClient, kernel_id: str, asked: Message) -> bool:
    """Ask a kernel over a connection of its own, with another session id, for some seconds; say whether it answered.

    Args:
        http: the gateway's HTTP client.
        kernel_id: the kernel.
        asked: the question, for the control channel.

    Cancellation: safe.
    """
    decode = codec.Decoder(v1=True).decode
    with trio.move_on_after(ELSEWHERE_SECONDS):
        try:
            async with open_kernel_channels(http, kernel_id, session_id=uuid.uuid4().hex, v1=True) as channels:
                await channels.send(codec.encode_v1(asked))
                while True:
                    for message in map(decode, await channels.receive()):
                        if message.channel == "control" and message.parent_id == asked.msg_id:
                            return True
        except GatewayError as error:
            _logger.debug("check_failed", extra={"gateway.kernel_id": kernel_id, "gateway.reason": repr(error)})
    return False


@asynccontextmanager
async def open_kernel_channels(
    http: HttpClient, kernel_id: str, *, session_id: str, v1: bool, known: bool = False
) -> AsyncGenerator[KernelChannels]:
    """Open a kernel's channels; the block owns the connection.

    Args:
        http: the gateway's HTTP client.
        kernel_id: the kernel.
        session_id: this client's session.
        v1: the framing to speak with the caller.
        known: whether the gateway may know the session already.

    Raises:
        KernelNotFoundError: the gateway does not know the kernel.
        GatewayError: the connection could not be made.
    """
    async with open_services() as services:
        channels = KernelChannels(kernel_id, session_id=session_id, v1=v1, http=http, known=known)
        services.start_soon(channels.run, name=f"trio_gateway.channels[{kernel_id:.8}]")
        await channels.wait_opened()
        yield channels
