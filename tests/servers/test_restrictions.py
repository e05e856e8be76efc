"""Variables that only an Enterprise Gateway does not take, on real servers, on each face, and for jupyter_client's managers.

A Kernel Gateway's kernels get them as they are, and an Enterprise Gateway is not sent them.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from trio_gateway._gateway.restrictions import Restrictions
from trio_gateway.jupyter import BlockingGatewayKernelManager

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import RunningGateway
    from tools.serving import Server

pytestmark = [pytest.mark.gateway, pytest.mark.full]

FACES = ["trio", "asyncio", "blocking"]
ARRIVES = {
    "KERNEL_DOLLAR": "a $HOME ${PATH} $(id) `id` b",
    "KERNEL_LINES": "a\nb\r\nc\r",
    "KERNEL_LONG": "é" * 5000,
    "KERNEL_A-B C": "no name for a shell",
}
READ = f"import os, json; print(json.dumps([os.environ.get(name) for name in {list(ARRIVES)!r}]))"
RESOURCES = trio_gateway.KernelResources(cpu="1500m", memory="1Gi", gpus=1, volumes=[{"name": "a", "emptyDir": {}}])


def run(face: str, server: RunningGateway | Server, env: Mapping[str, str], code: str, **arguments: Any) -> str:
    """Run code on a fresh kernel that is started with these variables; return what it prints."""
    settings: Any = {"auth_token": server.token, "kernel_username": "bob"}

    async def main(package: Any) -> str:
        async with (
            package.open_gateway(server.url, **settings) as gateway,
            gateway.start_kernel("python3", env=env, **arguments) as kernel,
        ):
            return str((await kernel.execute(code)).text)

    match face:
        case "trio":
            return trio.run(main, trio_gateway)
        case "asyncio":
            return anyio.run(main, trio_gateway.anyio, backend="asyncio")
        case _:
            with (
                trio_gateway.blocking.open_gateway(server.url, **settings) as gateway,
                gateway.start_kernel("python3", env=env, **arguments) as kernel,
            ):
                return str(kernel.execute(code).text)


@pytest.mark.parametrize("face", FACES)
def test_a_kernel_gateway_hands_them_to_the_kernel_as_they_are(real_gateway: RunningGateway, face: str) -> None:
    assert json.loads(run(face, real_gateway, ARRIVES, READ)) == list(ARRIVES.values())


@pytest.mark.parametrize("face", FACES)
def test_resources_arrive(real_gateway: RunningGateway, face: str) -> None:
    wanted = RESOURCES.variables()
    code = f"import os, json; print(json.dumps({{name: os.environ.get(name) for name in {list(wanted)!r}}}))"
    assert json.loads(run(face, real_gateway, {}, code, resources=RESOURCES)) == wanted


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", list(ARRIVES))
def test_an_enterprise_gateway_is_not_sent_them(enterprise_gateway: Server, face: str, name: str) -> None:
    with pytest.raises(trio_gateway.InvalidInputError, match=name) as caught:
        run(face, enterprise_gateway, {name: ARRIVES[name]}, "1")
    assert ARRIVES[name] not in str(caught.value)


@pytest.mark.parametrize("face", FACES)
def test_an_enterprise_gateway_takes_resources(enterprise_gateway: Server, face: str) -> None:
    """Its own checks of the values pass, and the kernel has them."""
    wanted = RESOURCES.variables()
    code = f"import os, json; print(json.dumps({{name: os.environ.get(name) for name in {list(wanted)!r}}}))"
    assert json.loads(run(face, enterprise_gateway, {}, code, resources=RESOURCES)) == wanted


def manager_of(server: RunningGateway | Server, monkeypatch: pytest.MonkeyPatch) -> BlockingGatewayKernelManager:
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", server.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", server.token)
    monkeypatch.setenv("KERNEL_USERNAME", "bob")
    monkeypatch.setenv("KERNEL_PROMPT", "$ ")  # of the process, and meant for no kernel in particular
    return BlockingGatewayKernelManager(kernel_name="python3")


def values_in(manager: BlockingGatewayKernelManager, names: list[str]) -> list[str | None]:
    """Return what a manager's kernel has of variables."""
    found: list[str] = []
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)

        def note(message: Any) -> None:
            found.append(message["content"].get("text", ""))

        code = f"import os, json; print(json.dumps([os.environ.get(name) for name in {names!r}]))"
        client.execute_interactive(code, timeout=120, output_hook=note)
    finally:
        client.stop_channels()
    values: list[str | None] = json.loads("".join(found))
    return values


def test_a_manager_on_a_kernel_gateway(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = manager_of(real_gateway, monkeypatch)
    manager.start_kernel(env=ARRIVES, resources=RESOURCES)
    try:
        wanted = {**ARRIVES, "KERNEL_PROMPT": "$ ", "KERNEL_CPUS": "1500m"}
        assert values_in(manager, list(wanted)) == list(wanted.values())
    finally:
        manager.shutdown_kernel(now=True)


def test_a_manager_on_an_enterprise_gateway(
    enterprise_gateway: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What its caller asks for is refused by name; what came along is left out."""
    manager = manager_of(enterprise_gateway, monkeypatch)
    with pytest.raises(trio_gateway.InvalidInputError, match="KERNEL_DOLLAR"):
        manager.start_kernel(env=ARRIVES)
    manager.start_kernel(env={"KERNEL_X": "1"})
    try:
        assert values_in(manager, ["KERNEL_X", "KERNEL_PROMPT"]) == ["1", None]
    finally:
        manager.shutdown_kernel(now=True)
    assert "variable_not_sent: env['KERNEL_PROMPT']" in caplog.text


def test_how_an_enterprise_gateway_words_its_own_refusal(enterprise_gateway: Server) -> None:
    """It is read where the gateway does not say what it is. 3.3 refuses long values, 3.4 those with `$` too."""
    body = json.dumps({"name": "python3", "env": {"KERNEL_LONG": "x" * 4097}}).encode()
    headers = {"Authorization": f"token {enterprise_gateway.token}"}
    request = urllib.request.Request(f"{enterprise_gateway.url}/api/kernels", data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=120)
    assert caught.value.code == 400
    assert "Environment variable 'KERNEL_LONG' exceeds maximum length" in json.loads(caught.value.read())["message"]
    caught.value.close()


async def test_its_refusal_is_an_error_that_names_the_variable(
    enterprise_gateway: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(_: Restrictions) -> bool:
        return False

    monkeypatch.setattr(Restrictions, "_asked", unknown)
    settings: Any = {"auth_token": enterprise_gateway.token, "kernel_username": "bob"}
    async with trio_gateway.open_gateway(enterprise_gateway.url, **settings) as gateway:
        with pytest.raises(trio_gateway.InvalidInputError) as caught:
            await gateway.kernels.start("python3", env={"KERNEL_LONG": "x" * 4097})
        assert caught.value.field == "env['KERNEL_LONG']"
        assert list(await gateway.kernels.list()) == []
