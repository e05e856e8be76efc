"""What a run of the tests leaves behind is found, named and ended: after a failure, after Ctrl-C, after a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytest_plugins = ["pytester"]

TESTS = Path(__file__).parents[1]
PLUGINS = ["-p", "suite.tiers", "-p", "suite.workers", "-p", "suite.failures", "-p", "suite.leftovers", "-p", "no:schemathesis"]
INI = "[pytest]\nleftovers_patience = 0.2\n"
PROGRAM = """
import subprocess, sys, tempfile

LISTEN = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); s.accept()"

def start():
    child = subprocess.Popen([sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, start_new_session=True)
    return child.pid, int(child.stdout.readline())

def test_forgets():
    pid, port = start()
    tempfile.mkdtemp(prefix="forgotten-")
    print("port", port, "pid", pid)
    assert False

def test_is_in_order():
    pass

def test_waits():
    pid, port = start()
    open("started", "w").write(str(pid))
    input()
"""


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked for its status does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def _plugins(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("TRIO_GATEWAY_FAILURES", raising=False)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    pytester.makefile(".ini", pytest=INI)
    pytester.makepyfile(PROGRAM)
    (pytester.path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(pytester.path / "temporary"))


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_failed_test_that_leaves_a_process_and_a_folder(
    pytester: pytest.Pytester, processes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = pytester.mkdir("failures")
    monkeypatch.setenv("TRIO_GATEWAY_FAILURES", str(failures))
    done = pytester.runpytest_subprocess(*PLUGINS, "-n", processes, "-k", "test_forgets or test_is_in_order")
    done.assert_outcomes(passed=1, failed=1)
    shown = done.stdout.str()
    words = next(line for line in done.outlines if line.startswith("port ")).split()
    port, pid = words[1], int(words[3])
    assert f"process {pid} (listens on {port})" in shown
    assert "::test_forgets" in shown.partition("left behind")[2]
    assert "in the temporary folder: forgotten-" in shown
    assert done.ret == 1
    assert not runs(pid)
    assert list((pytester.path / "temporary").iterdir()) == []
    noted = "".join(path.read_text() for path in failures.iterdir())
    assert noted.count("left behind") == 2
    assert len(list(failures.iterdir())) == 3


def test_what_is_in_order_is_green(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_subprocess(*PLUGINS, "-n", "2", "-k", "test_is_in_order")
    done.assert_outcomes(passed=1)
    assert "left behind" not in done.stdout.str()
    assert done.ret == 0
    assert list((pytester.path / "temporary").iterdir()) == []


def test_one_process_may_run_the_tests_twice(pytester: pytest.Pytester) -> None:
    """As mutmut does: the second run must find the place for temporary files that the first one found."""
    program = f"""if True:
        import os, pytest, tempfile
        def place(): return os.environ["TMPDIR"], tempfile.gettempdir(), os.environ.get("TRIO_GATEWAY_TEST_RUN")
        seen = [place()]
        for _ in range(2):
            assert pytest.main([*{PLUGINS}, "-n", "0", "-q", "-k", "test_is_in_order"]) == 0
            seen.append(place())
        assert seen == [seen[0]] * 3, seen
    """
    environment = {name: value for name, value in os.environ.items() if name != "TRIO_GATEWAY_TEST_RUN"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("processes", ["0", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "time limit"])
def test_a_run_that_is_stopped(pytester: pytest.Pytester, processes: str, number: signal.Signals) -> None:
    started = pytester.path / "started"
    os.mkfifo(started)
    command = [sys.executable, "-m", "pytest", *PLUGINS, "-s", "-n", processes, "-k", "waits"]
    with subprocess.Popen(
        command,
        cwd=pytester.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as run:
        pid = int(started.read_text())  # waits until the test has written it
        if number is signal.SIGINT:
            os.killpg(run.pid, number)  # as a terminal does
        else:
            run.send_signal(number)
        assert run.stdout is not None
        shown = run.stdout.read().decode()
    assert run.returncode == 2, shown
    assert not runs(pid)
    assert f"process {pid} " in shown, "the test's process was left, and nobody says so"
    assert list((pytester.path / "temporary").iterdir()) == []
