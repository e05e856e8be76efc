"""GatewayConfig: every setting, where it comes from, what is refused and how (G10)."""

from __future__ import annotations

import inspect
import math
import re
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from trio_gateway import ConfigError, GatewayConfig, InvalidInputError, NoOpTokenRenewer
from trio_gateway._config import settings_table
from trio_gateway._config import values as v
from trio_gateway._config.config import _help
from trio_gateway._secret import Secret

from .settings_helpers import OLD, REFERENCE, URL, VARIABLES, Renewer, from_env, fully, one_problem, refused

ROOT = Path(__file__).parents[2]


# ---------------------------------------------------------------------------------------------- the reference's settings


def test_names_variables_and_defaults_are_the_reference_s() -> None:
    reference = pytest.importorskip("jupyter_server.gateway.gateway_client")
    client = reference.GatewayClient
    traits = set(client.class_trait_names(config=True)) - {"env_whitelist"}
    own = {name for name in traits if name in client.__dict__} - {"event_logger"}
    assert own == set(REFERENCE)
    rows = {row.name: row for row in GatewayConfig(url=URL).describe()}
    assert {name: rows[name].variable for name in REFERENCE} == REFERENCE
    for name, variable in REFERENCE.items():
        if hasattr(client, f"{name}_env"):
            assert getattr(client, f"{name}_env") == variable
    config = GatewayConfig(url=URL)
    for name in REFERENCE:
        theirs = getattr(client, f"{name}_default_value", getattr(client, f"{name}_value", None))
        if name in {"headers", "allowed_envs"}:  # texts there, values here
            assert not getattr(config, name)
        elif name != "url":
            assert getattr(config, name) == theirs, name


def test_defaults() -> None:
    config = GatewayConfig(url=URL)
    found = {field.name: getattr(config, field.name) for field in attrs.fields(GatewayConfig) if not field.name.startswith("_")}
    assert found == {
        "url": URL,
        "ws_url": None,
        "kernels_endpoint": "/api/kernels",
        "kernelspecs_endpoint": "/api/kernelspecs",
        "kernelspecs_resource_endpoint": "/kernelspecs",
        "connect_timeout": 40.0,
        "request_timeout": 42.0,
        "client_key": None,
        "client_cert": None,
        "ca_certs": None,
        "http_user": None,
        "http_pwd": None,
        "headers": {},
        "auth_header_key": "Authorization",
        "auth_token": "",
        "auth_scheme": "token",
        "validate_cert": True,
        "allowed_envs": (),
        "gateway_retry_interval": 1.0,
        "gateway_retry_interval_max": 30.0,
        "gateway_retry_max": 5,
        "gateway_token_renewer_class": "jupyter_server.gateway.gateway_client.NoOpTokenRenewer",
        "launch_timeout_pad": 2.0,
        "accept_cookies": False,
        "reconnect_timeout": 120.0,
        "max_request_retries": 2,
        "launch_timeout": 40.0,
        "kernel_username": None,
        "token_renewer": None,
        "handshake_timeout": 75.0,
        "max_message_size": 256 * 2**20,
        "max_response_size": 64 * 2**20,
        "max_connections": 100,
        "ping_interval": 20.0,
        "cleanup_timeout": 30.0,
        "interrupt_timeout": 10.0,
        "idle_grace": 5.0,
        "buffer_messages": 10_000,
        "buffer_bytes": 64 * 2**20,
        "max_output_bytes": 2**30,
        "websocket_engine": "auto",
    }
    assert set(config.sources.values()) == {"default", "argument"}
    assert config.sources["url"] == "argument"


