"""Hosts of our own are gone with their block, and with the next run where theirs was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tools.environments import CannotBeHad
from tools.run_folder import locked

from . import hosts as made
from .hosts import FILES, LOCK, NAMESPACES, Hosts, open_hosts, remove_what_the_dead_left

pytestmark = pytest.mark.full

TESTS = Path(__file__).parents[1]
OTHER = """
    import sys, time
    from clusters.hosts import open_hosts
    with open_hosts(["one", "two"]) as hosts:
        hosts["one"].start(["sleep", "3600"], hosts.folder / "log")
        print(hosts["one"].namespace, hosts.folder, flush=True)
        sys.stdin.read()
        time.sleep(3600)
"""


@contextmanager
def hosts_or_skip(*names: str) -> Iterator[Hosts]:
    with ExitStack() as stack:
        try:
            hosts = stack.enter_context(open_hosts(names))
        except CannotBeHad as error:
            pytest.skip(str(error))
        yield hosts


@contextmanager
def another_run() -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """Another process with hosts of its own: it, the namespace of one, and its folder."""
    with hosts_or_skip("none"):  # or they can't be had
        pass
    command = [sys.executable, "-c", textwrap.dedent(OTHER)]
    with subprocess.Popen(
        command, cwd=TESTS, env={**os.environ, "PYTHONPATH": str(TESTS)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            namespace, folder = process.stdout.readline().split()
            yield process, namespace, Path(folder)
        finally:
            process.kill()


def runs(pid: int) -> bool:
    """Whether a process runs; where nobody collects those that have lost their parent, a dead one keeps its id."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def left_of(namespace: str) -> list[Path]:
    prefix = namespace.removesuffix("one")
    return [*NAMESPACES.glob(f"{prefix}*"), *FILES.glob(f"{prefix}*")]


def test_they_are_gone_with_their_block_and_each_block_has_its_own() -> None:
    with hosts_or_skip("one", "two") as first, hosts_or_skip("one") as second:
        assert first["one"].address != second["one"].address
        assert first["one"].namespace != second["one"].namespace
        sleeping = first["one"].start(["sleep", "3600"], first.folder / "log")
        while sleeping.pid not in first["one"].processes("sleep 3600"):  # `ip netns exec` is not yet inside
            assert sleeping.poll() is None
            time.sleep(0.01)
        assert first["two"].processes() == {}
        with locked(LOCK):
            assert remove_what_the_dead_left() == []
    assert sleeping.poll() == -signal.SIGKILL
    assert left_of(first["one"].namespace) == []
    assert left_of(second["one"].namespace) == []
    assert not first.folder.exists()


def test_ctrl_c_leaves_nothing() -> None:
    with another_run() as (process, namespace, folder):
        assert len(left_of(namespace)) == 5
        process.send_signal(signal.SIGINT)
        process.wait()
        assert left_of(namespace) == []
        assert not folder.exists()


def test_the_next_run_removes_what_a_killed_one_left() -> None:
    with another_run() as (process, namespace, folder):
        process.kill()
        process.wait()
        (sleeping,) = made.processes_in(namespace)
        assert len(left_of(namespace)) == 5
        with hosts_or_skip("one"):
            assert left_of(namespace) == []
        assert not folder.exists()
        assert not runs(sleeping)


def test_without_root_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CannotBeHad, match="run this as root"), open_hosts(["one"]):
        pytest.fail("there are hosts")


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name, path: None if name == "sshd" else f"/usr/sbin/{name}")
    with pytest.raises(CannotBeHad, match="Debian's package openssh-server"), open_hosts(["one"]):
        pytest.fail("there are hosts")
