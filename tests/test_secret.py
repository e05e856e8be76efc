"""A secret is the text that it is, and hides itself where a program's variables are shown. G8."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from trio_gateway._secret import Secret, SecretBytes, Unshown, hide_arguments, hide_values


@pytest.mark.parametrize(
    ("kind", "plain", "hidden", "empty"), [(Secret, "s3cret", "'***'", "''"), (SecretBytes, b"s3cret", "b'***'", "b''")]
)
def test_a_secret_is_what_it_is_and_shows_nothing(kind: type, plain: Any, hidden: str, empty: str) -> None:
    secret = kind(plain)
    assert secret == plain
    assert hash(secret) == hash(plain)
    assert secret + plain == plain + plain
    for shown in (secret, secret[1:], secret[:-1], secret[::2]):
        assert repr(shown) == hidden
        assert repr([shown]) == f"[{hidden}]"
    assert secret[1:] == plain[1:]
    assert secret[0] == plain[0]
    assert type(secret[0]) is (Secret if kind is Secret else int)  # one byte is a number, as of all bytes
    # That there is none is no secret.
    assert repr(kind()) == repr(secret[:0]) == empty


def test_a_secret_is_made_once() -> None:
    secret = Secret.of("s3cret")
    assert type(secret) is Secret
    assert Secret.of(secret) is secret


def test_an_unshown_mapping_is_a_view() -> None:
    plain = {"A": "s3cret", "B": "other"}
    shown = Unshown(plain)
    assert dict(shown) == plain
    assert list(shown) == ["A", "B"]
    assert repr(shown) == "<2 entries, not shown>"
    plain["C"] = "late"
    assert shown["C"] == "late"
    assert len(shown) == 3


def test_the_texts_of_a_mapping_are_hidden() -> None:
    plain = {"A": "s3cret", "B": 5, "C": None, "D": Secret("known")}
    hidden = hide_values(plain)
    assert hidden == plain
    assert repr(hidden) == "{'A': '***', 'B': 5, 'C': None, 'D': '***'}"
    assert hidden["D"] is plain["D"]
    assert "s3cret" in repr(plain)  # the caller's own stays
    assert hide_values(hidden) is hidden
    assert hide_values(numbers := {"A": 5}) is numbers
    assert repr(hide_values(MappingProxyType({"A": "s3cret"}))) == "{'A': '***'}"
    for other in (None, [("A", "s3cret")], "s3cret"):
        assert hide_values(other) is other


def test_the_arguments_of_a_class_are_hidden_before_it_sees_them() -> None:
    class Settings:
        def __init__(self, place: str, *, token: str) -> None:
            """Make them."""
            self.place = place
            self.seen = repr(token)
            if not token:
                raise ValueError("no token")

    def hide(arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {name: Secret(value) for name, value in arguments.items()}

    hide_arguments(Settings, hide)
    settings = Settings("here", token="s3cret")
    assert (settings.place, settings.seen) == ("here", "'***'")
    assert Settings.__init__.__doc__ == "Make them."
    with pytest.raises(ValueError, match="no token"):
        Settings("here", token="")
    with pytest.raises(TypeError, match="token"):
        Settings("here")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
