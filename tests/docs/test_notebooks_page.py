"""The application that docs/notebooks.md shows is served, as its readers would; what else stands there runs with all examples."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tools.face_tools import kernel_ids
from tools.notebook_tools import write_notebook
from tools.serving import serve

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

ROOT = Path(__file__).parents[2]
(APPLICATION,) = [
    block
    for block in re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    if "FastAPI" in block
]


def test_the_endpoint_streams_a_run(real_gateway: RunningGateway, tmp_path: Path) -> None:
    """Line by line; a visitor who goes away ends the run, and its kernel."""
    (tmp_path / "web.py").write_text(APPLICATION, encoding="utf-8")
    shutil.copy(ROOT / "examples" / "report.ipynb", tmp_path)
    env = {"JUPYTER_GATEWAY_URL": real_gateway.url, "JUPYTER_GATEWAY_AUTH_TOKEN": real_gateway.token}
    before = kernel_ids(real_gateway)

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "uvicorn", "web:app", "--port", str(port)]

    with serve(command, tmp_path, env=env) as server, httpx.Client(base_url=server.url, timeout=250) as visitor:
        lines = visitor.get("/report/south").text.splitlines()
        weeks = [f"south, week {week}: 100" for week in (1, 2, 3)]
        assert [line.partition(" after ")[0] for line in lines] == ["[1] ok", "[2] ok", *weeks, "[3] ok", "[4] ok", "ok"]
        assert kernel_ids(real_gateway) == before

        write_notebook(tmp_path / "report.ipynb", "import time\nwhile True: print('again', flush=True); time.sleep(0.01)")
        with visitor.stream("GET", "/report/south") as answer:
            lines_so_far = answer.iter_lines()
            assert next(lines_so_far).startswith("[1] ok"), "the parameters"
            assert next(lines_so_far) == "again"
            assert len(kernel_ids(real_gateway) - before) == 1
        while kernel_ids(real_gateway) != before:
            pass
