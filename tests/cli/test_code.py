"""One piece of code: its output, its errors, what is missing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.notebook_tools import FakeKernel, write_notebook
from trio_gateway import (
    Error,
    ExecuteResult,
    OutputGap,
    Stream,
)

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


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        ("", 0, ""),
        ("0", 0, ""),
        ("None", 0, ""),
        ("False", 0, ""),
        ("True", 1, ""),
        ("3", 3, ""),
        ("-1", 255, ""),
        ("bad", 1, "bad\n"),
    ],
)
def test_sys_exit_ends_the_command_as_it_ends_python(
    value: str, code: int, shown: str, fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = [Stream("stdout", "done\n"), Error("SystemExit", value, ("Traceback", f"SystemExit: {value}"))]
    fake_gateway(FakeKernel({"x": script}))
    (tmp_path / "x.py").write_text("x")
    for command in [("exec", "-q", "x"), ("run", "-q", tmp_path / "x.py")]:
        assert run(*command) == code
        assert capfd.readouterr() == ("done\n", shown)


@pytest.mark.parametrize(("kept", "code"), [(False, 0), (True, 0), (None, 0), (3, 3), (256, 0)])
def test_a_kernel_that_asks_to_leave_ends_the_command(kept: object, code: int, fake_gateway: Install) -> None:
    fake_gateway(FakeKernel({"x": [{"payload": [{"source": "ask_exit", "keepkernel": kept}]}]}))
    assert run("exec", "-q", "x") == code


def test_a_notebook_that_exits_says_which_cell_ended_it(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel({"x": [Error("SystemExit", "0", ("Traceback",))]}))
    assert run("run", "--echo", write_notebook(tmp_path / "n.ipynb", "x", "y")) == 0
    out, err = capfd.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert "Ran 1 of 2 cells" in err
    assert "cell 1 ended the run" in err
