"""Who logs in where: tokens, users, headers, renewers, and whose gateway the environment is about (G8)."""

from __future__ import annotations

import base64
from typing import Any

import attrs
import pytest

from trio_gateway import GatewayConfig, NoOpTokenRenewer, TokenRenewer

from .settings_helpers import SECRETS, URL, Foreign, Renewer, from_env, fully, one_problem


def test_user_and_password_leave_the_url() -> None:
    config = GatewayConfig(url="http://al%20ice:p%40ss%3A@gateway.example/x")
    assert config.url == "http://gateway.example/x"
    assert (config.http_user, config.http_pwd) == ("al ice", "p@ss:")
    assert config.auth_headers() == (("Authorization", "Basic " + base64.b64encode(b"al ice:p@ss:").decode()),)
    assert config.sources["http_pwd"] == "argument"
    assert "p@ss" not in repr(config)
    assert attrs.evolve(config) == config == config.replace()


def test_a_user_without_a_password_in_the_url() -> None:
    config = from_env({"JUPYTER_GATEWAY_URL": "http://alice@gateway.example"})
    assert (config.http_user, config.http_pwd) == ("alice", None)
    assert config.sources["http_user"] == "JUPYTER_GATEWAY_URL"
    assert config.auth_headers() == (("Authorization", "Basic " + base64.b64encode(b"alice:").decode()),)


@pytest.mark.parametrize("url", ["http://@h", "http://:@h"])
def test_an_empty_user_in_the_url_is_nobody(url: str) -> None:
    assert GatewayConfig(url=url).http_user is None


def test_a_password_alone_in_the_url() -> None:
    config = GatewayConfig(url="http://:s3cret@h")
    assert (config.http_user, config.http_pwd) == ("", "s3cret")


def test_arguments_beat_a_user_in_a_variable_s_url_as_a_pair() -> None:
    config = from_env({"JUPYTER_GATEWAY_URL": "http://alice:old@h"}, http_user="bob")
    assert (config.http_user, config.http_pwd) == ("bob", None)
    config = from_env({"JUPYTER_GATEWAY_HTTP_USER": "alice", "JUPYTER_GATEWAY_HTTP_PWD": "old"}, url="http://bob@h")
    assert (config.http_user, config.http_pwd) == ("bob", None)


def test_a_user_said_twice() -> None:
    assert one_problem(url="http://alice:s3cret@h", http_user="bob") == (
        "url",
        "'http://***@h'",
        "a URL without user name and password beside http_user and http_pwd",
        "argument",
    )
    assert GatewayConfig(url="http://bob:x@h", http_user="bob", http_pwd="x").http_user == "bob"


@pytest.mark.parametrize(
    ("settings_", "headers"),
    [
        ({}, ()),
        ({"auth_token": None}, ()),
        ({"auth_token": "abc"}, (("Authorization", "token abc"),)),
        ({"auth_token": "abc", "auth_scheme": "Bearer"}, (("Authorization", "Bearer abc"),)),
        ({"auth_token": "abc", "auth_scheme": None}, (("Authorization", "abc"),)),
        ({"auth_token": "abc", "auth_scheme": "", "auth_header_key": "X-Key"}, (("X-Key", "abc"),)),
        ({"auth_token": "abc", "headers": {"authorization": "mine"}}, ()),
        ({"http_user": "u", "headers": {"AUTHORIZATION": "mine"}}, ()),
        ({"http_user": "u", "http_pwd": "p", "headers": {"X-A": "b"}}, (("Authorization", "Basic dTpw"),)),
        (
            {"http_user": "ü", "auth_token": "abc", "auth_header_key": "X-Key"},
            (("Authorization", "Basic w7w6"), ("X-Key", "token abc")),
        ),
    ],
)
def test_what_logs_in(settings_: dict[str, Any], headers: tuple[tuple[str, str], ...]) -> None:
    """No token makes no header, None makes no "None", and a header of the user's own is not overwritten."""
    assert GatewayConfig(url=URL, **settings_).auth_headers() == headers


def test_a_renewed_token() -> None:
    config = GatewayConfig(url=URL, auth_token="old")
    assert config.auth_headers("new") == (("Authorization", "token new"),)
    assert config.auth_headers("") == ()


def test_two_that_fill_one_header() -> None:
    field, value, expected, source = one_problem({"JUPYTER_GATEWAY_AUTH_TOKEN": "abc"}, http_user="u", http_pwd="p")
    assert (field, value, source) == ("auth_token", None, "JUPYTER_GATEWAY_AUTH_TOKEN")
    assert "only one of auth_token and http_user" in expected
    assert GatewayConfig(url=URL, auth_token="abc", http_user="u", headers={"Authorization": "x"}).auth_headers() == ()


def test_a_user_has_no_colon_and_a_password_has_a_user() -> None:
    assert one_problem(http_user="a:b")[::2] == ("http_user", "text without control characters and without a colon")
    assert one_problem(http_user="u", http_pwd="\n")[::2] == ("http_pwd", "text without control characters")
    assert one_problem(http_pwd="s3cret") == (
        "http_pwd",
        None,
        "http_user beside it, the user whose password this is",
        "argument",
    )
    assert GatewayConfig(url=URL, http_user="", http_pwd="a:b").auth_headers() == (("Authorization", "Basic OmE6Yg=="),)


BOUND = set(SECRETS) - {"JUPYTER_GATEWAY_AUTH_HEADER_KEY"}


