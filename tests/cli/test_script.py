"""A script's arguments, its own name, what stands beside it; and where a kernel has no place for them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trio_gateway.blocking
from tools.notebook_tools import texts_of, write_notebook
from trio_gateway.testing import Cell, FakeKernelSpec

from .cli_kit import Cli, CliHere, ServedFake
from .in_process import *  # noqa: F403 - its fixtures
from .in_process import run

Served = Callable[..., ServedFake]

SHOW = "import sys\nprint(sys.argv, __name__, globals().get('__file__'))"


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes | str) -> None:
    data = content.encode() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_script_finds_what_stands_after_two_dashes(served: Served) -> None:
    cli = served().cli
    (cli.cwd / "sub").mkdir()
    (cli.cwd / "sub" / "script.py").write_text(SHOW)
    own = f"__main__ {cli.cwd / 'sub' / 'script.py'}\n"
    given = ["--timeout", "3", "", "ü 'x'", "{y}", "--", "-q"]
    for arguments in ([], ["--"]):
        done = cli.run("run", "sub/script.py", *arguments)
        assert (done.code, done.out) == (0, f"['sub/script.py'] {own}")
    done = cli.run("run", "-q", "sub/script.py", "--timeout", "30", "--", *given)
    assert (done.code, done.out, done.err) == (0, f"{['sub/script.py', *given]} {own}", "")


def test_where_no_file_stands_before_two_dashes_its_name_may_begin_with_one(served: Served) -> None:
    cli = served().cli
    (cli.cwd / "-q.py").write_text(SHOW)
    own = f"__main__ {cli.cwd / '-q.py'}\n"
    assert cli.run("run", "--", "-q.py").out == f"['-q.py'] {own}"
    assert cli.run("run", "-q", "--", "-q.py", "--", "-v", "x").out == f"['-q.py', '-v', 'x'] {own}"


def test_a_script_imports_what_stands_beside_it_as_with_python_itself(served: Served) -> None:
    cli = served().cli
    before = [*sys.path]
    (cli.cwd / "sub").mkdir()
    (cli.cwd / "sub" / "script.py").write_text("import sys; print(sys.path[0])")
    assert cli.run("run", "sub/script.py").out == f"{cli.cwd / 'sub'}\n"
    assert sys.path == before


def test_a_script_from_standard_input_has_no_file(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = served().cli
    feed(monkeypatch, SHOW)
    assert cli.run("run", "-", "--", "-v").out == "['-', '-v'] __main__ None\n"
    feed(monkeypatch, "input()")
    done = cli.run("run", "-")
    assert done.code == 1
    assert "standard input is where the code comes from" in done.err


def test_json_that_is_no_notebook_is_a_script(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = served().cli
    for text in ('{"cells": 1}', "{1: 2}", "\ufeff{'a': 3}"):
        feed(monkeypatch, text)
        assert cli.run("run", "-").out == f"{eval(text.lstrip(chr(0xFEFF)))}\n"


def test_a_notebook_may_come_on_standard_input(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = served().cli
    text = write_notebook(cli.cwd / "n.ipynb", "import os", "print(os.getcwd())").read_bytes()
    feed(monkeypatch, b"\xef\xbb\xbf\n" + text)
    done = cli.run("run", "-", "-o", "out.ipynb")
    assert (done.code, done.out) == (0, "")
    assert texts_of(json.loads((cli.cwd / "out.ipynb").read_text())["cells"][1]) == [f"{cli.cwd}\n"]
    feed(monkeypatch, text)
    assert cli.run("run", "-", "-q").out == f"{cli.cwd}\n"
    feed(monkeypatch, text.replace(b'"nbformat": 4', b'"nbformat": 5'))
    done = cli.run("run", "-")
    assert done.code == 2
    assert "format 5" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Give the FILE to run"),
        (["run", "--"], "Give the FILE to run"),
        (["run", "n.ipynb", "--", "x"], "a notebook has no arguments"),
        (["run", "script.py", "x"], "stands after --"),
        (["run", "script.py", "-o", "x.ipynb", "--", "x"], "--output is for notebooks"),
    ],
)
def test_a_command_line_that_can_not_be_meant_is_refused(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_notebook(tmp_path / "n.ipynb", "1")
    (tmp_path / "script.py").write_text("1")
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err


def test_a_notebook_from_standard_input_can_not_be_saved_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, write_notebook(tmp_path / "n.ipynb", "1").read_bytes())
    assert run("run", "-", "--inplace") == 2
    assert "--inplace is for files" in capsys.readouterr().err


def test_a_script_in_another_language_takes_no_arguments(served: Served) -> None:
    async def script(cell: Cell) -> None:
        cell.stdout("ran\n")

    gateway = served(kernelspecs=[FakeKernelSpec(name="other", script=script)])
    (gateway.cli.cwd / "script.R").write_text("1")
    done = gateway.cli.run("run", "-q", "script.R")
    assert (done.code, done.out) == (0, "ran\n")
    done = gateway.cli.run("run", "-q", "script.R", "--", "x")
    assert (done.code, done.out) == (2, "")
    assert "are for scripts in Python, and this kernel's language is text." in done.err


@pytest.mark.parametrize("answer", [{}, {"status": "error", "ename": "E", "evalue": "v"}])
def test_a_kernel_that_can_not_be_given_arguments_runs_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch, answer: dict[str, str]
) -> None:
    monkeypatch.setattr("trio_gateway.testing._python.TinyPython.evaluate", lambda self, expression: answer)
    cli = served().cli
    (cli.cwd / "script.py").write_text("print('ran')")
    done = cli.run("run", "-q", "script.py", "--", "x")
    assert (done.code, done.out) == (2, "")
    assert "could not be given the arguments" in done.err
    assert ("E: v" in done.err) == bool(answer)
    assert cli.run("run", "-q", "script.py").out == "ran\n"


def test_a_kernel_that_stays_forgets_the_script(served: Served) -> None:
    gateway = served()
    cli = gateway.cli
    (cli.cwd / "script.py").write_text(f"{SHOW}\nkept = 1\nif '--fail' in sys.argv: 1 / 0")
    with trio_gateway.blocking.open_gateway(gateway.url, auth_token=gateway.fake.token) as other, other.start_kernel() as kernel:
        kernel.execute("__file__ = 'mine'; import sys; sys.argv = ['a']").raise_for_error()
        before = kernel.execute("sys.path").text
        for ending, code in (("--well", 0), ("--fail", 1)):
            done = cli.run("run", "script.py", "--attach", kernel.id, "--", ending)
            assert (done.code, done.out) == (code, f"['script.py', '{ending}'] __main__ {cli.cwd / 'script.py'}\n")
            assert kernel.execute("[sys.argv, __file__, kept]").text.strip() == "[['a'], 'mine', 1]"
            assert kernel.execute("sys.path").text == before
        kernel.execute("del __file__").raise_for_error()
        assert cli.run("run", "script.py", "--attach", kernel.id).code == 0
        assert kernel.execute("'__file__' in globals()").text.strip() == "False"


@pytest.mark.gateway
async def test_a_real_kernel_runs_a_script_with_its_arguments(cli: Cli) -> None:
    folder = cli.cwd / "sub"
    folder.mkdir()
    (folder / "helper.py").write_text("VALUE = 42\n")
    lines = ["import argparse, sys, helper", "parser = argparse.ArgumentParser()", "parser.add_argument('--name')"]
    lines += ["parser.add_argument('file')", "print(parser.parse_args(), sys.argv[0], __file__, helper.VALUE)"]
    (folder / "script.py").write_text("\n".join([*lines, "print([n for n in globals() if n in ('os', 'json', 'place')])"]))
    done = await cli.run("run", "sub/script.py", "--", "--name", "ü'\"", "data.csv")
    shown = f"Namespace(name='ü\\'\"', file='data.csv') sub/script.py {folder / 'script.py'} 42\n[]\n"
    assert (done.code, done.out, done.err) == (0, shown, "")


@pytest.mark.gateway
def test_a_real_kernel_that_stays_forgets_the_script(cli_here: CliHere, real_gateway: Any) -> None:
    (cli_here.cwd / "script.py").write_text(SHOW)
    with (
        trio_gateway.blocking.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.start_kernel() as kernel,
    ):
        state = "import sys; print([sys.argv, globals().get('__file__'), sys.path])"
        before = kernel.execute(state).text
        done = cli_here.run("run", "script.py", "--attach", kernel.id, "--", *map(str, range(1500)))
        assert done.code == 0
        assert done.out.startswith("['script.py', '0', '1'")
        assert kernel.execute(state).text == before
