"""`run`: where a notebook's outputs go, which kernel it gets, what is left of a run that failed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools.notebook_tools import FakeKernel, texts_of, write_notebook
from trio_gateway import (
    DisplayData,
    Error,
    ExecuteResult,
    KernelDiedError,
    KernelSpecNotFoundError,
    OutputGap,
    Stream,
    UpdateDisplayData,
)

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, run


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


def without_papermills_record(notebook: Any) -> Any:
    """Return a notebook that was saved without what each run writes into it for papermill's readers."""
    for node in (notebook, *notebook["cells"]):
        node["metadata"].pop("papermill", None)
    return notebook


def test_what_is_mended_is_told_in_one_warning_and_what_was_there_stays(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gateway = fake_gateway(FakeKernel({"a": [Stream("stdout", "new")]}))
    text = {"cell_type": "markdown", "metadata": {}, "source": "![](a.png)", "attachments": {"a.png": {"image/png": "AA"}}}
    kept = {"cell_type": "code", "source": "b", "metadata": {"tags": ["skip-execution"]}, "outputs": [{"output_type": "stream"}]}
    cells = [{"cell_type": "code", "source": "a", "metadata": {"mine": 1}, "news": 2}, text, kept]
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {"mine": 3, "kernelspec": {"name": ""}}, "cells": cells}
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(notebook))
    assert run("run", path, "-q", "--inplace") == 0
    err = " ".join(capfd.readouterr().err.split())
    assert err.count("warning") == 1
    assert "n.ipynb: mended what breaks the notebook format: metadata.kernelspec.display_name (missing), cells[0].news" in err
    assert gateway.started == [(None, tmp_path)]
    after = without_papermills_record(json.loads(path.read_text()))
    nbformat.validate(after)
    ran = {"name": "python3", "display_name": "python3", "language": "fake"}
    assert after["metadata"] == {"mine": 3, "kernelspec": ran, "language_info": {"name": "fake"}}
    assert after["cells"][0]["metadata"] == {"mine": 1, "trio_gateway": {"set_aside": {"news": 2}}}
    assert (texts_of(after["cells"][0]), texts_of(after["cells"][2])) == (["new"], [""])
    assert after["cells"][1] == {**text, "source": ["![](a.png)"]}


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
    after = without_papermills_record(json.loads(path.read_text()))
    ran = {"language_info": {"name": "fake"}}  # the kernel that ran it
    assert (after["metadata"], after["cells"][0]["metadata"]) == ({**notebook["metadata"], **ran}, {"mine": 2})

    cell = {"cell_type": "code", "language": "python", "input": "1", "outputs": []}
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [cell], "metadata": {}}]}
    path.write_text(json.dumps(old))
    capfd.readouterr()
    assert run("run", path, "--inplace") == 0
    assert "upgraded from notebook format 3 to 4" in capfd.readouterr().err
    assert json.loads(path.read_text())["nbformat"] == 4
