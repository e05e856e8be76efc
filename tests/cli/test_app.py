"""The command as a whole: help, wrong arguments, what is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import trio_gateway
from trio_gateway._cli import main
from trio_gateway._cli.app import app

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
    monkeypatch.setitem(sys.modules, "rich_click", None)
    for name in [name for name in sys.modules if name.startswith("trio_gateway._cli.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert 'pip install "trio-gateway[cli]"' in capsys.readouterr().err
