"""Where a kernel works: asked of a real kernel, and of fakes on machines of their own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.notebook_tools import write_notebook
from trio_gateway._gateway import placing
from trio_gateway.testing import Cell, FakeKernelSpec

from .cli_kit import CliHere, ServedFake

Served = Callable[..., ServedFake]

WHERE = "import os; print(os.getcwd())"


@pytest.mark.gateway
def test_a_kernel_of_a_gateway_on_this_machine_works_where_it_is_wanted(cli_here: CliHere) -> None:
    here = cli_here.cwd
    folder = here / 'it\'s a "folder"'
    folder.mkdir()
    (here / "script.py").write_text(WHERE)
    done = cli_here.run("run", "script.py")
    assert (done.code, done.out, done.err) == (0, f"{here}\n", "")
    done = cli_here.run("run", write_notebook(folder / "n.ipynb", WHERE), "-q")
    assert (done.code, done.out, done.err) == (0, f"{folder}\n", "")
    left = "[name for name in globals() if 'os' in name or 'place' in name]"
    done = cli_here.run("exec", "--cwd", folder.name, "--json", f"import os; print(os.getcwd()); {left}")
    (result,) = json.loads(done.out)["results"]
    assert result["execution_count"] == 1
    assert result["outputs"][0]["text"] == f"{folder}\n"
    assert result["outputs"][1]["data"]["text/plain"] == "['os']"
    assert done.err == ""


@pytest.mark.gateway
def test_a_directory_that_is_not_there_is_refused_before_anything_runs(cli_here: CliHere) -> None:
    done = cli_here.run("exec", "--cwd", "nowhere", "open('ran', 'w')")
    assert (done.code, done.out) == (2, "")
    assert f"--cwd: '{cli_here.cwd / 'nowhere'}' can't be used" in done.err
    done = cli_here.run("kernels", "start", "--cwd", "nowhere")
    assert (done.code, done.out) == (2, "")
    assert "--cwd" in done.err


@pytest.mark.gateway
def test_a_real_kernel_from_its_start_to_its_end(cli_here: CliHere) -> None:
    done = cli_here.run("kernels", "start", "python3", "--cwd", ".")
    assert (done.code, done.err) == (0, "")
    kernel_id = done.out.strip()
    assert cli_here.run("exec", "--attach", kernel_id, f"x = 6; {WHERE}").out == f"{cli_here.cwd}\n"
    assert cli_here.run("exec", "--attach", kernel_id, "x * 7").out == "42\n"
    assert kernel_id in cli_here.run("kernels").out
    assert cli_here.run("kernels", "shutdown", kernel_id).code == 0
    for command in ("shutdown", "restart", "interrupt"):
        gone = cli_here.run("kernels", command, kernel_id)
        assert gone.code == 2, command
        assert kernel_id in gone.err


def test_a_kernel_on_another_machine_is_not_where_it_was_wanted_and_a_line_says_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That machine has a directory of the same name, which is another one."""
    cli = served().cli
    (cli.cwd / "script.py").write_text("1")
    notebook = write_notebook(cli.cwd / "n.ipynb", "1")
    monkeypatch.setattr(placing, "_mark", lambda directory: [1, 2, 3])
    for arguments, what in (
        (["script.py"], "the current directory"),
        ([notebook, "-o", "out.ipynb"], "the notebook's directory"),
    ):
        done = cli.run("run", *arguments)
        assert done.code == 0
        (line,) = [line for line in done.err.splitlines() if "directory" in line]
        assert line.startswith("The kernel works in /")
        assert f"on its own machine, not in {what}: it has no {cli.cwd}, or another one." in line
        assert cli.run("run", "-q", *arguments).err == ""
    assert cli.run("exec", "1").err == "", "nobody has promised it anything"


def test_a_directory_that_somebody_writes_to_is_still_the_same(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = served().cli
    (cli.cwd / "script.py").write_text("1")
    real, counter = placing._mark, itertools.count()

    def busy(directory: str) -> Any:
        if next(counter) == 0:
            Path(directory, "new").touch()
            found = real(directory)
            Path(directory, "newer").touch()
            return found and [found[0], 0, 0]
        return real(directory)

    monkeypatch.setattr(placing, "_mark", busy)
    done = cli.run("run", "script.py")
    assert (done.code, done.err) == (0, "")


def test_of_a_kernel_that_can_not_be_asked_it_is_not_known(served: Served) -> None:
    async def script(cell: Cell) -> None:
        cell.stdout("ran\n")

    cli = served(kernelspecs=[FakeKernelSpec(name="other", script=script, language="text")]).cli
    (cli.cwd / "script.txt").write_text("1")
    done = cli.run("run", "script.txt")
    words = f"hether the kernel works in {cli.cwd} is not known: only kernels in Python can be asked, and moved there"
    assert (done.code, done.out, done.err) == (0, "ran\n", f"W{words}.\n")
    done = cli.run("exec", "-q", "--cwd", ".", "1")
    assert (done.code, done.out, done.err) == (0, "ran\n", f"trio-gateway: warning: w{words}\n")


def test_a_kernel_that_answers_no_expressions_is_not_asked_twice(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_gateway.testing._python.TinyPython.evaluate", lambda self, expression: {})
    cli = served().cli
    (cli.cwd / "script.py").write_text("6 * 7")
    done = cli.run("run", "script.py")
    assert (done.code, done.out) == (0, "42\n")
    assert done.err.startswith("The kernel works where its gateway has it, not in the current directory")
