"""Jupyter's own ways to kernels, and doctor, on a real Enterprise Gateway 3.3: what its sites rely on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anyio
import jupyter_client
import pytest
import trio
from jupyter_client.kernelspec import NoSuchKernel
from tornado import web
from traitlets.config import LoggingConfigurable

import trio_gateway
import trio_gateway.blocking
from trio_gateway._doctor.examine import examine
from trio_gateway._doctor.findings import Check
from trio_gateway.jupyter import BlockingGatewayKernelManager
from trio_gateway.jupyter.server import GatewayKernelSpecManager, GatewayMappingKernelManager

if TYPE_CHECKING:
    from tools.serving import Server

pytestmark = [pytest.mark.gateway, pytest.mark.full]

PATIENCE = 120


@pytest.fixture(autouse=True)
def configured(enterprise_gateway: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[trio_gateway.blocking.Gateway]:
    """The Enterprise Gateway is the one that the environment names; it is open, and has no kernels before and after."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", enterprise_gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", enterprise_gateway.token)
    monkeypatch.setenv("KERNEL_USERNAME", "bob")  # without a name it takes the user that it runs as itself, and refuses root
    with trio_gateway.blocking.open_gateway() as gateway:
        assert list(gateway.kernels.list()) == []
        yield gateway
        assert list(gateway.kernels.list()) == []


def value_of(client: jupyter_client.BlockingKernelClient, code: str) -> str:
    """Run code, and return its last value, or its error's name."""
    found: list[str] = []

    def note(message: Any) -> None:
        if message["msg_type"] == "execute_result":
            found.append(message["content"]["data"]["text/plain"])

    status = "aborted"
    while status == "aborted":  # a kernel drops, and says so, what comes in the moment after a failure
        reply = client.execute_interactive(code, timeout=PATIENCE, output_hook=note)
        status = reply["content"]["status"]
    return str(reply["content"].get("ename") or found[0])


def test_a_kernel_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel is started with the process's `KERNEL_*`, as this gateway's launchers want, runs code, and is interrupted,
    restarted and shut down."""
    monkeypatch.setenv("KERNEL_CHAPTER", "é 10")
    monkeypatch.setenv("OTHER_CHAPTER", "11")
    manager = BlockingGatewayKernelManager(kernel_name="python3")
    manager.start_kernel()
    with ExitStack() as stack:  # what fails here must not leave its thread to the tests after it
        stack.callback(manager.shutdown_kernel)
        client = manager.client()
        stack.callback(client.stop_channels)
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        code = "import os; [os.environ.get(name) for name in ('KERNEL_CHAPTER', 'OTHER_CHAPTER', 'KERNEL_ID')]"
        assert value_of(client, code) == repr(["é 10", None, manager.kernel_id])
        sleeping = client.execute("import time\nprint('begun', flush=True)\ntime.sleep(1000)")
        while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
            pass
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != sleeping:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert value_of(client, "x = 1; x") == "1"
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert value_of(client, "x") == "NameError"
        assert manager.is_alive()
    assert not manager.is_alive()


def test_an_unknown_kernelspec_is_jupyter_clients_own_error() -> None:
    with pytest.raises(NoSuchKernel, match="no-such-kernel"):
        BlockingGatewayKernelManager(kernel_name="no-such-kernel").start_kernel()


def test_the_id_of_a_kernel_that_runs_gives_that_kernel(configured: trio_gateway.blocking.Gateway) -> None:
    """Asked for a start under it, this gateway answers 500; whoever cleans up after that ends somebody's kernel."""
    with configured.start_kernel("python3") as kernel:
        kernel.execute("x = 1")
        assert configured.kernels.start("python3", kernel_id=kernel.id).id == kernel.id
        manager = BlockingGatewayKernelManager(kernel_name="python3", owns_kernel=False)
        manager.start_kernel(kernel_id=kernel.id)
        assert manager.kernel_id == kernel.id
        manager.shutdown_kernel()
        assert kernel.execute("x").text == "1"


class App(LoggingConfigurable):
    """What a server application is to its managers."""

    base_url = "/"
    root_dir = "/"
    event_logger = None

    def __init__(self) -> None:
        super().__init__()
        self.kernel_manager = GatewayMappingKernelManager(parent=self)
        self.kernel_spec_manager = GatewayKernelSpecManager(parent=self)
        self.kernel_manager.kernel_spec_manager = self.kernel_spec_manager


def test_a_jupyter_server(configured: trio_gateway.blocking.Gateway) -> None:
    """What it takes in stays its own over lists, until the gateway says of the very id that it is gone."""

    async def use(there: str) -> None:
        manager = App().kernel_manager
        assert await manager.start_kernel(kernel_id=there) == there
        for _ in range(2):
            assert [model["id"] for model in await manager.list_kernels()] == [there]
        assert (await manager.kernel_model(there))["name"] == "python3"
        wish = str(uuid.uuid4())
        assert await manager.start_kernel(kernel_name="python", kernel_id=wish) == wish
        await manager.restart_kernel(wish)
        await manager.interrupt_kernel(wish)
        with pytest.raises(NoSuchKernel):
            await manager.start_kernel(kernel_name="no-such-kernel")
        await manager.shutdown_kernel(there)
        with pytest.raises(web.HTTPError) as caught:
            await manager.kernel_model(there)
        assert caught.value.status_code == 404
        await manager.shutdown_all()

    anyio.run(use, configured.kernels.start("python3").id)


async def test_doctor_goes_all_the_way(enterprise_gateway: Server) -> None:
    async def report(check: Check) -> None:
        await trio.lowlevel.checkpoint()

    config = trio_gateway.GatewayConfig.from_env()
    # The doctor compares the clocks.
    checks = {check.name: check for check in await examine(config, environ={}, now=time.time(), report=report)}  # noqa: TID251
    assert {check.status for check in checks.values()} <= {"ok", "skipped"}
    assert checks["http"].detail.startswith("Enterprise Gateway 3.3")
    assert checks["reply"].status == checks["shutdown"].status == "ok"
