"""SIGTERM: what a program leaves on a gateway by default, and that the docs' recipes leave nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import RunningGateway
    from trio_gateway import GatewayConfig

DOCS = Path(__file__).parents[2] / "docs"
WORK = re.compile(r'(await )?kernel\.execute\("6 \* 7"\)')
LONG_WORK = r'print("begun", flush=True) or \1kernel.execute("import time; time.sleep(600)")'
ASYNCIO = """
import asyncio, signal
import trio_gateway.anyio as trio_gateway

async def main():
    {recipe}
    async with trio_gateway.open_gateway() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("6 * 7")

asyncio.run(main())
"""


def recipe(page: str, beginning: str) -> str:
    """Return the program of a page that contains this, at work for long."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if beginning in block]
    return found


def asyncio_recipe() -> str:
    """Return the asyncio page's words, which are part of a sentence, in a program."""
    (words,) = re.findall(
        r"`(asyncio\.get_running_loop\(\)\.add_signal_handler\([^`]*)`", (DOCS / "asyncio.md").read_text("utf-8")
    )
    return ASYNCIO.format(recipe=words)


PROGRAMS = {
    "trio": lambda: recipe("kernels.md", "open_signal_receiver(signal.SIGTERM)"),
    "blocking": lambda: recipe("blocking.md", "signal.signal(signal.SIGTERM"),
    "asyncio": asyncio_recipe,
}


def kernels(url: str, token: str, method: str = "GET", kernel_id: str = "") -> list[str]:
    """Return the ids of the gateway's kernels, asked without the library."""
    request = urllib.request.Request(
        f"{url}/api/kernels{kernel_id and '/' + kernel_id}", method=method, headers={"Authorization": f"token {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return [model["id"] for model in json.loads(answer.read() or b"[]")]


def told_to_end(program: str, url: str, token: str) -> tuple[int, str]:
    """Run a program that is at work until it gets SIGTERM; return its exit code, and what it said on standard error."""
    program, changed = WORK.subn(LONG_WORK, program)
    assert changed == 1
    environment = {**os.environ, "JUPYTER_GATEWAY_URL": url, "JUPYTER_GATEWAY_AUTH_TOKEN": token}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=pipe, stderr=pipe, env=environment, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert line == "begun\n", errors
    return process.returncode, errors


def check(name: str, url: str, token: str) -> None:
    """See that a recipe leaves no kernel."""
    before = kernels(url, token)
    code, errors = told_to_end(PROGRAMS[name](), url, token)
    assert kernels(url, token) == before
    assert code == {"trio": 0, "blocking": 143, "asyncio": 1}[name], errors


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_recipes_leave_no_kernel(fake_gateway_server: GatewayConfig, name: str) -> None:  # G2
    check(name, fake_gateway_server.url, fake_gateway_server.auth_token)


@pytest.mark.full
@pytest.mark.gateway
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_recipes_leave_no_kernel_on_a_real_gateway(real_gateway: RunningGateway, name: str) -> None:  # G2
    check(name, real_gateway.url, real_gateway.token)


def test_by_default_the_kernel_is_left(fake_gateway_server: GatewayConfig) -> None:
    """As the docs say: Python ends at once."""
    program = "\n".join(line for line in PROGRAMS["blocking"]().splitlines() if "signal.signal" not in line)
    code, _ = told_to_end(program, fake_gateway_server.url, fake_gateway_server.auth_token)
    assert code == -signal.SIGTERM
    assert len(kernels(fake_gateway_server.url, fake_gateway_server.auth_token)) == 1
