"""Servers of the same API that are none of Jupyter's own: jupyverse and jupygate. What each lacks is named.

They have an environment of their own, which `nox -s servers` makes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from tools.serving import serve
from trio_gateway import GatewayConfig
from trio_gateway.testing.scenarios import Stage, run_scenarios

ENVIRONMENT = os.environ.get("TRIO_GATEWAY_SERVERS_ENV")

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.full,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not ENVIRONMENT, reason="these servers need an environment of their own: run nox -s servers"),
]

DEPENDS = {"no rate limit", "a large message"}
"""What depends on how fast the machine is."""
COMMANDS: Mapping[str, str] = {
    # Its tokens come in a URL's query only, where ours never are.
    "jupyverse": "jupyverse --host 127.0.0.1 --port {port} --set auth.mode=noauth --set auth.directory={folder}",
    "jupygate": "jupygate --port {port} --token {token}",
}
LACKS: Mapping[str, Mapping[str, str]] = {
    "jupyverse": {
        "version": "404",
        "wrong token is refused": "no token is set",
        "bearer token": "no token is set",
        "starting kernels": "405: by POST /api/sessions only",
        "choosing the kernel id": "405",
        "unknown kernel": "interrupt: answered as if it were there",
        "sessions": "GET: 405, PATCH: 500",
        "death": "nobody learns of it within a minute",
    },
    "jupygate": {
        "version": "404",
        "bearer token": "403",
        "kernelspecs": "404",
        "unknown kernelspec": "it starts one all the same",
        "choosing the kernel id": "it chooses another",
        "sessions": "POST: 404",
        "death": "KernelDiedError",
        "numbered messages": "such as …",
        "replay": "ConnectionLostError",
    },
}


@pytest.mark.parametrize("name", LACKS)
def test_a_server(name: str, tmp_path: Path) -> None:
    """Nothing fails, and what is missing is what is named."""
    assert ENVIRONMENT is not None
    programs = Path(ENVIRONMENT) / "bin"
    token = "" if name == "jupyverse" else secrets.token_hex(16)
    environ = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def command(port: int) -> list[str]:
        program, *arguments = COMMANDS[name].format(port=port, token=token, folder=tmp_path).split()
        return [str(programs / program), *arguments]

    with serve(command, tmp_path, token=token, env=environ, without=("JUPY", "KERNEL_", "PYTHON")) as server:
        config = GatewayConfig(url=server.url, auth_token=server.token)
        findings = {finding.scenario.name: finding for finding in trio.run(run_scenarios, Stage(config))}
    assert {name: finding.detail for name, finding in findings.items() if finding.outcome == "failed"} == {}
    lacks = {
        name: "such as …" if finding.detail.startswith("such as ") else finding.detail
        for name, finding in findings.items()
        if finding.outcome == "no" and name not in DEPENDS
    }
    assert lacks == LACKS[name]
