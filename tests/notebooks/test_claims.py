"""Which jobs of one call are in each other's way, whatever their files are called."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trio_gateway import InvalidInputError
from trio_gateway._notebooks import claims as subject
from trio_gateway._notebooks.claims import Claims


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two notebooks."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.ipynb").write_text(name)
    return folder


def same_name(path: Path) -> Path:
    return path


def round_about(path: Path) -> Path:
    return path.parent / ".." / path.parent.name / "." / path.name


def symbolic_link(path: Path) -> Path:
    link = path.parent / "link"
    link.symlink_to(path)
    return link


def linked_folder(path: Path) -> Path:
    link = path.parent.parent / "linked"
    link.symlink_to(path.parent)
    return link / path.name


def hard_link(path: Path) -> Path:
    path.touch()  # what is not there has no other name
    link = path.parent / "hard"
    os.link(path, link)
    return link


OTHER_NAMES = [same_name, round_about, symbolic_link, linked_folder, hard_link]
by_other_names = pytest.mark.parametrize("other", OTHER_NAMES)


def refused(claims: Claims, job: str, notebook: Path | None, output: Path | None) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        claims.claim(job, notebook, output)
    return caught.value


@by_other_names
@pytest.mark.parametrize("exists", [True, False])
def test_two_jobs_with_one_output(folder: Path, other: Callable[[Path], Path], exists: bool) -> None:
    output = folder / ("b.ipynb" if exists else "new.ipynb")
    again = other(output)
    claims = Claims()
    claims.claim("job 1 (a)", folder / "a.ipynb", output)
    error = refused(claims, "job 2 (a)", folder / "a.ipynb", again)
    assert error.field == "output"
    assert "job 1 (a) and job 2 (a) both" in str(error)


@by_other_names
def test_an_output_that_another_job_reads(folder: Path, other: Callable[[Path], Path]) -> None:
    reads, writes = (folder / "a.ipynb", None), (folder / "b.ipynb", other(folder / "a.ipynb"))
    claims = Claims()
    claims.claim("job 1", *reads)
    error = refused(claims, "job 2", *writes)
    assert (error.field, error.value) == ("output", str(writes[1]))
    assert "job 1" in str(error)
    assert "job 2" in str(error)
    claims = Claims()
    claims.claim("job 1", *writes)
    error = refused(claims, "job 2", *reads)
    assert (error.field, error.value) == ("notebook", str(folder / "a.ipynb"))
    assert "job 1" in str(error)
    assert "job 2" in str(error)


def test_a_notebook_that_is_its_own_output_may_be_so_once(folder: Path) -> None:
    own = folder / "a.ipynb"
    claims = Claims()
    claims.claim("job 1", own, own)
    assert "job 1 and job 2 both" in str(refused(claims, "job 2", own, own))
    refused(claims, "job 3", own, None)
    claims.claim("job 4", folder / "b.ipynb", folder / "b.ipynb")


def test_one_notebook_may_be_read_by_many_and_no_output_is_in_nobodys_way(folder: Path) -> None:
    claims = Claims()
    for number in range(3):
        claims.claim(f"job {number}", folder / "a.ipynb", folder / f"out {number}.ipynb")
        claims.claim(f"job {number} without", folder / "a.ipynb", None)
        claims.claim(f"job {number} of a node", None, None)


def test_names_that_differ_in_case_only_are_two_where_the_file_system_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = Claims()
    claims.claim("job 1", None, folder / "Ä.ipynb")
    claims.claim("job 2", None, folder / "ä.ipynb")
    monkeypatch.setattr(subject, "_ignores_case", lambda folder: True)
    claims = Claims()
    claims.claim("job 1", None, folder / "Ä.ipynb")
    refused(claims, "job 2", None, folder / "a\u0308.IPYNB")
    claims.claim("job 3", None, folder / "ö.ipynb")


def test_whether_a_file_system_ignores_case_is_seen_by_a_folders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ignores_case = subject._ignores_case
    assert not ignores_case(Path("/"))
    (tmp_path / "In").mkdir()
    (tmp_path / "In" / "1").mkdir()
    assert not ignores_case(tmp_path / "In" / "1")
    (tmp_path / "iN").symlink_to(tmp_path / "In")
    assert not ignores_case(tmp_path / "In" / "1"), "a link is another entry"

    def lstat(path: Path) -> os.stat_result:
        return os.lstat(str(path).replace("iN", "In"))

    monkeypatch.setattr(Path, "lstat", lstat)
    assert ignores_case(tmp_path / "In" / "1")


def test_devices_pipes_and_what_can_not_be_looked_at_are_in_nobodys_way(folder: Path) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    circle = folder / "circle"
    circle.symlink_to(circle)
    claims = Claims()
    for path in (Path("/dev/null"), pipe, circle, folder / "not" / "there", folder / "a.ipynb" / "inside", Path("a\0b")):
        for number in (1, 2):
            claims.claim(f"{path} {number}", path, path)


def test_what_a_job_that_is_over_has_read_may_be_written_and_what_it_wrote_may_be_read(folder: Path) -> None:
    claims = Claims()
    claims.claim("job 1", folder / "a.ipynb", folder / "b.ipynb")
    claims.claim("job 2", folder / "a.ipynb", None)
    claims.release("job 1")
    claims.claim("job 3", folder / "b.ipynb", folder / "c.ipynb")
    refused(claims, "job 4", None, folder / "a.ipynb")  # job 2 reads it still
    claims.release("job 2")
    claims.claim("job 4", None, folder / "a.ipynb")
    refused(claims, "job 5", None, folder / "b.ipynb")  # it would be lost


def test_a_file_that_was_made_or_replaced_since_is_known(folder: Path) -> None:
    claims = Claims()
    claims.claim("job 1", None, folder / "new.ipynb")
    claims.claim("job 2", None, folder / "b.ipynb")
    for name in ("new", "b"):
        (folder / "temporary").write_text("saved")
        (folder / "temporary").replace(folder / f"{name}.ipynb")
        refused(claims, "job 3", None, folder / f"{name}.ipynb")


def test_what_is_refused_is_not_noted(folder: Path) -> None:
    claims = Claims()
    claims.claim("job 1", None, folder / "b.ipynb")
    refused(claims, "job 2", folder / "a.ipynb", folder / "b.ipynb")
    refused(claims, "job 2", folder / "b.ipynb", folder / "c.ipynb")
    claims.claim("job 2", folder / "c.ipynb", folder / "a.ipynb")
