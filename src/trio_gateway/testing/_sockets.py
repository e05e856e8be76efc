"""The server's sockets to a kernel, and what waits in them for a client's session.

The one idea: they outlive the connection that they were made for. Where no connection is, messages are kept for the next one of
the same session.
"""

from __future__ import annotations

from typing import Protocol

from .._protocol.messages import Message

__all__ = ["Sink", "Streams"]


class Sink(Protocol):
    """The connection that messages of a kernel go to."""

    def give(self, message: Message) -> None:
        """Take a message for the client."""
        ...

    def hang_up(self, reason: str, code: int = 1000) -> None:
        """Close the connection, with a goodbye."""
        ...


class Streams:
    """The server's sockets to a kernel, for one client session.

    Args:
        session_id: the client's session.
        sink: the connection that they are made for.
        door: the gateway that it comes through.
    """

    def __init__(self, session_id: str, sink: Sink, door: object = None) -> None:
        self.session_id = session_id
        self.door = door
        """The gateway that they are at: another one knows nothing of what they hold."""
        self.sink: Sink | None = sink
        """The session's connection; None while it has none."""
        self.buffer: list[Message] = []
        """What came while the session had no connection."""
        self.open: bool = True
        """Whether they still take messages."""

    def reply(self, message: Message) -> None:
        """Take a reply, or a request for input."""
        self.take(message)

    def take(self, message: Message) -> None:
        """Take a message for the client: to its connection, or into the buffer, or nowhere."""
        if not self.open:
            return
        if self.sink is not None:
            self.sink.give(message)
        else:
            self.buffer.append(message)
