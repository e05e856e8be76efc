"""Where code comes from: a file, standard input; and what is no text is refused."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.notebook_tools import FakeKernel

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, run


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"print('\xff')", "UTF-8"), (b"# coding: klingon\n", "klingon"), (b"x = '\0'", "NUL")],
)
def test_a_script_that_is_no_text_is_refused(
    content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "script.py"
    path.write_bytes(content)
    assert run("run", path) == 2
    assert words in capsys.readouterr().err


def test_a_script_may_name_its_encoding(tmp_path: Path, fake_gateway: Install) -> None:
    kernel = FakeKernel({})
    fake_gateway(kernel)
    path = tmp_path / "script.py"
    path.write_bytes(b"# coding: latin-1\r\nx = '\xfc'\r\n")
    assert run("run", path) == 0
    assert kernel.executed == ["# coding: latin-1\nx = 'ü'\n"]


def test_code_can_come_from_standard_input(monkeypatch: pytest.MonkeyPatch, fake_gateway: Install) -> None:
    kernel = FakeKernel({})
    fake_gateway(kernel)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffprint('ü')".encode())))
    assert run("exec", "-") == 0
    assert kernel.executed == ["print('ü')"]


@pytest.mark.parametrize("stdin", [None, io.TextIOWrapper(io.BytesIO(b"\xff"))])
def test_standard_input_that_is_no_text_is_refused(
    stdin: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("exec", "-") == 2
    assert "CODE" in capsys.readouterr().err


def test_a_byte_order_mark_is_no_code(tmp_path: Path, fake_gateway: Install) -> None:
    kernel = FakeKernel({})
    fake_gateway(kernel)
    for name in ("script.py", "script.R"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbfx")
        assert run("run", tmp_path / name) == 0
    assert kernel.executed == ["x", "x"]


def test_ctrl_c_while_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted:
        @property
        def buffer(self) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    assert run("exec", "-") == 130
    assert capsys.readouterr() == ("", "")
    assert run("exec", "--json", "-") == 130
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "Interrupted"
