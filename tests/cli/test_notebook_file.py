"""Reading notebooks of every kind, and writing files that are never half written."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import nbformat
import pytest

from trio_gateway import InvalidInputError
from trio_gateway._cli.notebook_file import NotebookFile, read_notebook, to_json

from .cli_kit import notebook_of

OLD = {
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {"name": "old"},
    "worksheets": [
        {"cells": [{"cell_type": "code", "language": "python", "input": ["1 +\n", "1"], "outputs": []}], "metadata": {}},
    ],
}
EMPTY = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
CODE = {"cell_type": "code", "id": "a", "source": "1", "metadata": {}, "outputs": [], "execution_count": None}


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some notebook.ipynb"


@pytest.mark.parametrize("minor", [0, 1, 2, 3, 4, 5])
def test_every_minor_version_of_format_4_is_kept(path: Path, minor: int) -> None:
    path.write_bytes(to_json(notebook_of("1", minor=minor)))
    notebook, major = read_notebook(path)
    assert (major, notebook.nbformat, notebook.nbformat_minor) == (4, 4, minor)
    assert ("id" in notebook.cells[0]) == (minor >= 5)


def test_a_minor_version_from_the_future_is_kept_with_what_it_brings(path: Path) -> None:
    notebook, _ = read_notebook(write(path, {**EMPTY, "nbformat_minor": 99, "cells": [{**CODE, "news": 1}]}))
    assert notebook.nbformat_minor == 99
    assert json.loads(to_json(notebook))["cells"][0]["news"] == 1


def test_format_3_is_upgraded(path: Path) -> None:
    notebook, major = read_notebook(write(path, OLD))
    assert (major, notebook.nbformat) == (3, 4)
    assert [cell.source for cell in notebook.cells] == ["1 +\n1"]
    nbformat.validate(json.loads(to_json(notebook)))


def test_missing_and_repeated_cell_ids_are_mended_without_a_word(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = {name: value for name, value in CODE.items() if name != "id"}
    notebook, _ = read_notebook(write(path, {**EMPTY, "cells": [without, CODE, CODE]}))
    assert len({cell.id for cell in notebook.cells}) == 3
    assert capsys.readouterr() == ("", "")


def test_a_byte_order_mark_does_no_harm(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(EMPTY).encode())
    assert read_notebook(path)[0].cells == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSON"),
        (b"print(1)", "JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[]", "key nbformat"),
        (b"{}", "key nbformat"),
        (b'{"nbformat": 5}', "not of format 5"),
        (b'{"nbformat": 2}', "not of format 2"),
        (b'{"nbformat": 4.0}', "not of format 4.0"),
        (b'{"nbformat": true}', "not of format True"),
        (b'{"nbformat": "4"}', "not of format '4'"),
        (b'{"nbformat": 4}', "valid notebook"),
        (json.dumps({**EMPTY, "nbformat_minor": "x"}).encode(), "valid notebook"),
        (json.dumps({**EMPTY, "nbformat_minor": 2.5}).encode(), "valid notebook"),
        (json.dumps({**EMPTY, "nbformat_minor": float("inf")}).encode(), "valid notebook"),
        (json.dumps({**EMPTY, "metadata": {"x": 0}}).encode().replace(b"0", b"[" * 800 + b"]" * 800), "valid notebook"),
        (json.dumps({**EMPTY, "cells": 5}).encode(), "valid notebook"),
        (json.dumps({**EMPTY, "cells": [5]}).encode(), "valid notebook"),
        (json.dumps({**EMPTY, "metadata": []}).encode(), "valid notebook"),
        (json.dumps({**EMPTY, "cells": [{**CODE, "source": 5}]}).encode(), "valid notebook"),
        (json.dumps({**EMPTY, "cells": [{**CODE, "cell_type": "x"}]}).encode(), "valid notebook"),
        (json.dumps({**EMPTY, "cells": [{**CODE, "outputs": [{"output_type": "x"}]}]}).encode(), "valid notebook"),
        (json.dumps({**OLD, "worksheets": 5}).encode(), "valid notebook"),
        (json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}}).encode(), "valid notebook"),
    ],
)
def test_what_is_no_notebook_is_told_with_the_files_name(path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        read_notebook(path)
    assert caught.value.field == "FILE"
    assert "some notebook.ipynb" in str(caught.value)
    assert words in str(caught.value)


def test_the_place_of_a_mistake_is_told(path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"\['cells'\]\[1\]"):
        read_notebook(write(path, {**EMPTY, "cells": [CODE, {**CODE, "id": "b", "execution_count": "x"}]}))


def test_a_missing_file_and_a_folder_are_told_with_their_names(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"some notebook.*No such file"):
        read_notebook(path)
    with pytest.raises(InvalidInputError, match="directory"):
        read_notebook(tmp_path)
    with pytest.raises(InvalidInputError, match="null"):
        read_notebook(Path("a\0b.ipynb"))


def test_lone_surrogates_survive_reading_and_writing(path: Path) -> None:
    notebook, _ = read_notebook(write(path, {**EMPTY, "cells": [{**CODE, "source": "'\ud800'"}]}))
    assert json.loads(to_json(notebook))["cells"][0]["source"] == ["'\ud800'"]


def test_json_is_as_other_tools_write_it() -> None:
    notebook = notebook_of("'ü'")
    assert to_json(notebook).decode() == nbformat.writes(notebook) + "\n"


# --------------------------------------------------------------------------------------------------------------- writing


def test_a_new_file_gets_the_usual_permissions_and_nothing_else_is_left(path: Path) -> None:
    reference = path.with_name("reference")
    reference.touch()
    NotebookFile(path).write(b"new")
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
        NotebookFile(path, notebook).write(b"new")
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
        NotebookFile(path).write(b"new")
        assert reader.read() == b"old"  # who reads meanwhile sees all of the old file
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_stays_one(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(b"old")
    path.symlink_to("target")
    NotebookFile(path).write(b"new")
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
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_where_nothing_can_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="folder"):
        NotebookFile(tmp_path)
    with pytest.raises(InvalidInputError, match="No such file"):
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
        file.write(b"content")
        assert os.read(reader, 100) == b"content"
        assert pipe.is_fifo()
    finally:
        os.close(reader)
