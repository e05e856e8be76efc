"""The settings as type checkers see them are the configuration's; and a name that is none is told, with what may be meant."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Sequence

import pytest
from trio.testing import MockClock

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from trio_gateway import ConfigError, GatewayConfig, GatewaySettings
from trio_gateway._config import LocalSettings
from trio_gateway.testing import FakeGateway

SETTINGS = [row.name for row in GatewayConfig(url="http://a").describe()]


def test_they_cant_drift() -> None:
    """Same names, same types as `GatewayConfig` takes; but that `url` may be None, which is as if it was not given."""
    takes = {name: hint for name, hint in typing.get_type_hints(GatewayConfig.__init__).items() if name in SETTINGS}
    assert typing.get_type_hints(GatewaySettings) == {**takes, "url": str | Sequence[str] | None}
    assert set(typing.get_type_hints(GatewaySettings)) == set(SETTINGS)
    assert set(SETTINGS) - set(typing.get_type_hints(LocalSettings)) == {
        "url",
        "ws_url",
        "auth_token",
        "token_command",
        "token_command_timeout",
    }
    assert not GatewaySettings.__required_keys__


@pytest.mark.parametrize("module", [trio_gateway, trio_gateway.anyio, trio_gateway.blocking], ids=lambda module: module.__name__)
@pytest.mark.parametrize(
    ("opener", "settings"),
    [
        ("open_fleet", "FleetSettings"),
        ("open_gateway", "GatewaySettings"),
        ("open_hub", "HubSettings"),
        ("open_local_gateway", "LocalSettings"),
    ],
)
def test_every_opener_says_so(module: typing.Any, opener: str, settings: str) -> None:
    taken = inspect.signature(getattr(module, opener)).parameters["settings"]
    assert (taken.kind, taken.annotation) == (taken.VAR_KEYWORD, f"Unpack[{settings}]")


def test_the_error_speaks_of_the_name() -> None:
    with pytest.raises(ConfigError) as caught:
        GatewayConfig.from_env({}, url="http://a", token="hunter2", timeout=5)  # type: ignore[call-arg]
    text = str(caught.value)
    assert "token: there is no setting of this name; did you mean auth_token?" in text
    assert "did you mean request_timeout, connect_timeout or launch_timeout?" in text
    assert "secret" not in text
    assert "hunter2" not in text + repr(caught.value)
    assert [problem.unknown for problem in caught.value.problems] == [True, True]


async def test_every_door_refuses_it(autojump_clock: MockClock) -> None:
    wrong: typing.Any = {"timeout": 5}
    doors: list[typing.Any] = [
        lambda: trio_gateway.open_gateway("http://a", **wrong),
        lambda: trio_gateway.open_local_gateway(**wrong),
        lambda: trio_gateway.anyio.open_gateway("http://a", **wrong),
        lambda: FakeGateway().open(**wrong),
    ]
    for door in doors:
        with pytest.raises(ConfigError, match="timeout: there is no setting of this name"):
            async with door():
                pytest.fail("it was opened")


@pytest.mark.parametrize("name", ["url", "ws_url", "auth_token"])
async def test_a_local_gateway_has_an_address_and_a_token_of_its_own(autojump_clock: MockClock, name: str) -> None:
    settings: typing.Any = {name: "x"}
    with pytest.raises(ConfigError, match=f"{name}: .*has one of its own"):
        async with trio_gateway.open_local_gateway(**settings):
            pytest.fail("it was opened")
