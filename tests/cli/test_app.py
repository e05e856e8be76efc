"""The command as a whole, in this process, with a gateway that is faked: options, endings, signals."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console

import trio_gateway
from trio_gateway import (
    AuthenticationError,
    DisplayData,
    Error,
    ExecuteResult,
    GatewayConfig,
    GatewayConnectionError,
    KernelDiedError,
    KernelModel,
    KernelSpecNotFoundError,
    OutputGap,
    Stream,
    UpdateDisplayData,
)
from trio_gateway._cli import main
from trio_gateway._cli.app import app, run_app
from trio_gateway._cli.options import Options
from trio_gateway._cli.progress import open_progress
from trio_gateway._cli.supervision import alongside, limited, run_command

from .cli_kit import FakeKernel, texts_of, write_notebook

Install = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _signals_as_a_terminal_gives_them() -> Iterator[None]:
    """Under `nohup`, or in the background of a script, some are ignored, and the command leaves them so."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("JUPYTER_GATEWAY_", "NO_COLOR", "FORCE_COLOR", "TTY_")):
            monkeypatch.delenv(name)


def run(*arguments: str | Path) -> int:
    return run_app([str(argument) for argument in arguments])


# ---------------------------------------------------------------------------------------------------------------- help


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


def test_the_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    run("--help")
    out = capsys.readouterr().out
    for code in (0, 1, 2, 3, 4, 5, 70, 130, 141, 143):
        assert f"{code}: " in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert trio_gateway.__version__ in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- bad input


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


