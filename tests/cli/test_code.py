"""One piece of code: its output, its errors, what is missing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_gateway import (
    Error,
    ExecuteResult,
    OutputGap,
    Stream,
)

from .cli_kit import FakeKernel, write_notebook
from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, run


def test_streams_stay_separate_and_only_stderr_tells_of_the_local_gateway(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(FakeKernel({"x": [Stream("stdout", "out"), Stream("stderr", "err\n"), ExecuteResult(1, {"text/plain": "42"})]}))
    assert run("exec", "x") == 0
    out, err = capfd.readouterr()
    assert out == "out\n42\n"
    assert err == "No gateway is configured (--url, JUPYTER_GATEWAY_URL): starting a local one.\nerr\n"
    assert run("exec", "-q", "x") == 0
    assert capfd.readouterr() == ("out\n42\n", "err\n")


def test_an_error_in_the_code_ends_with_code_1_and_its_traceback_without_colours(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(FakeKernel({"x": [Error("E", "v", ("\x1b[31mTraceback\x1b[0m", "E: v"))]}))
    assert run("exec", "-q", "x") == 1
    assert capfd.readouterr() == ("", "Traceback\nE: v\n")


def test_an_error_that_only_the_reply_tells_is_told(fake_gateway: Install, capfd: pytest.CaptureFixture[str]) -> None:
    fake_gateway(FakeKernel({"x": ["error"]}))
    assert run("exec", "-q", "x") == 1
    assert capfd.readouterr() == ("", "ReplyError: told late\n")
    fake_gateway(FakeKernel({"x": ["aborted"]}))
    assert run("exec", "-q", "x") == 1
    assert "did not run" in capfd.readouterr().err


def test_output_that_is_not_whole_is_a_warning_also_when_quiet(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel({"x": [OutputGap("lost", 3)]}))
    assert run("exec", "-q", "x") == 0
    assert (
        capfd.readouterr().err
        == "trio-gateway: warning: the output is not whole: at most 3 messages may have been lost on the way\n"
    )
    assert run("run", "-q", write_notebook(tmp_path / "n.ipynb", "x")) == 0
    assert "warning: cell 1: the output is not whole" in capfd.readouterr().err
