"""Gateways by name: where the file is, what may stand in it, what wins, and that no secret does or shows."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trio_gateway import ConfigError, GatewayConfig, InvalidInputError
from trio_gateway._config import gateways_file

SECRET = "s3cret-0123456789"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the file of gateways."""

    def write(text: str) -> Path:
        path = tmp_path / "gateways.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(path: Path, name: str = "prod", environ: dict[str, str] | None = None, **arguments: Any) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        GatewayConfig.from_file(name, file=path, environ=environ or {}, **arguments)
    return caught.value


# ------------------------------------------------------------------------------------------------------ where it is


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux has it")
@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_CONFIG_HOME": "/xdg"}, "/xdg/trio-gateway/gateways.toml"),
        ({"XDG_CONFIG_HOME": "relative"}, "~/.config/trio-gateway/gateways.toml"),
        ({}, "~/.config/trio-gateway/gateways.toml"),
        ({"TRIO_GATEWAY_FILE": "~/mine.toml", "XDG_CONFIG_HOME": "/xdg"}, "~/mine.toml"),
    ],
)
def test_where_it_is(environ: dict[str, str], expected: str) -> None:
    assert gateways_file(environ) == Path(expected).expanduser()


def test_the_variables_say_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "trio-gateway" / "gateways.toml"
    path.parent.mkdir()
    path.write_text('[prod]\nurl = "http://127.0.0.1"\n')
    assert GatewayConfig.from_file("prod", environ={"XDG_CONFIG_HOME": str(tmp_path)}).url == "http://127.0.0.1"
    assert GatewayConfig.from_file("prod", environ={"TRIO_GATEWAY_FILE": str(path)}).url == "http://127.0.0.1"


# ---------------------------------------------------------------------------------------------------- what it says


def test_settings_of_each_kind(write: Write, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    path = write(
        """
        [prod]
        url = "https://gateway.example/team"
        token_command = ["vault", "read", "secret"]
        request_timeout = 120
        connect_timeout = inf
        validate_cert = false
        auth_scheme = ""
        allowed_envs = ["A", "B"]
        ca_certs = "ca.pem"

        [other]
        url = "nonsense"
        """
    )
    config = GatewayConfig.from_file("prod", file=path, environ={})
    assert config.url == "https://gateway.example/team"
    assert config.token_command == ("vault", "read", "secret")
    assert (config.request_timeout, config.connect_timeout, config.validate_cert) == (120.0, float("inf"), False)
    assert (config.auth_scheme, config.allowed_envs, config.ca_certs) == (None, ("A", "B"), str(tmp_path / "ca.pem"))
    assert config.sources["request_timeout"] == f"{path}: prod.request_timeout"
    assert config.sources["launch_timeout"] == "default"


def test_a_text_is_no_number_there(write: Write) -> None:
    """In a variable everything is text; in a file it is a mistake."""
    error = refused(write('[prod]\nurl = "http://127.0.0.1"\nrequest_timeout = "120"\nvalidate_cert = "no"\n'))
    assert isinstance(error, ConfigError)
    assert [problem.field for problem in error.problems] == ["request_timeout", "validate_cert"]


def test_secrets_are_where_it_says(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "token").chmod(0o600)
    path = write(
        """
        [file]
        url = "http://127.0.0.1"
        token_file = "token"
        [variable]
        url = "http://127.0.0.1"
        token_env = "MY_TOKEN"
        headers_env = "MY_HEADERS"
        [password]
        url = "http://127.0.0.1"
        http_user = "me"
        http_pwd_file = "token"
        """
    )
    environ = {"MY_TOKEN": SECRET, "MY_HEADERS": f'{{"X-Key": "{SECRET}"}}'}
    assert GatewayConfig.from_file("file", file=path, environ={}).auth_token == SECRET
    config = GatewayConfig.from_file("variable", file=path, environ=environ)
    assert (config.auth_token, dict(config.headers)) == (SECRET, {"X-Key": SECRET})
    assert config.sources["auth_token"] == f"{path}: variable.token_env"
    assert SECRET not in repr(config) + repr(config.describe())
    assert GatewayConfig.from_file("password", file=path, environ={}).http_pwd == SECRET


@pytest.mark.parametrize("mode", [0o604, 0o600, 0o640])
@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_secret_that_everybody_can_read_is_a_warning(write: Write, tmp_path: Path, mode: int) -> None:
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "token").chmod(mode)
    path = write('[prod]\nurl = "http://127.0.0.1"\ntoken_file = "token"\n')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GatewayConfig.from_file("prod", file=path, environ={})
    told = [str(warning.message) for warning in caught]
    assert told == (
        [f"{tmp_path / 'token'} holds a secret, and everybody on this machine can read it: chmod o-r takes that away"]
        * (mode == 0o604)
    )


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_command_that_everybody_can_write_is_a_warning(write: Write) -> None:
    path = write('[prod]\nurl = "http://127.0.0.1"\ntoken_command = "vault"\n')
    path.chmod(0o646)
    with pytest.warns(UserWarning, match="can be written by everybody"):
        GatewayConfig.from_file("prod", file=path, environ={})


# -------------------------------------------------------------------------------------------------------- what wins


def test_arguments_beat_the_file_which_beats_the_variables(write: Write) -> None:
    path = write('[prod]\nurl = "http://127.0.0.1"\nrequest_timeout = 1\nconnect_timeout = 1\n')
    environ = {f"JUPYTER_GATEWAY_{name}_TIMEOUT": "9" for name in ("REQUEST", "CONNECT", "RECONNECT")}
    config = GatewayConfig.from_file("prod", file=path, environ=environ, request_timeout=5)
    assert (config.request_timeout, config.connect_timeout, config.reconnect_timeout, config.launch_timeout) == (5, 1, 9, 40)


