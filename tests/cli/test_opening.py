"""The command with a gateway of its own: it says so, works where it stands, and leaves no process behind, however it ends."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import attrs
import psutil
import pytest
import trio

from tools.notebook_tools import texts_of, write_notebook

from .cli_kit import Cli, clean_environment

pytestmark = pytest.mark.gateway

MARK = "TRIO_GATEWAY_TEST_MARK"
STARTING = "starting a local one.\n"


@attrs.frozen
class MarkedCli(Cli):
    """The command in an environment that it hands on to all that it starts."""

    mark: str

    def processes(self) -> list[psutil.Process]:
        """What runs of it, its gateway and its kernels."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def local_cli(tmp_path: Path) -> Iterator[MarkedCli]:
    """The command with no gateway configured. In the end no process may be left."""
    mark = secrets.token_hex(8)
    marked = MarkedCli({**clean_environment(), MARK: mark}, tmp_path, mark)
    yield marked
    assert marked.processes() == []


async def test_it_says_so_and_its_kernel_works_where_the_command_stands(local_cli: MarkedCli) -> None:
    done = await local_cli.run("exec", "import os; print(os.getcwd(), os.environ['MINE'])", MINE="seen")
    assert (done.code, done.out) == (0, f"{local_cli.cwd} seen\n")
    assert done.err.endswith(STARTING)


@pytest.mark.full
async def test_a_notebook_works_where_its_file_is(local_cli: MarkedCli) -> None:
    folder = local_cli.cwd / "some folder"
    folder.mkdir()
    write_notebook(folder / "n.ipynb", "import os; print(os.getcwd())")
    done = await local_cli.run("run", "-q", Path("some folder", "n.ipynb"))
    assert (done.code, done.out, done.err) == (0, f"{folder}\n", "")


@pytest.mark.full
async def test_a_kernel_that_dies_gives_code_5(local_cli: MarkedCli) -> None:
    done = await local_cli.run("exec", "print('last words', flush=True); import os; os._exit(1)")
    assert done.code == 5
    assert "trio-gateway: error: kernel " in done.err
    assert "Traceback" not in done.err


async def test_ctrl_c_in_the_middle_of_a_cell_saves_and_ends_everything(local_cli: MarkedCli) -> None:
    path = write_notebook(local_cli.cwd / "n.ipynb", "print('one')\nprint('two')\nimport threading; threading.Event().wait()")
    async with local_cli.start("run", path, "--inplace", "--echo") as running:
        await running.read_until("two\n")
        assert len(local_cli.processes()) >= 3  # the command, its gateway, a kernel: the look at the end can fail
        running.process.send_signal(signal.SIGINT)
        done = await running.wait()
    assert done.code == 130
    assert "Interrupted: interrupting the kernel and cleaning up" in done.err
    assert texts_of(json.loads(path.read_text())["cells"][0]) == ["one\ntwo\n"]


@pytest.mark.full
async def test_ctrl_c_while_the_gateway_starts(local_cli: MarkedCli) -> None:
    async with local_cli.start("exec", "1") as running:
        await running.read_until(STARTING, stream="stderr")
        running.process.send_signal(signal.SIGINT)
        done = await running.wait()
    assert (done.code, done.out) == (130, "")
    assert "Traceback" not in done.err


@pytest.mark.full
async def test_a_second_ctrl_c_does_not_wait_for_code_that_will_not_stop(local_cli: MarkedCli) -> None:
    stubborn = """
import threading
while True:
    try:
        print('busy', flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
"""
    path = write_notebook(local_cli.cwd / "n.ipynb", stubborn)
    async with local_cli.start("run", path, "--inplace", "--echo") as running:
        await running.read_until("busy\n")
        others = [process for process in local_cli.processes() if process.pid != running.process.pid]
        running.process.send_signal(signal.SIGINT)
        await running.read_until("a second time: quit at once", stream="stderr")
        running.process.send_signal(signal.SIGINT)
        done = await running.wait()
        assert done.code == 130
        # The gateway and the kernel notice by themselves that the command is gone.
        _, alive = await trio.to_thread.run_sync(psutil.wait_procs, others, 200)
    assert alive == []
    assert texts_of(json.loads(path.read_text())["cells"][0])[0].startswith("busy\n")
    assert [file.name for file in local_cli.cwd.iterdir()] == ["n.ipynb"]
