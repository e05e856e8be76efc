"""Jupyter's own tools on a real gateway: jupyter_client's contract, nbclient, papermill, nbconvert, jupyter_kernel_test."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import jupyter_client
import nbclient
import nbformat
import pytest
from face_tools import kernel_ids, rest, trio_threads
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

import trio_gateway
from trio_gateway.jupyter import (
    BlockingGatewayKernelManager,
    GatewayKernelClient,
    GatewayKernelManager,
    start_new_kernel,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import RunningGateway

pytestmark = pytest.mark.gateway

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def configured(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of configuration: which gateway."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", real_gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", real_gateway.token)


def with_client(use: Callable[[GatewayKernelManager, GatewayKernelClient], Awaitable[None]]) -> None:
    """Run a test with a manager and a client that is ready."""

    async def main() -> None:
        manager = GatewayKernelManager(kernel_name="python3")
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
            await use(manager, client)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel()
        assert trio_threads() == []

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main()

    asyncio.run(bounded())


# ----------------------------------------------------------------------------------------------------- jupyter_client's contract


def test_the_life_of_a_kernel(real_gateway: RunningGateway) -> None:
    """Start, ask, interrupt, restart, shut down, in jupyter_client's words."""
    before = kernel_ids(real_gateway)

    async def use(manager: GatewayKernelManager, client: GatewayKernelClient) -> None:
        assert isinstance(manager, jupyter_client.AsyncKernelManager)
        assert isinstance(client, jupyter_client.AsyncKernelClient)
        assert kernel_ids(real_gateway) - before == {manager.kernel_id}
        assert (manager.has_kernel, manager.provisioner) == (True, None)
        assert await manager.is_alive()
        assert await client.is_alive()
        assert client.hb_channel.is_beating()
        assert client.channels_running

        reply = await client.complete("impo", reply=True, timeout=30)
        assert reply["content"]["matches"] == ["import"]
        msg_id = client.execute("print('out', end=''); 6 * 7")
        reply = await client.get_shell_msg(timeout=30)
        assert (reply["parent_header"]["msg_id"], reply["content"]["status"]) == (msg_id, "ok")
        assert reply["header"]["date"].tzinfo is not None
        kinds = []
        while not kinds or kinds[-1] != "idle":
            message = await client.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") == msg_id:
                kinds.append(message["content"].get("execution_state") or message["msg_type"])
        assert kinds == ["busy", "execute_input", "stream", "execute_result", "idle"]
        with pytest.raises(Empty):
            await client.get_iopub_msg(timeout=0.1)
        with pytest.raises(Empty):
            await client.get_stdin_msg(timeout=0)
        reply = await client.kernel_info(reply=True, timeout=30)
        while not await client.iopub_channel.msg_ready():  # what is published may come later than the reply
            await asyncio.sleep(0)
        message = await client.get_iopub_msg(timeout=0)
        assert message["parent_header"]["msg_id"] == reply["parent_header"]["msg_id"]
        message = await client.get_iopub_msg(timeout=30)
        assert message["content"] == {"execution_state": "idle"}
        await client.kernel_info(reply=True, timeout=30)
        while not (messages := await client.iopub_channel.get_msgs()):
            await asyncio.sleep(0)
        assert messages[0]["msg_type"] == "status"

        client.execute("import time\nwhile True: time.sleep(0.01)")
        await busy(client)
        await manager.interrupt_kernel()
        assert (await client.get_shell_msg(timeout=30))["content"]["ename"] == "KeyboardInterrupt"

        client.execute("a = 1")
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=60)
        assert await client.is_alive()
        assert "NameError" in str(await client.execute_interactive("a", timeout=30, output_hook=lambda message: None))
        reply = await client.shutdown(reply=True, timeout=30)
        assert reply["msg_type"] == "shutdown_reply"

    with_client(use)
    assert kernel_ids(real_gateway) == before


