"""Notebooks and kernels by the command, on a real gateway: as a process where that is what counts, else in this one."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import xml.etree.ElementTree as ET
from typing import Any

import nbformat.validator
import pytest
import trio

import trio_gateway
import trio_gateway.blocking
from tools.notebook_tools import texts_of, write_notebook

from .cli_kit import WAIT, Cli, CliHere, cells_of

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
def test_output_of_a_task_is_in_the_cell_that_began_it(cli_here: CliHere) -> None:
    loop = "    for i in range(5):\n        print('task', i, flush=True)\n        await asyncio.sleep(.02)\n"
    task = f"import asyncio\nasync def t():\n{loop}"
    source = write_notebook(
        cli_here.cwd / "in.ipynb", f"{task}h = asyncio.create_task(t())\nprint('started')", "await h\nprint('second cell')"
    )
    done = cli_here.run("run", source, "-o", "out.ipynb")
    assert (done.code, "warning" in done.err) == (0, False)
    first, second = ["".join(texts_of(cell)) for cell in cells_of(cli_here.cwd / "out.ipynb")]
    assert first == "started\n" + "".join(f"task {i}\n" for i in range(5))
    assert second == "second cell\n"


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


_CELL = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "1 + 1"}
_TEXT = {"cell_type": "markdown", "metadata": {}, "source": "x"}
_SPEC = {"name": "python3", "display_name": "P"}
_BARE = {"cell_type": "code", "metadata": {}, "source": "1 + 1"}

BROKEN: dict[str, tuple[list[Any], dict[str, Any], list[str]]] = {
    "no execution count and no outputs": ([_BARE], {"kernelspec": _SPEC}, ["cells[0].execution_count", "cells[0].outputs"]),
    "an id in format 4.4": ([{**_CELL, "id": "abc"}], {"kernelspec": _SPEC}, ["cells[0].id"]),
    "outputs of a text": (
        [_CELL, {**_TEXT, "outputs": [], "execution_count": None}],
        {"kernelspec": _SPEC},
        ["cells[1].outputs"],
    ),
    "a language without a name": (
        [_CELL],
        {"kernelspec": _SPEC, "language_info": {"pygments_lexer": "ipython3"}},
        ["metadata.language_info.name"],
    ),
    "a kernelspec that shows no name": ([_CELL], {"kernelspec": {"name": "python3"}}, ["metadata.kernelspec.display_name"]),
    "an empty kernelspec": ([_CELL], {"kernelspec": {}}, ["metadata.kernelspec"]),
    "a kernelspec in another case": ([_CELL], {"kernelspec": {"name": "Python3", "display_name": "P"}}, []),
    "faults in old outputs": (
        [{**_CELL, "outputs": [{"output_type": "stream", "text": "x"}, {"output_type": "display_data", "data": {}}]}],
        {"kernelspec": _SPEC},
        ["cells[0].outputs[0].name", "cells[0].outputs[1].metadata"],
    ),
    "what no notebook of Jupyter's has": ([{**_CELL, "news": 1}], {"kernelspec": _SPEC, "mine": 1}, ["cells[0].news"]),
}


@pytest.mark.full
@pytest.mark.parametrize("name", BROKEN)
def test_a_notebook_that_breaks_the_format_is_run_with_one_warning_and_saved_valid(cli_here: CliHere, name: str) -> None:
    cells, metadata, places = BROKEN[name]
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": cells}
    (cli_here.cwd / "in.ipynb").write_text(json.dumps(notebook))
    done = cli_here.run("run", "in.ipynb", "-q", "-o", "out.ipynb")
    assert done.code == 0
    assert done.err.count("warning") == bool(places)
    for place in places:
        assert place in "".join(done.err.splitlines())
    saved = json.loads((cli_here.cwd / "out.ipynb").read_text())
    assert nbformat.validator.isvalid(saved)
    assert texts_of(saved["cells"][0]) == ["2"]
    assert saved["metadata"].get("mine") == metadata.get("mine")
    again = cli_here.run("run", "out.ipynb", "-q", "--inplace")
    assert (again.code, again.err) == (0, "")


def test_what_a_run_writes_a_run_reads(cli_here: CliHere) -> None:
    """Here the kernel sends null where the format wants text."""
    source = write_notebook(cli_here.cwd / "n.ipynb", "display({'text/html': '<b>x</b>', 'text/plain': None}, raw=True)")
    for _ in range(2):
        done = cli_here.run("run", source, "-q", "--inplace")
        assert (done.code, done.err) == (0, "")
        assert nbformat.validator.isvalid(json.loads(source.read_text()))
    assert cells_of(source)[0]["outputs"][0]["data"] == {"text/html": ["<b>x</b>"]}


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


def test_several_notebooks_at_a_time_with_all_that_comes_of_them(cli_here: CliHere, real_gateway: Any) -> None:
    """Each in its own directory, on a kernel of its own; and the reports say what happened."""
    plot = "import base64; from IPython.display import Image, display\n"
    data = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    for number in range(4):
        folder = cli_here.cwd / str(number)
        folder.mkdir()
        last = "1 / 0" if number == 2 else f"display(Image(data=base64.b64decode({data!r}), format='png'))"
        write_notebook(folder / "n.ipynb", f"{plot}import os; print(os.getcwd())", last)
    before = set(real_gateway.kernel_processes())
    products = [
        "-o",
        "out/",
        "--html",
        "web/",
        "--images",
        "img",
        "--report",
        "r.xml",
        "--report",
        "r.json",
        "--report",
        "r.html",
    ]
    done = cli_here.run("run", *[f"{number}/n.ipynb" for number in range(4)], "-j", "3", *products)
    assert (done.code, done.out) == (1, "")
    assert "4 notebooks in " in done.err.splitlines()[-1]
    assert done.err.splitlines()[-1].endswith(": 3 succeeded, 1 failed.")
    assert "2/n.ipynb: cell 2 of 2 (1 / 0) raised ZeroDivisionError: division by zero" in done.err
    here = cli_here.cwd
    for number in range(4):
        first, _ = cells_of(here / "out" / str(number) / "n.ipynb")
        assert texts_of(first) == [f"{here / str(number)}\n"]
        assert str(here / str(number)) in (here / "web" / str(number) / "n.html").read_text(encoding="utf-8")
    assert {path.relative_to(here / "img").as_posix() for path in (here / "img").rglob("*.png")} == {
        f"{number}/n-cell2-1.png" for number in (0, 1, 3)
    }
    assert (here / "img" / "0" / "n-cell2-1.png").read_bytes().startswith(b"\x89PNG")
    runs = json.loads((here / "r.json").read_text())["runs"]
    assert [each["status"] for each in runs] == ["ok", "ok", "error", "ok"]
    assert len({each["kernel_id"] for each in runs}) == 4
    suites = [*ET.parse(here / "r.xml").getroot()]
    assert [(suite.get("tests"), suite.get("failures")) for suite in suites] == [("2", "0"), ("2", "0"), ("2", "1"), ("2", "0")]
    assert "ZeroDivisionError" in (here / "r.html").read_text()
    assert set(real_gateway.kernel_processes()) - before == set()


@pytest.mark.full
async def test_ctrl_c_while_several_run_saves_each_and_says_where(cli: Cli) -> None:
    for name in "ab":
        os.mkfifo(cli.cwd / name)
        write_notebook(cli.cwd / f"{name}.ipynb", f"print('first {name}')", f"open({name!r}, 'w').close()\n{WAIT}", "'never'")
    async with cli.start("run", "a.ipynb", "b.ipynb", "-j", "2", "-o", "out/") as running:
        for name in "ab":
            await trio.Path(cli.cwd / name).read_bytes()  # ends when the cell has come there
        running.process.send_signal(signal.SIGINT)
        done = await running.wait()
    assert done.code == 130
    for name in "ab":
        assert f"{name}.ipynb: interrupted in cell 2 of 3 (open('{name}', 'w').close()). Saved to out/{name}.ipynb." in done.err
        assert texts_of(cells_of(cli.cwd / "out" / f"{name}.ipynb")[0]) == [f"first {name}\n"]
    assert {path.name for path in (cli.cwd / "out").iterdir()} == {"a.ipynb", "b.ipynb"}


def test_a_notebook_goes_through_pipes(cli_here: CliHere, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_notebook(cli_here.cwd / "n.ipynb", "print('through')").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    done = cli_here.run("run", "-", "-q", "-o", "-")
    assert (done.code, done.err) == (0, "")
    assert texts_of(json.loads(done.out)["cells"][0]) == ["through\n"]


@pytest.mark.full
def test_parameters_of_each_kind_reach_the_kernel_and_the_file(cli_here: CliHere) -> None:
    """Those of files first, then `-p`, then `-r`; the cell with them is replaced when the file is run again."""
    source = write_notebook(
        cli_here.cwd / "in.ipynb",
        "import os",
        ("year, city, scale, names = 1999, 'nowhere', 0.0, []", ["parameters"]),
        "print(repr(year), repr(city), repr(scale), repr(names))",
    )
    before = source.read_bytes()
    (cli_here.cwd / "first.yaml").write_text("year: 2001\ncity: Ulm\nnames: [a, ü]\n", encoding="utf-8")
    (cli_here.cwd / "second.json").write_text('{"city": "Köln", "scale": 0.5}', encoding="utf-8")
    files = ["--parameters", "first.yaml", "--parameters", "second.json"]
    done = cli_here.run("run", source, *files, "-p", "year=2024", "-p", "city=Bonn", "-r", "city=7", "-q", "-o", "out.ipynb")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert source.read_bytes() == before
    cells = cells_of(cli_here.cwd / "out.ipynb")
    assert [cell["metadata"].get("tags") for cell in cells] == [None, ["parameters"], ["injected-parameters"], None]
    assert texts_of(cells[-1]) == ["2024 '7' 0.5 ['a', 'ü']\n"]

    done = cli_here.run("run", "out.ipynb", "--inplace", "-q", "-p", "year=None")
    assert (done.code, done.err) == (0, "")
    cells = cells_of(cli_here.cwd / "out.ipynb")
    assert [cell["metadata"].get("tags") for cell in cells] == [None, ["parameters"], ["injected-parameters"], None]
    assert texts_of(cells[-1]) == ["None 'nowhere' 0.0 []\n"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-p", "2year=1"], "2year"),
        (["-p", "year"], "year"),
        (["-r", "class=x"], "class"),
        (["--parameters", "missing.yaml"], "missing.yaml"),
        (["--parameters", "in.ipynb.txt"], "in.ipynb.txt"),
    ],
)
def test_parameters_that_can_t_be_are_named_before_a_kernel_starts(
    cli_here: CliHere, real_gateway: Any, options: list[str], words: str
) -> None:
    """G10"""
    write_notebook(cli_here.cwd / "in.ipynb", ("year = 1", ["parameters"]))
    (cli_here.cwd / "in.ipynb.txt").write_text("[1, 2]")
    with trio_gateway.blocking.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        before = gateway.kernels.list()
        done = cli_here.run("run", "in.ipynb", *options, "-o", "out.ipynb")
        assert gateway.kernels.list() == before
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert not (cli_here.cwd / "out.ipynb").exists()


@pytest.mark.full
def test_several_at_a_time_have_the_same_parameters_and_the_worst_says_the_exit_code(cli_here: CliHere) -> None:
    for number, last in enumerate(("print(rate * 1)", "import os; os._exit(1)", "1 / 0", "print(rate * 2)")):
        write_notebook(cli_here.cwd / f"{number}.ipynb", ("rate = 0", ["parameters"]), last)
    names = [f"{number}.ipynb" for number in range(4)]
    done = cli_here.run("run", *names, "-j", "2", "-p", "rate=10", "-o", "out/{stem}-10.ipynb")
    assert (done.code, done.out) == (5, ""), "the kernel was lost: worse than an error in a cell"
    assert done.err.splitlines()[-1].endswith(": 2 succeeded, 1 failed, 1 could not go on.")
    saved = {path.name: cells_of(path) for path in (cli_here.cwd / "out").iterdir()}
    assert sorted(saved) == ["0-10.ipynb", "1-10.ipynb", "2-10.ipynb", "3-10.ipynb"]
    assert all("rate = 10" in "".join(cells[1]["source"]) for cells in saved.values())
    assert [texts_of(saved[f"{number}-10.ipynb"][-1]) for number in (0, 3)] == [["10\n"], ["20\n"]]


@pytest.mark.full
def test_a_run_is_resumed_on_the_kernel_that_it_left(cli_here: CliHere, real_gateway: Any) -> None:
    """G2: it is left as long as it is wanted, and no longer."""
    source = write_notebook(
        cli_here.cwd / "n.ipynb", "with open('ledger', 'a') as ledger: ledger.write('x')\na = 6", "1 / 0", "print(a * 7)"
    )
    before = set(real_gateway.kernel_processes())
    done = cli_here.run("run", source, "--inplace", "--resume", "--report", "r.json")
    assert done.code == 1
    (kernel_id,) = [run["kernel_id"] for run in json.loads((cli_here.cwd / "r.json").read_text())["runs"]]
    assert f"`trio-gateway kernels shutdown {kernel_id}` ends it" in " ".join(done.err.split())
    assert len(set(real_gateway.kernel_processes()) - before) == 1
    again = cli_here.run("run", source, "--inplace", "--resume", "-q")
    assert again.code == 1, "it fails again, in the same cell"
    source.write_text(source.read_text().replace("1 / 0", "a += 0"))
    done = cli_here.run("run", source, "--inplace", "--resume", "--report", "r.json")
    assert done.code == 0
    (run,) = json.loads((cli_here.cwd / "r.json").read_text())["runs"]
    assert (run["kernel_id"], run["status"]) == (kernel_id, "ok")
    assert [texts_of(cell) for cell in cells_of(source)] == [[], [], ["42\n"]]
    assert (cli_here.cwd / "ledger").read_text() == "x"
    assert set(real_gateway.kernel_processes()) - before == set()