def test_every_variable_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    texts = {
        "url": ("https://gateway.example/team", "https://gateway.example/team"),
        "ws_url": ("wss://sockets.example/x", "wss://sockets.example/x"),
        "kernels_endpoint": ("/k", "/k"),
        "kernelspecs_endpoint": ("/s", "/s"),
        "kernelspecs_resource_endpoint": ("/r", "/r"),
        "connect_timeout": ("1.5", 1.5),
        "request_timeout": ("inf", math.inf),
        "client_key": (str(file), str(file)),
        "client_cert": (str(file), str(file)),
        "ca_certs": (str(tmp_path), str(tmp_path)),
        "http_user": ("alice", "alice"),
        "http_pwd": ("p w:", "p w:"),
        "headers": ('{"X-Team": "blue"}', {"X-Team": "blue"}),
        "auth_header_key": ("X-Token", "X-Token"),
        "auth_token": ("abc", "abc"),
        "auth_scheme": ("Bearer", "Bearer"),
        "validate_cert": ("no", False),
        "allowed_envs": ("FOO, BAR,,FOO ", ("FOO", "BAR")),
        "gateway_retry_interval": (" 0 ", 0.0),
        "gateway_retry_interval_max": ("1e1", 10.0),
        "gateway_retry_max": ("0", 0),
        "gateway_token_renewer_class": ("package.module.Class", "package.module.Class"),
        "launch_timeout_pad": (".5", 0.5),
        "accept_cookies": ("TRUE", True),
        "reconnect_timeout": ("inf", math.inf),
        "max_request_retries": ("7", 7),
        "launch_timeout": ("90", 90.0),
        "kernel_username": ("Álice", "Álice"),
    }
    assert set(texts) == set(VARIABLES)
    environ = {VARIABLES[name]: text for name, (text, _) in texts.items()}
    config = GatewayConfig.from_env(environ)
    assert {name: getattr(config, name) for name in texts} == {name: value for name, (_, value) in texts.items()}
    for name in texts:
        plain = str if isinstance(getattr(config, name), Secret) else type(getattr(config, name))
        assert plain is type(texts[name][1]) or name == "headers"
    assert {name: config.sources[name] for name in texts} == VARIABLES


def test_arguments_beat_the_environment_and_the_environment_beats_the_defaults() -> None:
    environ = {"JUPYTER_GATEWAY_CONNECT_TIMEOUT": "5", "JUPYTER_GATEWAY_REQUEST_TIMEOUT": "50", "JUPYTER_GATEWAY_AUTH_TOKEN": "x"}
    config = from_env(environ, connect_timeout=6, auth_token=None)
    assert (config.connect_timeout, config.request_timeout, config.launch_timeout) == (6.0, 50.0, 40.0)
    assert config.auth_token == ""
    names = ("connect_timeout", "request_timeout", "launch_timeout", "auth_token", "url")
    assert [config.sources[name] for name in names] == [
        "argument",
        "JUPYTER_GATEWAY_REQUEST_TIMEOUT",
        "default",
        "argument",
        "JUPYTER_GATEWAY_URL",
    ]


def test_an_argument_hides_a_wrong_variable() -> None:
    assert from_env({"JUPYTER_GATEWAY_CONNECT_TIMEOUT": "soon"}, connect_timeout=6).connect_timeout == 6


def test_an_argument_that_equals_the_default_is_an_argument() -> None:
    assert from_env({"JUPYTER_GATEWAY_CONNECT_TIMEOUT": "5"}, connect_timeout=40.0).sources["connect_timeout"] == "argument"


def test_without_an_environment_what_equals_the_default_is_the_default() -> None:
    assert GatewayConfig(url=URL, connect_timeout=float("40")).sources["connect_timeout"] == "default"
    with pytest.raises(ConfigError):
        GatewayConfig(url=URL, accept_cookies=0)  # type: ignore[arg-type]


def test_no_url_is_no_argument() -> None:
    assert GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": URL}, url=None).url == URL


def test_a_mapping_is_all_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variable in VARIABLES.items():
        monkeypatch.setenv(variable, "!" if name != "url" else "http://other.example")
    config = GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": URL})
    assert config == GatewayConfig(url=URL)
    assert config.sources["connect_timeout"] == "default"


def test_without_a_mapping_the_process_s_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [*VARIABLES.values(), OLD]:
        monkeypatch.delenv(variable, raising=False)
    assert not GatewayConfig.is_configured()
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", URL)
    monkeypatch.setenv("KERNEL_LAUNCH_TIMEOUT", "7")
    assert GatewayConfig.is_configured()
    assert GatewayConfig.from_env().launch_timeout == 7.0
    assert GatewayConfig(url=URL).launch_timeout == 40.0


