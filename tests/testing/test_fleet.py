"""`FakeFleet`: several fakes by name, in memory and on ports; they fall and rise."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from trio_gateway import GatewayConnectionError, InvalidInputError, open_fleet, open_gateway
from trio_gateway.testing import FakeFleet, FakeGateway, FakeKernelSpec


async def test_it_is_opened_as_a_fleet(autojump_clock: MockClock) -> None:
    async with FakeFleet(["a", "b"], labels={"b": {"gpu"}}, weights={"a": 2}, token="mine") as fakes:
        assert repr(fakes) == "<FakeFleet a, b>"
        assert [fake.token for fake in fakes.gateways.values()] == ["mine"] * 2
        async with fakes.open(placement="round-robin", request_timeout=7) as fleet:
            a, b = fleet.gateways
            assert (a.url, a.weight, b.labels) == ("http://a.invalid", 2, {"gpu"})
            assert fleet.gateway("a").config.request_timeout == 7
            async with fleet.start_kernel(require={"gpu"}) as kernel:
                assert list(fakes.gateways["b"].kernels) == [kernel.id]
            assert not fakes.gateways["b"].kernels


async def test_fakes_of_its_own_seed_each_and_fakes_that_differ(autojump_clock: MockClock) -> None:
    given = {"plain": FakeGateway(), "r-one": FakeGateway(kernelspecs=[FakeKernelSpec(name="ir")])}
    async with FakeFleet(given) as fakes, fakes.open() as fleet, fleet.start_kernel("ir") as kernel:
        assert kernel.id in given["r-one"].kernels
    ids = [fake.new_seed() for fake in FakeFleet(seed=5).gateways.values()]
    assert ids[0] != ids[1]
    assert ids == [fake.new_seed() for fake in FakeFleet(seed=5).gateways.values()]


async def test_one_falls_and_rises(autojump_clock: MockClock) -> None:
    async with FakeFleet() as fakes:
        async with open_fleet(fakes.entries(request_timeout=7), connector=fakes.connector) as fleet:
            assert fleet.gateway("b").config.request_timeout == 7
            model = await fleet.gateway("a").kernels.start()
            fakes.fall("a", kernels=False)
            fakes.fall("a", kernels=False)
            assert (fakes.down, repr(fakes)) == ({"a"}, "<FakeFleet a (down), b>")
            with pytest.raises(GatewayConnectionError):
                await fleet.gateway("a").kernels.list()
            fakes.rise("a")
            assert [one.id for one in await fleet.gateway("a").kernels.list()] == [model.id]
            fakes.fall("a")
            fakes.rise("a")
            fakes.rise("a")
            assert await fleet.gateway("a").kernels.list() == []
        with pytest.raises(ConnectionRefusedError):
            await fakes.connector("elsewhere.invalid", 80)


async def test_on_ports_one_that_fell_refuses_connections_too() -> None:
    with trio.fail_after(60):
        async with FakeFleet(["a", "b"]) as fakes, fakes.listen(max_request_retries=0) as gateways:
            assert [one.name for one in gateways] == ["a", "b"]
            async with open_fleet(gateways) as fleet, fleet.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"
            fakes.fall("b")
            config = gateways[1].gateway
            assert isinstance(config, trio_gateway.GatewayConfig)
            async with open_gateway(config) as gateway:
                with pytest.raises(GatewayConnectionError):
                    await gateway.kernels.list()


@pytest.mark.parametrize(
    ("gateways", "arguments", "field"),
    [
        ([], {}, "gateways"),
        (["a", "a"], {}, "gateways"),
        (["a b"], {}, "gateways"),
        ([1], {}, "gateways"),
        (["a"], {"labels": {"b": {"gpu"}}}, "labels"),
        (["a"], {"weights": {"b": 2}}, "weights"),
        ({"a": FakeGateway()}, {"token": "mine"}, "token"),
    ],
)
def test_what_can_not_be_one(gateways: Any, arguments: dict[str, Any], field: str) -> None:
    """G10"""
    with pytest.raises(InvalidInputError) as caught:
        FakeFleet(gateways, **arguments)
    assert caught.value.field == field


async def test_a_name_that_there_is_not(autojump_clock: MockClock) -> None:
    async with FakeFleet() as fakes:
        for act in (fakes.fall, fakes.rise):
            with pytest.raises(InvalidInputError, match="'a', 'b'"):
                act("c")
        assert not fakes.down


async def test_it_is_not_for_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sniffio.current_async_library", lambda: "asyncio")
    with pytest.raises(trio_gateway.AsyncLibraryError, match="fake_fleet_server"):
        async with FakeFleet():
            pytest.fail("it was entered")
