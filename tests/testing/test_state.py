"""What a fake gateway is: its settings, its kernels, its sessions, and its culling."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway, FakeKernelSpec, FakeSession
from trio_gateway.testing._state import GatewayState

from .kit_parts import execute

Clock = trio.testing.MockClock


# By itself --------------------------------------------------------------------------------------------------------------


def test_its_kernelspecs() -> None:
    assert list(GatewayState().kernelspecs) == ["python3"]
    state = GatewayState(kernelspecs=[FakeKernelSpec(name="R"), FakeKernelSpec(name="python3")])
    assert state.default_kernelspec == "R"
    assert state.find_kernelspec("PYTHON3") is state.kernelspecs["python3"]
    assert state.find_kernelspec("julia") is None
    assert GatewayState(kernelspecs=[]).default_kernelspec == ""


def test_a_script_is_that_of_its_one_kernelspec() -> None:
    def script(cell: object) -> None: ...

    assert GatewayState(script).kernelspecs["python3"].script is script


def test_arguments_are_attributes() -> None:
    state = GatewayState(token="t", url="http://x/base/path/", max_kernels=3, framings=["legacy"], buffers=False)
    assert (state.token, state.max_kernels, state.framings, state.buffers) == ("t", 3, ("legacy",), False)
    assert state.base_path == "/base/path"
    state.url = "http://x"
    assert state.base_path == ""
    state.expire_token()
    assert state.token == "another-token"
    state.expire_token("mine")
    assert state.token == "mine"


async def test_starting_and_removing_kernels(autojump_clock: Clock) -> None:
    state = GatewayState()
    async with state._running():
        one = await state.start_kernel("Python3", env={"A": "1"})
        two = await state.start_kernel("python3", kernel_id="a-b-c-d-e")
        assert list(state.kernels) == [one.id, "a-b-c-d-e"]
        assert (one.name, one.env) == ("Python3", {"A": "1"})
        await trio.testing.wait_all_tasks_blocked()
        assert one.process is not None
        state.remove_kernel(one)
        state.remove_kernel(one)
        assert (list(state.kernels), state.ended_kernels) == ([two.id], [one])
        with pytest.raises(KeyError, match="julia"):
            await state.start_kernel("julia")
        process = two.process
        assert process is not None
    assert (state.kernels, state.ended_kernels) == ({}, [one, two])
    assert not process.alive


async def test_a_kernel_that_another_took_the_place_of_leaves_that_alone(autojump_clock: Clock) -> None:
    state = GatewayState()
    async with state._running():
        old = await state.start_kernel("python3", kernel_id="a-b-c-d-e")
        new = await state.start_kernel("python3", kernel_id="a-b-c-d-e")
        state.remove_kernel(old)
        assert state.kernels == {"a-b-c-d-e": new}


async def test_what_nobody_can_end_any_more_is_kept(autojump_clock: Clock) -> None:
    state = GatewayState(restart_seconds=1)
    async with state._running():
        kernel = await state.start_kernel("python3")
        await trio.testing.wait_all_tasks_blocked()
        kernel.restart()
        kernel.restart()
        await trio.sleep(2)
        assert len(state.orphans) == 1
        assert state.orphans[0].alive


async def test_two_of_one_seed_make_the_same_ids() -> None:
    async def ids(seed: int) -> list[str]:
        state = GatewayState(seed=seed)
        async with state._running():
            return [state.server_session, (await state.start_kernel("python3")).id]

    assert await ids(7) == await ids(7)
    assert await ids(7) != await ids(8)


async def test_a_session_is_shown_with_its_kernel(autojump_clock: Clock) -> None:
    state = GatewayState()
    async with state._running():
        kernel = await state.start_kernel("python3")
        session = FakeSession("1", "a.ipynb", "a", "notebook", kernel)
        assert session.model() == {"id": "1", "path": "a.ipynb", "name": "a", "type": "notebook", "kernel": kernel.model()}


@pytest.mark.parametrize(
    ("settings", "culled"),
    [
        ({}, {"idle"}),
        ({"cull_connected": True}, {"idle", "connected"}),
        ({"cull_busy": True}, {"idle", "busy"}),
        ({"cull_idle_timeout": 0}, set()),
        ({"cull_idle_timeout": 1e9}, set()),
    ],
)
async def test_which_kernels_are_culled(autojump_clock: Clock, settings: dict[str, float], culled: set[str]) -> None:
    from .kit_parts import Sunk
    from .test_process import script

    state = GatewayState(script, cull_interval=10, **{"cull_idle_timeout": 5, **settings})  # type: ignore[arg-type]
    async with state._running():
        kernels = {name: await state.start_kernel("python3") for name in ("idle", "connected", "busy")}
        await trio.testing.wait_all_tasks_blocked()
        kernels["connected"].connect(Sunk(), "front")
        streams = kernels["busy"].connect(sink := Sunk(), "front")
        kernels["busy"].take(execute("sleep 1000"), streams)
        await trio.testing.wait_all_tasks_blocked()
        kernels["busy"].disconnect(streams, sink)
        await trio.sleep(9)
        assert len(state.kernels) == 3
        await trio.sleep(2)
        assert {name for name, kernel in kernels.items() if kernel.id not in state.kernels} == culled


# With a client ----------------------------------------------------------------------------------------------------------


async def test_culling(autojump_clock: Clock, fake: FakeGateway) -> None:
    fake.cull_idle_timeout, fake.cull_connected = 1000, True
    async with fake.open() as gateway:
        with pytest.raises(trio_gateway.KernelCulledError):
            async with gateway.start_kernel() as kernel:
                while True:
                    await trio.sleep(10_000)
                    await kernel.execute("1")
        assert not fake.kernels


async def test_two_fakes_of_one_seed_do_the_same(autojump_clock: Clock) -> None:
    async def run() -> list[str]:
        async with FakeGateway(seed=7, takes_kernel_id=False) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
            await kernel.execute("print(1)")
            return [kernel.id, fake.server_session]

    assert await run() == await run()
