"""Several addresses of one gateway in `url`: how they are given, what must go together, and what is sent to whom."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from trio_gateway import ConfigError, GatewayConfig

ONE, TWO = "http://eg1:8888", "http://eg2:8888"


def config(url: Any, **settings: Any) -> GatewayConfig:
    return GatewayConfig(url=url, **settings)


def problem(url: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config(url, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    "url", [[ONE, TWO], (ONE, TWO), f"{ONE},{TWO}", f"{ONE}, {TWO}", f"{ONE} ,\n{TWO}/", ["HTTP://eg1:8888/", TWO]]
)
def test_each_way_to_give_them_is_the_same(url: Any):
    found = config(url)
    assert found.addresses == (ONE, TWO)
    assert found.ws_addresses == ("ws://eg1:8888", "ws://eg2:8888")
    assert (found.url, found.base_url, found.ws_base_url) == (f"{ONE},{TWO}", ONE, "ws://eg1:8888")
    assert found == config(f"{ONE},{TWO}")
    assert found.origin == ("http", "eg1", 8888)


@pytest.mark.parametrize("url", ["http://a/b", ["http://a/b"], ("http://a/b/",)])
def test_one_is_one(url: Any):
    found = config(url)
    assert (found.url, found.addresses, found.ws_addresses) == ("http://a/b", ("http://a/b",), ("ws://a/b",))


def test_a_comma_may_stand_in_a_path():
    assert config("http://a/b,c").addresses == ("http://a/b,c",)
    assert config("http://a/b,c,http://d/e,f").addresses == ("http://a/b,c", "http://d/e,f")


def test_each_has_a_path_of_its_own():
    found = config(["https://a/x", "https://b"], ws_url="wss://c/y,wss://d")
    assert [found.http_url("/api", address) for address in (0, 1)] == ["https://a/x/api", "https://b/api"]
    assert [found.websocket_url("/api", address) for address in (0, 1)] == ["wss://c/y/api", "wss://d/api"]
    assert (found.http_url("/api"), found.websocket_url("/api")) == ("https://a/x/api", "wss://c/y/api")
    assert config(["http://a", "http://b"], ws_url=["ws://c", "ws://d/"]).ws_url == "ws://c,ws://d"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ([], "at least one URL"),
        ((), "at least one URL"),
        ([ONE, "eg2:8888"], "a URL that begins with its scheme"),
        ([ONE, "eg2:8888"], r"\[1\], number 2 of 2 addresses"),
        ([ONE, TWO, None], r"\[2\], number 3 of 3 addresses"),
        ([ONE, 8888], r"\['http://eg1:8888', '<int>'\] can't be used"),
        ([ONE, ""], r"a URL that begins with its scheme.*\[1\]"),
        (f"{ONE},ftp://x", r"a URL that begins with http:// or https://.*\[1\]"),
        (f"{ONE},eg2:8888", "the host or the port is wrong; of several addresses, each begins with its scheme"),
        ([ONE, TWO, "HTTP://EG1:8888/"], r"each address once; \[0\] and \[2\] are the same"),
        (["http://a", "http://a:80"], r"each address once; \[0\] and \[1\]"),
        ([ONE, "https://eg2:8888"], "all begin with http://, or all with https://"),
        ({ONE, TWO}, "a URL such as"),
        ({"a": ONE}, "a URL such as"),
    ],
)
def test_what_can_t_be_used_is_named_by_its_index(url: Any, said: str):  # G10
    with pytest.raises(ConfigError, match=said):
        config(url)


@pytest.mark.parametrize(
    ("ws_url", "said"),
    [
        ("ws://c", "as many URLs as url has addresses, 2, in the same order"),
        (["ws://c", "ws://d", "ws://e"], "as many URLs as url has addresses, 2"),
        (["ws://c", "http://d"], r"begins with ws:// or wss://.*\[1\]"),
        (["ws://c", "wss://d"], "all begin with ws://"),
        (["ws://c", "ws://u:p4ss@d"], "without a user name and password"),
    ],
)
def test_ws_url_has_one_for_each(ws_url: Any, said: str):  # G10
    with pytest.raises(ConfigError, match=said):
        config([ONE, TWO], ws_url=ws_url)


def test_wrong_in_both_is_told_of_both():
    said = problem([ONE, "x"], ws_url="nonsense")
    assert said.startswith("2 settings can't be used:")
    assert "as many URLs" not in said


# ------------------------------------------------------------------------------------------------------------ who we are


@pytest.mark.parametrize(
    "url", [["http://u:p4ss@a", "http://b"], ["http://a", "http://u:p4ss@b"], ["http://u:p4ss@a", "http://u:p4ss@b"]]
)
def test_one_login_for_all(url: list[str]):
    found = config(url)
    assert (found.http_user, found.http_pwd, found.addresses) == ("u", "p4ss", ("http://a", "http://b"))
    assert "p4ss" not in repr((found, found.describe(), url and found.url))
    text = GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": ",".join(url)})
    assert (text.http_user, text.sources["http_user"]) == ("u", "JUPYTER_GATEWAY_URL")


@pytest.mark.parametrize(
    "url",
    [
        ["http://u:p4ss@a", "http://v:p4ss@b"],
        ["http://u:p4ss@a", "http://u:0ther-p4ss@b"],
        "http://u:p4ss@a,http://v:p4ss@b",
        ["http://u:p4ss@a", "b:p4ss@"],
        "http://u:p4ss,http://p4ss@a",
        "http://u:p4ss@a,http://b:port",
        "http://b:port,http://u:p4ss@a?p4ss",
    ],
)
def test_no_password_in_what_is_said(url: Any):  # G8
    assert "p4ss" not in problem(url)
    assert "p4ss" not in problem(GatewayConfig(url=ONE) and url)
    with pytest.raises(ConfigError) as caught:
        GatewayConfig(url=ONE).replace(url=url)
    assert "p4ss" not in str(caught.value)


TOKEN = {"JUPYTER_GATEWAY_AUTH_TOKEN": "s3cret"}


@pytest.mark.parametrize(
    ("named", "url", "sent"),
    [
        (f"{ONE},{TWO}", [ONE, TWO], True),
        (f"{ONE},{TWO}", f"{TWO}/x", True),
        (f"{ONE},{TWO}", [TWO, ONE], True),
        (ONE, [ONE, TWO], False),
        (f"{ONE},{TWO}", [ONE, "http://other"], False),
        (ONE, [], False),
        ("nonsense", [ONE], False),
        ("", [ONE, TWO], True),
    ],
)
def test_what_the_environment_logs_in_with_goes_to_its_gateway_alone(named: str, url: Any, sent: bool):  # G8
    environ = {**TOKEN, "JUPYTER_GATEWAY_URL": named}
    if not url:
        with pytest.raises(ConfigError):
            GatewayConfig.from_env(environ, url=url)
        return
    found = GatewayConfig.from_env(environ, url=url)
    assert (found.auth_token, found.ignored_variables) == (("s3cret", ()) if sent else ("", ("JUPYTER_GATEWAY_AUTH_TOKEN",)))


def test_the_environment_may_name_their_websockets_alone():
    environ = {**TOKEN, "JUPYTER_GATEWAY_WS_URL": "ws://eg1:8888,ws://eg2:8888"}
    assert GatewayConfig.from_env(environ, url=[ONE, TWO]).auth_token == "s3cret"
    assert GatewayConfig.from_env(environ, url=[ONE, "http://x"]).auth_token == ""


def test_another_url_takes_the_environment_s_login_away():  # G8
    found = GatewayConfig.from_env({**TOKEN, "JUPYTER_GATEWAY_URL": f"{ONE},{TWO}"})
    assert found.sources["url"] == "JUPYTER_GATEWAY_URL"
    assert found.replace(url=TWO).auth_token == "s3cret"
    assert found.replace(url=[TWO, "http://x"]).auth_token == ""
    assert found.replace(url=TWO).replace(url=ONE).auth_token == "", "which is not what the one before was about"


def test_copies_are_the_same():
    found = config([ONE, TWO], auth_token="t")
    for copy in (attrs.evolve(found), found.replace(), found.replace(idle_grace=5.0)):
        assert copy == found
        assert (copy.addresses, copy.ws_addresses) == (found.addresses, found.ws_addresses)
    assert found.replace(url=ONE).addresses == (ONE,)
    assert repr(found) == "GatewayConfig(url='http://eg1:8888,http://eg2:8888', auth_token=***)"
    assert next(row.value for row in found.describe() if row.name == "url") == f"{ONE},{TWO}"