async def busy(client: GatewayKernelClient) -> None:
    """Wait until the kernel says that it is busy with what was asked last."""
    while (await client.get_iopub_msg(timeout=30))["msg_type"] != "execute_input":
        pass


def test_execute_interactive(capsys: pytest.CaptureFixture[str]) -> None:
    """Outputs are shown as they come, input is asked for, a limit is a TimeoutError."""

    async def use(manager: GatewayKernelManager, client: GatewayKernelClient) -> None:
        shown: list[str] = []

        async def answer(request: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            client.input(f"answer to {request['content']['prompt']}")

        reply = await client.execute_interactive(
            "print(input('who? '))",
            timeout=30,
            allow_stdin=True,
            stdin_hook=answer,
            output_hook=lambda message: shown.append(message["content"].get("text", message["msg_type"])),
        )
        assert reply["content"]["status"] == "ok"
        assert "answer to who? \n" in "".join(shown)
        await client.execute_interactive("print('by default')", timeout=30)
        assert capsys.readouterr().out == "by default\n"
        with pytest.raises(TimeoutError):
            await client.execute_interactive("import time; time.sleep(3600)", timeout=0.5)
        await manager.interrupt_kernel()

    with_client(use)


def test_g3_channels_of_a_kernel_that_was_replaced(real_gateway: RunningGateway) -> None:
    """The gateway starts a killed kernel again: for a client whose state is gone it is dead, and no wait lasts for ever."""

    async def use(manager: GatewayKernelManager, client: GatewayKernelClient) -> None:
        client.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        with pytest.raises(trio_gateway.KernelRestartedError):
            while (await client.get_shell_msg(timeout=None))["msg_type"] == "kernel_info_reply":
                pass  # of `wait_for_ready`, which may have asked twice
        assert not await client.is_alive()
        assert not client.hb_channel.is_beating()
        assert await manager.is_alive()
        client.stop_channels()
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        assert await client.is_alive()

    with_client(use)


def test_g3_channels_of_a_kernel_that_was_deleted(real_gateway: RunningGateway) -> None:
    """Deleted behind the manager's back: both say that it is gone, and waiting ends."""

    async def use(manager: GatewayKernelManager, client: GatewayKernelClient) -> None:
        rest(real_gateway, "DELETE", f"/api/kernels/{manager.kernel_id}")
        with pytest.raises(trio_gateway.GatewayError):
            await client.get_shell_msg(timeout=None)
        assert not await client.is_alive()
        assert not await manager.is_alive()

    with_client(use)


def test_wrong_uses_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel, no channels, no such kernelspec, no gateway."""

    async def main() -> None:
        manager = GatewayKernelManager(kernel_name="python3")
        assert not await manager.is_alive()
        for act in (manager.interrupt_kernel, manager.restart_kernel):
            with pytest.raises(RuntimeError, match="No kernel is running"):
                await act()
        with pytest.raises(RuntimeError, match="No kernel is running"):
            manager.client()
        await manager.start_kernel()
        client = manager.client()
        with pytest.raises(RuntimeError, match="start_channels"):
            client.execute("1")
        with pytest.raises(NotImplementedError):
            await manager.signal_kernel(15)
        await manager.shutdown_kernel()
        assert not await manager.is_alive()
        await manager.shutdown_kernel()  # twice is fine
        manager = GatewayKernelManager(kernel_name="cobol")
        with pytest.raises(trio_gateway.KernelSpecNotFoundError):
            await manager.start_kernel()
        monkeypatch.delenv("JUPYTER_GATEWAY_URL")
        with pytest.raises(trio_gateway.ConfigError):
            await GatewayKernelManager(kernel_name="python3").start_kernel()

    asyncio.run(main())


def test_the_blocking_manager_and_client(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """`start_new_kernel` and what it gives, configured by traits."""
    monkeypatch.delenv("JUPYTER_GATEWAY_AUTH_TOKEN")
    monkeypatch.delenv("JUPYTER_GATEWAY_URL")
    manager = BlockingGatewayKernelManager(
        kernel_name="python3", url=real_gateway.url, auth_token=real_gateway.token, settings={"connect_timeout": 7}
    )
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        assert isinstance(client, jupyter_client.BlockingKernelClient)
        reply = client.execute("6 * 7", reply=True, timeout=30)
        assert reply["content"]["status"] == "ok"
        assert client.is_alive()
        assert manager.is_alive()
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


# ------------------------------------------------------------------------------------------------------------------- the tools


def outputs_of(notebook: Any) -> list[Any]:
    """Return a notebook's outputs, without what differs from one run to the next, such as into how many pieces a line was cut."""
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    return [
        [
            re.sub(r"File <ipython-input-[^>]*>|/tmp/ipykernel_\d+/\d+\.py|0x[0-9a-f]+|at 0x\w+", "…", str(dict(output)))
            for output in cell.get("outputs", [])
        ]
        for cell in notebook.cells
    ]


def executed(manager_class: type, **more: Any) -> Any:
    """Run the example notebook with nbclient."""
    notebook = nbformat.read(EXAMPLES / "hello.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, kernel_manager_class=manager_class, timeout=60, **more)
    return client.execute()


def test_nbclient_gives_the_same_outputs_as_locally(real_gateway: RunningGateway) -> None:
    """The example notebook on the gateway and on a kernel of its own."""
    there = executed(GatewayKernelManager, allow_errors=True)
    here = executed(jupyter_client.AsyncKernelManager, allow_errors=True)
    assert outputs_of(there) == outputs_of(here)
    assert sum(map(len, outputs_of(there))) >= 5
    assert there.metadata["language_info"] == here.metadata["language_info"]


def cell(code: str) -> Any:
    """Make a notebook of one cell."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])


def test_nbclient_and_a_kernel_that_is_killed(real_gateway: RunningGateway) -> None:
    """Killed in the middle of a cell: DeadKernelError, although the gateway starts the kernel again (nbclient#319)."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    client = nbclient.NotebookClient(cell(code), kernel_manager_class=GatewayKernelManager, timeout=None)
    with pytest.raises(DeadKernelError):
        client.execute()


def test_nbclient_and_a_cell_that_takes_too_long(real_gateway: RunningGateway) -> None:
    """`timeout` with `interrupt_on_timeout`, and without."""
    slow = "import time\nwhile True: time.sleep(0.01)"
    client = nbclient.NotebookClient(cell(slow), kernel_manager_class=GatewayKernelManager, timeout=1)
    with pytest.raises(CellTimeoutError):
        client.execute()
    client = nbclient.NotebookClient(
        cell(slow), kernel_manager_class=GatewayKernelManager, timeout=1, interrupt_on_timeout=True, allow_errors=True
    )
    assert client.execute().cells[0].outputs[0].ename == "KeyboardInterrupt"


def run_tool(*arguments: str, cwd: Path, status: int = 0) -> str:
    """Run a command of Jupyter's, as a user would, and see how it ends."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *arguments], cwd=cwd, check=False, capture_output=True, text=True, timeout=100,
        env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stderr


def test_papermill_gives_the_same_outputs_as_locally(tmp_path: Path) -> None:
    """`papermill --engine trio_gateway`, found by its entry point."""
    plain = nbformat.read(EXAMPLES / "hello.ipynb", as_version=4)
    plain.cells = [
        cell for cell in plain.cells if "1 / 0" not in cell.source and "raises-exception" not in cell.metadata.get("tags", [])
    ]
    nbformat.write(plain, tmp_path / "in.ipynb")
    run_tool("papermill", "--engine", "trio_gateway", "-k", "python3", "in.ipynb", "there.ipynb", cwd=tmp_path)
    run_tool("papermill", "-k", "python3", "in.ipynb", "here.ipynb", cwd=tmp_path)
    there, here = (nbformat.read(tmp_path / name, as_version=4) for name in ("there.ipynb", "here.ipynb"))
    assert outputs_of(there) == outputs_of(here)
    assert sum(map(len, outputs_of(there))) >= 3


def test_papermill_and_a_cell_that_fails(tmp_path: Path, real_gateway: RunningGateway) -> None:
    """It ends with the cell's error, what was run before is saved, what comes after is not run: as locally. No kernel is left."""
    before = kernel_ids(real_gateway)
    notebook = nbformat.read(EXAMPLES / "hello.ipynb", as_version=4)
    failing = [number for number, found in enumerate(notebook.cells) if "raises-exception" in found.metadata.get("tags", [])]
    for number in failing:
        notebook.cells[number].metadata["tags"] = []
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in ("print('before')", "{}['no such key']", "print('after')")]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    said = run_tool("papermill", "--engine", "trio_gateway", "-k", "python3", "in.ipynb", "there.ipynb", cwd=tmp_path, status=1)
    assert "PapermillExecutionError" in said
    run_tool("papermill", "-k", "python3", "in.ipynb", "here.ipynb", cwd=tmp_path, status=1)
    there, here = (nbformat.read(tmp_path / name, as_version=4) for name in ("there.ipynb", "here.ipynb"))
    assert outputs_of(there) == outputs_of(here)
    assert "'output_type': 'error'" in str(outputs_of(there))
    assert "after" not in str(outputs_of(there))
    assert kernel_ids(real_gateway) == before


def test_papermill_and_a_kernel_that_is_killed(tmp_path: Path, real_gateway: RunningGateway) -> None:
    """Killed in the middle of a cell: papermill ends with DeadKernelError."""
    before = kernel_ids(real_gateway)
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    nbformat.write(cell(code), tmp_path / "in.ipynb")
    said = run_tool("papermill", "--engine", "trio_gateway", "-k", "python3", "in.ipynb", "out.ipynb", cwd=tmp_path, status=138)
    assert "DeadKernelError" in said
    assert kernel_ids(real_gateway) == before


def test_nbconvert_executes(tmp_path: Path) -> None:
    """`jupyter nbconvert --execute` with one option."""
    nbformat.write(cell("import os; print(os.environ['KERNEL_GATEWAY'], end='')"), tmp_path / "in.ipynb")
    run_tool(
        "nbconvert", "--to", "notebook", "--execute", "in.ipynb", "--output", "out.ipynb",
        "--ExecutePreprocessor.kernel_manager_class=trio_gateway.jupyter.GatewayKernelManager",
        cwd=tmp_path,
    )  # fmt: skip
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs[0].text == "1"


def test_jupyter_kernel_test() -> None:
    """Jupyter's own conformance tests of a kernel, whose every message comes through the gateway."""
    import jupyter_kernel_test

    class Python(jupyter_kernel_test.KernelTests):
        kernel_name = "python3"
        language_name = "python"
        file_extension = ".py"
        code_hello_world = "print('hello, world')"
        code_stderr = "import sys; print('test', file=sys.stderr)"
        completion_samples = [{"text": "zi", "matches": {"zip"}}]
        complete_code_samples = ["1", "print('hello, world')"]
        incomplete_code_samples = ["for i in range(2):"]
        invalid_code_samples = ["import = 7q"]
        code_execute_result = [{"code": "6 * 7", "result": "42"}]
        code_display_data = [
            {"code": "from IPython.display import HTML, display; display(HTML('<b>b</b>'))", "mime": "text/html"}
        ]
        code_generate_error = "raise RuntimeError('no')"
        code_inspect_sample = "zip"
        supported_history_operations = ("tail",)

        @classmethod
        def setUpClass(cls) -> None:  # the line of configuration
            cls.km, cls.kc = start_new_kernel(kernel_name=cls.kernel_name)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Python).run(result)
    assert (result.errors, result.failures) == ([], [])
    assert result.testsRun >= 12
    assert len(result.skipped) < 5
