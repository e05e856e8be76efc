"""Real clients through the proxy: JupyterLab's own from npm, and jupyter-kernel-client from PyPI."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from jupyter_kernel_client import JupyterKernelClient

from tools.browser import node_modules

from .front import PATIENCE
from .proxy_kit import TOKEN, open_proxy

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]

PACKAGES = {"@jupyterlab/services": "7.4.0", "ws": "8.18.0"}


@pytest.fixture
def services(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """The script that uses `@jupyterlab/services`, with that beside it, pinned."""
    (tmp_path / "node_modules").symlink_to(node_modules(tmp_path_factory, "services", PACKAGES))
    return Path(shutil.copy(Path(__file__).with_name("services.cjs"), tmp_path))


async def test_jupyterlabs_own_client(real_gateway: RunningGateway, services: Path) -> None:
    async with open_proxy(real_gateway, base_path="/lab/") as proxy:
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(
                ["node", str(services), proxy.url + "/", TOKEN], capture_stdout=True, capture_stderr=True, check=False
            )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"[")]
    assert done.returncode == 0, (said, done.stderr)
    assert said == [
        ["default", "python3"],
        ["logo", "/lab/kernelspecs/python3/logo-64x64.png"],
        ["protocol", "connecting"],
        ["execute", ["ok", "out\n42"]],
        ["stdin", ["ok", "hello ada\n"]],
        ["comm", ["00fe", "ff0201"]],
        ["path", ["m.ipynb"]],
        ["restart", ["ok", "False"]],
        ["reconnect", ["ok", "2"]],
        ["interrupt", "error"],
        ["running", 0],
        ["done", True],
    ]


async def test_jupyter_kernel_client(real_gateway: RunningGateway) -> None:
    def use(url: str) -> dict[str, Any]:
        with JupyterKernelClient(server_url=url, token=TOKEN) as kernel:
            return kernel.execute("print('out', end=''); 6 * 7")

    async with open_proxy(real_gateway) as proxy:
        with trio.fail_after(PATIENCE):
            reply = await trio.to_thread.run_sync(use, proxy.url)
        assert reply["status"] == "ok"
        assert [output["output_type"] for output in reply["outputs"]] == ["stream", "execute_result"]
        assert reply["outputs"][1]["data"]["text/plain"] == "42"
        assert (await proxy.ask("GET", "/api/kernels")).json() == []
