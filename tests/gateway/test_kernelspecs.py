"""Names of kernelspecs are compared as gateways do: without case. On the fake here, and on a real gateway beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway
from trio_gateway._models import find_name
from trio_gateway.testing import FakeGateway, FakeKernelSpec

if TYPE_CHECKING:
    from conftest import RunningGateway


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("python3", ["ir", "python3"], "python3"),
        ("Python3", ["ir", "python3"], "python3"),
        ("python3", ["Python3"], "Python3"),
        ("IR", ["Ir", "ir"], None),  # a server that tells them apart is not guessed at
        ("ir", ["Ir", "ir"], "ir"),
        ("julia", ["ir"], None),
        ("", [], None),
    ],
)
def test_which_name_is_meant(name: str, names: list[str], found: str | None) -> None:
    assert find_name(name, names) == found


async def names_are_compared_without_case(gateway: trio_gateway.Gateway) -> None:
    """Use a kernelspec that is listed as `python3` under another spelling, in each place that takes a name."""
    specs = await gateway.kernelspecs.list()
    assert "python3" in specs.kernelspecs
    found = specs.find("Python3")
    assert found is specs.kernelspecs["python3"]
    assert specs.find("nothing") is None
    assert await gateway.kernelspecs.check("PYTHON3") == "python3"
    assert await gateway.kernelspecs.interrupt_mode("Python3") == "signal"
    assert (await gateway.kernelspecs.get("Python3")).language == found.language
    async with gateway.start_kernel("Python3") as kernel:
        assert (await kernel.execute("6 * 7")).text == "42"
        assert kernel.name == "python3"
    model = await gateway.kernels.start("pYTHON3")
    assert model.name == "python3"
    await gateway.kernels.shutdown(model.id)
    with pytest.raises(trio_gateway.KernelSpecNotFoundError):
        await gateway.kernels.start("Python")


async def what_a_gateway_does(gateway: trio_gateway.Gateway) -> list[tuple[Any, ...]]:
    """Ask a gateway under other spellings, without the library's own comparison; return what it says."""
    said: list[tuple[Any, ...]] = []
    async with gateway.http_client() as client:
        for name in ("python3", "Python3", "PYTHON3", "nothing"):
            answer = await client.get(f"api/kernelspecs/{name}")
            said.append(("kernelspec", name, answer.status_code, answer.json().get("name")))
            answer = await client.get(f"kernelspecs/{name}/logo-64x64.png")
            said.append(("resource", name, answer.status_code))
            answer = await client.post("api/kernels", json={"name": name, "env": {}})
            said.append(("kernel", name, answer.status_code, answer.json().get("name")))
            if answer.status_code == 201:
                await client.delete(f"api/kernels/{answer.json()['id']}")
            body = {"path": name, "name": name, "type": "notebook", "kernel": {"name": name}}
            answer = await client.post("api/sessions", json=body)
            said.append(("session", name, answer.status_code, (answer.json().get("kernel") or {}).get("name")))
            if answer.status_code == 201:
                await client.delete(f"api/kernels/{answer.json()['kernel']['id']}")
    return said


def fake() -> FakeGateway:
    """A fake with a kernelspec as Kernel Gateway has it."""
    return FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", resources={"logo-64x64.png": b"x"})])


async def test_on_the_fake(autojump_clock: object) -> None:
    async with fake() as made, made.open() as gateway:
        await names_are_compared_without_case(gateway)


@pytest.mark.full
@pytest.mark.gateway
async def test_on_a_real_gateway(real_gateway: RunningGateway) -> None:
    with trio.fail_after(60):
        async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
            await names_are_compared_without_case(gateway)


@pytest.mark.full
@pytest.mark.gateway
async def test_the_fake_does_as_a_real_gateway_does(real_gateway: RunningGateway) -> None:
    with trio.fail_after(60):
        async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
            there = await what_a_gateway_does(gateway)
        async with fake() as made, made.open() as gateway:
            here = await what_a_gateway_does(gateway)
    assert here == there


async def test_the_kernelspecs_limit_counts_for_a_kernel_that_was_started_under_another_spelling(autojump_clock: object) -> None:
    """A kernel's model has the name that whoever started it wrote."""
    specs = [FakeKernelSpec(name="python3", metadata={"cull_idle_timeout": 10})]
    async with FakeGateway(kernelspecs=specs) as made, made.open() as gateway:
        async with gateway.http_client() as client:
            model = (await client.post("api/kernels", json={"name": "Python3", "env": {}})).json()
        await trio.sleep(100)
        done = await gateway.kernels.cull(trio_gateway.CullPolicy(idle_timeout=1e6, all_listed=True))
        assert [culled.id for culled in done] == [model["id"]]


async def test_a_default_that_is_configured_in_another_spelling_is_the_one_that_is_listed(autojump_clock: object) -> None:
    async with FakeGateway() as made, made.open() as gateway:
        made.default_kernelspec = "Python3"
        assert await gateway.kernelspecs.default_name() == "python3"
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
