"""The server's side of HTTP/1, stricter than h11 alone: what front ends may send to the proxy.

The one idea: a request that two readers could take for two different ones is refused, not interpreted (RFC 9112, section 11), and
nobody is led to another protocol by it but whoever is told that a WebSocket is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h11

from .._protocol.websocket import UpgradeRequest, upgrade_request

__all__ = ["StrictServerConnection", "WebSocketAsked"]


class WebSocketAsked(Exception):
    """A request asks for a WebSocket: from there on the connection is one.

    Args:
        request: the request.
    """

    def __init__(self, request: UpgradeRequest) -> None:
        super().__init__("a WebSocket is asked for")
        self.request = request


class StrictServerConnection(h11.Connection):
    """Refuses what h11 lets pass. Each refusal is answered, and the connection closed.

    Args:
        head_bytes: how large a request's head may be, in bytes.
        on_refused: called before a request is refused.
    """

    def __init__(self, head_bytes: int, on_refused: Callable[[], object]) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=head_bytes)
        self._on_refused = on_refused
        self._head_bytes = head_bytes

    def next_event(self) -> Any:
        """Return the next event, as h11 does.

        Raises:
            h11.RemoteProtocolError: it is refused.
            WebSocketAsked: it asks for a WebSocket.
        """
        before = len(self.trailing_data[0]) if self.their_state is h11.IDLE else 0
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                # h11 bounds only what came without its end.
                return self._checked(event, before - len(self.trailing_data[0]))
        except h11.RemoteProtocolError:
            self._on_refused()
            raise
        return event

    def _checked(self, request: h11.Request, size: int) -> h11.Request:
        if not request.http_version.startswith(b"1."):
            raise h11.RemoteProtocolError("HTTP/1 is spoken here", error_status_hint=505)
        if size > self._head_bytes:
            raise h11.RemoteProtocolError("the headers are too large", error_status_hint=431)
        names = {name for name, _ in request.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            # RFC 9112, section 6.1: perhaps what stands before the proxy has read another length.
            raise h11.RemoteProtocolError("there are two lengths", error_status_hint=400)
        if b"upgrade" not in names:
            return request
        asked = upgrade_request(request, self.trailing_data[0])
        if asked is not None:
            raise WebSocketAsked(asked)
        words = b",".join([value for name, value in request.headers if name in {b"connection", b"upgrade"}]).lower()
        if {b"upgrade", b"websocket"} <= {word.strip() for word in words.split(b",")}:
            raise h11.RemoteProtocolError("a WebSocket is asked for in a wrong way", error_status_hint=400)
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        return h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)
