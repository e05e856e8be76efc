"""The application that docs/pools.md shows is the example, and is served as its readers would; the other blocks run with all."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from pool.test_faults_real import FAULTS
from tools.face_tools import kernel_ids
from tools.serving import serve

if TYPE_CHECKING:
    from conftest import RunningGateway

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
APPLICATION = (EXAMPLES / "web_pool.py").read_text(encoding="utf-8")


def command(port: int) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "web_pool:app", "--port", str(port)]


def test_the_page_shows_the_example() -> None:
    page = (ROOT / "docs" / "pools.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [block for block in blocks if "FastAPI" in block] == [APPLICATION]


def test_each_fault_has_its_test() -> None:
    page = (ROOT / "docs" / "pools.md").read_text(encoding="utf-8")
    rows = [line for line in page.partition("## What breaks")[2].partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    files = [path for folder in ("pool", "fleet", "kernel", "sweeps") for path in (ROOT / "tests" / folder).glob("test_*.py")]
    tests = set(re.findall(r"^(?:async )?def (test_\w+)", "\n".join(path.read_text("utf-8") for path in files), re.MULTILINE))
    assert len(rows) > 15
    for row in rows:
        shown = re.findall(r"`(test_\w+)`", row)
        assert shown, row
        assert set(shown) <= tests, row


def test_each_fault_on_a_real_gateway_stands_on_the_page() -> None:
    """With what the lease sees: the test that prints the rows looks for that."""
    page = (ROOT / "docs" / "pools.md").read_text(encoding="utf-8")
    rows = page.partition("## How long it takes")[2].partition("\n## ")[0].replace("`", "").splitlines()
    for injected, (_, seen) in FAULTS.items():
        assert [row for row in rows if row.startswith(f"| {injected} | {seen}, after ")], injected


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("is_slow", [False, True])
def test_each_request_has_a_kernel_of_its_own(real_gateway: RunningGateway, tmp_path: Path, is_slow: bool) -> None:
    """G2: of the pool no kernel is left, also where a request was cut short by its limit."""
    application = APPLICATION.replace("SECONDS = 10.0", "SECONDS = 0.0" if is_slow else "SECONDS = 250.0")
    (tmp_path / "web_pool.py").write_text(application, encoding="utf-8")
    env = {"JUPYTER_GATEWAY_URL": real_gateway.url, "JUPYTER_GATEWAY_AUTH_TOKEN": real_gateway.token}
    before = kernel_ids(real_gateway)
    with serve(command, tmp_path, env=env) as server, httpx.Client(base_url=server.url, timeout=250) as visitor:
        answers = [visitor.post("/mean", json=numbers) for numbers in ([1, 2, 6], [4], [])]
        if is_slow:
            assert [answer.status_code for answer in answers] == [504] * 3
        else:
            assert [answer.status_code for answer in answers] == [200, 200, 422]
            assert [answer.json() for answer in answers[:2]] == [3.0, 4.0]
            assert "StatisticsError" in answers[2].json()["detail"]
        pool = visitor.get("/pool").json()
        assert (pool["leased"], pool["waiting"], pool["lost"]) == (0, 0, 0)
    assert kernel_ids(real_gateway) == before