@pytest.mark.parametrize("content", ["", " \n", "two words"])
def test_a_token_file_holds_one_word_and_what_it_holds_is_not_told(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    assert run("--url", "http://127.0.0.1:1", "--token-file", path, "exec", "1") == 2
    err = capsys.readouterr().err
    assert "--token-file" in err
    assert "two words" not in err


def test_a_byte_order_mark_is_no_code(tmp_path: Path, fake_gateway: Install) -> None:
    kernel = FakeKernel({})
    fake_gateway(kernel)
    for name in ("script.py", "script.R"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbfx")
        assert run("run", tmp_path / name) == 0
    assert kernel.executed == ["x", "x"]


# ------------------------------------------------------------------------------------------------------ common options


def test_options_count_before_and_after_the_command_and_the_last_one_wins(fake_gateway: Install) -> None:
    gateway = fake_gateway(FakeKernel({}))
    assert run("--kernel", "before", "exec", "1") == 0
    assert run("exec", "--kernel", "after", "1") == 0
    assert run("--kernel", "before", "exec", "1", "--kernel", "after") == 0
    assert run("exec", "1", "--cwd", "/tmp") == 0
    assert [(name, cwd and str(cwd)) for name, cwd in gateway.started] == [
        ("before", None),
        ("after", None),
        ("after", None),
        (None, "/tmp"),
    ]


def test_a_url_and_a_token_file_become_settings(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    options = Options(url="http://h", token_file=path)
    assert options.settings() == {"url": "http://h", "auth_token": "s3cret"}
    assert "s3cret" not in repr(options)


class FakeConfigured:
    """A configured gateway of which only the list of kernels is asked for."""

    def __init__(self, answer: Any) -> None:
        self.kernels = self
        self._answer = answer
        self.configs: list[GatewayConfig] = []

    async def list(self, **_options: object) -> Any:
        await trio.lowlevel.checkpoint()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    @asynccontextmanager
    async def open_gateway(self, config: GatewayConfig) -> AsyncGenerator[FakeConfigured]:
        self.configs.append(config)
        yield self


def test_what_the_environment_has_for_another_gateway_is_not_used_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeConfigured([])
    monkeypatch.setattr(trio_gateway, "open_gateway", fake.open_gateway)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", "s3cret")
    assert run("kernels", "--url", "http://127.0.0.1:1") == 0
    assert fake.configs[-1].auth_token == "s3cret"
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", "http://127.0.0.1:2")
    assert run("kernels", "--url", "http://127.0.0.1:1") == 0
    assert fake.configs[-1].auth_token != "s3cret"
    assert "warning: JUPYTER_GATEWAY_AUTH_TOKEN: not used" in capsys.readouterr().err


def test_a_gateway_that_forbids_listing_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeConfigured(AuthenticationError(403, "Forbidden", url="http://127.0.0.1:1/api/kernels"))
    monkeypatch.setattr(trio_gateway, "open_gateway", fake.open_gateway)
    assert run("kernels", "--url", "http://127.0.0.1:1") == 3
    assert "KG_LIST_KERNELS" in capsys.readouterr().err


def test_kernels_are_listed_with_what_is_known_of_them(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    models = [
        KernelModel(id="one", name="py\x1b[31m" + "x" * 100, last_activity=when, execution_state="idle", connections=2),
        KernelModel(id="two"),
    ]
    monkeypatch.setattr(trio_gateway, "open_gateway", FakeConfigured(models).open_gateway)
    monkeypatch.setenv("COLUMNS", "20")  # nothing is shortened, however narrow the terminal
    assert run("kernels", "--url", "http://127.0.0.1:1") == 0
    assert [line.split() for line in capfd.readouterr().out.splitlines()[1:]] == [
        ["one", "py\\x1b[31m" + "x" * 100, "idle", "2", "2026-01-02T03:04:05+00:00"],
        ["two", "unknown"],
    ]
    assert run("kernels", "list", "--json", "--url", "http://127.0.0.1:1") == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["ok"], report["error"]) == (True, None)
    listed = report["kernels"]
    assert listed[0]["last_activity"] == "2026-01-02T03:04:05+00:00"
    assert listed[1] == {"id": "two", "name": "", "execution_state": "unknown", "connections": None, "last_activity": None}


# ------------------------------------------------------------------------------------------------------------- endings


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
    ("error", "code", "words"),
    [
        (GatewayConnectionError("nobody listens"), 3, "nobody listens"),
        (GatewayConnectionError("\x1b]0;title\x07"), 3, "\\x1b]0;title\\x07"),
        (KernelSpecNotFoundError("x", available=["python3"]), 2, "python3"),
        (RuntimeError("oops"), 70, "RuntimeError: oops"),
    ],
)
def test_each_error_becomes_a_code_and_a_few_lines(
    error: Exception, code: int, words: str, fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(error)
    assert run("exec", "-q", "1") == code
    err = capfd.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 2
    assert run("exec", "-q", "--debug", "1") == code
    assert "Traceback" in capfd.readouterr().err


def test_of_a_local_gateway_that_does_not_start_nobody_is_asked_for_the_address(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gateway(GatewayConnectionError("the local gateway ended with status 1"))
    assert run("exec", "-q", "1") == 3
    assert capfd.readouterr().err.splitlines()[1:] == [
        "A gateway that runs already is used where --url or JUPYTER_GATEWAY_URL names it."
    ]
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", "http://127.0.0.1:1")
    assert run("exec", "-q", "1") == 3
    assert "Is the gateway running there?" in capfd.readouterr().err


def test_running_out_of_time_interrupts_and_ends_with_code_4(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kernel = FakeKernel({"x": [Stream("stdout", "before\n"), trio.sleep_forever]})
    fake_gateway(kernel)
    assert run("exec", "-q", "--timeout", "0.01", "x") == 4
    out, err = capfd.readouterr()
    assert out == "before\n"
    assert "--timeout" in err
    path = write_notebook(tmp_path / "n.ipynb", "x", "never")
    assert run("run", "-q", "--inplace", "--timeout", "0.01", path) == 4
    assert kernel.interrupted == ["x", "x"]
    assert [texts_of(cell) for cell in json.loads(path.read_text())["cells"]] == [["before\n"], []]


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


# ----------------------------------------------------------------------------------------------------------- notebooks


def test_without_a_place_to_save_a_notebooks_outputs_are_shown_and_it_stays_as_it_is(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gateway = fake_gateway(FakeKernel({"a": [Stream("stdout", "no newline")], "b": [ExecuteResult(1, {"text/plain": "42"})]}))
    path = write_notebook(tmp_path / "n.ipynb", "a", "b")
    before = path.read_bytes()
    assert run("run", path) == 0
    out, err = capfd.readouterr()
    assert out == "no newline\n42\n"
    assert err.splitlines()[1:3] == ["[1/2] a", "[2/2] b"]
    assert err.splitlines()[3].startswith("Ran 2 of 2 cells")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert gateway.started == [("python3", tmp_path)]


def test_with_a_place_to_save_they_are_not_shown_unless_asked(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel({"a": [Stream("stdout", "shown")]}))
    path = write_notebook(tmp_path / "n.ipynb", "a")
    assert run("run", path, "-o", tmp_path / "out.ipynb") == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert f"Saved to {tmp_path / 'out.ipynb'}." in err
    assert texts_of(json.loads((tmp_path / "out.ipynb").read_text())["cells"][0]) == ["shown"]
    assert texts_of(json.loads(path.read_text())["cells"][0]) == []
    assert run("run", path, "--inplace", "--echo", "-q") == 0
    assert capfd.readouterr() == ("shown\n", "")
    assert texts_of(json.loads(path.read_text())["cells"][0]) == ["shown"]


def test_a_notebook_keeps_what_the_kernel_sent(fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fake_gateway(FakeKernel({"a": [Stream("stdout", "\x1b[31mred\x1b]0;title\x07\b\n")]}))
    path = write_notebook(tmp_path / "n.ipynb", "a")
    assert run("run", path, "-q", "--inplace", "--echo") == 0
    assert capfd.readouterr().out == "red\n"
    assert texts_of(json.loads(path.read_text())["cells"][0]) == ["\x1b[31mred\x1b]0;title\x07\b\n"]
    assert run("run", path, "-q", "--inplace", "--echo", "--control") == 0
    assert capfd.readouterr().out == "\x1b[31mred\x1b]0;title\x07\b\n"


def test_a_notebook_is_saved_under_any_name_that_does_not_lie(fake_gateway: Install, tmp_path: Path) -> None:
    fake_gateway(FakeKernel({}))
    path = write_notebook(tmp_path / "n.ipynb", "a")
    for name in ("out", "out.IPYNB", ".ipynb"):
        assert run("run", path, "-q", "-o", tmp_path / name) == 0
        assert json.loads((tmp_path / name).read_text())["nbformat"] == 4
    os.mkfifo(tmp_path / "pipe.x")
    descriptor = os.open(tmp_path / "pipe.x", os.O_RDWR)
    try:
        assert run("run", path, "-q", "-o", tmp_path / "pipe.x") == 0
    finally:
        os.close(descriptor)


def test_a_notebooks_run_as_json(fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With the outputs that each cell shows in the end; what is saved is the same."""
    handle = DisplayData({"text/plain": "old"}, display_id="d")
    fake_gateway(
        FakeKernel(
            {
                "a": [handle, OutputGap("lost", 3)],
                "b": [UpdateDisplayData({"text/plain": "new"}, display_id="d")],
                "c": [Error("E", "v")],
            }
        )
    )
    path = write_notebook(tmp_path / "n.ipynb", "a", "b", ("never", ["skip-execution"]), "c", "d")
    assert run("run", path, "-q", "--inplace", "--json") == 1
    out, err = capfd.readouterr()
    report = json.loads(out)
    assert (report["ok"], report["error"]["type"]) == (False, "ExecutionError")
    assert report["error"]["message"] == "cell 3 of 4 (c) raised E: v"
    assert report["error"]["message"] in err
    shown = [(each["cell"], each["status"], texts_of(each), len(each["output_gaps"])) for each in report["results"]]
    assert shown == [(1, "ok", ["new"], 1), (2, "ok", [], 0), (3, "error", ["E"], 0)]
    assert [texts_of(cell) for cell in json.loads(path.read_text())["cells"]] == [["new"], [], [], ["E"], []]


def test_whatever_ends_a_command_its_json_says_so(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(KernelSpecNotFoundError("x", available=["python3"]))
    assert run("run", write_notebook(tmp_path / "n.ipynb", "a"), "--json") == 2
    report = json.loads(capfd.readouterr().out)
    assert report == {
        "ok": False,
        "error": {
            "type": "KernelSpecNotFoundError",
            "message": "the gateway has no kernelspec 'x'; it has python3",
            "advice": "Choose a kernel with --kernel NAME; `trio-gateway kernelspecs` lists them.",
        },
        "results": [],
    }
    fake_gateway(FakeKernel({"a": [here(signal.SIGTERM)]}))
    assert run("run", write_notebook(tmp_path / "n.ipynb", "a"), "--json") == 143
    assert json.loads(capfd.readouterr().out)["error"] == {"type": "Interrupted", "message": "ended by SIGTERM", "advice": ""}
    assert run("run", tmp_path / "missing.ipynb", "--json") == 2
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "InvalidInputError"
    assert run("kernels", "--json") == 2
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "UsageError"


def test_an_error_in_a_cell_is_told_with_its_cell_and_traceback(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel({"b": [Error("E", "v\x1b", ("Traceback of it",))]}))
    path = write_notebook(tmp_path / "n.ipynb", "a", "b", "c")
    for place in (["--inplace"], []):
        assert run("run", path, "-q", *place) == 1
        err = capfd.readouterr().err
        assert err.count("Traceback of it") == 1
        assert "cell 2 of 3 (b) raised E: v\\x1b" in err
    assert run("run", path, "--allow-errors") == 0
    assert "1 raised an error, as allowed" in capfd.readouterr().err


def test_a_kernel_that_can_not_be_started_leaves_the_file_alone(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(KernelSpecNotFoundError("julia", available=["python3"]))
    path = write_notebook(tmp_path / "n.ipynb", "a", kernel="julia")
    before = path.read_bytes()
    assert run("run", path, "--inplace") == 2
    assert "it has python3" in capfd.readouterr().err
    assert path.read_bytes() == before


def test_the_notebooks_kernel_counts_unless_another_is_asked_for(fake_gateway: Install, tmp_path: Path) -> None:
    gateway = fake_gateway(FakeKernel({}))
    named = write_notebook(tmp_path / "named.ipynb", "a", kernel="special")
    unnamed = write_notebook(tmp_path / "unnamed.ipynb", "a", kernel=None)
    for arguments in (["run", named], ["run", unnamed], ["run", named, "--kernel", "other"]):
        assert run(*arguments) == 0
    assert [name for name, _ in gateway.started] == ["special", None, "other"]


def test_what_a_dying_kernel_had_put_out_is_saved(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel({"a": [Stream("stdout", "last words"), KernelDiedError("id", "the process ended")]}))
    path = write_notebook(tmp_path / "n.ipynb", "a")
    assert run("run", path, "--inplace") == 5
    assert "the process ended" in capfd.readouterr().err
    assert texts_of(json.loads(path.read_text())["cells"][0]) == ["last words"]


def test_metadata_is_kept_and_an_old_notebook_is_upgraded_with_a_word(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel({}))
    path = write_notebook(tmp_path / "n.ipynb", "a")
    notebook = json.loads(path.read_text())
    notebook["metadata"] |= {"language_info": {"name": "python", "version": "2.7"}, "mine": [1]}
    notebook["cells"][0]["metadata"]["mine"] = 2
    path.write_text(json.dumps(notebook))
    assert run("run", path, "--inplace") == 0
    after = json.loads(path.read_text())
    assert (after["metadata"], after["cells"][0]["metadata"]) == (notebook["metadata"], {"mine": 2})

    cell = {"cell_type": "code", "language": "python", "input": "1", "outputs": []}
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [cell], "metadata": {}}]}
    path.write_text(json.dumps(old))
    capfd.readouterr()
    assert run("run", path, "--inplace") == 0
    assert "upgraded from notebook format 3 to 4" in capfd.readouterr().err
    assert json.loads(path.read_text())["nbformat"] == 4


# ------------------------------------------------------------------------------------------------------------- signals


def here(number: int) -> Callable[[], Any]:
    """Send this process a signal, then wait for what becomes of it."""

    async def send() -> None:
        signal.raise_signal(number)
        await trio.sleep_forever()

    return send


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_interrupts_the_kernel_saves_and_gives_the_shells_exit_code(
    name: str, fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    number = signal.Signals[name]
    kernel = FakeKernel({"a": [Stream("stdout", "before"), here(number)]})
    fake_gateway(kernel)
    path = write_notebook(tmp_path / "n.ipynb", "a", "b")
    before = signal.getsignal(number)
    assert run("run", "--inplace", path) == 128 + number
    assert kernel.interrupted == ["a"]
    assert [texts_of(cell) for cell in json.loads(path.read_text())["cells"]] == [["before"], []]
    assert "interrupting the kernel and cleaning up" in capfd.readouterr().err
    assert signal.getsignal(number) is before


def test_an_error_while_cleaning_up_after_a_signal_does_not_hide_the_signal(capfd: pytest.CaptureFixture[str]) -> None:
    async def command() -> int:
        try:
            await here(signal.SIGINT)()
        finally:
            raise GatewayConnectionError("the gateway is gone")

    assert run_command(Options(), command) == 130
    assert "while cleaning up: the gateway is gone" in capfd.readouterr().err


def test_a_signal_after_the_work_is_done_still_counts() -> None:
    async def command() -> int:
        with trio.CancelScope(shield=True):
            signal.raise_signal(signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked()
        return 0

    assert run_command(Options(quiet=True), command) == 143


def test_a_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []

    class Gone(BaseException):
        pass

    def exit_now(code: int) -> None:
        codes.append(code)
        raise Gone

    monkeypatch.setattr(os, "_exit", exit_now)

    async def command() -> int:
        with trio.CancelScope(shield=True):  # a clean-up that takes its time
            signal.raise_signal(signal.SIGINT)
            await trio.testing.wait_all_tasks_blocked()
            assert codes == []
            signal.raise_signal(signal.SIGINT)
            await trio.testing.wait_all_tasks_blocked()
        return 0

    with pytest.RaisesGroup(Gone):
        run_command(Options(quiet=True), command)
    assert codes == [130]


def test_signals_that_our_parent_had_us_ignore_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        async def command() -> int:
            signal.raise_signal(signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked()
            return 0

        assert run_command(Options(quiet=True), command) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_before_the_event_loop_runs_is_told_by_the_exit_code_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: object = None) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("trio_gateway._cli.app.run_app", interrupted)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_while_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        @property
        def buffer(self) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    assert run("exec", "-") == 130


# ------------------------------------------------------------------------------------------------------------ progress


@pytest.mark.parametrize(
    ("terminal", "bar", "quiet"), [(True, True, False), (True, False, False), (False, True, False), (True, True, True)]
)
def test_a_bar_is_drawn_only_where_a_person_sees_it_and_nothing_else_is_drawn(terminal: bool, bar: bool, quiet: bool) -> None:
    file = io.StringIO()
    options = Options(quiet=quiet, console=Console(file=file, force_terminal=terminal, width=80))
    with open_progress(options, 3, bar=bar) as steps:
        steps.begin(2, "[red]title[/red]")
    text = file.getvalue()
    if quiet:
        assert text == ""
    elif terminal and bar:
        assert "━" in text
        assert "1/3" in text
        assert "[red]title[/red]" in text
        assert text.endswith("\x1b[2K")  # and gone in the end
    else:
        assert "[2/3] [red]title[/red]" in text
        assert "━" not in text


def test_nobody_reading_standard_error_is_no_reason_to_end(capfd: pytest.CaptureFixture[str]) -> None:
    class NobodyReads(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    options = Options()
    options.console.file = NobodyReads()
    options.say("something")
    options.warn("something")
    print("still there")
    assert capfd.readouterr().out == "still there\n"


# ------------------------------------------------------------------------------------------------------------ plumbing


async def test_work_alongside_a_service_gives_its_result_and_its_error_as_they_are() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    async def fail() -> int:
        await trio.lowlevel.checkpoint()
        raise ValueError("mine")

    assert await alongside(trio.sleep_forever, work) == 7
    with pytest.raises(ValueError, match="mine"):
        await alongside(trio.sleep_forever, fail)


async def test_a_limit_that_does_not_run_out_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def work() -> int:
        await trio.sleep(9)
        return 7

    assert await limited(10, work) == 7
    assert await limited(None, work) == 7
    with pytest.raises(Exception, match="after 5 s"):
        await limited(5, work)
