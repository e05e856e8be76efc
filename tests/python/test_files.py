"""Files to a real kernel and from it; on a line that breaks, given up, and from one that lies."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_gateway
from tools.tcp_proxy import open_tcp_proxy
from trio_gateway import InvalidInputError, Kernel, ProtocolError
from trio_gateway._python import file_side, transfer
from trio_gateway._python.link import NAME
from trio_gateway.python import FileAccessError, Progress, Python, TransferError, open_python

pytestmark = [pytest.mark.gateway, pytest.mark.full]

SIDE = f"__import__('sys').modules['{NAME}.kernel_side']"
DATA = random.Random(3).randbytes(30_000_000)
"""Two windows."""
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
async def python(kernel: Kernel, here: Path, there: Path) -> AsyncGenerator[Python]:
    """The kernel works in the directory `there`, this process in `here`."""
    await kernel.execute(f"import os; os.chdir({str(there)!r})", silent=True)
    async with open_python(kernel) as python:
        yield python
        assert (await kernel.execute(f"print(len({SIDE}._boxes), len({SIDE}.file_side._writers))")).text == "0 0\n"
        assert file_side._writers == {}
        await kernel.execute("os.chdir('/')", silent=True)


def tree(path: Path) -> list[str]:
    return sorted(found.relative_to(path).as_posix() for found in path.rglob("*"))


async def test_files_go_there_and_come_back_with_their_modes(python: Python, here: Path, there: Path) -> None:
    (here / "data.bin").write_bytes(DATA)
    (here / "data.bin").chmod(0o4751)
    told: list[Progress] = []
    copy = await python.upload("data.bin", Path("inputs/data.bin"), on_progress=told.append)
    assert (copy.path, copy.size, copy.sha256) == (str(there / "inputs/data.bin"), len(DATA), DIGEST)
    assert (there / "inputs/data.bin").read_bytes() == DATA
    assert (there / "inputs/data.bin").stat().st_mode & 0o7777 == 0o751
    copy = await python.using(on_progress=told.append).download("inputs/data.bin", "new/model.bin")
    assert (copy.path, copy.size, copy.sha256) == (str(here / "new/model.bin"), len(DATA), DIGEST)
    assert (here / "new/model.bin").read_bytes() == DATA
    assert (here / "new/model.bin").stat().st_mode & 0o7777 == 0o751
    second = [progress.done for progress in told].index(0, 1)
    for some in (told[:second], told[second:]):
        assert some[0].done == 0, "it is told before the first piece"
        assert some[-1].done == some[-1].total == len(DATA)
        assert len(some) > 7
    assert (tree(here), tree(there)) == (["data.bin", "new", "new/model.bin"], ["inputs", "inputs/data.bin"])


async def test_an_empty_file(python: Python, here: Path, there: Path) -> None:
    (here / "e").write_bytes(b"")
    assert (await python.upload("e", "e")).size == 0
    assert (await python.download("e", "f")).size == 0
    assert (tree(here), tree(there)) == (["e", "f"], ["e"])


async def test_where_the_kernel_hears_of_no_comms(python: Python, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python._link.has_comms = False
    monkeypatch.setattr(transfer, "STEP", 100_000)
    (here / "f").write_bytes(DATA[:250_001])
    await python.upload("f", "f")
    await python.download("f", "g")
    assert (here / "g").read_bytes() == DATA[:250_001]


async def test_directories_are_kept(python: Python, here: Path, there: Path) -> None:
    names = ["a.csv", "d/b.csv", "d/e/é c.csv", "d/n.txt"]
    for name in names:
        (here / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "in" / name).write_text(name)
    told: list[Progress] = []
    copies = await python.upload_all("in", "out", "**/*.csv", on_progress=told.append)
    assert [copy.path for copy in copies] == [str(there / "out" / name) for name in names[:3]]
    assert (told[0].done, told[-1].done) == (0, told[-1].total)
    assert {progress.total for progress in told} == {sum(len(name.encode()) for name in names[:3])}
    assert [copy.path for copy in await python.download_all(there / "out", "back")] == [
        str(here / "back" / name) for name in names[:3]
    ]
    assert (here / "back/d/e/é c.csv").read_text() == "d/e/é c.csv"
    assert await python.download_all("out", "none", "*.txt") == ()


# What can't be -----------------------------------------------------------------------------------------------------------


async def test_what_is_missing_or_a_directory_is_named_with_its_side(python: Python, here: Path, there: Path) -> None:
    (here / "f").write_bytes(b"x")
    (there / "d").mkdir()
    for call, side, path, kind in (
        (python.upload("gone", "x"), "here", "gone", "missing"),
        (python.upload(here, "x"), "here", str(here), "directory"),
        (python.upload("f", "d"), "kernel", "d", "directory"),
        (python.download("gone", "x"), "kernel", "gone", "missing"),
        (python.download("d", "x"), "kernel", "d", "directory"),
        (python.upload_all("gone", "x"), "here", "gone", "missing"),
        (python.download_all("gone", "x"), "kernel", "gone", "missing"),
        (python.upload("f", "../x", within="."), "kernel", "../x", "outside"),
        (python.upload("f", "x", within="gone"), "kernel", "x", "outside"),
    ):
        with pytest.raises(FileAccessError) as caught:
            await call
        assert (caught.value.side, caught.value.path, caught.value.kind) == (side, path, kind)
    await python.upload("f", "f")
    with pytest.raises(FileAccessError) as caught:
        await python.download("f", "../f", within=".")
    assert (caught.value.side, caught.value.path, caught.value.kind) == ("here", "../f", "outside")
    assert (tree(here), tree(there)) == (["f"], ["d", "f"])


async def test_a_full_disk_is_named_and_leaves_what_was_there(python: Python, kernel: Kernel, here: Path, there: Path) -> None:
    (here / "f").write_bytes(DATA)
    (there / "f").write_bytes(b"before")
    await kernel.execute(
        f"side = {SIDE}.file_side\nkept = side.Writing._write\n"
        "def write(self, view):\n    if self.received > 9_000_000:\n        raise OSError(28, os.strerror(28))\n"
        "    kept(self, view)\n"
        "side.Writing._write = write"
    )
    try:
        with pytest.raises(FileAccessError, match="f in the kernel: No space left on device") as caught:
            await python.upload("f", "f")
    finally:
        await kernel.execute("side.Writing._write = kept")  # noqa: ASYNC102 - the test's own limit bounds it
    assert caught.value.kind == "full"
    assert await python.pull("1") == 1
    assert await python.pull("open('f', 'rb').read()") == b"before"
    assert tree(there) == ["f"]


async def test_bad_arguments_are_named_and_nothing_is_sent(python: Python) -> None:
    for call, field in (
        (python.upload(5, "x"), "source"),  # type: ignore[arg-type]
        (python.upload("", "x"), "source"),
        (python.upload("x", "a\0b"), "target"),
        (python.download("x", "y", within=b"z"), "within"),  # type: ignore[arg-type]
        (python.download("x", "y", resume=1), "resume"),  # type: ignore[arg-type]
        (python.upload("x", "y", on_progress=1), "on_progress"),  # type: ignore[arg-type]
        (python.upload_all("x", "y", "../*"), "pattern"),
        (python.download_all("x", "y", "/*"), "pattern"),
    ):
        with pytest.raises(InvalidInputError, match=field):
            await call


# In the middle -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["upload", "download"])
@pytest.mark.parametrize("at", [1, 5, 7])
async def test_a_connection_that_is_cut_is_made_again_and_the_file_is_whole(
    real_gateway: Any, direction: str, at: int, here: Path, there: Path
) -> None:
    """G5"""
    cuts = 0
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, gateway_retry_interval=0.1) as gateway,
        gateway.start_kernel() as kernel,
        open_python(kernel) as python,
    ):

        def cut(progress: Progress) -> None:
            nonlocal cuts
            if not cuts and progress.done >= at * 4_000_000:
                cuts += 1
                proxy.reset_all()

        (here / "f").write_bytes(DATA)
        await getattr(python, direction)(here / "f", there / "f", on_progress=cut)
    assert cuts == 1
    assert (there / "f").read_bytes() == DATA
    assert tree(there) == ["f"]


@pytest.mark.parametrize("direction", ["upload", "download"])
@pytest.mark.parametrize("resume", [False, True])
async def test_a_copy_that_is_cancelled_leaves_what_was_there_and_can_be_gone_on_with(
    python: Python, direction: str, resume: bool, here: Path, there: Path
) -> None:
    """G6"""
    (here / "f").write_bytes(DATA)
    (there / "f").write_bytes(DATA)
    source, target, folder = ("f", there / "g", there) if direction == "upload" else (there / "f", Path("g"), here)
    (folder / "g").write_bytes(b"before")
    begun: list[int] = []
    copy = getattr(python, direction)
    with trio.CancelScope() as scope:

        def cancel(progress: Progress) -> None:
            if progress.done > 9_000_000:
                scope.cancel()

        await copy(source, target, resume=resume, on_progress=cancel)
    assert scope.cancelled_caught
    assert await python.pull("1") == 1
    assert (folder / "g").read_bytes() == b"before"
    assert tree(folder) == ([".g.part"] if resume else []) + ["f", "g"]
    await copy(source, target, resume=resume, on_progress=lambda progress: begun.append(progress.done))
    assert begun[0] >= 4_000_000 if resume else begun[0] == 0
    assert (folder / "g").read_bytes() == DATA
    assert tree(folder) == ["f", "g"]


@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_another_beginning_is_not_gone_on_with(python: Python, direction: str, here: Path, there: Path) -> None:
    (here / "f").write_bytes(DATA)
    (there / "f").write_bytes(DATA)
    folder = there if direction == "upload" else here
    (folder / ".g.part").write_bytes(b"x" * 100_000)
    begun: list[int] = []
    source, target = ("f", there / "g") if direction == "upload" else (there / "f", here / "g")
    await getattr(python, direction)(source, target, resume=True, on_progress=lambda progress: begun.append(progress.done))
    assert begun[0] == 0
    assert (folder / "g").read_bytes() == DATA


@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_a_file_that_changes_while_it_is_copied_is_an_error(
    python: Python, direction: str, here: Path, there: Path
) -> None:
    (here / "f").write_bytes(DATA)
    (there / "f").write_bytes(DATA)

    def change(progress: Progress) -> None:
        if progress.done > 9_000_000:
            for folder in (here, there):
                (folder / "f").write_bytes(DATA[:-1] + b"?")
                os.utime(folder / "f", ns=(1, 1))

    places = ("f", there / "g") if direction == "upload" else (there / "f", "g")
    with pytest.raises(TransferError, match="changed while it was read"):
        await getattr(python, direction)(*places, on_progress=change)
    assert await python.pull("1") == 1, "the kernel has come to what is not wanted any more"
    assert (tree(here), tree(there)) == (["f"], ["f"])


async def test_a_kernel_that_is_restarted_in_the_middle_is_an_error_and_what_came_is_gone_on_with(
    gateway: trio_gateway.Gateway, here: Path, there: Path
) -> None:
    (here / "f").write_bytes(DATA)
    (there / "g").write_bytes(b"before")
    async with gateway.start_kernel() as kernel, open_python(kernel) as python:
        restarted = 0

        async def restart(progress: Progress) -> None:
            nonlocal restarted
            if progress.done > 26_000_000 and not restarted:
                restarted += 1
                await kernel.restart()

        for source, target in ((here / "f", there / "g"), (here / "f", here / "g")):
            restarted = 0
            copy = python.upload if target.parent == there else python.download
            with pytest.raises((TransferError, trio_gateway.KernelError)):
                await copy(source, target, resume=True, on_progress=restart)
            assert not target.exists() or target.read_bytes() == b"before"
            begun: list[Progress] = []
            await copy(source, target, resume=True, on_progress=begun.append)
            assert begun[0].done > 4_000_000
            assert target.read_bytes() == DATA
    assert (tree(here), tree(there)) == (["f", "g"], ["g"])


async def test_two_uploads_of_one_file_are_one_of_them(python: Python, here: Path, there: Path) -> None:
    (here / "f").write_bytes(DATA)
    failures: list[str] = []

    async def upload() -> None:
        try:
            await python.upload("f", "f")
        except FileAccessError as error:
            failures.append(error.kind)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(upload)
    assert failures in ([], ["busy"])
    assert (there / "f").read_bytes() == DATA
    assert tree(there) == ["f"]


# A hostile kernel ----------------------------------------------------------------------------------------------------------

LIES = {
    "find_files": [
        ("{'files': [['../f', 1]]}", FileAccessError),
        ("{'files': [['/etc/f', 1]]}", FileAccessError),
        ("{'files': [['a/../../f', 1]]}", FileAccessError),
        ("{'files': [['a', -1]]}", ProtocolError),
        ("{'files': [['a', 1], ['a', 1]]}", ProtocolError),
        ("{'files': [[5, 1]]}", ProtocolError),
        ("{'files': 'abc'}", ProtocolError),
        ("{}", ProtocolError),
        ("{'file': 5}", FileAccessError),
    ],
    "read_file": [
        ("{'total': -1, 'mode': 0}", ProtocolError),
        ("{'total': 2**70, 'mode': 0}", ProtocolError),
        ("{'total': '5', 'mode': 0}", ProtocolError),
        ("{'total': 5}", ProtocolError),
        ("{'total': 2**50, 'mode': 0}", TransferError),
    ],
    "digest_file": [
        ("{'digest': '0' * 64}", TransferError),
        ("{'digest': 5}", ProtocolError),
        ("{}", ProtocolError),
    ],
    "send": [
        ("{'sent': True}", TransferError),
        ("{'gone': True}", TransferError),
        ("(side._boxes[token].comm.send({'start': 0}, buffers=[bytes(9)]), {'sent': True})[1]", ProtocolError),
    ],
}
"""What a hostile kernel answers, and what comes of it."""


@pytest.mark.parametrize("step", LIES)
async def test_a_hostile_kernel_gets_a_typed_error_and_writes_nothing(
    python: Python, kernel: Kernel, step: str, here: Path, there: Path
) -> None:
    (there / "d").mkdir()
    (there / "d/f").write_bytes(b"12345")
    await kernel.execute(f"side = {SIDE}\nkept = dict(side._STEPS)")
    for lie, error in LIES[step]:
        await kernel.execute(f"side._STEPS[{step!r}] = lambda token, **_: {lie}")
        try:
            with pytest.raises(error):
                await python.download_all("d", "back")
        finally:
            await kernel.execute("side._STEPS.update(kept)")  # noqa: ASYNC102 - the test's own limit bounds it
        assert tree(here) == [], lie
    assert (await python.download_all("d", "back"))[0].size == 5