@pytest.mark.parametrize("name", sorted(set(VARIABLES) - {"url"}))
def test_an_empty_variable_is_as_good_as_none(name: str) -> None:
    config = from_env({VARIABLES[name]: ""})
    if name == "auth_scheme":
        assert config.auth_scheme is None
    else:
        assert config == GatewayConfig(url=URL)


def test_nothing_is_configured() -> None:
    assert not GatewayConfig.is_configured({})
    assert not GatewayConfig.is_configured({"JUPYTER_GATEWAY_URL": " "})
    assert GatewayConfig.is_configured({"JUPYTER_GATEWAY_URL": "anything"})
    for environ in ({}, {"JUPYTER_GATEWAY_URL": ""}):
        for arguments in ({}, {"url": None}):
            with pytest.raises(ConfigError, match=r"^url: None .* JUPYTER_GATEWAY_URL; .* open_local_gateway\(\) starts one$"):
                GatewayConfig.from_env(environ, **arguments)


# ------------------------------------------------------------------------------------------------------- what is refused


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    error = refused(
        {
            "JUPYTER_GATEWAY_URL": "gateway.example",
            "JUPYTER_GATEWAY_CONNECT_TIMEOUT": "soon",
            "JUPYTER_GATEWAY_VALIDATE_CERT": "maybe",
            "JUPYTER_GATEWAY_AUTH_TOKEN": "s3cret\n",
        },
        conect_timeout=3,
        max_connections=0,
    )
    assert [(problem.field, problem.source, problem.value) for problem in error.problems] == [
        ("conect_timeout", "argument", None),
        ("url", "JUPYTER_GATEWAY_URL", "'gateway.example'"),
        ("connect_timeout", "JUPYTER_GATEWAY_CONNECT_TIMEOUT", "'soon'"),
        ("auth_token", "JUPYTER_GATEWAY_AUTH_TOKEN", None),
        ("validate_cert", "JUPYTER_GATEWAY_VALIDATE_CERT", "'maybe'"),
        ("max_connections", "argument", "0"),
    ]
    assert "did you mean connect_timeout?" in str(error)
    assert "s3cret" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_each_problem_is_told_in_one_line() -> None:
    assert str(refused({"JUPYTER_GATEWAY_RETRY_MAX": "many"})) == (
        "gateway_retry_max (from JUPYTER_GATEWAY_RETRY_MAX): 'many' can't be used; expected a whole number of attempts, 0 or more"
    )
    assert str(refused(auth_token="a\nb")) == (
        "auth_token: the value (not shown: it is secret) can't be used;"
        " expected text without line breaks and other control characters"
    )


def test_a_setting_that_does_not_exist() -> None:
    for make in (partial(GatewayConfig.from_env, {}, url=URL), GatewayConfig(url=URL).replace):
        with pytest.raises(ConfigError) as caught:
            make(tokn="s3cret")
        assert caught.value.field == "tokn"
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["yes", "true", "on", "1", "YES", "True", "oN", " 1 "])
def test_yes(text: str) -> None:
    assert from_env({"JUPYTER_GATEWAY_ACCEPT_COOKIES": text}).accept_cookies is True


@pytest.mark.parametrize("text", ["no", "false", "off", "0", "NO", "False", "oFF", "False\n"])
def test_no(text: str) -> None:
    assert from_env({"JUPYTER_GATEWAY_VALIDATE_CERT": text}).validate_cert is False


@pytest.mark.parametrize("text", ["y", "n", "t", "2", "-1", "maybe", "yes no", "\uff10", "nein"])
def test_neither_yes_nor_no(text: str) -> None:
    field, value, expected, source = one_problem({"JUPYTER_GATEWAY_VALIDATE_CERT": text})
    assert (field, value, source) == ("validate_cert", repr(text), "JUPYTER_GATEWAY_VALIDATE_CERT")
    for word in ("yes", "true", "on", "1", "no", "false", "off", "0"):
        assert word in expected


