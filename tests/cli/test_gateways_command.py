"""Gateways by name at the command line: listed, completed, used, and what is wrong with them named."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from trio_gateway_command.commands import app

from .cli_kit import CliHere, ServedFake

SECRET = "s3cret-0123456789"


def write(path: Path, text: str) -> Path:
    """Write a file of gateways; TRIO_GATEWAY_FILE names it."""
    path.write_text(text, encoding="utf-8")
    return path


FILE = f"""
[prod]
url = "https://me:{SECRET}@gateway.example"
token_command = ["vault", "{SECRET}"]
[staging]
url = ["http://a:8888", "http://b:8888"]
token_env = "STAGING_TOKEN"
[wrong]
url = 5
auth_token = "{SECRET}"
"""


def test_they_are_listed_without_secrets(bare_cli_here: CliHere, tmp_path: Path) -> None:  # G8
    path = write(tmp_path / "g.toml", FILE)
    done = bare_cli_here.run("gateways", TRIO_GATEWAY_FILE=str(path))
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()] == [
        ["NAME", "URL", "LOGIN"],
        ["prod", "https://***@gateway.example", "token_command"],
        ["staging", "http://a:8888,http://b:8888", "token_env", "STAGING_TOKEN"],
        ["wrong", "5"],
    ]
    done = bare_cli_here.run("gateways", "--json", TRIO_GATEWAY_FILE=str(path))
    assert SECRET not in done.out
    found = json.loads(done.out)
    assert (found["ok"], found["file"]) == (True, str(path))
    assert found["gateways"][1] == {"name": "staging", "url": "http://a:8888,http://b:8888", "login": "token_env STAGING_TOKEN"}


def test_where_none_has_a_name_it_is_said_where_they_would_stand(bare_cli_here: CliHere, tmp_path: Path) -> None:
    done = bare_cli_here.run("gateways", TRIO_GATEWAY_FILE=str(tmp_path / "none.toml"))
    assert (done.code, done.out) == (0, "")
    assert str(tmp_path / "none.toml") in done.err
    path = write(tmp_path / "g.toml", "[prod")
    done = bare_cli_here.run("gateways", TRIO_GATEWAY_FILE=str(path))
    assert (done.code, done.out) == (2, "")
    assert "a file of gateways in TOML" in done.err


def test_one_is_used_by_its_name(served: Callable[..., ServedFake], tmp_path: Path) -> None:
    it = served()
    code = f"print({it.fake.token!r})"
    text = f'[mine]\nurl = "{it.url}"\ntoken_command = {json.dumps([sys.executable, "-I", "-c", code])}\n'
    path = str(write(tmp_path / "g.toml", text))
    gone = {"JUPYTER_GATEWAY_URL": "http://127.0.0.1:1", "JUPYTER_GATEWAY_AUTH_TOKEN": SECRET}
    done = it.cli.run("--gateway", "mine", "exec", "print(6 * 7)", TRIO_GATEWAY_FILE=path, **gone)
    assert (done.code, done.out) == (0, "42\n")
    assert "JUPYTER_GATEWAY_AUTH_TOKEN: not used" in done.err
    done = it.cli.run("doctor", "--gateway", "mine", "--no-kernel", TRIO_GATEWAY_FILE=path, JUPYTER_GATEWAY_AUTH_TOKEN="")
    assert done.code == 0
    assert f"{path}: mine.url" in done.out
    assert it.fake.token not in done.out + done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gateway", "prd"], "--gateway: 'prd' can't be used; expected a gateway of"),
        (["--gateway", "wrong"], "g.toml: wrong.auth_token"),
        (["--gateway", "prod", "--url", "http://127.0.0.1"], "--gateway and --url exclude each other"),
        (["--gateway", "typo"], "g.toml: typo.tokn_env: there is no setting of this name; did you mean token_env?"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], words: str, bare_cli_here: CliHere, tmp_path: Path) -> None:  # G10
    path = write(tmp_path / "g.toml", FILE + '[typo]\nurl = "http://127.0.0.1"\ntokn_env = "T"\n')
    done = bare_cli_here.run("kernelspecs", *arguments, TRIO_GATEWAY_FILE=str(path))
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert SECRET not in done.err


def test_a_token_that_everybody_can_read_is_a_warning(served: Callable[..., ServedFake], tmp_path: Path) -> None:
    """In the file of --token-file, and in one that the file of gateways names."""
    it = served()
    token = tmp_path / "token"
    token.write_text(it.fake.token)
    token.chmod(0o644)
    path = write(tmp_path / "g.toml", f'[mine]\nurl = "{it.url}"\ntoken_file = "token"\n')
    for arguments in (["--token-file", token], ["--gateway", "mine"]):
        done = it.cli.run("kernelspecs", *arguments, TRIO_GATEWAY_FILE=str(path))
        assert done.code == 0
        assert "everybody on this machine can read it" in done.err


def test_names_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_GATEWAY_FILE", str(write(tmp_path / "g.toml", FILE)))
    complete = ShellComplete(app, {}, "trio-gateway", "_TRIO_GATEWAY_COMPLETE")
    for before in (["--gateway"], ["exec", "--gateway"]):
        assert [item.value for item in complete.get_completions(before, "")] == ["prod", "staging", "wrong"]
        assert [item.value for item in complete.get_completions(before, "s")] == ["staging"]
    monkeypatch.setenv("TRIO_GATEWAY_FILE", str(write(tmp_path / "g.toml", "[")))
    assert complete.get_completions(["--gateway"], "") == []
