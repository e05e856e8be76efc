"""`exec` on a real gateway: as a process where that is what counts, else in this one."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
import trio

from tools.ports import held_port

from .cli_kit import WAIT, Cli, CliHere

pytestmark = pytest.mark.gateway


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