TAKEN = {"auth_token", "http_user", "http_pwd", "headers", "client_cert", "client_key", "gateway_token_renewer_class", "ws_url"}


def secrets_in(config: GatewayConfig) -> bool:
    default = GatewayConfig(url=URL)
    taken = {name for name in TAKEN if getattr(config, name) != getattr(default, name)}
    assert taken in (set(), TAKEN)
    assert config.validate_cert is not bool(taken)
    assert config.auth_header_key == "X-Key"
    return bool(taken)


@pytest.mark.parametrize(
    ("named", "url", "same"),
    [
        ("https://gateway.example/team", "https://GATEWAY.example:443/other", True),
        ("https://u:p@gateway.example", "https://gateway.example./", True),
        ("http://[::1]:8888", "http://[0::1]:8888", True),
        ("https://gateway.example", "http://gateway.example", False),
        ("https://gateway.example", "https://gateway.example:444", False),
        ("https://gateway.example", "https://gateway.example.evil.example", False),
        ("https://gateway.example", "https://gateway.example@evil.example", False),
        ("https://gateway.example", "https://evil.example/https://gateway.example", False),
        ("not a URL", "https://gateway.example", False),
        ("https://gateway.example/?x", "https://gateway.example", False),
    ],
)
def test_secrets_of_the_environment_go_only_to_its_gateway(named: str, url: str, same: bool) -> None:
    """G8: a token for one gateway is never sent to another."""
    config = GatewayConfig.from_env({**SECRETS, "JUPYTER_GATEWAY_URL": named}, url=url)
    if "@evil" in url:
        assert config.http_user == "gateway.example"
        config = config.replace(http_user=None)
    assert secrets_in(config) is same
    assert set(config.ignored_variables) == (set() if same else BOUND)


def test_without_a_gateway_of_its_own_the_environment_is_about_any() -> None:
    environ = {name: text for name, text in SECRETS.items() if name != "JUPYTER_GATEWAY_WS_URL"}
    config = GatewayConfig.from_env(environ, url="https://gateway.example")
    assert config.auth_token == "s3cret-token"
    assert config.ignored_variables == ()


@pytest.mark.parametrize(
    ("url", "same"), [("http://sockets.example", True), ("https://sockets.example", False), ("http://other.example", False)]
)
def test_a_websocket_url_alone_names_the_environment_s_gateway(url: str, same: bool) -> None:
    assert secrets_in(GatewayConfig.from_env(SECRETS, url=url)) is same


def test_arguments_go_where_they_are_sent() -> None:
    environ = {**SECRETS, "JUPYTER_GATEWAY_URL": "https://gateway.example"}
    config = GatewayConfig.from_env(environ, url="https://other.example", auth_token="mine")
    assert config.auth_token == "mine"
    assert "JUPYTER_GATEWAY_AUTH_TOKEN" not in config.ignored_variables
    assert config == GatewayConfig(url="https://other.example", auth_token="mine", auth_header_key="X-Key")


@pytest.mark.parametrize("change", [GatewayConfig.replace, attrs.evolve])
def test_another_url_leaves_the_environment_s_secrets_behind(change: Any) -> None:
    config = GatewayConfig.from_env({**SECRETS, "JUPYTER_GATEWAY_URL": "https://gateway.example/a"}, connect_timeout=7)
    assert secrets_in(config)
    same = change(config, url="https://gateway.example/b")
    assert secrets_in(same)
    assert same.ignored_variables == ()
    other = change(config, url="https://other.example/b")
    assert not secrets_in(other)
    assert set(other.ignored_variables) == BOUND
    assert other.connect_timeout == 7
    assert {other.sources[name] for name in TAKEN} == {"default"}


@pytest.mark.parametrize("change", [GatewayConfig.replace, attrs.evolve])
def test_another_url_leaves_the_old_url_s_user_behind(change: Any) -> None:
    config = GatewayConfig(url="https://alice:s3cret@gateway.example", headers={"X-Team": "blue"})
    assert change(config, connect_timeout=7).http_pwd == "s3cret"
    assert change(config, url=str(b"https://gateway.example", "ascii")).http_pwd == "s3cret"
    other = change(config, url="https://other.example")
    assert (other.http_user, other.http_pwd, other.headers) == (None, None, {"X-Team": "blue"})
    assert other.ignored_variables == ()
    bob = change(config, url="https://bob:new@other.example")
    assert (bob.http_user, bob.http_pwd) == ("bob", "new")


class Picky(Foreign):
    def __init__(self) -> None:
        raise ValueError("s3cret")


def test_the_no_op_renewer() -> None:
    assert NoOpTokenRenewer().get_token("Authorization", "token", "abc", more=1) == "abc"
    with pytest.raises(TypeError):
        TokenRenewer()  # type: ignore[abstract]


@pytest.mark.parametrize("cls", [Renewer, Foreign])
def test_a_renewer_by_name_or_class_or_instance(cls: type) -> None:
    assert type(from_env({"JUPYTER_GATEWAY_TOKEN_RENEWER_CLASS": fully(cls)}).load_token_renewer()) is cls
    assert type(GatewayConfig(url=URL, gateway_token_renewer_class=cls).load_token_renewer()) is cls
    renewer = cls()
    assert GatewayConfig(url=URL, gateway_token_renewer_class="a.B", token_renewer=renewer).load_token_renewer() is renewer
