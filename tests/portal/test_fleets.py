"""Fleets on the faces: one fake gateway listens, and another one is not there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from tools.face_tools import ASYNCIO, BACKENDS, ListeningFake, kernel_ids, run

NOBODY = "http://127.0.0.1:1"


def members(fake: ListeningFake, **settings: Any) -> list[Any]:
    """What a fleet is told: the fake, called "a", and nobody, called "b"."""
    config = trio_gateway.GatewayConfig(url=fake.url, **{"auth_token": fake.token, **settings})
    return [
        trio_gateway.FleetGateway(config, name="a", labels={"gpu"}),
        trio_gateway.FleetGateway(NOBODY, name="b"),
    ]


def last(candidates: Any) -> Any:
    return candidates[-1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_each_backend(backend: str, fake_gateway: ListeningFake) -> None:
    tg = trio_gateway.anyio
    events: list[trio_gateway.GatewayEvent] = []

    async def main() -> None:
        opening = tg.open_fleet(members(fake_gateway), placement=last, on_event=events.append)
        async with opening as fleet:
            assert isinstance(fleet, tg.Fleet)
            assert (type(fleet) is trio_gateway.Fleet) == (backend == "trio")
            assert [status.state for status in fleet.gateways] == ["up", "down"]
            assert repr(fleet) == "<Fleet of 2 gateways, 1 up>"
            async with fleet.start_kernel("python3", require={"gpu"}) as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"
                async with fleet.attach_kernel(kernel.id) as other:
                    assert (await other.execute("1")).text == "1"
                assert (await fleet.kernels.get(kernel.id)).gateway == "a"
                assert kernel.id in [model.id for model in await fleet.kernels.list()]
                assert isinstance(fleet.gateway("a"), tg.Gateway)
                assert kernel.id in [model.id for model in await fleet.gateway("a").kernels.list()]
            assert "python3" in (await fleet.kernelspecs.list()).kernelspecs
            async with fleet.open_pool("python3", size=1, init="x = 5") as pool:
                assert (await pool.run("x")).text == "5"
            made = await fleet.kernels.start("python3")
            assert made.gateway == "a"
            async with fleet.open_channels(made.id) as channels:
                await channels.wait_opened()
            assert await fleet.kernels.cull(tg.CullPolicy(idle_timeout=3600)) == []
            with pytest.RaisesGroup(tg.GatewayConnectionError) as caught:  # of the gateway that is not there
                await fleet.kernels.shutdown_all()
            assert [getattr(error, "gateway", "") for error in caught.value.exceptions] == ["b"]
            assert await fleet.gateway("a").kernels.list() == []
            assert await fleet.kernelspecs.check("PYTHON3") == "python3"
            with pytest.raises(tg.GatewayHTTPError):
                await fleet.kernelspecs.resource("python3", "no-such.png")
            assert await fleet.drain("a")
            with pytest.raises(tg.NoGatewayError, match="drained"):
                async with fleet.start_kernel():
                    pytest.fail("there is no gateway")
            fleet.resume("a")
            assert fleet.gateways[0].state == "up"
            assert fleet.dropped_events == 0

    run(backend, main)
    assert {event.action for event in events if event.kind == "fleet"} >= {"up", "down", "drain", "resume"}


def test_without_async(fake_gateway: ListeningFake) -> None:
    tg = trio_gateway.blocking
    with tg.open_fleet(members(fake_gateway)) as fleet:
        assert isinstance(fleet, tg.Fleet)
        with fleet.start_kernel("python3", require={"gpu"}) as kernel:
            assert kernel.execute("6 * 7").text == "42"
            assert fleet.kernels.get(kernel.id).gateway == "a"
            with fleet.attach_kernel(kernel.id) as other:
                assert other.execute("1").text == "1"
        assert isinstance(fleet.gateway("a"), tg.Gateway)
        assert [status.state for status in fleet.gateways] == ["up", "down"]
        with fleet.open_pool("python3", size=1) as pool:
            assert pool.run("1").text == "1"
        made = fleet.kernels.start("python3")
        assert made.gateway == "a"
        with fleet.open_channels(made.id) as channels:
            channels.wait_opened()
        assert fleet.kernels.cull(tg.CullPolicy(idle_timeout=3600)) == []
        with pytest.RaisesGroup(tg.GatewayConnectionError):
            fleet.kernels.shutdown_all()
        assert fleet.gateway("a").kernels.list() == []
        assert fleet.kernelspecs.check("PYTHON3") == "python3"
        assert fleet.drain("a")
        fleet.resume("a")
        with fleet.start_kernel(), tg.move_on_after(0.2) as scope:
            fleet.drain("a")
        assert scope.cancelled_caught, "it waits for the kernel"


BAD_POOLS: list[tuple[dict[str, Any], str]] = [
    ({"size": 0}, "size"),
    ({"size": 1, "warm": 2}, "warm"),
    ({"size": 1, "max_uses": 2}, "max_uses"),
    ({"size": 1, "init": 7}, "init"),
    ({"size": 1, "reuse": "always"}, "reuse"),
]
BAD_FLEETS: list[tuple[dict[str, Any], str]] = [
    ({"placement": "best"}, "placement"),
    ({"cull": "all"}, "cull"),
    ({"on_event": 1}, "on_event"),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_input_is_named_on_each_backend(backend: str, fake_gateway: ListeningFake) -> None:
    """G10: of pools on a gateway and on a fleet, and of fleets; no kernel is started."""
    tg = trio_gateway.anyio
    (a, _) = members(fake_gateway)

    async def main() -> None:
        before = kernel_ids(fake_gateway)
        opening = tg.open_gateway(fake_gateway.url, auth_token=fake_gateway.token)
        async with opening as gateway, tg.open_fleet([a]) as fleet:
            for where in (gateway, fleet):
                for given, field in BAD_POOLS:
                    with pytest.raises(tg.InvalidInputError) as caught:
                        async with where.open_pool("python3", **given):
                            pytest.fail("it can't be opened")
                    assert caught.value.field == field
                with pytest.raises(tg.KernelSpecNotFoundError):
                    async with where.open_pool("nosuch", size=1, warm=1):
                        pytest.fail("there is none")
        for gateways, (given, field) in [([a, a], ({}, "gateways")), *(([a], bad) for bad in BAD_FLEETS)]:
            with pytest.raises(tg.InvalidInputError) as caught:
                async with tg.open_fleet(gateways, **given):
                    pytest.fail("it can't be opened")
            assert caught.value.field == field
        assert kernel_ids(fake_gateway) == before

    run(backend, main)


def test_bad_input_is_named_without_async(fake_gateway: ListeningFake) -> None:
    """G10"""
    tg = trio_gateway.blocking
    (a, _) = members(fake_gateway)
    before = kernel_ids(fake_gateway)
    with tg.open_gateway(fake_gateway.url, auth_token=fake_gateway.token) as gateway, tg.open_fleet([a]) as fleet:
        for where in (gateway, fleet):
            for given, field in BAD_POOLS:
                with pytest.raises(tg.InvalidInputError) as caught, where.open_pool("python3", **given):
                    pytest.fail("it can't be opened")
                assert caught.value.field == field
            with pytest.raises(tg.KernelSpecNotFoundError), where.open_pool("nosuch", size=1, warm=1):
                pytest.fail("there is none")
    for gateways, (given, field) in [([a, a], ({}, "gateways")), *(([a], bad) for bad in BAD_FLEETS)]:
        with pytest.raises(tg.InvalidInputError) as caught, tg.open_fleet(gateways, **given):
            pytest.fail("it can't be opened")
        assert caught.value.field == field
    assert kernel_ids(fake_gateway) == before


@pytest.mark.parametrize("backend", ASYNCIO)
def test_renewers_run_in_the_loop(backend: str, fake_gateway: ListeningFake) -> None:
    loops: list[object] = []

    class Renewer(trio_gateway.TokenRenewer):
        async def get_token(self, *args: Any, **kwargs: Any) -> str:
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            return fake_gateway.token

    async def main() -> None:
        given = members(fake_gateway, auth_token="", token_renewer=Renewer())
        for opening in (trio_gateway.anyio.open_fleet(given), trio_gateway.anyio.open_fleet(gateways=given)):
            loops.clear()
            async with opening:
                assert set(loops) == {asyncio.get_running_loop()}

    run(backend, main)


def test_what_cant_be_opened_is_said_on_entering() -> None:
    with pytest.raises(trio_gateway.NoGatewayError), trio_gateway.blocking.open_fleet([NOBODY]):
        pytest.fail("there is nobody")
    with pytest.raises(trio_gateway.InvalidInputError), trio_gateway.blocking.open_fleet([]):
        pytest.fail("there is nobody")
