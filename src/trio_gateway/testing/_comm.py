"""The kernel's side of a comm of the fake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .._protocol.messages import Buffer, Message

__all__ = ["FakeComm", "Publisher"]


class Publisher(Protocol):
    """What publishes on iopub: a kernel's process."""

    @property
    def parent(self) -> Message | None:
        """The request that the process took up last."""
        ...

    def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        parent: Message | None,
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> None:
        """Publish a message of a type and a content, with a request as its parent."""
        ...


class FakeComm:
    """The kernel's side of a comm."""

    def __init__(self, publisher: Publisher, comm_id: str, target_name: str, closed: Callable[[], object]) -> None:
        self._publisher = publisher
        self._closed = closed
        self.comm_id = comm_id
        self.target_name = target_name
        self.on_message: Callable[[FakeComm, Message], object] = lambda _comm, _message: None

    def send(self, data: Mapping[str, Any], *, buffers: Sequence[Buffer] = ()) -> None:
        """Send data to the client's side."""
        self._publish("comm_msg", data, buffers)

    def close(self, data: Mapping[str, Any] | None = None) -> None:
        """Close it."""
        self._closed()
        self._publish("comm_close", data or {})

    def _publish(self, msg_type: str, data: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> None:
        content = {"comm_id": self.comm_id, "data": dict(data)}
        self._publisher.publish(msg_type, content, self._publisher.parent, buffers=buffers)
