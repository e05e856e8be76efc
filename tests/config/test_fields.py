"""How settings are shown: to programs, to people, and without secrets."""

from __future__ import annotations

import math
from pathlib import Path

import attrs

from trio_gateway import GatewayConfig

from .settings_helpers import SECRETS, URL, Foreign, Renewer, from_env, fully, one_problem


def test_repr_tells_what_is_not_a_default() -> None:
    assert repr(GatewayConfig(url=URL)) == f"GatewayConfig(url='{URL}')"
    config = GatewayConfig(url=URL, auth_token="x", connect_timeout=1, gateway_token_renewer_class=Renewer, http_pwd=None)
    assert (
        repr(config)
        == f"GatewayConfig(url='{URL}', connect_timeout=1.0, auth_token=***, gateway_token_renewer_class={fully(Renewer)})"
    )


def test_repr_tells_that_nothing_was_given() -> None:
    assert repr(from_env(auth_token=None, http_user=None)) == f"GatewayConfig(url='{URL}', http_user=None, auth_token='')"


def test_a_wrong_value_is_shown_as_it_is() -> None:
    assert one_problem(kernel_username="a?b\n")[1] == "'a?b\\n'"


def test_rows() -> None:
    config = from_env({"JUPYTER_GATEWAY_ALLOWED_ENVS": "A,B"}, ping_interval=math.inf)
    rows = {row.name: row for row in config.describe()}
    assert list(rows) == [field.name for field in attrs.fields(GatewayConfig) if not field.name.startswith("_")]
    assert rows["allowed_envs"][:5] == (
        "allowed_envs",
        "JUPYTER_GATEWAY_ALLOWED_ENVS",
        "A, B",
        "JUPYTER_GATEWAY_ALLOWED_ENVS",
        "none",
    )
    assert rows["url"][:5] == ("url", "JUPYTER_GATEWAY_URL", URL, "JUPYTER_GATEWAY_URL", "(required)")
    assert rows["ping_interval"][:5] == ("ping_interval", None, "inf", "argument", "20")
    assert rows["validate_cert"][2:5] == ("yes", "default", "yes")
    assert rows["auth_token"][2:5] == ("none", "default", "none")
    assert rows["headers"].value == rows["ws_url"].value == "none"
    assert rows["accept_cookies"].value == "no"
    assert all(row.help for row in rows.values())


def test_repr_and_rows_hide_secrets(tmp_path: Path) -> None:
    """G8."""

    @attrs.define  # not hashable, and its repr tells everything
    class Chatty(Foreign):
        key: str = "s3cret-key"

    config = GatewayConfig.from_env(
        {**SECRETS, "JUPYTER_GATEWAY_URL": "https://s3cret-user:s3cret-pwd@gateway.example"}, token_renewer=Chatty()
    )
    rows = {row.name: row for row in config.describe()}
    for text in (repr(config), str(config), str(rows), str(config.sources), str(config.ignored_variables), str(config._given)):
        assert "s3cret" not in text
    assert "auth_token=***" in repr(config)
    assert rows["auth_token"].value == rows["http_user"].value == "***"
    assert rows["headers"].value == "X-Team: ***"
    assert rows["token_renewer"].value == "<Chatty>"
    assert isinstance(hash(config), int)
