"""Managers of one's own: under which id a kernel is started, and which one is taken."""

from __future__ import annotations

import asyncio
import logging
import math
from pathlib import Path
from typing import Any

import attrs
import pytest

import trio_gateway
from tools.ports import held_port
from trio_gateway.jupyter import (
    GatewayKernelManager,
    start_new_async_kernel,
    start_new_kernel,
)
from trio_gateway.testing import FakeGateway

from .manager_kit import ID, PATIENCE, Fake, Own, start_elsewhere, with_own


@pytest.mark.parametrize("by", ["trait", "argument"])
def test_the_id_that_a_manager_is_given(fake: Fake, kind: type[Any], by: str) -> None:
    """It is the kernel's, each time."""

    async def use(own: Own) -> None:
        for _ in range(2):
            await own.start_kernel(**({"kernel_id": ID} if by == "argument" else {}))
            assert (own.manager.kernel_id, list(fake.gateway.kernels)) == (ID, [ID])
            await own.shutdown_kernel()
            assert fake.gateway.kernels == {}

    with_own(fake, kind, use, **({"kernel_id": ID} if by == "trait" else {}))


def test_the_next_address_is_used_where_the_first_is_down(fake: Fake, kind: type[Any]) -> None:
    """The trait takes several, as the environment does."""

    async def use(own: Own) -> None:
        await own.start_kernel()
        assert list(fake.gateway.kernels) == [own.manager.kernel_id]
        await own.shutdown_kernel()
        assert fake.gateway.kernels == {}

    with held_port() as port:
        with_own(attrs.evolve(fake, url=f"http://127.0.0.1:{port},{fake.url}"), kind, use)


def test_the_gateway_of_a_name(fake: Fake, kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trait takes a name from the file of gateways, with whatever stands there."""
    path = tmp_path / "gateways.toml"
    path.write_text(f'[prod]\nurl = "{fake.url}"\ntoken_env = "PROD_TOKEN"\n', encoding="utf-8")
    monkeypatch.setenv("TRIO_GATEWAY_FILE", str(path))
    monkeypatch.setenv("PROD_TOKEN", fake.gateway.token)
    named = attrs.evolve(fake, url="", gateway=FakeGateway(token=""))

    async def use(own: Own) -> None:
        await own.start_kernel()
        assert list(fake.gateway.kernels) == [own.manager.kernel_id]
        await own.shutdown_kernel()
        assert fake.gateway.kernels == {}

    with_own(named, kind, use, gateway_name="prod")

    async def fail(own: Own) -> None:
        with pytest.raises(trio_gateway.InvalidInputError, match=said):
            await own.start_kernel()

    said = "expected a gateway of"
    with_own(named, kind, fail, gateway_name="prd")
    said = "where gateway_name is 'prod'"
    with_own(fake, kind, fail, gateway_name="prod")


def test_a_manager_without_an_id_takes_a_new_one_each_time(fake: Fake, kind: type[Any]) -> None:
    """A kernel's id is not the next one's; a manager has one kernel at a time."""

    async def use(own: Own) -> None:
        await own.start_kernel()
        first = own.manager.kernel_id
        with pytest.raises(RuntimeError, match="already"):
            await own.start_kernel()
        assert list(fake.gateway.kernels) == [first]
        await own.shutdown_kernel()
        await own.start_kernel()
        assert list(fake.gateway.kernels) == [own.manager.kernel_id] != [first]

    with_own(fake, kind, use)


def test_a_gateway_that_chooses_ids_itself(fake: Fake, kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    """The log says so, and the kernel is there under the gateway's."""

    async def use(own: Own) -> None:
        fake.gateway.takes_kernel_id = False
        await own.start_kernel()
        assert list(fake.gateway.kernels) == [own.manager.kernel_id] != [ID]
        assert f"{own.manager.kernel_id}, and not {ID}" in caplog.text
        await own.shutdown_kernel()
        assert fake.gateway.kernels == {}

    caplog.set_level(logging.WARNING)
    with_own(fake, kind, use, kernel_id=ID)


@pytest.mark.parametrize("owns", [True, False])
def test_a_kernel_that_runs_is_taken(fake: Fake, kind: type[Any], owns: bool) -> None:
    """It is shut down when that is asked for, by a manager that owns it; and by nothing else."""

    async def use(own: Own) -> None:
        there = await start_elsewhere(fake)
        await own.start_kernel(kernel_id=there)
        assert own.manager.kernel_id == there
        assert await own.is_alive()
        await own.restart_kernel()
        await own.cleanup_resources()
        assert list(fake.gateway.kernels) == [there]
        await own.start_kernel(kernel_id=there)
        await own.shutdown_kernel()
        assert (there in fake.gateway.kernels) != owns
        if not owns:
            fake.do(lambda: fake.gateway.remove_kernel(fake.gateway.kernels[there]))
            with pytest.raises(trio_gateway.KernelNotFoundError):
                await own.start_kernel(kernel_id=there)
            with pytest.raises(RuntimeError, match="owns no kernel"):
                await Own(fake, kind, owns_kernel=False).start_kernel()
            assert fake.gateway.kernels == {}

    with_own(fake, kind, use, owns_kernel=owns)


def test_an_id_that_no_gateway_takes(fake: Fake, kind: type[Any]) -> None:
    """Nothing is started."""

    async def use(own: Own) -> None:
        with pytest.raises(trio_gateway.InvalidInputError, match="UUID"):
            await own.start_kernel(kernel_id="mine")
        assert "POST /api/kernels" not in fake.asked()

    with_own(fake, kind, use)


def test_a_new_kernel_by_one_call(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """`start_new_kernel` and its asynchronous brother take an id too; one that does not answer leaves no kernel."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", fake.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", fake.gateway.token)

    async def main() -> None:
        manager, client = await start_new_async_kernel(kernel_id=ID)
        assert manager.kernel_id == ID
        assert (await client.execute("1", reply=True, timeout=PATIENCE))["content"]["status"] == "ok"
        client.stop_channels()
        await manager.shutdown_kernel()
        with pytest.raises(RuntimeError, match="respond"):
            await start_new_async_kernel(startup_timeout=0)

    asyncio.run(main())
    manager, client = start_new_kernel(kernel_id=ID)
    client.stop_channels()
    manager.shutdown_kernel()


@pytest.mark.parametrize("limit", [3.0, math.inf])
def test_a_kernel_that_answers_nobody(fake: Fake, limit: float) -> None:
    """It is alive until it has been unresponsive for as long as the setting says, which is by default for ever."""

    async def use(own: Own) -> None:
        await own.start_kernel()
        client = own.manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready()
            client.execute("import time\ntime.sleep(1000)")
            heartbeat = own.manager._kernel.hb
            while not heartbeat.evidence.answers_at_work:  # each look asks the kernel
                assert await own.is_alive()
            (kernel,) = fake.gateway.kernels.values()
            fake.do(kernel.cut_off)
            while heartbeat.verdict is not trio_gateway.Verdict.UNRESPONSIVE or limit < math.inf:
                if not await own.is_alive():
                    break
            assert heartbeat.verdict is trio_gateway.Verdict.UNRESPONSIVE
            assert (await own.is_alive()) == (limit == math.inf)
            fake.do(kernel.rejoin)
            while not await own.is_alive() or heartbeat.verdict is not trio_gateway.Verdict.ALIVE:
                pass
        finally:
            client.stop_channels()

    with_own(fake, GatewayKernelManager, use, settings={"ping_interval": 1.0, "unresponsive_timeout": limit})
