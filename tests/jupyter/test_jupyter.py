"""`trio_gateway.jupyter`: jupyter_client's contract, and nbclient, on the fake and once on a real gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import attrs
import jupyter_client
import nbclient
import nbformat
import pytest
from jupyter_server.gateway import connections, gateway_client, managers
from nbclient.exceptions import CellTimeoutError, DeadKernelError

import trio_gateway
from tools.face_tools import ListeningFake, kernel_ids, rest, trio_threads
from trio_gateway.jupyter import BlockingGatewayKernelManager, GatewayKernelClient, GatewayKernelManager, NotOnAGatewayError
from trio_gateway.jupyter.server import GatewayMappingKernelManager

from .jupyter_tools import EXAMPLES, cell, outputs_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import RunningGateway

PATIENCE = 250
"""For what comes at once, or never."""


@pytest.fixture(params=["fake_gateway", pytest.param("real_gateway", marks=[pytest.mark.full, pytest.mark.gateway])])
def either(request: pytest.FixtureRequest) -> ListeningFake | RunningGateway:
    """The fake and, in the full tier, the real gateway."""
    found: ListeningFake | RunningGateway = request.getfixturevalue(request.param)
    return found


def configure(gateway: ListeningFake | RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of configuration: which gateway."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", gateway.token)


@pytest.fixture
def on_either(either: ListeningFake | RunningGateway, monkeypatch: pytest.MonkeyPatch) -> ListeningFake | RunningGateway:
    """The line of configuration names one of them."""
    configure(either, monkeypatch)
    return either


@pytest.fixture
def on_the_fake(fake_gateway: ListeningFake, monkeypatch: pytest.MonkeyPatch) -> ListeningFake:
    """The line of configuration names the fake."""
    configure(fake_gateway, monkeypatch)
    return fake_gateway


def with_client(use: Callable[[GatewayKernelManager, GatewayKernelClient], Awaitable[None]]) -> None:
    """Run a test with a manager and a client that is ready."""

    async def main() -> None:
        manager = GatewayKernelManager(kernel_name="python3")
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=PATIENCE)
            await use(manager, client)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel()
        assert trio_threads() == []

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await main()

    asyncio.run(bounded())


# ----------------------------------------------------------------------------------------------------- jupyter_client's contract


def test_the_life_of_a_kernel(on_either: ListeningFake | RunningGateway) -> None:
    """Start, ask, interrupt, restart, shut down, in jupyter_client's words."""
    before = kernel_ids(on_either)

    async def use(manager: GatewayKernelManager, client: GatewayKernelClient) -> None:
        assert isinstance(manager, jupyter_client.AsyncKernelManager)
        assert isinstance(client, jupyter_client.AsyncKernelClient)
        assert kernel_ids(on_either) - before == {manager.kernel_id}
        assert (manager.has_kernel, manager.provisioner) == (True, None)
        assert await manager.is_alive()
        assert await client.is_alive()
        assert client.hb_channel.is_beating()
        assert client.channels_running

        reply = await client.complete("impo", reply=True, timeout=PATIENCE)
        assert reply["content"]["matches"] == ["import"]
        msg_id = client.execute("print('out', end=''); 6 * 7")
        reply = await client.get_shell_msg(timeout=PATIENCE)
        assert (reply["parent_header"]["msg_id"], reply["content"]["status"]) == (msg_id, "ok")
        assert reply["header"]["date"].tzinfo is not None
        kinds = []
        while not kinds or kinds[-1] != "idle":
            message = await client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == msg_id:
                kinds.append(message["content"].get("execution_state") or message["msg_type"])
        assert kinds == ["busy", "execute_input", "stream", "execute_result", "idle"]
        with pytest.raises(Empty):
            await client.get_iopub_msg(timeout=0.1)
        with pytest.raises(Empty):
            await client.get_stdin_msg(timeout=0)
        reply = await client.kernel_info(reply=True, timeout=PATIENCE)
        while not await client.iopub_channel.msg_ready():  # what is published may come later than the reply
            await asyncio.sleep(0)
        message = await client.get_iopub_msg(timeout=0)
        assert message["parent_header"]["msg_id"] == reply["parent_header"]["msg_id"]
        message = await client.get_iopub_msg(timeout=PATIENCE)
        assert message["content"] == {"execution_state": "idle"}
        await client.kernel_info(reply=True, timeout=PATIENCE)
        while not (messages := await client.iopub_channel.get_msgs()):
            await asyncio.sleep(0)
        assert messages[0]["msg_type"] == "status"

        client.execute("import time\nwhile True: time.sleep(0.01)")
        await busy(client)
        await manager.interrupt_kernel()
        assert (await client.get_shell_msg(timeout=PATIENCE))["content"]["ename"] == "KeyboardInterrupt"

        await client.execute("a = 1", reply=True, timeout=PATIENCE)  # a restart could overtake it: it goes by HTTP
        await manager.restart_kernel()
        await client.wait_for_ready(timeout=PATIENCE)
        assert await client.is_alive()
        assert "NameError" in str(await client.execute_interactive("a", timeout=PATIENCE, output_hook=lambda message: None))
        reply = await client.shutdown(reply=True, timeout=PATIENCE)
        assert reply["msg_type"] == "shutdown_reply"

    with_client(use)
    assert kernel_ids(on_either) == before


