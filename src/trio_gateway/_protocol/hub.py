"""A JupyterHub's side of things without the wire: how it answers in place of a user's server.

The one idea: a hub's proxy passes to the hub what is for a server that does not run, so an answer of the hub's own at a server's
address says that there is none. Facts are those of JupyterHub 6.1, `handlers/base.py`, and of its REST API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

__all__ = ["VERSION_HEADER", "says_not_running"]

VERSION_HEADER: Final = "X-JupyterHub-Version"
"""The header in each answer of a hub, and of the servers that it starts: alone it tells neither from the other."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NO_LONGER: Final = b"no longer running"
_NO_ROUTE: Final = b"Not Found"
"""The whole of what configurable-http-proxy 5.3 says where it knows of no hub: for a second after both were started again."""


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
    # What would change something lacks the hub's XSRF token: a page says so, whoever asks. A server answers in JSON.
    return status == 403 and method not in {"GET", "HEAD"} and "html" in headers.get("Content-Type", "").lower()


def _leads_to_user(location: str) -> bool:
    try:
        path = urlsplit(location).path
    except ValueError:
        return False
    return "/hub/user/" in path
