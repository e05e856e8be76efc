"""JupyterLab in a real browser, its kernels on a real gateway through the library; widgets with binary buffers both ways.

Needs Debian's Chromium, Node.js, and playwright-core from npm, which drives it. What can't be had on a machine is skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
import trio

from tools.browser import drive, driver_folder

from .server_tools import open_server

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

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


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what drives the browser."""
    return driver_folder(tmp_path_factory, Path(__file__).parent)


def test_a_notebook_in_jupyterlab(driver: Path, real_gateway: RunningGateway, tmp_path: Path) -> None:
    """All cells run; an image's bytes come to the browser, and a file's bytes from it."""
    cells = [nbformat.v4.new_code_cell(code.strip()) for code in ("print('from', 6 * 7)", IMAGE, UPLOAD)]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), tmp_path / "n.ipynb")
    options = {"LabApp_extension_manager": "readonly", "LabApp_news_url": "None"}
    with open_server(real_gateway, tmp_path, "jupyterlab", **options) as server:
        seen = trio.run(drive, driver, "lab.mjs", f"{server.url}/lab/tree/n.ipynb?token={server.token}", str(len(cells)))
        assert seen == {"texts": ["from 42"], "image": [7, 5], "uploaded": "uploaded True"}
