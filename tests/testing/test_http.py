"""Requests and answers as values."""

from __future__ import annotations

import json

import pytest

from trio_gateway.testing import FakeRequest
from trio_gateway.testing._http import FakeAnswer, error, text_answer


def test_a_request_is_read_below_the_base_path() -> None:
    made = FakeRequest.parse("GET", "/hub/user/api/kernels/a%2Fb?x=1&x=2&empty=", {"upgrade": "WebSocket"}, b"", "/hub/user")
    assert (made.method, made.path) == ("GET", "/api/kernels/a%2Fb")
    assert str(made) == "GET /api/kernels/a%2Fb"
    assert made.segments == ("api", "kernels", "a/b")
    assert made.query == {"x": "2", "empty": ""}
    assert made.is_upgrade
    assert not FakeRequest.parse("GET", "/api", {"upgrade": "h2c"}, b"", "").is_upgrade
    assert not FakeRequest("GET", "/api").is_upgrade


def test_a_requests_body() -> None:
    assert FakeRequest("POST", "/api").json() is None
    assert FakeRequest("POST", "/api", body=b'{"a": 1}').json() == {"a": 1}
    with pytest.raises(ValueError, match="Expecting"):
        FakeRequest("POST", "/api", body=b"{").json()


def test_its_secrets_are_not_shown() -> None:
    made = FakeRequest("GET", "/api", {"token": "secret"}, {"authorization": "token secret"}, b"secret")
    assert "secret" not in repr(made)


@pytest.mark.parametrize(
    ("body", "sent", "media_type"),
    [
        (None, b"", None),
        (b"\x00", b"\x00", None),
        ("text", b"text", "text/html"),
        ({"a": 1}, b'{"a": 1}', "application/json"),
        ([], b"[]", "application/json"),
    ],
)
def test_an_answers_body(body: object, sent: bytes, media_type: str | None) -> None:
    made = FakeAnswer.of(202, body, {"X-Y": "z"})
    assert (made.status, made.body) == (202, sent)
    assert made.headers == {"X-Y": "z"} | ({} if media_type is None else {"Content-Type": media_type})
    assert FakeAnswer.of(200, body, {"Content-Type": "x/y"}).headers["Content-Type"] == "x/y"


def test_errors_are_worded_as_kernel_gateway_does() -> None:
    made = error(404, "not here", traceback="none")
    assert (made.status, made.reason) == (404, "Not Found")
    assert json.loads(made.body) == {"reason": "Not Found", "message": "not here", "traceback": "none"}
    assert FakeAnswer(418).reason == "Whatever"


def test_a_file() -> None:
    made = text_answer(b"<svg/>", "image/svg+xml")
    assert (made.status, made.body, made.headers) == (200, b"<svg/>", {"Content-Type": "image/svg+xml"})
