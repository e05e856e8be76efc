"""One kernel of Jupyter Server's: what extensions find in it, and what is told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import nbclient
import pytest
from jupyter_core.utils import ensure_event_loop
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from tornado import web

from trio_gateway.jupyter._server_kernel import KERNEL_ACTIONS
from trio_gateway.jupyter.server import (
    GatewayKernel,
)

from .jupyter_tools import cell
from .manager_kit import PATIENCE, App, Fake, start_elsewhere, with_app


def test_an_extension_that_executes(fake: Fake) -> None:
    """`get_kernel(id).client()`, as voila and others do: to execute, to interrupt, and over a restart."""

    async def use(app: App) -> None:
        kernel = app.kernel_manager.get_kernel(await app.kernel_manager.start_kernel(kernel_name="python3"))
        assert isinstance(kernel, ServerKernelManager)
        assert await kernel.is_alive()
        client = kernel.client()
        client.start_channels()
        await client.wait_for_ready(timeout=PATIENCE)
        assert client.kernel_id == kernel.kernel_id
        reply = await client.execute_interactive("1 + 1", timeout=PATIENCE, output_hook=lambda message: None)
        assert reply["content"]["status"] == "ok"
        client.execute("import time\nwhile True: time.sleep(0.01)")
        while (await client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "execute_input":
            pass
        await kernel.interrupt_kernel()
        assert (await client.get_shell_msg(timeout=PATIENCE))["content"]["ename"] == "KeyboardInterrupt"
        await kernel.restart_kernel()
        await client.wait_for_ready(timeout=PATIENCE)
        assert await client.is_alive()
        blocking = kernel.blocking_client()

        def run_in_a_thread() -> Any:
            blocking.start_channels()
            blocking.wait_for_ready(timeout=PATIENCE)
            reply = blocking.execute("2", reply=True, timeout=PATIENCE)
            blocking.stop_channels()
            ensure_event_loop().close()  # jupyter_core has made it for this thread
            return reply

        assert (await asyncio.to_thread(run_in_a_thread))["content"]["status"] == "ok"
        client.stop_channels()
        await kernel.shutdown_kernel()
        assert (kernel.has_kernel, await kernel.is_alive(), kernel.kernel) == (False, False, None)
        assert kernel.kernel_id not in app.kernel_manager

    with_app(fake, use)


def test_nbclient_in_a_kernel_of_the_server(fake: Fake) -> None:
    """A notebook run in a kernel that the server has, and which it has on."""

    async def use(app: App) -> None:
        kernel = app.kernel_manager.get_kernel(await app.kernel_manager.start_kernel(kernel_name="python3"))
        client = nbclient.NotebookClient(cell("print(1)"), km=kernel, timeout=PATIENCE)
        notebook = await client.async_execute(cleanup_kc=False)
        assert notebook.cells[0].outputs[0].text == "1\n"
        client.kc.stop_channels()
        assert await kernel.is_alive()

    with_app(fake, use)


def test_what_is_known_of_a_kernel(fake: Fake) -> None:
    """State, activity, connections and kernelspec; and whoever asks to be told of a restart or an end is."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        there = await start_elsewhere(fake)
        await manager.start_kernel(kernel_id=there)
        kernel = manager.get_kernel(there)
        assert kernel.execution_state in {"starting", "idle"}
        # Nobody has asked for the kernelspecs yet.
        assert (kernel.kernel_name, kernel.ready.result(), kernel.kernel_spec) == ("python3", None, None)
        await app.kernel_spec_manager.get_all_specs()
        assert (kernel.kernel_spec.name, kernel.kernel_spec.language) == ("python3", "python")
        calls: list[str] = []
        restarted, died = (lambda: calls.append("restart")), (lambda: calls.append("dead"))
        for callback, event in ((restarted, "restart"), (died, "dead"), (lambda: 1 / 0, "dead")):
            manager.add_restart_callback(there, callback, event)
        there_model = {"id": there, "name": "python3", "last_activity": "2099-01-01T00:00:00.000000Z", "connections": 3}
        await kernel.refresh_model({**there_model, "execution_state": "restarting"})
        await kernel.refresh_model({**there_model, "execution_state": "restarting", "reason": "it died"})
        assert (kernel.execution_state, kernel.last_activity.year, kernel.reason) == ("restarting", 2099, "it died")
        assert manager._kernel_connections[there] == 3
        assert manager.last_kernel_activity.year == 2099
        await manager.list_kernels()
        assert kernel.execution_state in {"starting", "idle"}
        kernel.remove_restart_callback(restarted)
        kernel.remove_restart_callback(restarted)
        await kernel.refresh_model({**there_model, "execution_state": "restarting"})
        fake.do(lambda: fake.gateway.remove_kernel(fake.gateway.kernels[there]))
        assert not await kernel.is_alive()
        assert (calls, kernel.execution_state, there in manager) == (["restart", "dead"], "dead", False)
        assert await kernel.refresh_model() is None

    with_app(fake, use)


def test_a_kernel_without_a_mapping_manager_says_so() -> None:
    """It has no gateway of its own."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match="GatewayKernelManager"):
            await GatewayKernel().start_kernel(kernel_name="python3")

    asyncio.run(main())


def test_actions_on_kernels_are_told(fake: Fake) -> None:
    """As Jupyter Server's own managers do: start, interrupt, restart and shutdown, with success or the error's status."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        app.listen()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        await manager.interrupt_kernel(kernel_id)
        await manager.restart_kernel(kernel_id)
        await manager.shutdown_kernel(kernel_id, restart=True)
        await manager.shutdown_kernel(kernel_id)
        told = await app.told()
        for event in told:
            assert KERNEL_ACTIONS not in event
            assert (event["status"], event["kernel_id"], event["kernel_name"]) == ("success", kernel_id, "python3")
        assert [event["action"] for event in told] == ["start", "interrupt", "restart", "restart", "shutdown"]
        said = [event["msg"].split()[-1] for event in told]
        assert said == ["started.", "interrupted.", "restarted.", "restarted.", "shutdown."]

        kernel_id = await manager.start_kernel(kernel_name="python3")
        await app.told()
        fault = fake.do(lambda: fake.gateway.faults.answer(f"(POST|DELETE) /api/kernels/{kernel_id}.*", 418))
        for act in (manager.interrupt_kernel, manager.restart_kernel, manager.shutdown_kernel):
            with pytest.raises(web.HTTPError):
                await act(kernel_id)
        for event in (told := await app.told()):
            assert (event["status"], event["status_code"], event["kernel_id"]) == ("error", 418, kernel_id)
            assert "418" in event["msg"]
        assert [event["action"] for event in told] == ["interrupt", "restart", "shutdown"]
        fake.do(fault.remove)
        with pytest.raises(web.HTTPError):
            await manager.start_kernel(kernel_name="cobol")
        (event,) = await app.told()
        assert (event["action"], event["status"], event["status_code"], event["kernel_name"]) == ("start", "error", 404, "cobol")
        assert "kernel_id" not in event

    with_app(fake, use)


def test_a_listener_that_fails_costs_no_kernel(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started is there, whoever could not be told of it."""

    async def use(app: App) -> None:
        monkeypatch.setattr(app.event_logger, "emit", lambda **event: 1 / 0)
        assert await app.kernel_manager.start_kernel(kernel_name="python3") in app.kernel_manager

    with_app(fake, use)
