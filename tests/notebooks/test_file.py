"""Notebook files that are read, and files that are never half written."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools.notebook_tools import notebook_of
from trio_gateway import InvalidInputError
from trio_gateway._notebooks.file import NotebookFile, read_notebook, to_json


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some notebook.ipynb"


def test_a_notebook_is_read_with_what_was_mended(path: Path) -> None:
    document = {"nbformat": 4, "nbformat_minor": 4, "cells": []}
    path.write_text(json.dumps(document))
    found = read_notebook(path)
    assert (found.notebook.cells, found.format, found.faults) == ([], 4, ("metadata (missing)",))


def test_a_files_path_may_be_text(path: Path) -> None:
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": []}))
    assert read_notebook(str(path)) == read_notebook(path)
    with pytest.raises(InvalidInputError, match="notebook: 5 can't be used; expected a path"):
        read_notebook(5)  # type: ignore[arg-type]


def test_what_is_no_notebook_is_told_with_the_files_name(path: Path) -> None:
    path.write_bytes(b"{}")
    with pytest.raises(InvalidInputError, match=r"some notebook\.ipynb.*key nbformat") as caught:
        read_notebook(path)
    assert caught.value.field == "notebook"


def test_a_missing_file_and_a_folder_are_told_with_their_names(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"some notebook.*No such file"):
        read_notebook(path)
    with pytest.raises(InvalidInputError, match="directory"):
        read_notebook(tmp_path)
    with pytest.raises(InvalidInputError, match="null"):
        read_notebook(Path("a\0b.ipynb"))


def test_json_is_as_other_tools_write_it() -> None:
    notebook = notebook_of("'ü'")
    assert to_json(notebook).decode() == nbformat.writes(notebook) + "\n"


def test_a_lone_surrogate_is_saved_as_an_escape() -> None:
    assert json.loads(to_json(notebook_of("'\ud800'")).decode("utf-8"))["cells"][0]["source"] == ["'\ud800'"]


def test_numbers_that_are_no_json_are_saved_as_null() -> None:
    notebook = notebook_of("1")
    notebook.metadata["x"] = [1.5, float("nan"), -float("inf"), "ü"]

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    saved = json.loads(to_json(notebook), parse_constant=refuse)
    assert saved["metadata"]["x"] == [1.5, None, None, "ü"]
    assert saved["cells"][0]["source"] == ["1"]


# --------------------------------------------------------------------------------------------------------------- writing


def test_a_new_file_gets_the_usual_permissions_and_nothing_else_is_left(path: Path) -> None:
    reference = path.with_name("reference")
    reference.touch()
    NotebookFile(path).write([b"n", b"ew"])
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode == reference.stat().st_mode
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, "reference"}


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize(("old", "origin", "expected"), [(0o600, 0o644, 0o600), (None, 0o600, 0o600), (0o644, 0o600, 0o644)])
def test_at_no_moment_can_more_people_read_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, old: int | None, origin: int, expected: int
) -> None:
    """Looked at when the file is made, and when it is there: what is in it may be secret (G8)."""
    notebook = path.with_name("origin")
    notebook.touch(origin)
    if old is not None:
        path.touch(old)
    modes: list[int] = []

    def fsync(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fsync", fsync)
    before = os.umask(0o022)
    try:
        NotebookFile(path, notebook).write([b"n", b"ew"])
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == expected


def test_making_one_changes_nothing(path: Path) -> None:
    NotebookFile(path)
    assert list(path.parent.iterdir()) == []


def test_an_old_file_is_replaced_in_one_step_and_keeps_its_permissions(path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0o640)
    with path.open("rb") as reader:
        NotebookFile(path).write([b"n", b"ew"])
        assert reader.read() == b"old"  # who reads meanwhile sees all of the old file
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_stays_one(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(b"old")
    path.symlink_to("target")
    NotebookFile(path).write([b"n", b"ew"])
    assert path.is_symlink()
    assert target.read_bytes() == b"new"


def test_links_in_a_circle_are_told_and_stay(path: Path) -> None:
    path.symlink_to(path.name)
    with pytest.raises(InvalidInputError, match=r"some notebook.*symbolic links"):
        NotebookFile(path)
    assert path.is_symlink()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"old")
    file = NotebookFile(path)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InvalidInputError, match="No space left"):
        file.write([b"n", b"ew"])
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_where_nothing_can_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="folder"):
        NotebookFile(tmp_path)
    with pytest.raises(InvalidInputError, match=r"a file that can be written .the folder .*missing does not exist"):
        NotebookFile(tmp_path / "missing" / "x.ipynb")
    with pytest.raises(InvalidInputError, match="Not a directory"):
        (tmp_path / "file").touch()
        NotebookFile(tmp_path / "file" / "x.ipynb")
    with pytest.raises(InvalidInputError, match="null"):
        NotebookFile(Path("a\0b"))


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        file: Any = NotebookFile(pipe)
        assert file.is_special
        file.write([b"con", b"tent"])
        assert os.read(reader, 100) == b"content"
        assert pipe.is_fifo()
    finally:
        os.close(reader)
