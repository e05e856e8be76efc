"""What the tests of the kit's parts have in common: messages, and doubles of the Protocols that its parts speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from trio_gateway import Header, Message
from trio_gateway.testing import Cell, FakeComm


def request(
    msg_type: str = "execute_request",
    content: Mapping[str, Any] | None = None,
    *,
    channel: str = "shell",
    msg_id: str = "asked",
    subshell_id: str | None = None,
    parent: Message | None = None,
) -> Message:
    """A message, such as a client sends it."""
    header = Header(msg_id, msg_type, "front", "ada", "2026-01-01T00:00:00Z", "5.4", subshell_id)
    return Message(channel, header, content or {}, parent_header={} if parent is None else parent.own_header)


def execute(code: str, **more: Any) -> Message:
    """A request to execute."""
    named = {name: more.pop(name) for name in ("msg_id", "subshell_id") if name in more}
    return request("execute_request", {"code": code, **more}, **named)


@attrs.define
class Publishes:
    """A `Publisher` that keeps what is published."""

    parent: Message | None = None
    published: list[tuple[str, Any]] = attrs.field(factory=list)
    more: list[tuple[Message | None, Any, list[bytes]]] = attrs.field(factory=list)

    def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        parent: Message | None,
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Any] = (),
    ) -> None:
        self.published.append((msg_type, dict(content)))
        self.more.append((parent, metadata, [bytes(each) for each in buffers]))

    @property
    def types(self) -> list[str]:
        return [msg_type for msg_type, _ in self.published]

    @property
    def text(self) -> str:
        """What was printed, and the values."""
        return "".join(content.get("text") or content.get("data", {}).get("text/plain", "") for _, content in self.published)


@attrs.define
class Sunk:
    """A `Sink` that keeps what it is given."""

    messages: list[Message] = attrs.field(factory=list)
    goodbyes: list[str] = attrs.field(factory=list)

    def give(self, message: Message) -> None:
        self.messages.append(message)

    def hang_up(self, reason: str, code: int = 1000) -> None:
        self.goodbyes.append(reason)

    @property
    def types(self) -> list[str]:
        return [message.msg_type for message in self.messages]

    @property
    def states(self) -> list[str]:
        return [message.content["execution_state"] for message in self.messages if message.msg_type == "status"]


@attrs.define
class Owns:
    """An `Owner` of a process, and where its replies go."""

    has_subshells: bool = True
    stop_on_error_timeout: float = 0.0
    answers_beside: bool = False
    control_at_work: bool = True
    debugger: Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None] = lambda command, arguments: None
    comm_targets: dict[str, Callable[[FakeComm, Message], object]] = attrs.field(factory=dict)
    published: list[Message] = attrs.field(factory=list)
    replies: list[Message] = attrs.field(factory=list)
    states: list[str] = attrs.field(factory=list)
    executed: list[str] = attrs.field(factory=list)
    crashes: list[object] = attrs.field(factory=list)

    def broadcast(self, message: Message) -> None:
        self.published.append(message)

    def note_state(self, state: str) -> None:
        self.states.append(state)

    def note_execution(self, request: Message) -> None:
        self.executed.append(request.msg_id)

    def crashed(self, process: object) -> None:
        self.crashes.append(process)

    def debug(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return self.debugger(command, arguments)

    def comm_target(self, name: str) -> Callable[[FakeComm, Message], object] | None:
        return self.comm_targets.get(name)

    def reply(self, message: Message) -> None:
        self.replies.append(message)

    def types(self, parent: Message | None = None) -> list[str]:
        """What was published, for a request or at all."""
        return [each.msg_type for each in self.published if parent is None or each.parent_id == parent.msg_id]


def cell(
    code: str = "", publisher: Publishes | None = None, *, silent: bool = False, stdin: bool = False, ask: Any = None
) -> tuple[Cell, Publishes]:
    """A cell, and what it publishes through."""
    publisher = publisher or Publishes()
    asked = ask or (lambda prompt, password: None)
    return Cell(publisher, execute(code, allow_stdin=stdin), 1, silent=silent, ask=asked), publisher
