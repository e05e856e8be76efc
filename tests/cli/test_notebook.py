"""Notebooks' runs at the terminal: what is said, of one and of several, however they end."""

from __future__ import annotations

import ast
import json
import signal
import xml.etree.ElementTree as ET
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tools.notebook_tools import FakeKernel, texts_of, write_notebook
from trio_gateway import Error, GatewayConnectionError, KernelDiedError, KernelSpecNotFoundError, OutputGap, Stream
from trio_gateway._cli import notebook as module

from .cli_kit import ServedFake
from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, here, run, run_in_virtual_time
from .test_documented import VALIDATOR


def test_the_summary_counts_what_ran_what_was_skipped_and_what_was_tolerated(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel({"b": [Error("E", "v")], "c": [Error("SystemExit", "0")]}))
    path = write_notebook(tmp_path / "n.ipynb", "a", ("b", ["raises-exception"]), ("s", ["skip-execution"]), "c", "never")
    assert run("run", path, "-o", tmp_path / "out.ipynb") == 0
    said = " ".join(capfd.readouterr().err.split())
    assert "Ran 3 of 4 cells in" in said
    assert "1 skipped, 1 raised an error, as allowed, cell 3 ended the run. Saved to" in said


def test_each_cell_with_gaps_has_one_warning(fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    gaps = [OutputGap("lost", 3), OutputGap("rate_limited")]
    fake_gateway(FakeKernel({"a": [*gaps, Stream("stdout", "x")], "b": gaps[:1]}))
    assert run("run", "-q", write_notebook(tmp_path / "n.ipynb", "a", "b")) == 0
    err = capfd.readouterr().err
    assert [err.count(f"warning: cell {number}:") for number in (1, 2)] == [1, 1]


def test_it_runs_notebooks_by_public_names_alone() -> None:
    """`trio_gateway.notebooks` does the work: what the command can, a program can. Its files are all that is used beside that."""
    found = set()
    for path in Path(module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("_notebooks"):
                found.add(node.module)
    assert found == {"_notebooks.file", "_notebooks.reading"}


# Several --------------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three notebooks, of which the second fails."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    return [
        write_notebook(tmp_path / "a.ipynb", "a", "b"),
        write_notebook(tmp_path / "x" / "bad.ipynb", "a", "boom", "b", kernel="other"),
        write_notebook(tmp_path / "c.ipynb", ("boom", ["raises-exception"]), kernel=None),
    ]


BOOM = Error("E", "v", ("\x1b[31mTraceback of it\x1b[0m",))
SCRIPTS: dict[str, list[Any]] = {"a": [Stream("stdout", "shown")], "boom": [BOOM]}


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_one_of_several_that_fails_takes_nothing_from_the_others(
    jobs: str, three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gateway = fake_gateway(FakeKernel(SCRIPTS))
    assert run("run", *three, "-j", jobs, "-o", "out/") == 1
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if "ipynb" in line]
    assert sorted([line.partition("] ")[2].partition(" in ")[0] for line in lines if line.startswith("[")]) == [
        "a.ipynb: Ran 2 of 2 cells",
        "c.ipynb: Ran 1 of 1 cells",
        "x/bad.ipynb: Ran 2 of 3 cells",
    ]
    assert sorted([line[:5] for line in lines if line.startswith("[")]) == ["[1/3]", "[2/3]", "[3/3]"]
    assert err.count("Traceback of it") == 1
    assert err.count("trio-gateway: error: x/bad.ipynb: cell 2 of 3 (boom) raised E: v") == 1
    assert err.splitlines()[-1].startswith("3 notebooks in ")
    assert err.splitlines()[-1].endswith(": 2 succeeded, 1 failed.")
    assert "Saved to out/x/bad.ipynb." in err
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.ipynb")} == {
        "a.ipynb",
        "x/bad.ipynb",
        "c.ipynb",
    }
    assert [texts_of(cell) for cell in read_json(tmp_path / "out" / "x" / "bad.ipynb")["cells"]] == [["shown"], ["E"], []]
    assert {*gateway.started} == {("python3", tmp_path), ("other", tmp_path / "x"), (None, tmp_path)}


