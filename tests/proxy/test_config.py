"""The proxy's settings: as type checkers see them, and as a caller misspells them."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import pytest

from trio_gateway import ConfigError, InvalidInputError
from trio_gateway.proxy import ProxyConfig, ProxySettings, create_app
from trio_gateway.proxy._config import hidden


def test_the_typed_settings_cant_drift() -> None:
    """Same names, same types as `ProxyConfig` takes, and none is required."""
    takes = {name: hint for name, hint in typing.get_type_hints(ProxyConfig.__init__).items() if name != "return"}
    assert typing.get_type_hints(ProxySettings) == takes
    assert not ProxySettings.__required_keys__


@pytest.mark.parametrize(("function", "parameter"), [(create_app, "settings"), (ProxyConfig.replace, "changes")])
def test_who_takes_settings_says_so(function: typing.Any, parameter: str) -> None:
    taken = inspect.signature(function).parameters[parameter]
    assert (taken.kind, taken.annotation) == (taken.VAR_KEYWORD, "Unpack[ProxySettings]")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tokn", "; did you mean token?"),
        ("allowed_host", "; did you mean allowed_hosts?"),
        ("origins", "; did you mean allowed_origins?"),
        ("zzz", ""),
    ],
)
def test_a_name_that_is_none_is_told_without_its_value(name: str, meant: str) -> None:  # G8, G10
    wrong: typing.Any = {name: "hunter2"}
    for call in (ProxyConfig().replace, lambda **settings: create_app(None, **settings)):  # type: ignore[arg-type]
        with pytest.raises(ConfigError) as caught:
            call(**wrong)
        assert f"{name}: there is no setting of this name{meant}" in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_a_value_that_cant_be_used_is_told_as_before() -> None:
    with pytest.raises(InvalidInputError, match="base_path"):
        create_app(None, base_path="x")  # type: ignore[arg-type]


RIGHT: list[tuple[str, Any, Any]] = [
    ("token", "a-token", "a-token"),
    ("token", "!" * 1024, "!" * 1024),
    ("token", None, None),
    ("allowed_origins", "https://lab.example.org", ("https://lab.example.org",)),
    ("allowed_origins", ["*", "http://127.0.0.1:8888"], ("*", "http://127.0.0.1:8888")),
    ("allowed_hosts", "proxy.example.org", ("proxy.example.org",)),
    ("base_path", "/jupyter/a.b~c/", "/jupyter/a.b~c/"),
    ("max_body_size", 1, 1),
    ("body_seconds", 0.5, 0.5),
    ("allow_anyone", True, True),
]
WRONG: list[tuple[str, Any]] = [
    ("token", ""),
    ("token", "two words"),
    ("token", "!" * 1025),
    ("token", "secrét"),
    ("token", b"secret"),
    ("token", "secret\n"),
    ("allowed_origins", "lab.example.org"),
    ("allowed_origins", "https://lab.example.org/"),
    ("allowed_origins", ["https://lab.example.org/path"]),
    ("allowed_origins", [5]),
    ("allowed_hosts", "proxy.example.org:80"),
    ("allowed_hosts", "*"),
    ("allowed_hosts", [""]),
    ("base_path", "jupyter/"),
    ("base_path", "/jupyter"),
    ("base_path", "//"),
    ("base_path", "/a b/"),
    ("max_body_size", 0),
    ("max_message_size", -1),
    ("max_channels", True),
    ("body_seconds", float("inf")),
    ("header_seconds", "10"),
    ("header_seconds", float("nan")),
]


@pytest.mark.parametrize(("name", "given", "kept"), RIGHT)
def test_what_is_right_is_kept(name: str, given: Any, kept: Any) -> None:
    assert getattr(ProxyConfig(**{name: given}), name) == kept


@pytest.mark.parametrize(("name", "given"), WRONG)
def test_what_is_wrong_is_named(name: str, given: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name}: ") as caught:
        ProxyConfig(**{name: given})
    if name == "token":
        assert "not shown" in str(caught.value)
        assert not isinstance(given, str) or not given or given not in str(caught.value)


def test_a_token_does_not_show() -> None:
    assert "hunter2" not in repr(ProxyConfig(token="hunter2"))
    assert "hunter2" not in repr(hidden({"token": "hunter2"}))
    assert hidden({"base_path": "/"}) == {"base_path": "/"}


def test_a_copy_is_checked_too_and_a_name_that_is_none_is_told() -> None:
    config = ProxyConfig(token="a")
    assert config.replace(max_channels=5) == ProxyConfig(token="a", max_channels=5)
    with pytest.raises(InvalidInputError, match="max_channels"):
        config.replace(max_channels=0)
    wrong: Any = {"max_chanels": 5}
    with pytest.raises(ConfigError, match=r"max_chanels: .*max_channels"):
        config.replace(**wrong)
