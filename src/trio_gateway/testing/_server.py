"""The fake's end of a connection: HTTP/1.1 by h11, WebSocket by wsproto, on whatever stream it comes.

The one idea: these are real bytes, so what the library sends is read by another implementation than its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import h11
import trio
import wsproto
import wsproto.events as ws_events
from wsproto.utilities import RemoteProtocolError

from .._protocol.codec import V1_SUBPROTOCOL
from ._channels import Channels
from ._http import FakeAnswer, FakeRequest, error
from ._kernel import FakeKernel
from ._rest import answer_request, refusal
from ._state import GatewayState
from ._streams import ServerStream

__all__ = ["serve_connection"]

_MAX_HEAD: Final = 256 * 1024


async def serve_connection(gateway: GatewayState, stream: ServerStream) -> None:
    """Serve one connection to its end."""
    try:
        if stream.swallows:
            await stream.receive_some()
            return
        await _Connection(gateway, stream).run()
    finally:
        await stream.aclose()  # noqa: ASYNC102 - it does not wait


class _Connection:
    def __init__(self, gateway: GatewayState, stream: ServerStream) -> None:
        self._gateway = gateway
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)

    def _note(self, way: str, what: str) -> None:
        self._gateway.conversation.note(f"#{self._stream.number} {way}", what)

    async def run(self) -> None:
        while True:
            try:
                request = await self._next_request()
            except h11.RemoteProtocolError as problem:
                self._note("x", f"not HTTP: {problem}")
                self._gateway.protocol_errors.append(str(problem))
                return
            if request is None:
                return
            self._gateway.requests.append(request)
            self._note("<", str(request))
            if not await self._serve(request):
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _next_request(self) -> FakeRequest | None:
        """Read a request whole; None where there is no more. An upgrade's connection is paused after it."""
        head: h11.Request | None = None
        body = b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._stream.receive_some()
                if not data:
                    return None
                self._http.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
                if dict(event.headers).get(b"expect", b"").lower() == b"100-continue":
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers.raw_items()}
                self._raw_headers = list(head.headers)
                self._target = head.target.decode("latin-1")
                return FakeRequest.parse(head.method.decode("ascii"), self._target, headers, body, self._gateway.base_path)
            else:  # ConnectionClosed, or paused by an upgrade that was refused
                return None

    async def _serve(self, request: FakeRequest) -> bool:
        """Answer; say whether the connection can go on."""
        plan = self._gateway.faults.on_request(request)
        if plan.lose_request:
            self._note("x", "connection lost before the request")
            self._stream.reset()
            return False
        if plan.delay and not await self._is_there_after(partial(trio.sleep, plan.delay), request):
            return False
        answer = plan.answer or refusal(self._gateway, request)
        if answer is None:
            if request.is_upgrade:
                answer = await self._upgrade(request, lost=plan.lose_answer)
                if answer is None:
                    return False
            else:
                answer = await answer_request(self._gateway, request)
        if plan.lose_answer:
            self._note("x", f"connection lost before the answer {answer.status}")
            self._stream.reset()
            return False
        return await self._answer(request, answer)

    async def _answer(self, request: FakeRequest, answer: FakeAnswer) -> bool:
        self._note(">", f"{answer.status} {answer.reason} {answer.body[:120].decode('utf-8', 'replace')}")
        headers = [(name, value) for name, value in answer.headers.items()]
        names = {name.lower() for name, _ in headers}
        if answer.status not in {204, 304} and "content-length" not in names:
            headers.append(("Content-Length", str(len(answer.body))))
        if "date" not in names:
            headers.append(("Date", self._gateway.http_date()))
        events: list[h11.Event] = [h11.Response(status_code=answer.status, headers=headers, reason=answer.reason.encode())]
        if answer.body and request.method != "HEAD":
            events.append(h11.Data(data=answer.body))
        events.append(h11.EndOfMessage())
        data = b"".join(self._http.send(event) or b"" for event in events)
        return await self._stream.send_all(data)

    async def _send(self, event: h11.Event) -> None:
        await self._stream.send_all(self._http.send(event) or b"")

    async def _wait_ready(self, kernel: FakeKernel) -> None:
        with trio.move_on_after(self._gateway.kernel_info_timeout):
            await kernel.wait_ready()

    async def _is_there_after(self, act: Callable[[], Awaitable[object]], request: FakeRequest) -> bool:
        """Do something before a request is answered; if it is a handshake, say whether the client waited for it."""
        if not request.is_upgrade:
            await act()
            return True
        gone = False

        async def watch() -> None:
            nonlocal gone
            while data := await self._stream.receive_some():
                self._http.receive_data(data)  # it comes early, and is for the WebSocket
            gone = True
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, name="fake.watch")
            await act()
            nursery.cancel_scope.cancel()
        if gone:
            self._note_abandoned(request)
        return not gone

    def _note_abandoned(self, request: FakeRequest) -> None:
        """Do as Kernel Gateway does with a handshake that ends unanswered: count a connection less, though it never came."""
        kernel = self._gateway.kernels.get(request.segments[2]) if len(request.segments) == 4 else None
        if kernel is None:
            return
        kernel.connections -= 1
        if not self._stream.over:  # else a fault of ours has cut it
            self._note("x", "handshake abandoned by the client")
            self._gateway.handshakes_abandoned += 1

    async def _upgrade(self, request: FakeRequest, *, lost: bool) -> FakeAnswer | None:
        """Serve a WebSocket to its end; or give the answer that refuses it."""
        segments = request.segments
        if len(segments) != 4 or segments[:2] != ("api", "kernels") or segments[3] != "channels":
            return error(404)
        kernel = self._gateway.kernels.get(segments[2])
        if kernel is None:
            return error(404, f"Kernel does not exist: {segments[2]}")
        ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        try:
            ws.initiate_upgrade_connection(self._raw_headers, self._target)
            upgrade = next(iter(ws.events()))
        except RemoteProtocolError as problem:
            return error(400, str(problem))
        assert isinstance(upgrade, ws_events.Request)
        # The answer is withheld until the kernel can say who it is, for a while.
        if not await self._is_there_after(partial(self._wait_ready, kernel), request):
            return None
        if self._gateway.kernels.get(kernel.id) is not kernel:
            return error(404, f"Kernel does not exist: {kernel.id}")
        if lost:
            return FakeAnswer(101)
        v1 = V1_SUBPROTOCOL in upgrade.subprotocols and "v1" in self._gateway.framings
        accepted = ws.send(ws_events.AcceptConnection(subprotocol=V1_SUBPROTOCOL if v1 else None))
        self._note(">", f"101, {'v1' if v1 else 'legacy'} framing")
        if not await self._stream.send_all(accepted):
            self._note_abandoned(request)
            return None
        session_id = request.query.get("session_id") or self._gateway.new_hex()
        channels = Channels(self._gateway, self._stream, ws, kernel, session_id, v1=v1)
        trailing = self._http.trailing_data[0]
        if trailing:
            ws.receive_data(trailing)
        await channels.run()
        return None
