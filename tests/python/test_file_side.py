"""Files on either side, in this process: what is read, what is beside, and what is under the name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from trio_gateway._python import file_side
from trio_gateway._python.file_side import FileProblem, Reading, Writing

DATA = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def nobody_writes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert file_side._writers == {}


def tree(path: Path) -> list[str]:
    return sorted(found.relative_to(path).as_posix() for found in path.rglob("*"))


def written(path: str, data: bytes = DATA, *, mode: int = 0o640, within: str | None = None, resume: bool = False) -> str:
    file = Writing(path, within, len(data), resume=resume)
    file.feed(memoryview(data)[:1000])
    file.feed(data[1000:])
    kept: str = file.keep(hashlib.sha256(data).hexdigest(), mode)
    return kept


# Reading ------------------------------------------------------------------------------------------------------------------


def test_a_file_is_read_in_pieces_with_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    (tmp_path / "f").chmod(0o4751)
    reading = Reading("f")
    assert (reading.total, reading.mode) == (len(DATA), 0o751)
    assert b"".join(reading.pieces(0, len(DATA))) == DATA
    assert reading.read(5, 9) == DATA[5:9], "a lost piece is read again"
    assert reading.whole() == DIGEST
    assert reading.digest(3) == hashlib.sha256(DATA[:3]).hexdigest()
    assert reading.whole() == DIGEST
    with pytest.raises(FileProblem, match="no bytes"):
        reading.read(0, len(DATA) + 1)
    reading.discard()


@pytest.mark.parametrize("change", [b"longer " * 1_000_000, b"", DATA[:-1] + b"?"])
def test_a_file_that_changes_meanwhile_is_none(tmp_path: Path, change: bytes) -> None:
    (tmp_path / "f").write_bytes(DATA)
    reading = Reading("f")
    reading.read(0, 1000)
    (tmp_path / "f").write_bytes(change)
    os.utime("f", ns=(1, 1))
    with pytest.raises(FileProblem) as caught:
        reading.whole()
    assert caught.value.kind == "changed"
    reading.discard()


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.mkfifo("pipe")
    for path, kind in (("gone", "missing"), ("d", "directory"), ("pipe", "other"), ("/dev/null", "other"), ("a\0b", "other")):
        with pytest.raises(FileProblem) as caught:
            Reading(path)
        assert (caught.value.kind, caught.value.path) == (kind, path)


# Writing ------------------------------------------------------------------------------------------------------------------


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"before")
    file = Writing("f", None, len(DATA))
    file.feed(DATA[:1000])
    assert tree(tmp_path) == [".f.part", "f"]
    assert (tmp_path / "f").read_bytes() == b"before"
    file.feed(DATA[1000:])
    assert file.keep(DIGEST, 0o4640) == str(tmp_path / "f")
    assert tree(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == DATA
    assert (tmp_path / "f").stat().st_mode & 0o7777 == 0o640


def test_an_empty_file_and_one_with_a_long_name(tmp_path: Path) -> None:
    written("e", b"")
    written("n" * 255)
    assert tree(tmp_path) == ["e", "n" * 255]


@pytest.mark.parametrize("how", ["given up", "wrong", "half", "too much"])
def test_nothing_is_left_of_what_did_not_come_whole(tmp_path: Path, how: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"before")
    for path in ("d/f", "new/a/b/f"):
        file = Writing(path, None, len(DATA))
        file.feed(DATA[:-1])
        if how == "too much":
            with pytest.raises(FileProblem, match="more came"):
                file.feed(b"ab")
            with pytest.raises(FileProblem, match="more came"):
                file.keep(DIGEST, 0o600)
        elif how == "given up":
            file.discard()
        else:
            if how == "wrong":
                file.feed(b"?")
            with pytest.raises(FileProblem) as caught:
                file.keep(DIGEST, 0o600)
            assert caught.value.kind == "damaged"
    assert tree(tmp_path) == ["d", "d/f"]
    assert (tmp_path / "d/f").read_bytes() == b"before"


def test_what_was_given_up_is_gone_on_with(tmp_path: Path) -> None:
    file = Writing("new/f", None, len(DATA), resume=True)
    file.feed(DATA[:5000])
    file.discard()
    assert tree(tmp_path) == ["new", "new/.f.part"]
    file = Writing("new/f", None, len(DATA), resume=True)
    assert (file.received, file.digest()) == (5000, hashlib.sha256(DATA[:5000]).hexdigest())
    file.feed(DATA[5000:])
    file.keep(DIGEST, 0o600)
    assert tree(tmp_path) == ["new", "new/f"]
    assert Path("new/f").read_bytes() == DATA


def test_another_beginning_is_written_anew_and_a_longer_one_too(tmp_path: Path) -> None:
    (tmp_path / ".f.part").write_bytes(b"x" * 300)
    file = Writing("f", None, len(DATA), resume=True)
    assert file.received == 300
    file.restart()
    file.feed(DATA)
    file.keep(DIGEST, 0o600)
    (tmp_path / ".f.part").write_bytes(b"x" * 300)
    file = Writing("f", None, 200, resume=True)
    assert file.received == 0
    file.discard()
    assert tree(tmp_path) == ["f"], "there is nothing to go on with"


def test_one_writer_has_a_file(tmp_path: Path) -> None:
    first = Writing("f", None, len(DATA), resume=True)
    first.feed(DATA[:10])
    with pytest.raises(FileProblem) as caught:
        Writing("f", None, len(DATA))
    assert caught.value.kind == "busy"
    second = Writing("f", None, len(DATA), resume=True, takes_over=True)
    assert second.received == 10
    with pytest.raises(FileProblem) as caught:
        first.feed(DATA[10:])
    assert caught.value.kind == "busy"
    first.discard()
    second.feed(DATA[10:])
    second.keep(DIGEST, 0o600)
    assert Path("f").read_bytes() == DATA


def test_another_process_that_writes_it_is_not_disturbed(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".f.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FileProblem, match="another process"):
            Writing("f", None, 5)
    written("f")
    assert tree(tmp_path) == ["f"]


def test_what_is_written_in_place_of_a_link_does_not_follow_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"kept")
    (tmp_path / "f").symlink_to("secret")
    written("f")
    assert (tmp_path / "secret").read_bytes() == b"kept"
    assert not (tmp_path / "f").is_symlink()
    (tmp_path / ".g.part").symlink_to("secret")
    with pytest.raises(FileProblem):
        written("g")
    (tmp_path / ".h.part").hardlink_to("secret")
    with pytest.raises(FileProblem, match="something else stands"):
        written("h")
    assert (tmp_path / "secret").read_bytes() == b"kept"


@pytest.mark.parametrize("path", ["d", "d/", "new/", ".", "..", "/"])
def test_a_directory_is_none_that_can_be_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(FileProblem) as caught:
        Writing(path, None, 5)
    assert caught.value.kind == "directory"
    assert tree(tmp_path) == ["d"]


def test_what_the_system_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileProblem) as caught:
        Writing("file/f", None, 5)
    assert caught.value.kind == "directory"
    full = Writing("f", None, len(DATA))

    def write(data: Any) -> int:
        raise OSError(28, os.strerror(28))

    class Full:
        def __getattr__(self, name: str) -> Any:
            return write if name == "write" else getattr(kept, name)

    kept, full._file = full._file, Full()
    with pytest.raises(FileProblem) as caught:
        full.feed(DATA)
    assert (caught.value.kind, caught.value.path) == ("full", "f")
    assert full.failure is caught.value
    full.discard()
    assert tree(tmp_path) == ["file"]


# Only within a directory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["../f", "in/../f", "in/../../f", "/etc/f", "in/out/f", "in/out/new/f", "in/a/../../f", "inside/f", "in/up/f"]
)
def test_nothing_is_written_outside_of_the_directory(tmp_path: Path, path: str) -> None:
    for name in ("in", "elsewhere", "inside"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/up").symlink_to("..")
    before = tree(tmp_path)
    with pytest.raises(FileProblem) as caught:
        Writing(path, "in", 5)
    assert caught.value.kind == "outside"
    assert tree(tmp_path) == before


def test_what_is_in_the_directory_is_written_also_through_links(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "in").symlink_to("real")
    (tmp_path / "real/link").symlink_to("deep")
    for path in ("in/f", "in/link/f", "real/new/f", str(tmp_path / "in/g"), "in/deep/../h"):
        written(path, within="in")
    assert [name for name in tree(tmp_path / "real") if name[-1] in "fgh"] == ["deep/f", "f", "g", "h", "new/f"]


def test_a_directory_that_becomes_a_link_meanwhile_is_noticed(tmp_path: Path) -> None:
    for name in ("in/d", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    file = Writing("in/d/f", "in", 0)
    (tmp_path / "in/d").rename("in/old")
    (tmp_path / "in/d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileProblem) as caught:
        file.keep(hashlib.sha256().hexdigest(), 0o600)
    assert caught.value.kind == "outside"
    assert tree(tmp_path / "elsewhere") == []


def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    written("in/f", within="in")
    with pytest.raises(FileProblem, match="outside of the directory new"):
        Writing("new/../f", "new", 5)
    assert tree(tmp_path) == ["in", "in/f"]


@pytest.mark.parametrize(
    "name", ["", "/", "/etc/passwd", "..", "../f", "a/../../f", "a//f", "./f", "a/.", "a\0b", None, 5, ["a"]]
)
def test_a_name_that_leads_out_is_refused(name: Any) -> None:
    with pytest.raises(FileProblem) as caught:
        file_side.check_relative(name)
    assert caught.value.kind == "outside"


def test_a_name_below_the_directory_is_taken() -> None:
    for name in ("a", "a/b/c", "..a", "a b/é"):
        file_side.check_relative(name)


# Patterns -------------------------------------------------------------------------------------------------------------------


def test_files_are_found_with_their_sizes(tmp_path: Path) -> None:
    for name in ("b.csv", "d/a.csv", "d/e/c.csv", "d/f.txt", "d/.x.csv.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"abc")
    assert file_side.find(".", "**/*.csv") == [["b.csv", 3], ["d/a.csv", 3], ["d/e/c.csv", 3]]
    assert file_side.find("d", "*") == [["a.csv", 3], ["f.txt", 3]]
    assert file_side.find("d", "nothing*") == []
    with pytest.raises(FileProblem, match="no such directory"):
        file_side.find("gone", "*")
    with pytest.raises(FileProblem, match="no pattern"):
        file_side.find("d", "/etc/*")


def test_there_is_a_limit_of_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(file_side, "FILES", 2)
    with pytest.raises(FileProblem, match="more than 2 files"):
        file_side.find(".", "*")
