"""What a JupyterHub says in place of a server, and what it says of one."""

from __future__ import annotations

import pytest

from trio_gateway._protocol.headers import Headers
from trio_gateway._protocol.hub import says_not_running

HUB = [("x-jupyterhub-version", "6.1.1")]
HTML = [("content-type", "text/html")]
JSON = [("content-type", "application/json")]
PATH = "/user/alice/api/kernels"
GONE = b'{"message": "JupyterHub server no longer running at /user/alice/api/kernels. Restart the server at ..."}'


@pytest.mark.parametrize(
    ("method", "status", "headers", "content"),
    [
        ("GET", 302, [*HUB, ("location", "/hub/user/alice/api/kernels")], b""),
        ("GET", 302, [*HUB, ("location", "/prefix/hub/user/alice/api/kernels")], b""),
        ("GET", 302, [*HUB, ("location", "https://hub.example.org/hub/user/alice/api/kernels")], b""),
        ("GET", 424, [*HUB, *JSON], GONE),
        ("GET", 503, [*HUB, *JSON], GONE),
        ("POST", 403, [*HUB, *HTML], b"<!DOCTYPE HTML>"),
        ("DELETE", 403, [*HUB, *HTML], b"<!DOCTYPE HTML>"),
        ("GET", 404, [], b"Not Found"),
    ],
)
def test_what_a_hub_says_in_place_of_a_server(method: str, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    assert says_not_running(method, PATH, status, Headers(headers), content)


@pytest.mark.parametrize(
    ("method", "path", "status", "headers", "content"),
    [
        # A server that runs, and does not know the token.
        ("GET", PATH, 403, [*HUB, *JSON], b'{"message": "Forbidden", "reason": null}'),
        ("POST", PATH, 403, [*HUB, *JSON], b"{}"),
        # Its WebSocket handshakes are refused with a page.
        ("GET", f"{PATH}/x/channels", 403, [*HUB, *HTML], b"<!DOCTYPE HTML>"),
        ("GET", PATH, 302, [*HUB, ("location", "/hub/api/oauth2/authorize?client_id=x")], b""),
        ("GET", PATH, 302, [*HUB, ("location", "http://[broken/hub/user/alice")], b""),
        ("GET", PATH, 200, [*HUB, *JSON], b"{}"),
        ("GET", PATH, 404, [*HUB, *JSON], b'{"message": "Kernel does not exist"}'),
        ("GET", PATH, 503, [*HUB, *JSON], b'{"message": "busy"}'),
        # A hub's proxy whose server does not answer: it may well run.
        ("GET", PATH, 503, HTML, b"<!DOCTYPE HTML><title>JupyterHub</title>"),
        # No hub at all.
        ("GET", PATH, 302, [("location", "/hub/user/alice/api/kernels")], b""),
        ("GET", PATH, 424, [], b""),
        ("POST", PATH, 403, HTML, b"<!DOCTYPE HTML>"),
        ("GET", "/api/kernels/x", 404, [], b"Not Found"),
        ("GET", PATH, 404, JSON, b"Not Found"),
        # The hub's own API.
        ("POST", "/hub/api/users/alice/server", 403, [*HUB, *HTML], b"<!DOCTYPE HTML>"),
    ],
)
def test_what_says_something_else(method: str, path: str, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
    assert not says_not_running(method, path, status, Headers(headers), content)
