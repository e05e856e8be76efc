"""Fixtures for every test: one real Kernel Gateway for the whole session, and ways to look from the operating system's side.

Starting a gateway takes most of a second, so those tests that don't care share one. It runs in a thread with a Trio of its
own, because a session's fixture outlives each test's event loop.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs
import psutil
import pytest
import trio

from trio_gateway._local.process import run_local_gateway

pytest_plugins = ["suite.budgets", "suite.environment", "suite.failures", "suite.leftovers", "suite.tiers", "suite.workers"]

_FORKS = Path(__file__).parent / "tools" / "forked_kernels" / "gateway_config.py"
# Where coverage is measured it begins with each interpreter.
_CAN_FORK = sys.platform == "linux" and not any(name.startswith("COVERAGE_") for name in os.environ)
FORKED_KERNELS = [f"--config={_FORKS}"] if _CAN_FORK else []
"""Arguments of a gateway whose kernels are forked, where they can be."""
FLUSH_EACH_WRITE = """
from ipykernel.iostream import OutStream

def write(self, string, write=OutStream.write):
    written = write(self, string)
    self.flush()
    return written

OutStream.write = write
del OutStream, write
"""


def pytest_configure(config: pytest.Config) -> None:
    """Give the kernels a place of their own for their history, one database: not the user's, nor another run's.

    With TRIO_GATEWAY_FLUSH_EACH_WRITE a kernel sends all it writes at once, so a print in two messages, which ipykernel's timer
    does else now and then: a test that can't bear it fails each time.
    """
    folder = tempfile.mkdtemp(prefix="ipython-")
    os.environ["IPYTHONDIR"] = folder
    if os.environ.get("TRIO_GATEWAY_FLUSH_EACH_WRITE"):
        startup = Path(folder, "profile_default", "startup")
        startup.mkdir(parents=True)
        (startup / "flush_each_write.py").write_text(FLUSH_EACH_WRITE, encoding="utf-8")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@attrs.frozen
class RunningGateway:
    """A real Kernel Gateway that listens on loopback."""

    url: str
    token: str = attrs.field(repr=False)
    pid: int
    log_tail: Callable[[int], str] = attrs.field(repr=False)

    def kernel_processes(self) -> list[psutil.Process]:
        """Its kernels, as the operating system sees them: each leads a session of its own, their template does not."""
        found: list[psutil.Process] = []
        for child in psutil.Process(self.pid).children(recursive=True):
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if child.status() != psutil.STATUS_ZOMBIE and os.getsid(child.pid) != self.pid:
                    found.append(child)
        return found


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Let children be interrupted, also where the tests were started in a shell's background, which ignores SIGINT."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the real gateway logged last, with a test of it that failed: what happened is often told there only."""
    report = yield
    gateway = getattr(item, "funcargs", {}).get("real_gateway")
    if report.failed and isinstance(gateway, RunningGateway):
        report.sections.append(("the real gateway's log", gateway.log_tail(80)))
    return report


@contextmanager
def run_gateway(*extra_args: str) -> Generator[RunningGateway]:
    """Run a Kernel Gateway in a thread that has a Trio of its own."""
    started = threading.Event()
    found: list[RunningGateway] = []
    stop: list[Callable[[], None]] = []
    failures: list[BaseException] = []

    async def serve() -> None:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(scope.cancel))
            async with run_local_gateway(extra_args=extra_args) as process:
                found.append(RunningGateway(process.url, process.token, process.pid, process.log_tail))
                started.set()
                await trio.sleep_forever()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:  # noqa: ASYNC103, BLE001 - it is raised again in the test's thread
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="real_gateway")
    thread.start()
    started.wait()
    if not found:
        thread.join()
        raise failures[0]
    try:
        yield found[0]
    finally:
        stop[0]()
        thread.join()
        assert not failures


@pytest.fixture(scope="session")
def real_gateway() -> Iterator[RunningGateway]:
    """A Kernel Gateway 3 with ipykernel, shared by the session's tests: leave no kernel behind in it.

    Its kernels are forked from a process that has imported ipykernel (`tools/forked_kernels`). A folder whose tests are about
    servers and processes has `ordinary_gateway` under this name (`tools/ordinary_kernels.py`).
    """
    with run_gateway(*FORKED_KERNELS) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def ordinary_gateway() -> Iterator[RunningGateway]:
    """The same with kernels that it starts itself, an interpreter for each."""
    with run_gateway() as gateway:
        yield gateway


@pytest.fixture(scope="session")
def odd_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A Kernel Gateway that knows the kernelspec `odd` too: a sloppy kernel, `tools/odd_kernel.py`."""
    folder = tmp_path_factory.mktemp("jupyter")
    spec = folder / "kernels" / "odd" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, str(Path(__file__).parent / "tools" / "odd_kernel.py"), "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Odd", "language": "odd"}), encoding="utf-8")
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_PATH", str(folder))
            gateway = stack.enter_context(run_gateway())
        yield gateway


@pytest.fixture(scope="session")
def forbidding_gateway() -> Iterator[RunningGateway]:
    """A Kernel Gateway that answers 403 to a list of its kernels."""
    with run_gateway("--JupyterWebsocketPersonality.list_kernels=False") as gateway:
        yield gateway
