"""GatewayEvent: a value that carries no secret, whoever made it (G8)."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway import GatewayEvent
from trio_gateway._events import ignore


def make(**fields: object) -> GatewayEvent:
    return GatewayEvent(**{"kind": "request", "action": "get", "status": "success", **fields})  # type: ignore[arg-type]


def test_what_an_event_has() -> None:
    assert attrs.asdict(make()) == {
        "kind": "request",
        "action": "get",
        "status": "success",
        "status_code": None,
        "message": "",
        "gateway_url": "",
        "method": None,
        "path": None,
        "attempts": 1,
        "seconds": 0.0,
        "kernel_id": None,
        "kernel_name": None,
    }


def test_it_is_a_value() -> None:
    event = make(status_code=200, kernel_id="1")
    assert event == make(status_code=200, kernel_id="1") != make(status_code=201, kernel_id="1")
    assert hash(event) == hash(make(status_code=200, kernel_id="1"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.status_code = 404  # type: ignore[misc]
    with pytest.raises(TypeError):
        GatewayEvent("request", "get", "success")  # type: ignore[call-arg]


def test_it_ends_in_one_of_two_ways() -> None:
    assert make(status="error").status == "error"
    with pytest.raises(ValueError, match="status"):
        make(status="maybe")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:8888", "http://127.0.0.1:8888"),
        ("https://Gateway.example/user/alice@x.example/", "https://Gateway.example/user/alice@x.example/"),
        ("http://u:s3cret@[::1]:1/x", "http://[::1]:1/x"),
        ("http://u:s3c@ret@h/x", "http://h/x"),
        ("http://h/x?token=s3cret", "http://h/x"),
        ("http://h/x#s3cret", "http://h/x"),
        ("http://u:s3cret/x@h", ""),
        ("u:s3cret@h", ""),
        ("http://[s3cret", ""),
        ("", ""),
    ],
)
def test_the_url_has_neither_user_nor_query(url: str, kept: str) -> None:
    assert make(gateway_url=url).gateway_url == kept


@pytest.mark.parametrize(
    ("path", "kept"), [("/api/kernels", "/api/kernels"), ("/a?token=s3cret", "/a"), ("/a#s3cret?x", "/a"), (None, None)]
)
def test_the_path_has_no_query(path: str | None, kept: str | None) -> None:
    assert make(path=path).path == kept


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_url_makes_an_event(before: str, after: str) -> None:
    event = make(gateway_url=before + after, path=after)
    assert "?" not in event.gateway_url
    assert "?" not in (event.path or "")
    assert attrs.evolve(event) == event


def test_the_default_sink_takes_any_event() -> None:
    assert ignore(make()) is None  # type: ignore[func-returns-value]
