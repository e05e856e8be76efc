"""JupyterLab in a real browser, started with `--gateway-url`, its kernels on a real gateway behind the proxy."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
import trio

from tools.browser import drive, driver_folder
from tools.ports import held_port

from .front import PATIENCE
from .proxy_kit import TOKEN, Served, open_proxy

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]

PICTURE = """
import base64, struct, zlib
from IPython.display import Image

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

rows = (b"\\0" + b"\\x7f" * 7) * 5
Image(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
"""  # noqa: E501
LEFT = re.compile(
    rb"Task exception was never retrieved\s+future: <Task [^\n]*WebSocketProtocol13\.write_message"
    rb".*?tornado\.websocket\.WebSocketClosedError\s*\n",
    re.DOTALL,
)
"""What tornado says where a browser leaves while Jupyter Server writes to it."""
CELLS = ("seen = globals().get('seen', 0) + 1; print('seen', seen)", "print('x' * 100_000)\n6 * 7", PICTURE)


@pytest.fixture
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver_folder(tmp_path_factory, Path(__file__).parent)


@asynccontextmanager
async def open_lab(proxy: Served, folder: Path) -> AsyncGenerator[str]:
    """Run JupyterLab on the proxy; give its address with `{}` for a path."""
    with held_port() as port:
        async with _run_lab(proxy, folder, port) as address:
            yield address


@asynccontextmanager
async def _run_lab(proxy: Served, folder: Path, port: int) -> AsyncGenerator[str]:
    token = secrets.token_hex(16)
    options = {
        "gateway-url": proxy.url,
        "IdentityProvider.token": token,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "LabApp.extension_manager": "readonly",
        "LabApp.news_url": None,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "KERNEL"))}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-W", "ignore", "-m", "jupyterlab", *[f"--{name}={value}" for name, value in options.items()]],
        cwd=folder,
        env={**kept, "HOME": str(folder), "JUPYTER_GATEWAY_AUTH_TOKEN": TOKEN},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    try:
        with trio.fail_after(PATIENCE):
            while b"is running at" not in said:
                data = await process.stderr.receive_some()
                assert data, said.decode()
                said += data
        async with trio.open_nursery() as nursery:

            async def hear() -> None:
                nonlocal said
                assert process.stderr is not None
                async for data in process.stderr:
                    said += data

            nursery.start_soon(hear)
            yield f"http://127.0.0.1:{port}{{}}?token={token}"
            process.terminate()
            with trio.fail_after(PATIENCE):
                await process.wait()
        assert b"Traceback" not in LEFT.sub(b"", said), said.decode()
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.kill()
            await process.wait()
            await process.stderr.aclose()


async def test_a_notebook_in_jupyterlab_through_the_proxy(driver: Path, real_gateway: RunningGateway, tmp_path: Path) -> None:
    """All cells run, a large text and a picture arrive, and again after a restart."""
    cells = [nbformat.v4.new_code_cell(code.strip()) for code in CELLS]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), tmp_path / "n.ipynb")
    async with open_proxy(real_gateway) as proxy:
        async with open_lab(proxy, tmp_path) as address:
            runs = await drive(driver, "lab_gateway.mjs", address.format("/lab/tree/n.ipynb"), "4")
            relayed = (await proxy.ask("GET", "/status.json")).json()["messages"]
        assert runs == [{"texts": ["seen 1", "x" * 100_000, "42"], "images": [[7, 5]]}] * 2
        assert relayed["to_kernel"] >= 2 * len(CELLS)
        # The lab shuts its kernels down as it ends.
        assert (await proxy.ask("GET", "/api/kernels")).json() == []
