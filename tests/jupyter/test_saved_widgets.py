"""The widgets of a notebook that was run, in JupyterLab in a real browser: the file shows them as they were, and no cell is run.

Needs what `test_lab` needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway
from tools.browser import drive, driver_folder
from tools.notebook_tools import notebook_of
from trio_gateway import notebooks

from .server_tools import open_server
from .test_lab import IMAGE

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

SLIDER = """
import ipywidgets
slider = ipywidgets.IntSlider(value=3, max=50, description="weeks")
slider
"""
MOVED = "slider.value = 42"
OUTPUT = """
out = ipywidgets.Output()
with out:
    print("captured")
    display(slider)
out
"""
BAR = """
from tqdm.notebook import tqdm
for _ in tqdm(range(7), desc="all of them"):
    pass
"""
CELLS = (SLIDER, MOVED, OUTPUT, BAR, IMAGE)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what drives the browser."""
    return driver_folder(tmp_path_factory, Path(__file__).parent)


async def run_there(gateway: RunningGateway, output: Path) -> Any:
    async with trio_gateway.open_gateway(gateway.url, auth_token=gateway.token) as opened:
        result = await notebooks.run(opened, notebook_of(*[cell.strip() for cell in CELLS]), output=output)
    return result.raise_for_error()


def trust(notebook: Path) -> None:
    """Sign a notebook, as its user does: JupyterLab shows no widget of a file that it does not trust."""
    command = [sys.executable, "-m", "jupyter", "trust", str(notebook)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    subprocess.run(command, check=True, capture_output=True, timeout=250, env={**environment, "HOME": str(notebook.parent)})


def test_a_browser_shows_the_widgets_that_were_saved(driver: Path, real_gateway: RunningGateway, tmp_path: Path) -> None:
    """A slider where it was moved to, what an Output widget has captured, a bar that ran full, an image's bytes."""
    result = trio.run(run_there, real_gateway, tmp_path / "n.ipynb")
    assert result.output_gaps == ()
    trust(tmp_path / "n.ipynb")
    options = {"LabApp_extension_manager": "readonly", "LabApp_news_url": "None"}
    with open_server(real_gateway, tmp_path, "jupyterlab", **options) as server:
        seen = trio.run(drive, driver, "saved_widgets.mjs", f"{server.url}/lab/tree/n.ipynb?token={server.token}", "5")
    assert seen["sliders"] == ["42", "42"]
    assert seen["labels"] == ["weeks", "weeks"]
    assert any("captured" in text for text in seen["captured"])
    assert seen["bars"] == ["100%"]
    html = [" ".join(text.split()) for text in seen["html"]]  # tqdm's blanks are as wide as digits
    assert any("7/7" in text for text in html)
    assert any("all of them: 100%" in text for text in html)
    assert seen["images"] == [[7, 5]]
