"""Kernels that are not ipykernel, on a real Kernel Gateway: bash_kernel, xeus-python, async-kernel. What each lacks is named.

They have an environment of their own, which `nox -s kernels` makes: some minutes of tests, which say more about those kernels
than about the library.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trio

from tools.serving import Server, serve
from trio_gateway import GatewayConfig
from trio_gateway.testing.scenarios import Stage, run_scenarios

ENVIRONMENT = os.environ.get("TRIO_GATEWAY_KERNELS_ENV")

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.full,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not ENVIRONMENT, reason="these kernels need an environment of their own: run nox -s kernels"),
]

GATEWAY = {"bearer token": "401", "listing kernels": "403", "sessions": "GET: 500, PATCH: 500"}
"""What Kernel Gateway lacks, whatever the kernel."""
DEPENDS = {"no rate limit", "a large message"}
"""What depends on how fast the machine is."""
LACKS: Mapping[str, Mapping[str, str]] = {
    "async": {"subshells at a time": "one after the other", "listing subshells": "it deletes what it has not"},
    "xpython": {
        "subshells": "the kernel offers none",
        "subshells at a time": "the kernel offers none",
        "listing subshells": "the kernel offers none",
        "numbered messages": "such as …",
    },
    "bash": {
        "death": "no code is known for it",
        "asking for input": "no code is known for it",
        "input that nobody gives": "no code is known for it",
        "streams": "both on stdout",
        "inspect": "an answer without what was asked for",
        "is complete": "an answer without what was asked for",
        "debug": "no answer",
        "subshells at a time": "no code is known for it",
    },
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Kernel Gateway in the environment of these kernels."""
    assert ENVIRONMENT is not None
    token = secrets.token_hex(16)
    python = Path(ENVIRONMENT) / "bin" / "python"
    environ = {"KG_AUTH_TOKEN": token, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}

    def command(port: int) -> list[str]:
        options = {"ip": "127.0.0.1", "port": port, "port_retries": 0}
        return [str(python), "-m", "kernel_gateway", *[f"--KernelGatewayApp.{name}={value}" for name, value in options.items()]]

    folder = tmp_path_factory.mktemp("kernels")
    with serve(command, folder, token=token, env=environ, without=("JUPYTER_", "KERNEL_", "KG_", "PYTHON")) as server:
        yield server


@pytest.mark.parametrize("name", LACKS)
def test_a_kernel(name: str, gateway: Server) -> None:
    """Nothing fails, and what is missing is what is named."""

    async def play() -> dict[str, tuple[str, str]]:
        config = GatewayConfig(url=gateway.url, auth_token=gateway.token)
        findings = await run_scenarios(Stage(config, kernel_name=name, language="bash" if name == "bash" else "python"))
        return {finding.scenario.name: (finding.outcome, finding.detail) for finding in findings}

    found = trio.run(play)
    assert {scenario: detail for scenario, (outcome, detail) in found.items() if outcome == "failed"} == {}
    lacks = {
        scenario: "such as …" if detail.startswith("such as ") else detail
        for scenario, (outcome, detail) in found.items()
        if outcome == "no" and scenario not in DEPENDS
    }
    assert lacks == {**GATEWAY, **LACKS[name]}
