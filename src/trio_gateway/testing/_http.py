"""Requests and answers of the fake's HTTP, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

__all__ = ["FakeAnswer", "FakeRequest", "error", "text_answer"]

_REASONS: Final = {
    200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 410: "Gone", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable",
}  # fmt: skip


@attrs.frozen
class FakeRequest:
    """A request, as the fake got it."""

    method: str
    """Its method."""
    path: str
    """Its path, escaped, below the base URL."""
    query: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """Its query, the last value of each name."""
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """Its headers, names in lower case."""
    body: bytes = attrs.field(default=b"", repr=False)
    """Its body."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of its path, unescaped."""
        return tuple(unquote(part) for part in self.path.strip("/").split("/"))

    @property
    def is_upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    def json(self) -> Any:
        """Return its body's JSON; None where there is no body.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.body) if self.body else None

    @classmethod
    def parse(cls, method: str, target: str, headers: Mapping[str, str], body: bytes, base_path: str) -> FakeRequest:
        """Make one of what stood in the request line, and below it."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return cls(method, parts.path.removeprefix(base_path), query, headers, body)


@attrs.frozen
class FakeAnswer:
    """An answer of the fake's HTTP."""

    status: int = 200
    """Its status."""
    body: bytes = attrs.field(default=b"", repr=False)
    """Its body."""
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """More headers."""

    @classmethod
    def of(cls, status: int, body: object = None, headers: Mapping[str, str] | None = None) -> FakeAnswer:
        """Make an answer of a body that is bytes, text, or else becomes JSON; None for no body."""
        if body is None:
            return cls(status, b"", dict(headers or {}))
        if isinstance(body, bytes):
            return cls(status, body, dict(headers or {}))
        if isinstance(body, str):
            return cls(status, body.encode(), {"Content-Type": "text/html", **(headers or {})})
        return cls(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    @property
    def reason(self) -> str:
        """The words after the status."""
        return _REASONS.get(self.status, "Whatever")


def error(status: int, message: str = "", **more: object) -> FakeAnswer:
    """Make an error as Kernel Gateway words it."""
    return FakeAnswer.of(status, {"reason": _REASONS.get(status, "Whatever"), "message": message, **more})


def text_answer(content: bytes, media_type: str) -> FakeAnswer:
    """Make an answer that is a file."""
    return FakeAnswer(200, content, {"Content-Type": media_type})