def test_nothing_of_the_environment_logs_in_at_a_gateway_with_a_name(write: Write) -> None:  # G8
    """Not even where the environment names the same gateway, or none: the file says all of that."""
    path = write('[prod]\nurl = "http://127.0.0.1"\n')
    environ = {
        "JUPYTER_GATEWAY_AUTH_TOKEN": SECRET,
        "JUPYTER_GATEWAY_VALIDATE_CERT": "no",
        "JUPYTER_GATEWAY_URL": "http://127.0.0.1",
    }
    config = GatewayConfig.from_file("prod", file=path, environ=environ)
    assert (config.auth_token, config.validate_cert) == ("", True)
    assert config.ignored_variables == ("JUPYTER_GATEWAY_AUTH_TOKEN", "JUPYTER_GATEWAY_VALIDATE_CERT")
    assert GatewayConfig.from_file("prod", file=path, environ=environ, auth_token="mine").auth_token == "mine"


def test_what_logs_in_stays_behind_where_another_url_takes_its_place(write: Write) -> None:  # G8
    path = write('[prod]\nurl = "http://127.0.0.1"\ntoken_env = "T"\n')
    config = GatewayConfig.from_file("prod", file=path, environ={"T": SECRET})
    assert config.replace(request_timeout=5).auth_token == SECRET
    assert config.replace(url="http://127.0.0.2").auth_token == ""


# ----------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        (f'auth_token = "{SECRET}"', "auth_token", 'token_env = "VARIABLE" or token_file = "PATH", or token_command'),
        (f'token = "{SECRET}"', "token", "token_env"),
        (f'http_pwd = "{SECRET}"', "http_pwd", 'http_pwd_env = "VARIABLE" or http_pwd_file = "PATH"'),
        (f'password = "{SECRET}"', "password", "http_pwd_env"),
        (f'headers = {{X-Key = "{SECRET}"}}', "headers", "headers_env"),
        (f'ws_url = "ws://me:{SECRET}@127.0.0.1"', "ws_url", "http_user"),
        ('token_env = "NOT_SET"', "token_env", "a variable that is set, unlike NOT_SET"),
        ('token_file = "missing"', "token_file", "No such file"),
        ('token_file = "empty"', "token_file", "it is empty"),
        ("token_file = 5", "token_file", "the path of a file"),
        ('token_file = "two"\ntoken_env = "T"', "token_env", "only one of token_file and token_env"),
        ('token_file = "lines"', "auth_token", "text without line breaks"),
        ('tokn_env = "T"', "tokn_env", "did you mean token_env?"),
        (f'pasword = "{SECRET}"', "pasword", "there is no setting of this name"),
        ("request_timeout = -1", "request_timeout", "-1 can't be used"),
        ("request_timeout = 2030-01-01", "request_timeout", "<date> can't be used"),
        ('url2 = {a = "b"}', "url2", "there is no setting of this name"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    line: str, field: str, words: str, write: Write, tmp_path: Path
) -> None:  # G8, G10
    for name, text in {"empty": "", "two": SECRET, "lines": f"{SECRET}\n{SECRET}"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    path = write(f'[prod]\nurl = "http://127.0.0.1"\n{line}\n')
    error = refused(path, environ={"T": SECRET})
    assert isinstance(error, ConfigError)
    (problem,) = error.problems
    assert problem.field == field
    assert words in str(error)
    assert f"{path}: prod." in str(error)
    assert SECRET not in str(error)


def test_all_that_is_wrong_is_told_at_once(write: Write) -> None:
    path = write(f'[prod]\nurl = "http://me:{SECRET}@127.0.0.1"\nauth_token = "{SECRET}"\nrequest_timeout = 0\nbees = 1\n')
    error = refused(path, launch_timeout=-1)
    assert isinstance(error, ConfigError)
    fields = [problem.field for problem in error.problems]
    assert {"url", "auth_token", "request_timeout", "bees", "launch_timeout"} <= set(fields)
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[prod]\nurl =\n", "line 2"),
        ('[prod]\nurl = "a"\nurl = "b"\n', "line 3"),
        ('url = "http://127.0.0.1"\n', "url stands above the first line such as"),
        ("\udcff", "in UTF-8"),
    ],
)
def test_what_is_no_such_file_is_named(text: str, words: str, tmp_path: Path) -> None:  # G10
    path = tmp_path / "gateways.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    error = refused(path)
    assert error.field == "file"
    assert words in str(error)


def test_a_name_that_is_none_has_those_that_are_near(write: Write, tmp_path: Path) -> None:  # G10
    path = write('[prod]\nurl = "http://127.0.0.1"\n[staging]\nurl = "http://127.0.0.2"\n')
    assert "prod, or another one" in str(refused(path, "prd"))
    assert "prod, staging" in str(refused(path, "zzz"))
    error = refused(tmp_path / "missing.toml")
    assert (error.field, error.value) == ("gateway", "prod")
    assert "missing.toml, which does not exist: write [prod] there" in str(error)
    assert refused(path, "").field == "gateway"


def test_a_url_beside_the_name_is_refused(write: Write) -> None:
    error = refused(write('[prod]\nurl = "http://127.0.0.1"\n'), url="http://127.0.0.2")
    assert "no url beside a gateway's name" in str(error)
