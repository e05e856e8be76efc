"""Notebooks and kernels by the command, on a real gateway: as a process where that is what counts, else in this one."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

import trio_gateway
import trio_gateway.blocking

from .cli_kit import WAIT, Cli, CliHere, cells_of, texts_of, write_notebook

pytestmark = pytest.mark.gateway


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


CONTROLS = r"print('a\x1b]0;title\x07\x1b[31mred\x1b[0m\x9b2J\bz')"


@pytest.mark.full
@pytest.mark.parametrize("by_name", [(), ("--no-control",), ("--control",)], ids=" ".join)
async def test_control_sequences_of_a_real_kernel_reach_no_log(cli: Cli, by_name: tuple[str, ...]) -> None:
    """Standard output is a pipe here. A notebook keeps what the kernel sent."""
    shown = "a\x1b]0;title\x07\x1b[31mred\x1b[0m\x9b2J\bz\n" if by_name == ("--control",) else "aredz\n"
    done = await cli.run("exec", *by_name, CONTROLS)
    assert (done.code, done.out) == (0, shown)
    source = write_notebook(cli.cwd / "in.ipynb", CONTROLS, "raise ValueError('\\x1b[2Jgone')")
    done = await cli.run("run", *by_name, source, "-o", "out.ipynb", "--echo")
    assert done.code == 1
    assert done.out == shown
    assert by_name == ("--control",) or "\x1b" not in done.err
    assert texts_of(cells_of(cli.cwd / "out.ipynb")[0]) == ["a\x1b]0;title\x07\x1b[31mred\x1b[0m\x9b2J\bz\n"]


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
@pytest.mark.parametrize("ending", ["import sys; sys.exit(0)", "raise SystemExit(None)", "exit()"])
def test_a_notebook_may_end_itself_as_a_success(cli_here: CliHere, ending: str) -> None:
    source = write_notebook(cli_here.cwd / "in.ipynb", "print(1)", ending, "print('not reached')")
    done = cli_here.run("run", source, "-o", "out.ipynb")
    assert done.code == 0
    assert "Ran 2 of 3 cells" in done.err
    assert texts_of(cells_of(cli_here.cwd / "out.ipynb")[2]) == []


@pytest.mark.full
def test_a_display_id_belongs_to_the_document(cli_here: CliHere) -> None:
    source = write_notebook(
        cli_here.cwd / "in.ipynb",
        "from IPython.display import display\ndisplay('first', display_id='x');",
        "display('second', display_id='x');",
        "display('a', display_id='y'); display('b', display_id='y');",
    )
    assert cli_here.run("run", source, "-o", "out.ipynb").code == 0
    shown = [texts_of(cell) for cell in cells_of(cli_here.cwd / "out.ipynb")]
    assert shown == [["'second'"], ["'second'"], ["'b'", "'b'"]]


@pytest.mark.full
def test_a_script_ends_with_its_own_code(cli_here: CliHere) -> None:
    script = cli_here.cwd / "script.py"
    script.write_text("import sys\nprint('work done')\nif __name__ == '__main__':\n    sys.exit(0)\n")
    done = cli_here.run("run", "-q", script)
    assert (done.code, done.out) == (0, "work done\n")
    assert "Traceback" not in done.err
    assert [cli_here.run("exec", "-q", code).code for code in ("import sys; sys.exit(3)", "exit()", "exit(4)")] == [3, 0, 4]


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
