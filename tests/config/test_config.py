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

from .settings_helpers import OLD, REFERENCE, URL, VARIABLES, from_env, one_problem, refused

ROOT = Path(__file__).parents[2]


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
        "token_command": None,
        "token_command_timeout": 30.0,
        "handshake_timeout": 75.0,
        "max_message_size": 256 * 2**20,
        "max_response_size": 64 * 2**20,
        "max_connections": 100,
        "reconnects_at_once": 16,
        "ping_interval": 20.0,
        "unresponsive_timeout": math.inf,
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
        "token_command_timeout": ("inf", math.inf),
        "accept_cookies": ("TRUE", True),
        "reconnect_timeout": ("inf", math.inf),
        "unresponsive_timeout": ("60", 60.0),
        "max_request_retries": ("7", 7),
        "launch_timeout": ("90", 90.0),
        "kernel_username": ("Álice", "Álice"),
    }
    together = {name: variable for name, variable in VARIABLES.items() if name != "token_command"}  # not beside a renewer
    assert set(texts) == set(together)
    environ = {VARIABLES[name]: text for name, (text, _) in texts.items()}
    config = GatewayConfig.from_env(environ)
    assert {name: getattr(config, name) for name in texts} == {name: value for name, (_, value) in texts.items()}
    for name in texts:
        plain = str if isinstance(getattr(config, name), Secret) else type(getattr(config, name))
        assert plain is type(texts[name][1]) or name == "headers"
    assert {name: config.sources[name] for name in texts} == together


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


def test_a_key_needs_its_certificate(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    assert one_problem(client_key=tmp_path / "key")[:1] == ("client_key",)


def test_a_key_beside_a_wrong_certificate_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    assert one_problem(client_key=tmp_path / "key", client_cert="missing")[0] == "client_cert"


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
