"""What a JupyterHub says in place of a server, and what it says of one."""

from __future__ import annotations

import pytest

from trio_gateway._errors import InvalidInputError, ProtocolError
from trio_gateway._protocol.headers import Headers
from trio_gateway._protocol.hub import (
    HubServer,
    Owner,
    Progress,
    ProgressReader,
    ServerName,
    hub_root,
    parse_owner,
    parse_server,
    says_not_running,
)

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


# --------------------------------------------------------------------------------------------------------------- servers


def test_paths_are_as_the_hub_has_them() -> None:
    assert ServerName.checked("alice", "").path == "/hub/api/users/alice/server"
    name = ServerName.checked("a b@x.org", "gpu ü")
    assert name.user_path == "/hub/api/users/a%20b@x.org"
    assert name.path == "/hub/api/users/a%20b@x.org/servers/gpu%20%C3%BC"
    assert name.progress_path == name.path + "/progress"
    assert (str(ServerName("a")), str(ServerName("a", "b"))) == ("a", "a/b")


@pytest.mark.parametrize(("user", "server"), [("", ""), ("a/b", ""), (".", ""), ("a", ".."), ("a", "b/c"), ("a\n", ""), (3, "")])
def test_what_can_not_be_a_name(user: str, server: str) -> None:  # G10
    with pytest.raises(InvalidInputError):
        ServerName.checked(user, server)


@pytest.mark.parametrize("url", ["https://h/x", "https://h/x/", "https://h/x/hub", "https://h/x/hub/"])
def test_the_root_of_a_hub(url: str) -> None:
    assert hub_root(url) == "https://h/x"


def test_whose_a_token_is() -> None:
    assert parse_owner({"kind": "user", "name": "a", "scopes": ["x", 3]}) == Owner("a", is_user=True, scopes=("x",))
    assert parse_owner({"kind": "service", "name": "a"}) == Owner("a", is_user=False)
    for body in (None, [], {}, {"name": 3}):
        with pytest.raises(ProtocolError):
            parse_owner(body)


def test_how_a_server_is() -> None:
    ready = {"ready": True, "pending": None, "url": "/user/a/", "started": "then"}
    assert parse_server({"servers": {"": ready}}, "") == HubServer(ready=True, pending="", url="/user/a/", started="then")
    spawning = parse_server({"servers": {"x": {"ready": False, "pending": "spawn"}}}, "x")
    assert spawning == HubServer(ready=False, pending="spawn", url="", started="")
    for servers in ({}, {"other": ready}, {"": {"stopped": True, "ready": False}}, {"": {"ready": False, "pending": None}}):
        assert parse_server({"servers": servers}, "") is None
    with pytest.raises(LookupError):
        parse_server({"name": "a"}, "")
    for body in (None, {"servers": []}, {"servers": {"": 3}}):
        with pytest.raises(ProtocolError):
            parse_server(body, "")


STREAM = (
    b'\n\ndata: {"progress": 0, "message": "Server requested"}\n\n: comment\nevent: x\nid: 3\n\n'
    b'data: {"progress": 50,\ndata: "message": "two\\nlines"}\r\n\r\n'
    b'data: nonsense\n\ndata: [1]\n\ndata: {"progress": "x", "message": 3}\r\r'
    b'data: {"progress": 100, "failed": true, "message": "Spawn failed"}\n\ndata: {"progress": 100, "ready": true}'
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_progress_is_read_however_it_is_cut(size: int) -> None:
    reader = ProgressReader()
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    found = [event for piece in pieces for event in reader.feed(piece)]
    assert [str(event) for event in found] == ["0 %: Server requested", "50 %: two lines", "", "100 %: Spawn failed"]
    assert [event.failed for event in found] == [False, False, False, True]
    assert not any(event.ready for event in found)  # the last one has not ended


def test_a_line_without_end_is_not_kept() -> None:  # G7
    reader = ProgressReader()
    for _ in range(100):
        assert reader.feed(b"data: " + b"x" * 10_000) == []
    assert len(reader._line) <= 64 * 1024
    for _ in range(100):
        assert reader.feed(b"\ndata: " + b"x" * 10_000) == []
    assert sum(map(len, reader._data)) <= 2 * 64 * 1024
    assert reader.feed(b'\n\ndata: {"ready": true}\n\n') == [Progress(None, "", ready=True)]
