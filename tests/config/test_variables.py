"""Variables that look like settings and are none: each with the settings that are near it."""

from __future__ import annotations

import pytest

from trio_gateway._config import unknown_variables

from .settings_helpers import VARIABLES


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("JUPYTER_GATEWAY_TOKEN", ("JUPYTER_GATEWAY_AUTH_TOKEN", "JUPYTER_GATEWAY_TOKEN_COMMAND")),
        ("JUPYTER_GATEWAY_AUTHTOKEN", ("JUPYTER_GATEWAY_AUTH_TOKEN",)),
        ("jupyter_gateway_url", ("JUPYTER_GATEWAY_URL",)),
        ("JUPYTER_GATEWAY_CONECT_TIMEOUT", ("JUPYTER_GATEWAY_CONNECT_TIMEOUT", "JUPYTER_GATEWAY_RECONNECT_TIMEOUT")),
        ("JUPYTERGATEWAY_URL", ("JUPYTER_GATEWAY_URL",)),
        ("JUPYTER_GATEWAY_ZZZZZZ", ()),
    ],
)
def test_a_stray_has_those_that_are_near(name: str, near: tuple[str, ...]) -> None:
    assert unknown_variables({name: "secret"}) == {name: near}


def test_at_most_three_are_near() -> None:
    ((_, near),) = unknown_variables({"JUPYTER_GATEWAY": ""}).items()
    assert len(near) <= 3


def test_what_is_read_is_no_stray_and_neither_is_what_is_of_others() -> None:
    others = {"PATH": "", "JUPYTER_TOKEN": "", "KERNEL_FOO": "", "JUPYTER_PATH": "", "TRIO_GATEWAY_X": ""}
    assert unknown_variables({**dict.fromkeys(VARIABLES.values(), ""), **others}) == {}


def test_they_come_in_alphabetical_order() -> None:
    strays = ["JUPYTER_GATEWAY_Q", "JUPYTER_GATEWAY_B", "JUPYTER_GATEWAY_A"]
    assert list(unknown_variables(dict.fromkeys(strays, ""))) == sorted(strays)
