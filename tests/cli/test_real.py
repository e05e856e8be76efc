"""The command on a real gateway with real kernels: as a process where that is what counts, else in this one.

Of the processes the quick tier has one of each kind: code, a notebook, a signal.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_gateway
import trio_gateway.blocking
from tools.ports import held_port

from .cli_kit import Cli, CliHere, texts_of, write_notebook

pytestmark = pytest.mark.gateway

WAIT = "import threading; threading.Event().wait()"


def cells_of(path: Path) -> list[Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return list(notebook["cells"])


# ---------------------------------------------------------------------------------------------------------------- exec


async def test_streams_stay_separate_and_every_plane_of_unicode_passes(cli: Cli) -> None:
    text = "aß€\U0001d11e\U0001f600\U000e0041\U0010fffd"
    done = await cli.run("exec", f"import sys\nprint({text!r})\nprint('err', file=sys.stderr)\n{text!r}")
    assert (done.code, done.out, done.err) == (0, f"{text}\n{text!r}\n", "err\n")


@pytest.mark.full
async def test_code_from_standard_input(cli: Cli) -> None:
    done = await cli.run("exec", "-", stdin="for i in range(2):\n    print(i, '漢')\n")
    assert (done.code, done.out, done.err) == (0, "0 漢\n1 漢\n", "")


@pytest.mark.full
async def test_an_error_goes_to_stderr_and_gives_code_1(cli: Cli) -> None:
    done = await cli.run("exec", "print('before'); 1/0")
    assert (done.code, done.out) == (1, "before\n")
    assert done.err.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "\x1b" not in done.err


async def test_output_comes_while_the_code_runs_and_sigterm_gives_143(cli: Cli) -> None:
    async with cli.start("exec", f"print('ready'); {WAIT}") as running:
        await running.read_until("ready\n")
        running.process.terminate()
        done = await running.wait()
    assert done.code == 143
    assert "interrupting the kernel" in done.err


@pytest.mark.full
def test_a_script_runs_where_it_is_told_to(cli_here: CliHere) -> None:
    script = cli_here.cwd / "script.py"
    script.write_text("import os\nprint(os.path.basename(os.getcwd()))\n'last value'\n")
    done = cli_here.run("run", script)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("\n'last value'\n")


@pytest.mark.full
def test_json_for_scripts(cli_here: CliHere) -> None:
    done = cli_here.run("exec", "--json", "print('ü'); 1/0")
    assert done.code == 1
    assert done.err == ""
    report = json.loads(done.out)
    assert (report["ok"], report["error"]["type"]) == (False, "ExecutionError")
    (result,) = report["results"]
    assert (result["status"], result["execution_count"], result["output_gaps"]) == ("error", 1, [])
    assert result["outputs"][0] == {"output_type": "stream", "name": "stdout", "text": "ü\n"}
    assert result["error"]["ename"] == "ZeroDivisionError"


@pytest.mark.full
async def test_twenty_megabytes_arrive_whole(cli: Cli) -> None:
    done = await cli.run("exec", "print('0123456789' * 2_000_000)")
    assert (done.code, done.err) == (0, "")
    assert done.out == "0123456789" * 2_000_000 + "\n"


@pytest.mark.full
async def test_a_reader_that_goes_away_ends_the_command_and_its_kernel(cli: Cli) -> None:
    async with cli.start("exec", "while True: print('line')") as running:
        await running.read_until("line\n")
        assert running.process.stdout is not None
        await running.process.stdout.aclose()
        done = await running.wait()
    assert (done.code, done.err) == (141, "")


def test_a_wrong_token_gives_code_3_and_says_where_the_right_one_goes(cli_here: CliHere) -> None:
    done = cli_here.run("exec", "1", JUPYTER_GATEWAY_AUTH_TOKEN="wr0ng")
    assert (done.code, done.out) == (3, "")
    assert "JUPYTER_GATEWAY_AUTH_TOKEN" in done.err
    assert "wr0ng" not in done.err


@pytest.mark.full
def test_a_token_file_serves_too(cli_here: CliHere) -> None:
    (cli_here.cwd / "token").write_text(cli_here.environment["JUPYTER_GATEWAY_AUTH_TOKEN"] + "\n")
    done = cli_here.run("exec", "--token-file", "token", "1", JUPYTER_GATEWAY_AUTH_TOKEN="wr0ng")
    assert (done.code, done.out) == (0, "1\n")


def test_an_unknown_kernel_gives_code_2_and_the_names_of_the_known_ones(cli_here: CliHere) -> None:
    done = cli_here.run("exec", "--kernel", "klingon", "1")
    assert done.code == 2
    assert "klingon" in done.err
    assert "python3" in done.err


def test_nobody_listens_there(cli_here: CliHere) -> None:
    with held_port(shared=False) as port:
        done = cli_here.run("exec", "1", JUPYTER_GATEWAY_URL=f"http://127.0.0.1:{port}")
    assert done.code == 3
    assert "--url" in done.err


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
@pytest.mark.full
async def test_tracebacks_have_colours_on_a_terminal_unless_told_otherwise(cli: Cli, no_color: str, coloured: bool) -> None:
    controller, terminal = pty.openpty()
    seen = bytearray()
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "trio_gateway_command", "exec", "1/0"],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            env={**cli.environment, "NO_COLOR": no_color},
        )
        os.close(terminal)
        try:
            while True:
                try:
                    seen += await trio.to_thread.run_sync(os.read, controller, 1 << 16)
                except OSError:  # the other end is closed
                    break
            assert await process.wait() == 1
        finally:
            if process.poll() is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    finally:
        os.close(controller)
    assert b"ZeroDivisionError" in seen
    assert (b"\x1b[" in seen) == coloured


# ----------------------------------------------------------------------------------------------------------- notebooks


async def test_a_notebook_from_its_file_to_its_file(cli: Cli) -> None:
    source = write_notebook(
        cli.cwd / "in.ipynb",
        "x = 6",
        "from IPython.display import display, clear_output\nhandle = display('old', display_id=True)",
        "print('gone')\nclear_output(wait=True)\nprint('stays')\nhandle.update('new ü')",
        ("1/0", ["raises-exception"]),
        ("print('never')", ["skip-execution"]),
        "x * 7",
    )
    before = source.read_bytes()
    done = await cli.run("run", source, "-o", "out.ipynb")
    assert (done.code, done.out) == (0, "")
    assert "[5/5] x * 7" in done.err
    cells = cells_of(cli.cwd / "out.ipynb")
    assert [texts_of(cell) for cell in cells] == [[], ["'new ü'"], ["stays\n"], ["ZeroDivisionError"], [], ["42"]]
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3, 4, None, 5]
    assert source.read_bytes() == before


@pytest.mark.full
def test_a_notebook_stops_at_its_first_error_unless_allowed_to_go_on(cli_here: CliHere) -> None:
    source = write_notebook(cli_here.cwd / "in.ipynb", "print(1)", "raise ValueError('ü')", "print(3)")
    done = cli_here.run("run", source, "-o", "out.ipynb")
    assert done.code == 1
    assert "cell 2 of 3" in done.err
    assert "ValueError: ü" in done.err
    assert [texts_of(cell) for cell in cells_of(cli_here.cwd / "out.ipynb")] == [["1\n"], ["ValueError"], []]
    done = cli_here.run("run", source, "--allow-errors", "-q")
    assert (done.code, done.out) == (0, "1\n3\n")


@pytest.mark.full
async def test_an_interrupted_notebook_is_saved_as_far_as_it_came(cli: Cli) -> None:
    source = write_notebook(cli.cwd / "in.ipynb", "print('first')", f"print('second')\nprint('third')\n{WAIT}", "print('never')")
    async with cli.start("run", source, "-o", "out.ipynb", "--echo") as running:
        await running.read_until("third\n")
        running.process.send_signal(signal.SIGINT)
        done = await running.wait()
    assert done.code == 130
    assert [texts_of(cell) for cell in cells_of(cli.cwd / "out.ipynb")] == [["first\n"], ["second\nthird\n"], []]
    assert {path.name for path in cli.cwd.iterdir()} == {"in.ipynb", "out.ipynb"}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), ("print(1)", "JSON"), ('{"nbformat": 5}', "format 5"), ('{"nbformat": 4}', "valid notebook")],
)
def test_what_is_no_notebook_is_told_before_anything_is_started(bare_cli_here: CliHere, content: str | None, words: str) -> None:
    if content is not None:
        (bare_cli_here.cwd / "bad.ipynb").write_text(content)
    done = bare_cli_here.run("run", "bad.ipynb", "-o", "out.ipynb")
    assert (done.code, done.out) == (2, "")
    assert "bad.ipynb" in done.err
    assert words in done.err
    assert "starting" not in done.err
    assert not (bare_cli_here.cwd / "out.ipynb").exists()


def test_an_unknown_kernel_in_a_notebook_leaves_its_file_alone(cli_here: CliHere) -> None:
    source = write_notebook(cli_here.cwd / "in.ipynb", "print(1)", kernel="klingon")
    before = source.read_bytes()
    done = cli_here.run("run", source, "--inplace")
    assert done.code == 2
    assert "klingon" in done.err
    assert "python3" in done.err
    assert source.read_bytes() == before
    done = cli_here.run("run", source, "--kernel", "python3", "-q")
    assert (done.code, done.out) == (0, "1\n")


# ------------------------------------------------------------------------------------------------ kernels, kernelspecs


def test_kernels_are_listed_interrupted_restarted_and_shut_down(cli_here: CliHere, real_gateway: Any) -> None:
    with trio_gateway.blocking.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        with gateway.start_kernel() as kernel:
            listed = cli_here.run("kernels", "--json")
            assert [model["id"] for model in json.loads(listed.out)["kernels"]] == [kernel.id]

            with kernel.stream(f"print('ready', end=''); {WAIT}") as outputs:
                for output in outputs:
                    if isinstance(output, trio_gateway.Stream):
                        done = cli_here.run("kernels", "interrupt", kernel.id)
                        assert (done.code, done.err) == (0, f"{kernel.id}: interrupted.\n")
            assert outputs.result.status == "error"

            assert cli_here.run("kernels", "restart", "-q", kernel.id).code == 0
            assert cli_here.run("kernels", "shutdown", "-q", kernel.id).code == 0
            gone = cli_here.run("kernels", "interrupt", "-q", kernel.id)
            assert gone.code == 2
            assert kernel.id in gone.err


def test_kernelspecs(cli_here: CliHere) -> None:
    table = cli_here.run("kernelspecs")
    assert table.code == 0
    assert any(line.startswith("python3 ") and line.endswith("*") for line in table.out.splitlines())
    specs = json.loads(cli_here.run("kernelspecs", "--json").out)
    assert specs["default"] == "python3"
    assert specs["kernelspecs"]["python3"]["language"] == "python"
