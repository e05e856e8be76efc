"""What files are called that come of notebooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_gateway import InvalidInputError
from trio_gateway._cli.output_pattern import expand, makes_folders, sources_of


def expanded(pattern: str, *paths: str, ending: str = ".ipynb") -> list[str]:
    sources = sources_of([Path(path) for path in paths])
    return [path.as_posix() for path in expand(pattern, sources, field="output", ending=ending)]


@pytest.mark.parametrize(
    ("paths", "names", "titles"),
    [
        (["a.ipynb"], ["a"], ["a.ipynb"]),
        (["x/y/a.IPYNB"], ["a"], ["a.IPYNB"]),
        (["x/a.ipynb", "x/b.c.ipynb"], ["a", "b.c"], ["a.ipynb", "b.c.ipynb"]),
        (["x/a.ipynb", "y/z/a.ipynb"], ["x/a", "y/z/a"], ["x/a.ipynb", "y/z/a.ipynb"]),
        (["a.ipynb", "x/a.ipynb", "../a.ipynb"], ["here/a", "here/x/a", "a"], ["here/a.ipynb", "here/x/a.ipynb", "a.ipynb"]),
        (["/d/x/a.ipynb", "/d/y/a.ipynb"], ["x/a", "y/a"], ["x/a.ipynb", "y/a.ipynb"]),
        (["no-ending", ".ipynb"], ["no-ending", ".ipynb"], ["no-ending", ".ipynb"]),
        (["-"], ["stdin"], ["stdin"]),
        (["-", "x/a.ipynb"], ["stdin", "a"], ["stdin", "a.ipynb"]),
        ([], [], []),
    ],
)
def test_each_is_named_by_what_tells_it_from_the_others(
    paths: list[str], names: list[str], titles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sources = sources_of([Path(path) for path in paths])
    assert [source.name for source in sources] == names
    assert [source.title for source in sources] == titles
    assert [source.number for source in sources] == [*range(1, len(paths) + 1)]


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("out/{name}.ipynb", ["out/x/a.ipynb", "out/y/b.ipynb"]),
        ("out/", ["out/x/a.ipynb", "out/y/b.ipynb"]),
        ("out{n}/", ["out1/x/a.ipynb", "out2/y/b.ipynb"]),
        ("{stem}-done.ipynb", ["a-done.ipynb", "b-done.ipynb"]),
        ("/r/{n:03}.ipynb", ["/r/001.ipynb", "/r/002.ipynb"]),
        ("{{{n}}}", ["{1}", "{2}"]),
    ],
)
def test_a_pattern_gives_each_its_file(pattern: str, files: list[str]) -> None:
    assert expanded(pattern, "x/a.ipynb", "y/b.ipynb") == files


def test_a_folder_has_names_of_the_ending_that_belongs_there() -> None:
    assert expanded("web/", "a.ipynb", ending=".html") == ["web/a.html"]
    assert expanded("plain.ipynb", "a.ipynb") == ["plain.ipynb"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{title}.ipynb", "none but {name}, {stem}, {n} in braces"),
        ("{}.ipynb", "none but {name}"),
        ("{name.__class__}", "none but {name}"),
        ("{n!r}", "none but {name}"),
        ("{n", "a brace itself is written twice"),
        ("}", "a brace itself is written twice"),
        ("{name:d}", "{name:d} can be written"),
        ("{n:{name}}", "can be written"),
    ],
)
def test_a_pattern_that_can_not_be_meant_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        expanded(pattern, "a.ipynb")
    assert words in str(caught.value)
    assert (caught.value.field, pattern in str(caught.value)) == ("output", True)


@pytest.mark.parametrize("pattern", ["out.ipynb", "{stem}.ipynb", "q/../{stem}.ipynb", "/{stem}"])
def test_two_notebooks_never_get_one_file(pattern: str) -> None:
    with pytest.raises(InvalidInputError, match=r"x/a\.ipynb and y/a\.ipynb would both be") as caught:
        expanded(pattern, "x/a.ipynb", "y/a.ipynb")
    assert "such as out/{name}.ipynb" in str(caught.value)


def test_also_where_only_the_file_system_knows_that_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").symlink_to(tmp_path / "1")
    with pytest.raises(InvalidInputError, match="would both be"):
        expanded(f"{tmp_path}/{{n}}/out.ipynb", "a.ipynb", "b.ipynb")


def test_no_notebook_is_written_to_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=r"1\.ipynb would be written to 2\.ipynb") as caught:
        expanded("2.ipynb", "1.ipynb", "2.ipynb")
    assert caught.value.field == "output"
    assert expanded("{name}.ipynb", "1.ipynb", "2.ipynb") == ["1.ipynb", "2.ipynb"], "each to itself"


def test_a_notebook_stands_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ipynb").touch()
    Path("link.ipynb").symlink_to("a.ipynb")
    for again in ("a.ipynb", "./a.ipynb", str(tmp_path / "a.ipynb"), "link.ipynb"):
        with pytest.raises(InvalidInputError, match=r"a\.ipynb is the same one") as caught:
            sources_of([Path("a.ipynb"), Path(again)])
        assert caught.value.field == "notebook"


@pytest.mark.parametrize(("pattern", "made"), [("out/", True), ("{name}/x.ipynb", True), ("out/x.ipynb", False)])
def test_folders_are_made_where_a_pattern_asks_for_them(pattern: str, made: bool) -> None:
    assert makes_folders(pattern) is made


def test_what_no_path_can_be_is_for_its_reader_to_refuse() -> None:
    assert expanded("a\0b", "x.ipynb") == ["a\0b"]
