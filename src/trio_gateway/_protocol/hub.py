"""A JupyterHub without the wire: paths of its REST API, what it says of a server, and how it answers in place of one.

The one idea: a hub's proxy passes to the hub what is for a server that does not run, so an answer of the hub's own at a server's
address says that there is none. Facts are those of JupyterHub 6.1: `handlers/base.py`, `apihandlers/users.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import attrs

from .._errors import InvalidInputError, ProtocolError
from .masking import one_line

__all__ = [
    "OWNER_PATH",
    "VERSION_HEADER",
    "HubServer",
    "Owner",
    "Progress",
    "ProgressReader",
    "ServerName",
    "hub_root",
    "parse_owner",
    "parse_server",
    "says_not_running",
]

VERSION_HEADER: Final = "X-JupyterHub-Version"
"""The header in each answer of a hub, and of the servers that it starts: alone it tells neither from the other."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NO_LONGER: Final = b"no longer running"
_NO_ROUTE: Final = b"Not Found"
"""The whole of what configurable-http-proxy 5.3 says where it knows of no hub: for a second after both were started again."""

OWNER_PATH: Final = "/hub/api/user"
"""Whose a token is, and what it may do: every token may ask that."""
_MAX_TEXT: Final = 500
_MAX_EVENT: Final = 64 * 1024
"""More of an event, or of a line, is not kept: what a hub tells of a start are lines."""


def hub_root(url: str) -> str:
    """Return the URL of a hub without what is below it: people copy it from the browser, as `https://hub.example.org/hub/`."""
    return url.rstrip("/").removesuffix("/hub")


@attrs.frozen
class ServerName:
    """Which server of which user."""

    user: str
    """The user's name."""
    server: str = ""
    """The server's name; `""` for the user's default server."""

    def __str__(self) -> str:
        return f"{self.user}/{self.server}" if self.server else self.user

    @classmethod
    def checked(cls, user: str, server: str) -> ServerName:
        """Make one of what a caller gave.

        Raises:
            InvalidInputError: one of them can't be a name.
        """
        for field, name in (("user", user), ("server", server)):
            if not isinstance(name, str) or not name.isprintable() or "/" in name or name in {".", ".."}:
                raise InvalidInputError(field, name, "a name as the hub has it, without slashes")
        if not user:
            raise InvalidInputError("user", user, "a user's name, or None for the one whose token it is")
        return cls(user, server)

    @property
    def url_path(self) -> str:
        """The path of the server itself, below what stands before `/hub`."""
        return f"/user/{_escaped(self.user)}" + (f"/{_escaped(self.server)}" if self.server else "")

    @property
    def user_path(self) -> str:
        """The path of the user in the hub's API."""
        return f"/hub/api/users/{_escaped(self.user)}"

    @property
    def path(self) -> str:
        """The path of the server in the hub's API: POST starts it, DELETE stops it."""
        return f"{self.user_path}/servers/{_escaped(self.server)}" if self.server else f"{self.user_path}/server"

    @property
    def progress_path(self) -> str:
        """The path of what the hub tells of the server's start, as server-sent events."""
        return f"{self.path}/progress"


def _escaped(name: str) -> str:
    return quote(name, safe="@~")  # as jupyterhub.utils.url_escape_path has it


@attrs.frozen
class Owner:
    """Whose a token is."""

    name: str
    """The name of the user, or of the service."""
    is_user: bool
    """Whether it is a user's."""
    scopes: tuple[str, ...] = ()
    """What it may do, as far as the hub tells."""


def parse_owner(body: object) -> Owner:
    """Read what the hub says of a token.

    Raises:
        ProtocolError: it can't be read.
    """
    model = _object(body, "whose the token is")
    name = model.get("name")
    if not isinstance(name, str):
        raise ProtocolError("the hub's answer should say whose the token is, and has no name")
    scopes = model.get("scopes")
    told = [scope for scope in scopes if isinstance(scope, str)] if isinstance(scopes, list) else []
    return Owner(name, model.get("kind", "user") == "user", tuple(told))


@attrs.frozen
class HubServer:
    """A server that runs, or is being started or stopped."""

    ready: bool
    """Whether it can be used."""
    pending: str
    """What the hub is doing with it: `"spawn"`, `"stop"`, …; `""` for nothing."""
    url: str
    """Its URL or path; `""` where the hub does not say."""
    started: str
    """When it was started, as the hub writes it; `""` where it does not say."""