def test_quiet_is_quiet_but_for_errors(three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str]) -> None:
    fake_gateway(FakeKernel(SCRIPTS))
    assert run("run", *three, "-q") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == ["Traceback of it", "trio-gateway: error: x/bad.ipynb: cell 2 of 3 (boom) raised E: v"]


def test_json_has_one_shape_for_one_and_for_several(
    three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(FakeKernel(SCRIPTS))
    reports = {}
    for files in (three[:1], three, three[1:2]):
        code = run("run", *files, "-q", "--json")
        out, err = capfd.readouterr()
        reports[len(files), code] = report = json.loads(out)
        VALIDATOR.validate(report)
        assert report["ok"] == (code == 0)
        assert ("Traceback of it" in err) is False
    one, several, bad = reports[1, 0], reports[3, 1], reports[1, 1]
    assert one.keys() == several.keys() == bad.keys()
    assert [[each["name"], each["status"]] for each in several["runs"]] == [
        ["a.ipynb", "ok"],
        ["x/bad.ipynb", "error"],
        ["c.ipynb", "ok"],
    ]
    assert several["error"]["message"] == "x/bad.ipynb: cell 2 of 3 (boom) raised E: v"
    assert several["runs"][1]["error"]["message"] == "cell 2 of 3 (boom) raised E: v"
    shown = [(each["run"], each["cell"], each["status"], texts_of(each)) for each in several["results"]]
    assert shown == [
        (0, 1, "ok", ["shown"]),
        (0, 2, "ok", []),
        (1, 1, "ok", ["shown"]),
        (1, 2, "error", ["E"]),
        (2, 1, "error", ["E"]),
    ]
    assert [(each["run"], each["cell"]) for each in one["results"]] == [(0, 1), (0, 2)]
    assert [cell["status"] for cell in bad["runs"][0]["cells"]] == ["ok", "error", "pending"]


def test_the_exit_code_is_the_greatest_of_theirs(
    three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(FakeKernel({**SCRIPTS, "b": [KernelDiedError("id", "the process ended")]}))
    assert run("run", *three[:2]) == 5
    err = capfd.readouterr().err
    assert "error: a.ipynb: cell 2 of 2 (b): " in err
    assert "1 failed, 1 could not go on." in err


def test_a_kernel_that_can_not_be_started_is_one_notebooks_failure(
    three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(KernelSpecNotFoundError("julia", available=["python3"]))
    for files in (three, three[:1]):
        assert run("run", *files, "--report", "r.xml", "--report", "r.json") == 2
        assert capfd.readouterr().err.count("it has python3") == len(files)
        assert [each["status"] for each in read_json(Path("r.json"))["runs"]] == ["failed"] * len(files)


def test_a_gateway_that_is_not_there_is_in_the_reports_of_all(
    three: list[Path], fake_gateway: Install, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def open_local_gateway() -> AsyncGenerator[None]:
        raise GatewayConnectionError("nobody listens")
        yield

    monkeypatch.setattr("trio_gateway.open_local_gateway", open_local_gateway)
    assert run("run", *three, "--report", "r.json", "--json") == 3
    out, err = capfd.readouterr()
    assert err.count("nobody listens") == 1
    for report in (json.loads(out), read_json(Path("r.json"))):
        VALIDATOR.validate(report)
        assert report["error"]["type"] == "GatewayConnectionError"
        assert [(each["status"], each["error"]["type"]) for each in report["runs"]] == [("pending", "GatewayConnectionError")] * 3


# Endings --------------------------------------------------------------------------------------------------------------


def test_ctrl_c_says_which_cell_it_was_and_where_what_there_is_was_saved(
    three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(FakeKernel({"a": [Stream("stdout", "kept")], "b": [here(signal.SIGINT)]}))
    assert run("run", three[0], "-o", "out.ipynb", "--json") == 130
    out, err = capfd.readouterr()
    assert "Interrupted in cell 2 of 2 (b). Saved to out.ipynb." in err
    report = json.loads(out)
    VALIDATOR.validate(report)
    assert report["error"] == {"type": "Interrupted", "message": "ended by SIGINT: interrupted in cell 2 of 2 (b)", "advice": ""}
    assert [(each["status"], len(each["cells"])) for each in report["runs"]] == [("cancelled", 2)]
    assert [texts_of(each) for each in report["results"]] == [["kept"]]
    assert [texts_of(cell) for cell in read_json(Path("out.ipynb"))["cells"]] == [["kept"], []]
    assert run("run", three[0], "-q", "--report", "r.json") == 130
    assert capfd.readouterr().err == ""
    assert read_json(Path("r.json"))["runs"][0]["error"]["message"] == "interrupted in cell 2 of 2 (b)"


def test_ctrl_c_says_so_for_each_of_several_and_reports_on_all(
    three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(FakeKernel({**SCRIPTS, "b": [here(signal.SIGINT)]}))
    products = ["-o", "{stem}-out.ipynb", "--report", "r.xml", "--html", "{n}.html"]
    assert run("run", three[1], three[0], three[2], *products, "--json") == 130
    out, err = capfd.readouterr()
    assert "a.ipynb: interrupted in cell 2 of 2 (b). Saved to a-out.ipynb." in err
    assert "3 notebooks in" in err
    assert "1 failed, 1 was interrupted, 1 did not run." in err
    report = json.loads(out)
    VALIDATOR.validate(report)
    assert [each["status"] for each in report["runs"]] == ["error", "cancelled", "pending"]
    assert report["error"]["type"] == "ExecutionError", "the first that went wrong"
    root = ET.parse("r.xml").getroot()
    assert [(suite.get("name"), suite.get("errors"), suite.get("failures")) for suite in root] == [
        ("x/bad.ipynb", "0", "1"),
        ("a.ipynb", "1", "0"),
        ("c.ipynb", "0", "0"),
    ]


@pytest.mark.parametrize("option", ["--timeout", "--cell-timeout"])
def test_a_limit_says_which_cell_it_was_and_where_what_there_is_was_saved(
    option: str, three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = run_in_virtual_time(monkeypatch)

    async def time_passes() -> None:
        clocks[-1].jump(60)
        clocks[-1].rate = 1000  # what comes late is waited for then
        await trio.sleep_forever()

    fake_gateway(FakeKernel({"a": [Stream("stdout", "kept")], "b": [time_passes]}))
    assert run("run", three[0], "-o", "out.ipynb", option, "60", "--json") == 4
    out, err = capfd.readouterr()
    words = f"cell 2 of 2 (b) was interrupted: the limit is 60 s ({option})"
    assert f"error: {words}" in err
    assert "Saved to out.ipynb." in err
    report = json.loads(out)
    VALIDATOR.validate(report)
    assert (report["error"]["type"], report["error"]["message"]) == ("OutOfTimeError", words)
    assert [cell["status"] for cell in report["runs"][0]["cells"]] == ["ok", "timeout"]
    assert [texts_of(cell) for cell in read_json(Path("out.ipynb"))["cells"]] == [["kept"], []]
    assert run("run", *three[:2], option, "60", "-q", "--allow-errors") == (4 if option == "--timeout" else 0)


def test_input_that_nobody_gives_says_in_which_notebook_and_cell(
    three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(FakeKernel({"boom": [Error("StdinNotImplementedError", "no", ("Traceback of it",))]}))
    assert run("run", *three[:2], "-q") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(
        "trio-gateway: error: x/bad.ipynb: cell 2 of 3 (boom): the code asks for input, and standard input is no "
    )


def test_debug_shows_what_a_gateways_failure_came_from(
    three: list[Path], fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(FakeKernel({"a": [KernelDiedError("id", "the process ended")]}))
    assert run("run", three[0], "--debug") == 5
    assert "Traceback (most recent call last)" in capfd.readouterr().err


# Resumed --------------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_the_last_one_stopped(served: Callable[..., ServedFake]) -> None:
    gateway = served()
    cli = gateway.cli
    path = write_notebook(cli.cwd / "n.ipynb", "x = 6", "print(x * 7", ("0", ["skip-execution"]), "print(x)")
    done = cli.run("run", "n.ipynb", "--inplace", "--resume")
    assert done.code == 1
    assert "n.ipynb: cell 1 is the first to run: the file tells of no run that stopped." in done.err
    (kernel_id,) = gateway.fake.kernels
    assert f"Its kernel runs on, for --resume: `trio-gateway kernels shutdown {kernel_id}` ends it." in done.err
    path.write_text(path.read_text().replace("x * 7", "x * 7)"))
    done = cli.run("run", "n.ipynb", "--inplace", "--resume", "--json", "--report", "r.xml")
    assert done.code == 0
    assert "n.ipynb: cell 2 is the first to run: the last run stopped at cell 2." in done.err
    assert "Ran 2 of 3 cells in " in done.err
    assert ", 1 had run before, 1 skipped. Saved to n.ipynb." in done.err
    assert "runs on" not in done.err
    report = json.loads(done.out)
    VALIDATOR.validate(report)
    (found,) = report["runs"]
    assert (found["kernel_id"], found["kernel_left"]) == (kernel_id, False)
    assert found["resumption"] == "the last run stopped at cell 2"
    assert [(cell["cell"], cell["status"]) for cell in found["cells"]] == [
        (1, "skipped"),
        (2, "ok"),
        (None, "skipped"),
        (3, "ok"),
    ]
    words = [each.get("message") for each in ET.parse(cli.cwd / "r.xml").iter("skipped")]
    assert words == ["had run before", "tagged skip-execution"]
    assert texts_of(read_json(path)["cells"][1]) == ["42\n"]
    assert not gateway.fake.kernels


def test_a_kernel_that_is_left_works_where_the_notebook_is(served: Callable[..., ServedFake]) -> None:
    """It is started in another way than others, for it may stay."""
    cli = served().cli
    (cli.cwd / "x").mkdir()
    write_notebook(cli.cwd / "x" / "n.ipynb", "import os; print(os.getcwd())")
    for options in ([], ["--resume"], ["--resume", "--cwd", "x"]):
        assert cli.run("run", "-q", "x/n.ipynb", *options).out == f"{cli.cwd / 'x'}\n"
    done = cli.run("run", "-q", "x/n.ipynb", "--resume", "--cwd", "missing")
    assert done.code == 2
    assert "--cwd: " in done.err


def test_several_may_be_resumed_too(served: Callable[..., ServedFake]) -> None:
    cli = served().cli
    for name in "ab":
        write_notebook(cli.cwd / f"{name}.ipynb", "1")
    done = cli.run("run", "a.ipynb", "b.ipynb", "--resume")
    assert done.code == 0
    for name in "ab":
        assert f"{name}.ipynb: cell 1 is the first to run: the file tells of no run that stopped." in done.err


# Parameters -----------------------------------------------------------------------------------------------------------


def test_one_that_fails_ends_the_others_where_that_is_wanted(served: Callable[..., ServedFake]) -> None:
    cli = served().cli
    for name, code in {"a": "1 / 0", "b": "print(1)", "c": "print(2)"}.items():
        write_notebook(cli.cwd / f"{name}.ipynb", code)
    files = ["a.ipynb", "b.ipynb", "c.ipynb"]
    done = cli.run("run", *files, "-o", "out/", "--report", "r.json")
    assert (done.code, [run["status"] for run in read_json(cli.cwd / "r.json")["runs"]]) == (1, ["error", "ok", "ok"])
    done = cli.run("run", *files, "-o", "out/", "--report", "r.json", "--stop-on-failure")
    assert (done.code, [run["status"] for run in read_json(cli.cwd / "r.json")["runs"]]) == (1, ["error", "pending", "pending"])


def test_parameters_are_set_those_of_the_command_line_before_those_of_a_file(served: Callable[..., ServedFake]) -> None:
    cli = served().cli
    shows = "print(a, b, c)"
    for name in ("n", "m"):
        write_notebook(cli.cwd / f"{name}.ipynb", ("a = b = c = 0", ["parameters"]), shows)
    (cli.cwd / "p.yaml").write_text("a: 1\nb: [3]\n")
    (cli.cwd / "q.json").write_text('{"b": [2, "x"], "c": 5}')
    given = ["--parameters", "p.yaml", "-f", "q.json", "-p", "a=7", "-p", "c=1", "-r", "c=007"]
    assert cli.run("run", "-q", "n.ipynb", *given).out == "7 [2, 'x'] 007\n"
    assert cli.run("run", "-q", "n.ipynb", "m.ipynb", *given, "-o", "out/").code == 0
    for name in ("n", "m"):
        cells = read_json(cli.cwd / "out" / f"{name}.ipynb")["cells"]
        assert cells[1]["metadata"]["tags"] == ["injected-parameters"]
        assert texts_of(cells[2]) == ["7 [2, 'x'] 007\n"]


@pytest.mark.parametrize("files", [["n.ipynb"], ["n.ipynb", "m.ipynb"]], ids=len)
def test_what_is_no_parameter_is_named_before_any_kernel_is_started(files: list[str], served: Callable[..., ServedFake]) -> None:
    gateway = served()
    for name in ("n", "m"):
        write_notebook(gateway.cli.cwd / f"{name}.ipynb", "1")
    for pair in ("no name=1", "class=1"):
        done = gateway.cli.run("run", "-q", *files, "-p", pair, "--report", "r.json")
        assert (done.code, done.out) == (2, "")
        assert pair.partition("=")[0] in done.err
        assert done.err.count("error") == 1
        assert [each["error"]["type"] for each in read_json(gateway.cli.cwd / "r.json")["runs"]] == ["InvalidInputError"] * len(
            files
        )
    assert "POST /api/kernels" not in gateway.asked


def test_a_parameter_that_the_notebook_does_not_know_is_one_warning(served: Callable[..., ServedFake]) -> None:
    cli = served().cli
    write_notebook(cli.cwd / "n.ipynb", ("a = 0", ["parameters"]), "1")
    done = cli.run("run", "-q", "n.ipynb", "-p", "b=1")
    assert (done.code, done.out) == (0, "1\n")


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.ipynb", "c.ipynb", "--attach", "1234"], "--attach is for one notebook"),
        (["a.ipynb", "c.ipynb", "--echo"], "--echo is for one notebook"),
        (["a.ipynb", "-o", "-", "--json"], "--output - and --json exclude each other"),
        (["a.ipynb", "c.ipynb", "-o", "out.ipynb"], "would both be out.ipynb"),
        (["a.ipynb", "a.ipynb", "--inplace"], "stands there once"),
        (["a.ipynb", "-p", "x"], "NAME=VALUE"),
        (["a.ipynb", "--resume"], "--resume needs a gateway that stays"),
        (["a.ipynb", "-j", "0"], "0 is not in the range"),
        (["a.ipynb", "script.py"], "A script is run by itself"),
        (["script.py", "-j", "2"], "--jobs is for notebooks"),
        (["script.py", "-p", "a=1"], "-p is for notebooks"),
        (["script.py", "--report", "r.xml"], "--report is for notebooks"),
        (["script.py", "--cell-timeout", "3"], "--cell-timeout is for notebooks"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_starts(
    arguments: list[str], words: str, three: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("script.py").write_text("1")
    assert run("run", *arguments) == 2
    err = capfd.readouterr().err
    assert words in err
    assert "starting" not in err
