"""JupyterLab in a real browser, its kernels on a real gateway through the library; widgets with binary buffers both ways.

Needs Debian's Chromium, Node.js, and playwright-core from npm, which drives it. What can't be had on a machine is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from server_tools import open_server

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway

DRIVER = Path(__file__).with_name("lab.mjs")
PLAYWRIGHT = "playwright-core@1"

IMAGE = r"""
import struct, zlib
import ipywidgets

def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + b"\x7f" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

ipywidgets.Image(value=png(7, 5), format="png")
"""
UPLOAD = """
seen = ipywidgets.Output()
upload = ipywidgets.FileUpload()

def uploaded(change):
    with seen:
        print("uploaded", bytes(change["new"][0]["content"]) == bytes(range(256)))

upload.observe(uploaded, "value")
ipywidgets.VBox([upload, seen])
"""


def program(name: str, package: str) -> str:
    """Find a program; it is installed from the distribution's packages where this user may."""
    found = shutil.which(name)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        subprocess.run(install, check=False, capture_output=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: install it, on Debian with `apt-get install {package}`")
    return found


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that drives the browser."""
    node, npm = program("node", "nodejs"), program("npm", "npm")
    folder = tmp_path_factory.mktemp("driver")
    install = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", PLAYWRIGHT]
    done = subprocess.run(install, check=False, capture_output=True, text=True, timeout=100)
    if done.returncode != 0:
        pytest.skip(f"{PLAYWRIGHT} can't be installed here; npm says: {done.stderr[-500:]}")
    return [node, str(shutil.copy(DRIVER, folder))]


def test_a_notebook_in_jupyterlab(driver: list[str], real_gateway: RunningGateway, tmp_path: Path) -> None:
    """All cells run; an image's bytes come to the browser, and a file's bytes from it."""
    chromium = program("chromium", "chromium")
    cells = [nbformat.v4.new_code_cell(code.strip()) for code in ("print('from', 6 * 7)", IMAGE, UPLOAD)]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), tmp_path / "n.ipynb")
    options = {"LabApp_extension_manager": "readonly", "LabApp_news_url": "None"}
    with open_server(real_gateway, tmp_path, "jupyterlab", **options) as server:
        done = subprocess.run(
            [*driver, f"{server.url}/lab/tree/n.ipynb?token={server.token}", str(len(cells))],
            check=False, capture_output=True, text=True, timeout=100, env={**os.environ, "CHROMIUM": chromium},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"texts": ["from 42"], "image": [7, 5], "uploaded": "uploaded True"}