async def busy(client: GatewayKernelClient) -> None:
    """Wait until the kernel says that it is busy with what was asked last."""
    while (await client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "execute_input":
        pass


@pytest.mark.usefixtures("on_the_fake")
def test_execute_interactive(capsys: pytest.CaptureFixture[str]) -> None:
    """Outputs are shown as they come, input is asked for, a limit is a TimeoutError."""

    async def use(manager: GatewayKernelManager, client: GatewayKernelClient) -> None:
        shown: list[str] = []

        async def answer(request: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            client.input(f"answer to {request['content']['prompt']}")

        reply = await client.execute_interactive(
            "print(input('who? '))",
            timeout=PATIENCE,
            allow_stdin=True,
            stdin_hook=answer,
            output_hook=lambda message: shown.append(message["content"].get("text", message["msg_type"])),
        )
        assert reply["content"]["status"] == "ok"
        assert "answer to who? \n" in "".join(shown)
        await client.execute_interactive("print('by default')", timeout=PATIENCE)
        assert capsys.readouterr().out == "by default\n"
        with pytest.raises(TimeoutError):
            await client.execute_interactive("import time; time.sleep(3600)", timeout=0.5)
        await manager.interrupt_kernel()

    with_client(use)


@pytest.mark.usefixtures("on_either")
def test_g3_channels_of_a_kernel_that_was_replaced() -> None:
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
        await client.wait_for_ready(timeout=PATIENCE)
        assert await client.is_alive()

    with_client(use)


def test_g3_channels_of_a_kernel_that_was_deleted(on_the_fake: ListeningFake) -> None:
    """Deleted behind the manager's back: both say that it is gone, and waiting ends."""

    async def use(manager: GatewayKernelManager, client: GatewayKernelClient) -> None:
        rest(on_the_fake, "DELETE", f"/api/kernels/{manager.kernel_id}")
        with pytest.raises(trio_gateway.GatewayError):
            await client.get_shell_msg(timeout=None)
        assert not await client.is_alive()
        assert not await manager.is_alive()

    with_client(use)


@pytest.mark.usefixtures("on_the_fake")
def test_wrong_uses_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel, no channels, no such kernelspec, no gateway."""

    async def main() -> None:
        manager = GatewayKernelManager(kernel_name="python3")
        assert not await manager.is_alive()
        for act in (manager.interrupt_kernel, manager.restart_kernel):
            with pytest.raises(RuntimeError, match="No kernel is running"):
                await act()
        client = manager.client()
        with pytest.raises(RuntimeError, match="No kernel is running"):
            client.start_channels()
        await manager.start_kernel()
        with pytest.raises(RuntimeError, match="start_channels"):
            client.execute("1")
        with pytest.raises(NotImplementedError):
            await manager.signal_kernel(15)
        await manager.shutdown_kernel()
        assert not await manager.is_alive()
        await manager.shutdown_kernel()  # twice is fine
        manager.client_factory = jupyter_client.AsyncKernelClient
        with pytest.raises(NotOnAGatewayError, match="client_factory"):
            manager.client()
        manager = GatewayKernelManager(kernel_name="cobol")
        with pytest.raises(trio_gateway.KernelSpecNotFoundError):
            await manager.start_kernel()
        monkeypatch.delenv("JUPYTER_GATEWAY_URL")
        manager = GatewayKernelManager(kernel_name="python3")
        with pytest.raises(trio_gateway.ConfigError):
            await manager.start_kernel()
        await manager.cleanup_resources()  # says nothing a second time
        kernels = GatewayMappingKernelManager()
        with pytest.raises(trio_gateway.ConfigError):
            await kernels.gateway()
        await kernels.shutdown_all()

    asyncio.run(main())


def test_the_blocking_manager_and_client(fake_gateway: ListeningFake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `start_new_kernel` gives, configured by traits."""
    monkeypatch.delenv("JUPYTER_GATEWAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("JUPYTER_GATEWAY_URL", raising=False)
    manager = BlockingGatewayKernelManager(
        kernel_name="python3", url=fake_gateway.url, auth_token=fake_gateway.token, settings={"connect_timeout": 7}
    )
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        assert isinstance(client, jupyter_client.BlockingKernelClient)
        reply = client.execute("6 * 7", reply=True, timeout=PATIENCE)
        assert reply["content"]["status"] == "ok"
        assert client.is_alive()
        assert manager.is_alive()
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


# ------------------------------------------------------------------------------------------------------------------- the tools


def executed(manager_class: type, **more: Any) -> Any:
    """Run the example notebook with nbclient."""
    notebook = nbformat.read(EXAMPLES / "hello.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, kernel_manager_class=manager_class, timeout=PATIENCE, **more)
    return client.execute()


@pytest.mark.gateway
def test_nbclient_gives_the_same_outputs_as_locally(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example notebook on the gateway and on a kernel of its own."""
    configure(real_gateway, monkeypatch)
    there = executed(GatewayKernelManager, allow_errors=True)
    here = executed(jupyter_client.AsyncKernelManager, allow_errors=True)
    assert outputs_of(there) == outputs_of(here)
    assert sum(map(len, outputs_of(there))) >= 5
    assert there.metadata["language_info"] == here.metadata["language_info"]


@pytest.mark.usefixtures("on_either")
def test_nbclient_and_a_kernel_that_is_killed() -> None:
    """Killed in the middle of a cell: DeadKernelError, although the gateway starts the kernel again (nbclient#319)."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    client = nbclient.NotebookClient(cell(code), kernel_manager_class=GatewayKernelManager, timeout=None)
    with pytest.raises(DeadKernelError):
        client.execute()


@pytest.mark.usefixtures("on_the_fake")
def test_nbclient_and_a_cell_that_takes_too_long() -> None:
    """`timeout` with `interrupt_on_timeout`, and without."""
    slow = "import time\nwhile True: time.sleep(0.01)"
    client = nbclient.NotebookClient(cell(slow), kernel_manager_class=GatewayKernelManager, timeout=1)
    with pytest.raises(CellTimeoutError):
        client.execute()
    client = nbclient.NotebookClient(
        cell(slow), kernel_manager_class=GatewayKernelManager, timeout=1, interrupt_on_timeout=True, allow_errors=True
    )
    assert client.execute().cells[0].outputs[0].ename == "KeyboardInterrupt"


# ---------------------------------------------------------------------------------------------------- for those who come here


def test_the_migration_page_misses_nothing() -> None:
    """Each class and each setting of `jupyter_server.gateway` is on the page, and each setting that is called the same exists."""
    page = (Path(__file__).parents[2] / "docs" / "migration.md").read_text(encoding="utf-8")
    traits = set(gateway_client.GatewayClient.class_own_traits(config=True))
    assert {trait for trait in traits if f"`{trait}`" not in page} == set()
    assert traits - {field.name for field in attrs.fields(trio_gateway.GatewayConfig)} == {"event_logger", "env_whitelist"}
    classes = {
        name
        for module in (gateway_client, managers, connections)
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    assert {"GatewayKernelManager", "ChannelQueue"} <= classes
    assert {name for name in classes if f"`{name}`" not in page} == {"GatewayTokenRenewerMeta"}
