"""Kernels that are not ipykernel, on a real Kernel Gateway: bash_kernel, xeus-python, async-kernel. What each lacks is named.

They have an environment of their own, which `nox -s kernels` makes: some minutes of tests, which say more about those kernels
than about the library.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import trio_gateway
from tools.fault_tools import channels_of
from tools.serving import Server, serve
from tools.tcp_proxy import open_tcp_proxy
from trio_gateway import GatewayConfig
from trio_gateway._protocol import codec
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


BESIDE = ["async", "xpython"]
"""Those that answer `kernel_info_request` beside code that runs, each in its own way."""
ON_CONTROL = {"async"}
"""Those that answer on control while code runs that sleeps."""
HELD = """
import os, time
print('begin', flush=True)
while not os.path.exists({!r}):
    time.sleep(0.05)
print('end', flush=True)
"""


@asynccontextmanager
async def kernel_of_nobody(gateway: trio_gateway.Gateway, name: str) -> AsyncGenerator[str]:
    """A kernel to which nobody is connected."""
    model = await gateway.kernels.start(name)
    try:
        yield model.id
    finally:
        with trio.move_on_after(30, shield=True):
            await gateway.kernels.shutdown(model.id)


@pytest.mark.parametrize("name", BESIDE)
async def test_code_that_runs_while_a_relays_connection_is_cut_has_its_own_reply(
    name: str, gateway: Server, tmp_path: Path
) -> None:
    """Once, and nothing is told as lost: what the relay asks meanwhile is answered beside the code."""
    go_on = tmp_path / "go on"
    async with (
        open_tcp_proxy(gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=gateway.token) as opened,
        # Nobody else is connected: so the gateway keeps the session's sockets.
        kernel_of_nobody(opened, name) as kernel_id,
        opened.open_channels(kernel_id, session_id="front") as channels,
    ):
        came: list[trio_gateway.Message] = []

        async def send(channel: str, msg_type: str, msg_id: str, content: dict[str, object]) -> None:
            header = trio_gateway.Header(msg_id, msg_type, "front", "ada", "2026-01-01T00:00:00Z", "5.4")
            await channels.send(codec.encode_v1(trio_gateway.Message(channel, header, content)))

        async def until(msg_type: str, parent: str) -> None:
            while not any((message.msg_type, message.parent_id) == (msg_type, parent) for message in came):
                came.extend([codec.decode(frame, v1=True) for frame in await channels.receive()])

        code = {"code": HELD.format(str(go_on)), "silent": False, "store_history": True, "allow_stdin": False}
        await send("shell", "execute_request", "code", code)
        await until("stream", "code")
        channels_of(proxy)[-1].reset()
        while channels.resumed == 0:
            came.extend([codec.decode(frame, v1=True) for frame in await channels.receive()])
        if name in ON_CONTROL:
            await send("control", "kernel_info_request", "asked later", {})
            await until("kernel_info_reply", "asked later")
        assert not any(message.msg_type == "execute_reply" for message in came), "nothing is told as lost"
        go_on.touch()
        await until("execute_reply", "code")
        await send("shell", "execute_request", "next", {**code, "code": "6 * 7"})
        await until("execute_reply", "next")
        replies = [(message.parent_id, message.content["status"]) for message in came if message.msg_type == "execute_reply"]
        assert replies == [("code", "ok"), ("next", "ok")]


@pytest.mark.parametrize("name", BESIDE)
async def test_code_that_runs_while_a_sessions_connection_is_cut_has_its_own_reply(
    name: str, gateway: Server, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    async with (
        open_tcp_proxy(gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=gateway.token) as opened,
        opened.start_kernel(name) as kernel,
        kernel.stream(HELD.format(str(go_on))) as outputs,
    ):
        printed = ""
        async for output in outputs:
            assert isinstance(output, trio_gateway.Stream)
            if printed == "" and output.text.strip():
                channels_of(proxy)[0].reset()
                await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
                await kernel.wait_for(trio_gateway.ConnectionState.CONNECTED)
                if name in ON_CONTROL:
                    await kernel.debug({"type": "request", "seq": 1, "command": "debugInfo"})
                go_on.touch()
            printed += output.text
        assert printed.split() == ["begin", "end"]
        assert outputs.result.status == "ok"