@pytest.mark.parametrize("value", ["yes", 1, 0, None])
def test_an_argument_is_no_text_for_yes(value: object) -> None:
    assert one_problem(validate_cert=value)[:2] == ("validate_cert", repr(value))


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "-inf", "1_0", "1,5", "\u0661", "0x10", "1e", "e1", ".", "1e-999"])
def test_no_number_of_seconds(text: str) -> None:
    field, value, expected, _ = one_problem({"JUPYTER_GATEWAY_CONNECT_TIMEOUT": text})
    assert (field, value) == ("connect_timeout", repr(text))
    assert expected == "a number of seconds, more than 0, or inf for no limit"


@pytest.mark.parametrize("value", ["5", None, True, 0, -1.0, math.nan, -math.inf, 10**400, [1], b"1"])
def test_an_argument_that_is_no_number_of_seconds(value: object) -> None:
    assert one_problem(connect_timeout=value)[0] == "connect_timeout"


INFINITE = {"connect_timeout", "request_timeout", "handshake_timeout", "reconnect_timeout", "ping_interval"}
ZERO = {"gateway_retry_interval", "gateway_retry_interval_max", "launch_timeout_pad", "interrupt_timeout", "idle_grace"}
SECONDS = INFINITE | ZERO | {"launch_timeout", "cleanup_timeout"}
COUNTS = {"gateway_retry_max": 0, "max_request_retries": 0} | dict.fromkeys(
    ("max_message_size", "max_response_size", "max_connections", "buffer_messages", "buffer_bytes", "max_output_bytes"), 1
)


def test_each_number_is_in_one_of_the_lists() -> None:
    numeric = {
        field.name
        for field in attrs.fields(GatewayConfig)
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool)
    }
    assert set(COUNTS) | SECONDS == numeric


@pytest.mark.parametrize("name", sorted(SECONDS))
def test_bounds_of_seconds(name: str) -> None:
    """What bounds a clean-up can't be infinite (G1); what can be switched off, can."""
    assert getattr(from_env(**{name: 3}), name) == 3.0
    for value, right in ((math.inf, name in INFINITE), (0, name in ZERO), (-0.001, False)):
        if right:
            assert getattr(from_env(**{name: value}), name) == value
        else:
            field, _, expected, _ = one_problem(**{name: value})
            assert field == name
            assert ("0 or more" in expected) is (name in ZERO)
            assert ("more than 0" in expected) is (name not in ZERO)
            assert ("or inf for no limit" in expected) is (name in INFINITE)


@pytest.mark.parametrize(("name", "minimum"), sorted(COUNTS.items()))
def test_bounds_of_counts(name: str, minimum: int) -> None:
    assert getattr(from_env(**{name: minimum}), name) == minimum
    for value in (minimum - 1, 1.0, "1", True, None, math.inf, 2**63, 10**5000):
        assert one_problem(**{name: value})[0] == name


@pytest.mark.parametrize("text", ["1.0", "-1", "1_0", "", "\u0663", "1e3", "9" * 5000, "x"])
def test_no_whole_number(text: str) -> None:
    if not text:
        assert from_env({"JUPYTER_GATEWAY_RETRY_MAX": text}).gateway_retry_max == 5
    else:
        assert one_problem({"JUPYTER_GATEWAY_RETRY_MAX": text})[0] == "gateway_retry_max"


@pytest.mark.parametrize(
    "value",
    ["", "A B", "A=B,C", "A\x00", ["A", ""], ["A", 1], 3, None, b"A", {"A": 1}, "A,\udc80", "*", "A_*", ["*A"], "JUPYTER_*"],
)
def test_no_names_of_variables(value: object) -> None:
    if value == "":
        assert from_env(allowed_envs=value).allowed_envs == ()
    else:
        assert one_problem(allowed_envs=value)[0] == "allowed_envs"


@pytest.mark.parametrize("value", ["B,A,B", ["B", "A", "B"], ("B", "A")])
def test_names_of_variables(value: object) -> None:
    assert from_env(allowed_envs=value).allowed_envs == ("B", "A")