def parse_server(body: object, server: str) -> HubServer | None:
    """Read a server out of its user's model.

    Returns:
        The server; None for one that does not run, or is not there.

    Raises:
        ProtocolError: it can't be read.
        LookupError: the model has no servers: the token may not read them.
    """
    servers = _object(body, "a user").get("servers")
    if servers is None:
        raise LookupError("servers")
    found = _object(servers, "a user's servers").get(server)
    if found is None:
        return None
    model = _object(found, "a server")
    if model.get("stopped") is True:
        return None
    texts = {name: value if isinstance(value := model.get(name), str) else "" for name in ("pending", "url", "started")}
    ready = model.get("ready") is True
    return HubServer(ready, **texts) if ready or texts["pending"] else None


def _object(body: object, what: str) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise ProtocolError(f"the hub's answer should be {what}, and is no object")
    return cast("dict[str, Any]", body)


@attrs.frozen
class Progress:
    """One thing that the hub tells of a start."""

    percent: int | None
    """How far it has come, 0 to 100; None where the hub does not say."""
    message: str
    """What happens, in one line."""
    ready: bool = False
    """Whether the server is there."""
    failed: bool = False
    """Whether there will be none."""

    def __str__(self) -> str:
        return self.message if self.percent is None else f"{self.percent} %: {self.message}"


class ProgressReader:
    """Reads a stream of server-sent events (HTML standard, 9.2), piece by piece. What is no event of a start is passed over."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._skips_lf = False

    def feed(self, piece: bytes) -> list[Progress]:
        """Take the next piece; return the events that are whole now."""
        found: list[Progress] = []
        for line in (piece[1:] if self._skips_lf and piece[:1] == b"\n" else piece).splitlines(keepends=True):
            self._line += line[: _MAX_EVENT - len(self._line)]
            if line[-1:] not in {b"\n", b"\r"}:
                break
            event = self._end_line(bytes(self._line).rstrip(b"\r\n"))
            self._line.clear()
            if event is not None:
                found.append(event)
        self._skips_lf = piece[-1:] == b"\r"  # its line feed may come with the next piece
        return found

    def _end_line(self, line: bytes) -> Progress | None:
        if line:
            if line.startswith(b"data:") and sum(map(len, self._data)) < _MAX_EVENT:
                self._data.append(line.removeprefix(b"data:").removeprefix(b" "))
            return None
        data, self._data = b"\n".join(self._data), []
        return _parse_progress(data) if data else None


def _parse_progress(data: bytes) -> Progress | None:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    percent, message = event.get("progress"), event.get("message")
    if isinstance(percent, bool) or not isinstance(percent, (int, float)) or not 0 <= percent <= 100:
        percent = None
    return Progress(
        None if percent is None else int(percent),
        one_line(message if isinstance(message, str) else "", _MAX_TEXT),
        ready=event.get("ready") is True,
        failed=event.get("failed") is True,
    )


def says_not_running(method: str, path: str, status: int, headers: Mapping[str, str], content: bytes) -> bool:
    """Say whether an answer is a hub's word that the server which was asked is not running, or not yet.

    Args:
        method: the request's method; `GET` for a WebSocket handshake.
        path: the request's path, not one of the hub's own.
        status: the answer's status.
        headers: its headers; their names compare without case.
        content: its body.
    """
    if "/hub/api/" in path:
        return False
    if headers.get(VERSION_HEADER) is None:
        return status == 404 and "/user/" in path and "Content-Type" not in headers and content.strip() == _NO_ROUTE
    if status in _REDIRECTS:
        # PrefixRedirectHandler, for what is read. A server that runs redirects to /hub/api/oauth2/authorize.
        return _leads_to_user(headers.get("Location", ""))
    if status == 424:
        return True  # UserUrlHandler, whose answer to what is below /hub/user/ this is
    if status == 503:
        return _NO_LONGER in content  # the same, where use_legacy_stopped_server_status_code is set
    # What would change something lacks the hub's XSRF token: a page says so to every client. A server answers in JSON.
    return status == 403 and method not in {"GET", "HEAD"} and "html" in headers.get("Content-Type", "").lower()


def _leads_to_user(location: str) -> bool:
    try:
        path = urlsplit(location).path
    except ValueError:
        return False
    return "/hub/user/" in path
