"""What is found out before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from tools.notebook_tools import write_notebook
from trio_gateway import InvalidInputError
from trio_gateway._cli.options import Options
from trio_gateway._cli.tasks import Task, Wanted, plan


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    for name in ("a.ipynb", "x/b.ipynb"):
        write_notebook(tmp_path / name, "1")


def planned(*names: str, **traits: Any) -> list[Task]:
    return plan(Options(quiet=True), Wanted(files=tuple([Path(name) for name in names]), **traits))


def test_each_notebook_has_its_own_files_and_its_own_place() -> None:
    first, second = planned(
        "a.ipynb", "x/b.ipynb", output="out/", html="web/{n}.html", images=Path("img"), reports=(Path("r.xml"),)
    )
    assert [(task.source.title, task.output, task.page) for task in (first, second)] == [
        ("a.ipynb", Path("out/a.ipynb"), Path("web/1.html")),
        ("x/b.ipynb", Path("out/x/b.ipynb"), Path("web/2.html")),
    ]
    assert [(task.place.directory, task.place.option) for task in (first, second)] == [(Path.cwd(), ""), (Path.cwd() / "x", "")]
    assert all(Path(folder).is_dir() for folder in ("out/x", "web", "img"))
    assert not [*Path("out").rglob("*.ipynb")], "nothing is written yet"
    assert (first.read, second.read) == (None, None), "of several, none is kept in memory"


def test_one_notebook_is_read_once() -> None:
    (task,) = planned("a.ipynb", inplace=True, cwd=Path("x"))
    assert task.read is not None
    assert (task.output, task.page) == (Path("a.ipynb"), None)
    assert (task.place.directory, task.place.option) == (Path.cwd() / "x", "--cwd")


def test_what_comes_on_standard_input_works_here_and_may_go_to_standard_output() -> None:
    data = Path("a.ipynb").read_bytes()
    (task,) = planned("-", standard_input=data, output="-")
    assert task.read is not None
    assert (task.output, task.place.directory, task.source.title) == (None, Path.cwd(), "stdin")
    (task,) = planned("-", standard_input=data, output="{name}.ipynb")
    assert task.output == Path("stdin.ipynb")


@pytest.mark.parametrize(
    ("names", "traits", "words"),
    [
        (["a.ipynb"], {"output": "o.ipynb", "inplace": True}, "exclude each other"),
        (["a.ipynb", "x/b.ipynb"], {"output": "-"}, "--output - is for one notebook"),
        (["a.ipynb"], {"output": "o.html"}, "the name has to end in .ipynb, not in .html. --html makes a page"),
        (["a.ipynb"], {"reports": (Path("r.txt"),)}, "--report: the name ends in .html, .json, .xml"),
    ],
)
def test_options_that_can_not_be_meant_are_refused(names: list[str], traits: dict[str, Any], words: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        planned(*names, **traits)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("names", "traits", "field", "words"),
    [
        (["missing.ipynb"], {}, "notebook", "No such file"),
        (["a.ipynb", "x"], {}, "notebook", "directory"),
        (["a.ipynb", "bad.ipynb"], {}, "notebook", "JSON"),
        (["a.ipynb", "new.ipynb"], {}, "notebook", "format 5"),
        (["a.ipynb", "./a.ipynb"], {"inplace": True}, "notebook", "stands there once"),
        (["a.ipynb", "x/b.ipynb"], {"output": "o.ipynb"}, "output", "would both be o.ipynb"),
        (["a.ipynb"], {"output": "x"}, "output", "a folder is named with a slash at its end"),
        (["a.ipynb"], {"output": "missing/o.ipynb"}, "output", "the folder missing does not exist"),
        (["a.ipynb"], {"output": "a.ipynb/{n}.ipynb"}, "output", "folder that can be made"),
        (["a.ipynb"], {"html": "missing/p.html"}, "html", "the folder missing does not exist"),
        (["a.ipynb", "x/b.ipynb"], {"html": "p.html"}, "html", "would both be p.html"),
        (["a.ipynb"], {"reports": (Path("missing/r.xml"),)}, "report", "the folder missing does not exist"),
        (["a.ipynb"], {"images": Path("a.ipynb")}, "images", "folder that can be made"),
        (["a.ipynb"], {"images": Path("i\0")}, "images", "folder that can be made"),
    ],
)
def test_what_can_not_be_read_or_written_is_named(names: list[str], traits: dict[str, Any], field: str, words: str) -> None:
    Path("bad.ipynb").write_text("print(1)")
    Path("new.ipynb").write_text('{"nbformat": 5}')
    before = set(Path().rglob("*"))
    with pytest.raises(InvalidInputError) as caught:
        planned(*names, **traits)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert set(Path().rglob("*")) == before


def test_a_notebook_that_had_to_be_mended_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads(Path("a.ipynb").read_text())
    notebook["cells"][0]["news"] = 1
    Path("a.ipynb").write_text(json.dumps(notebook))
    planned("a.ipynb", "x/b.ipynb")
    err = capsys.readouterr().err
    assert (err.count("warning"), "a.ipynb: mended" in err) == (1, True)