def test_names_of_variables_may_come_one_by_one() -> None:
    assert from_env(allowed_envs=iter(["B", "A"])).allowed_envs == ("B", "A")


def test_all_variables_of_kernels() -> None:
    assert from_env({"JUPYTER_GATEWAY_ALLOWED_ENVS": "A,KERNEL_*"}).allowed_envs == ("A", "KERNEL_*")


@pytest.mark.parametrize("value", ["", "a\nb", "a\0", "\udc80", 3])
def test_no_user_name_for_kernels(value: object) -> None:
    assert one_problem(kernel_username=value)[0] == "kernel_username"


def test_no_such_engine() -> None:
    assert one_problem(websocket_engine="magic") == (
        "websocket_engine",
        "'magic'",
        '"auto" or "fast" or "trio-websocket"',
        "argument",
    )


# ---------------------------------------------------------------------------------------------- a variable that was renamed


def test_the_old_name_of_allowed_envs() -> None:
    with pytest.warns(
        DeprecationWarning, match="JUPYTER_GATEWAY_ENV_WHITELIST is deprecated: set JUPYTER_GATEWAY_ALLOWED_ENVS"
    ) as found:
        config = GatewayConfig.from_env({"JUPYTER_GATEWAY_URL": URL, OLD: "A,B"})
    assert found[0].filename == __file__
    assert config.allowed_envs == ("A", "B")
    assert config.sources["allowed_envs"] == OLD


@pytest.mark.parametrize("new", ["C", ""])
def test_the_new_name_wins(new: str) -> None:
    config = from_env({OLD: "A,B", "JUPYTER_GATEWAY_ALLOWED_ENVS": new})
    assert config.allowed_envs == (("C",) if new else ())


def test_an_argument_beats_the_old_name() -> None:
    assert from_env({OLD: "A,B"}, allowed_envs=["C"]).allowed_envs == ("C",)


# ----------------------------------------------------------------------------------------------------------------- files


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    config = GatewayConfig(url=URL, ca_certs=file, client_cert=str(file), client_key=file)
    assert config.ca_certs == config.client_cert == config.client_key == str(file)
    assert GatewayConfig(url=URL, ca_certs=tmp_path).ca_certs == str(tmp_path)
    assert GatewayConfig(url=URL, client_cert=file).client_key is None
    monkeypatch.chdir(tmp_path)
    assert GatewayConfig(url=URL, ca_certs="file.pem").ca_certs == "file.pem"


