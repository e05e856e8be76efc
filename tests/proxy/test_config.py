"""The proxy's settings: as type checkers see them, and as a caller misspells them."""

from __future__ import annotations

import inspect
import typing

import pytest

from trio_gateway import ConfigError, InvalidInputError
from trio_gateway.proxy import ProxyConfig, ProxySettings, create_app


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
