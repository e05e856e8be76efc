"""The command as a whole: help, wrong arguments, what is not installed."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import attrs
import click
import pytest

import trio_gateway
from trio_gateway._cli.options import Options
from trio_gateway_command import main
from trio_gateway_command.commands import Call, app
from trio_gateway_command.options import ATTACH, COMMON, CONTROL, JSON, KERNEL, RESOURCE

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import run


@pytest.mark.parametrize("command", ["", "exec", "run", "kernels", "kernelspecs"])
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command.split(), "--help") == 0
    out, err = capsys.readouterr()
    assert "--url" in out
    assert "token" in out
    assert err == ""


def test_every_option_and_argument_of_every_command_is_explained() -> None:
    def check(command: Any) -> None:
        assert command.help
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, (command.name, parameter.name)
                assert parameter.name not in {"token", "auth_token", "password"}  # secrets have no business in a command line
        for inner in getattr(command, "commands", {}).values():
            check(inner)

    check(app)


def test_every_command_is_done_by_a_function_that_takes_its_arguments() -> None:
    """What is named in `commands` is there: no type checker sees it."""

    def check(command: click.Command) -> int:
        call = command.callback and command.callback()
        if isinstance(call, Call):
            names = [str(parameter.name) for parameter in command.params if parameter.expose_value]
            names += ["arguments"] if command.name == "run" else []
            function = getattr(importlib.import_module(f"trio_gateway._cli.{call.module}"), call.function)
            inspect.signature(function).bind(Options(), **dict.fromkeys(names))
        return isinstance(call, Call) + sum(map(check, getattr(command, "commands", {}).values()))

    with click.Context(app):
        assert check(app) == 13
    remembered = {str(option.name) for option in [*COMMON, KERNEL, ATTACH, RESOURCE, JSON, CONTROL]}
    assert remembered <= {field.alias for field in attrs.fields(Options)}


def test_without_a_command_help_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: trio-gateway ")
    assert run("--help") == 0
    assert capsys.readouterr() == (err, "")


@pytest.mark.parametrize("arguments", [["--url", "http://x"], ["-q"], ["--gateway=x", "--debug"]], ids=" ".join)
def test_options_without_a_command_are_an_error_that_says_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert capsys.readouterr() == ("", "trio-gateway: error: Missing command.\nTry: trio-gateway --help\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert trio_gateway.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "frobnicate"),
        (["--frobnicate"], "--frobnicate"),
        (["exec"], "CODE"),
        (["exec", "1", "2"], "2"),
        (["exec", "--timeout", "0", "1"], "--timeout"),
        (["exec", "--timeout", "soon", "1"], "soon"),
        (["exec", "a\0b"], "NUL"),
        (["exec", "\udcff"], "surrogate"),
        (["run"], "FILE"),
        (["run", "missing.ipynb"], "missing.ipynb"),
        (["run", "missing.py"], "missing.py"),
        (["run", "x.py", "-o", "y.ipynb"], "--output"),
        (["run", "x.py", "--allow-errors"], "--allow-errors"),
        (["run", "x.ipynb", "-o", "y.ipynb", "--inplace"], "--inplace"),
        (["run", "x.ipynb", "-o", "y.html"], "has to end in .ipynb, not in .html"),
        (["run", "x.ipynb", "-o", "y.ipynb.bak"], ".bak"),
        (["run", "x.ipynb", "-o", "y.json"], ".json"),
        (["run", "X.IPYNB", "-o", "y.ipynb"], "a file that can be read (No such file or directory)"),
        (["kernels"], "JUPYTER_GATEWAY_URL"),
        (["kernels", "interrupt", "id"], "JUPYTER_GATEWAY_URL"),
        (["kernels", "interrupt"], "ID"),
        (["exec", "--url", "no-scheme", "1"], "no-scheme"),
        (["exec", "--token-file", "missing", "--url", "http://127.0.0.1:1", "1"], "missing"),
    ],
)
def test_bad_input_ends_with_code_2_and_names_what_is_wrong(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trio-gateway: error: ")
    assert words in err
    assert "Traceback" not in err
    assert "defect" not in err


def test_a_library_of_the_extra_that_is_missing_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "click", None)
    for name in [name for name in sys.modules if name.startswith("trio_gateway_command.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert 'pip install "trio-gateway[cli]"' in capsys.readouterr().err