@pytest.mark.parametrize("name", ["ca_certs", "client_cert", "client_key"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    missing = tmp_path / "missing.pem"
    for value in (missing, str(missing), "", "a\0b", 3, b"/"):
        problem = refused(**{name: value}).problems[0]
        assert problem.field == name
        assert "that exists" in problem.expected
    field, value_text, _, source = one_problem({VARIABLES[name]: "missing.pem"})
    assert (field, value_text, source) == (name, "'missing.pem'", VARIABLES[name])
    if name != "ca_certs":
        assert refused(**{name: tmp_path}).problems[0].field == name


def test_a_key_needs_its_certificate(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    assert one_problem(client_key=tmp_path / "key")[:1] == ("client_key",)


def test_a_key_beside_a_wrong_certificate_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    assert one_problem(client_key=tmp_path / "key", client_cert="missing")[0] == "client_cert"


# --------------------------------------------------------------------------------------------------- changing and comparing


def test_replace_checks_again() -> None:
    config = from_env({"JUPYTER_GATEWAY_AUTH_TOKEN": "s3cret", "JUPYTER_GATEWAY_CONNECT_TIMEOUT": "5"})
    other = config.replace(connect_timeout=6, auth_scheme=None)
    assert (other.connect_timeout, other.auth_token, other.auth_scheme) == (6.0, "s3cret", None)
    assert other.sources["connect_timeout"] == other.sources["auth_scheme"] == "argument"
    assert other.sources["auth_token"] == "JUPYTER_GATEWAY_AUTH_TOKEN"
    assert config.connect_timeout == 5.0
    assert config.replace(connect_timeout=40.0).sources["connect_timeout"] == "argument"
    for change in (config.replace, lambda **changes: attrs.evolve(config, **changes)):
        with pytest.raises(ConfigError) as caught:
            change(connect_timeout=-1, max_connections=0)
        assert [(problem.field, problem.source) for problem in caught.value.problems] == [
            ("connect_timeout", "argument"),
            ("max_connections", "argument"),
        ]


def test_evolve_says_what_is_an_argument() -> None:
    config = attrs.evolve(from_env({"JUPYTER_GATEWAY_CONNECT_TIMEOUT": "5"}), connect_timeout=6)
    assert config.sources["connect_timeout"] == "argument"


def test_it_is_a_value() -> None:
    config = from_env({"JUPYTER_GATEWAY_CONNECT_TIMEOUT": "5", "JUPYTER_GATEWAY_HEADERS": '{"A": "b"}'})
    same = GatewayConfig(url=URL, connect_timeout=5, headers={"A": "b"})
    assert config == same
    assert hash(config) == hash(same)
    assert {config: 1}[same] == 1
    assert config != same.replace(headers={"A": "c"})
    assert config != same.replace(token_renewer=NoOpTokenRenewer())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.url = "http://other.example"  # type: ignore[misc]
    with pytest.raises(TypeError):
        GatewayConfig(URL)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("request_timeout", "launch", "pad", "asked", "limit"),
    [
        (42.0, 40.0, 2.0, None, 42.0),
        (42.0, 60.0, 2.0, None, 62.0),
        (100.0, 60.0, 2.0, None, 100.0),
        (42.0, 60.0, 2.0, 10, 42.0),
        (42.0, 60.0, 3.0, 90.5, 93.5),
        (math.inf, 40.0, 2.0, None, math.inf),
    ],
)
def test_a_start_is_never_cut_before_its_launch(
    request_timeout: float, launch: float, pad: float, asked: float | None, limit: float
) -> None:
    config = GatewayConfig(url=URL, request_timeout=request_timeout, launch_timeout=launch, launch_timeout_pad=pad)
    assert config.request_timeout_for(asked) == limit


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5", True])
def test_no_launch_timeout(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^launch_timeout: .* seconds, more than 0"):
        GatewayConfig(url=URL).request_timeout_for(value)


# ---------------------------------------------------------------------------------------------------------------- showing


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


def test_the_docs_have_the_table_of_this_class() -> None:
    """Mend it with: python docs/settings_table.py."""
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert settings_table() in page
    updated = runpy.run_path(str(ROOT / "docs" / "settings_table.py"))["updated"]
    assert updated(page) == page
    assert updated(page.replace("| `url` |", "| `uri` |")) == page
    with pytest.raises(SystemExit, match="markers"):
        updated("a page without")
    for name, variable in VARIABLES.items():
        assert re.search(rf"^\| `{name}` \| `{variable}` \| [^|]+ \| .+\. \|$", page, re.MULTILINE)


def test_without_its_source_the_class_describes_itself_without_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_source(*args: object) -> str:
        raise OSError

    monkeypatch.setattr(inspect, "getsource", no_source)
    _help.cache_clear()
    try:
        assert {row.help for row in GatewayConfig(url=URL).describe()} == {""}
    finally:
        _help.cache_clear()


# ------------------------------------------------------------------------------------------------------------------ cost


def test_settings_need_neither_trio_nor_httpx_nor_jupyter_server() -> None:
    """One fresh interpreter, in which `jupyter_server` is not there, answers both."""
    program = """if True:
        import sys, types
        sys.modules["jupyter_server"] = None
        package = types.ModuleType("trio_gateway")  # the façade imports everything
        package.__path__ = [sys.argv[1]]
        sys.modules["trio_gateway"] = package
        import trio_gateway._config, trio_gateway._events
        config = trio_gateway._config.GatewayConfig(url="http://127.0.0.1")
        print(sorted({"trio", "httpx", "anyio", "ssl", "asyncio", "idna", "logging"} & set(sys.modules)))
        print(type(config.load_token_renewer()).__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(v.__file__).parents[1])], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["[]", "NoOpTokenRenewer"]
