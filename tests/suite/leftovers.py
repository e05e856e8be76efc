"""What the tests start ends with them: after the last one no process of theirs runs, none listens, and no file of theirs is left.

The run has a folder of its own for temporary files and a mark in its environment, and both are inherited by all that is started.
At the end the processes that carry the mark and the files in the folder are what was left. They are named with the test that
started them, ended and removed, and the run fails. It is so too where a test fails, where the run is interrupted, and where a
time limit from outside ends it (SIGTERM counts as Ctrl-C).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import psutil
import pytest

from .failures import note_failure

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["Left", "processes_of"]

MARK = "TRIO_GATEWAY_TEST_RUN"
OURS = ("pytest-of-", "ipython-")
"""What pytest and the suite keep in the folder until it is removed."""
NOBODY = "(no test that is known)"
_folder = pytest.StashKey[Path]()
_before = pytest.StashKey[tuple[str | None, str | None]]()
_left = pytest.StashKey[list[str]]()


@attrs.frozen
class Left:
    """A process that runs though its test has ended."""

    process: psutil.Process
    test: str
    """The test that started it, as pytest names it; "" where it began before the first one."""

    def __str__(self) -> str:
        command = ports = "?"
        with contextlib.suppress(psutil.Error):
            command = " ".join(self.process.cmdline())
        with contextlib.suppress(psutil.Error):
            connections = self.process.net_connections("inet")
            ports = ", ".join(str(found.laddr.port) for found in connections if found.status == psutil.CONN_LISTEN) or "none"
        return f"process {self.process.pid} (listens on {ports}): {command[:300]}; started by {self.test or 'no test'}"


def processes_of(mark: str) -> Iterator[Left]:
    """Yield the running processes that inherited this mark, but for this one."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(MARK) == mark and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield Left(process, environment.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the patience be set."""
    parser.addini("leftovers_patience", "for how long processes that are about to end are waited for, in seconds", default="20")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Mark this run, give it a folder, and let what would end it at once interrupt it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if _is_worker(config):
        return
    config.stash[_before] = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ[MARK] = secrets.token_hex(8)
    folder = Path(tempfile.mkdtemp(prefix="tgw-"))  # short: paths of Unix sockets have at most 107 characters
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    config.stash[_folder] = folder


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Look what was left, name it, end it, and let the run fail for it: after the workers' end, before the summary is written."""
    try:
        return (yield)  # ends the workers
    finally:
        if not _is_worker(session.config):
            left = _clear(session.config.stash[_folder], float(session.config.getini("leftovers_patience")))
            session.config.stash[_left] = left
            if left:
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def _clear(folder: Path, patience: float) -> list[str]:
    """End what was left, and note it as a failure of the test that started it; return what it was."""
    mark = os.environ[MARK]
    psutil.wait_procs([left.process for left in processes_of(mark)], timeout=patience)
    found = list(processes_of(mark))
    named = [str(left) for left in found]
    for left in found:
        note_failure(left.test or NOBODY, f"left behind: {left}")
        with contextlib.suppress(psutil.Error):
            left.process.kill()
    psutil.wait_procs([left.process for left in found], timeout=patience)
    for path in folder.iterdir():
        if not path.name.startswith(OURS):
            named.append(f"in the temporary folder: {path.name}")
            note_failure(NOBODY, f"left behind: {named[-1]}")
    return named


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was left."""
    if left := config.stash.get(_left, []):
        terminalreporter.section("left behind", red=True)
        for name in left:
            terminalreporter.line(name)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder, and leave the process as it was: mutmut calls pytest in it again and again."""
    folder = config.stash.get(_folder, None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ[MARK]
        variable, tempfile.tempdir = config.stash[_before]
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable
