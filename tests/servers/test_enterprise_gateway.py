"""The library on a real Enterprise Gateway 3.3: its ids, its environment, its errors, and what a kernel does there."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway
from servers.verified import UNLIMITED, WITHOUT_SUBSHELLS, differences, outcomes_of_the_fake, play

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tools.serving import Server

pytestmark = [pytest.mark.gateway, pytest.mark.full]

LACKS = {
    **UNLIMITED, **WITHOUT_SUBSHELLS, "choosing the kernel id": "no", "sessions": "no",
}  # fmt: skip
"""It limits no rates; its kernels are ipykernel 6, which has no subshells; asked twice for an id it refuses; its sessions ask for
a user in a place where a client has none."""


@pytest.fixture
async def gateway(enterprise_gateway: Server) -> AsyncGenerator[trio_gateway.Gateway]:
    """The Enterprise Gateway, opened."""
    # Without a name it takes the user that it runs as itself, and refuses root.
    async with trio_gateway.open_gateway(
        enterprise_gateway.url, auth_token=enterprise_gateway.token, kernel_username="bob"
    ) as gateway:
        yield gateway


async def test_code_runs_and_the_kernel_is_gone_afterwards(gateway: trio_gateway.Gateway) -> None:
    async with gateway.start_kernel("python3") as kernel:
        result = await kernel.execute("print('on', 'it'); 6 * 7")
        assert result.text == "on it\n42"
        assert result.output_gaps == ()
        assert [model.id for model in await gateway.kernels.list()] == [kernel.id]
    assert list(await gateway.kernels.list()) == []


async def test_the_id_is_ours_and_the_kernel_sees_its_variables(gateway: trio_gateway.Gateway) -> None:
    environ = {"KERNEL_USERNAME": "alice", "KERNEL_EXTRA": "é 日本"}
    async with gateway.start_kernel("python3", env=environ) as kernel:
        code = "import os; [os.environ.get(n) for n in ('KERNEL_ID', 'KERNEL_USERNAME', 'KERNEL_EXTRA')]"
        assert (await kernel.execute(code)).text == repr([kernel.id, "alice", "é 日本"])


async def test_cancelling_interrupts_and_a_restart_empties(gateway: trio_gateway.Gateway) -> None:
    async with gateway.start_kernel("python3") as kernel:
        await kernel.execute("x = 1")
        async with kernel.stream("print('begun', flush=True)\nwhile True: pass") as outputs:
            async for output in outputs:
                assert isinstance(output, trio_gateway.Stream)
                break
        assert (await kernel.execute("x")).text == "1"
        await kernel.restart()
        error = (await kernel.execute("x")).error
        assert error is not None
        assert error.ename == "NameError"


async def test_cancelling_a_start_leaves_no_kernel(gateway: trio_gateway.Gateway) -> None:
    for number in range(1, 6):
        with trio.move_on_after(0.2 * number):
            async with gateway.start_kernel("python3"):
                await trio.sleep_forever()
        assert list(await gateway.kernels.list()) == []


async def test_g2_a_start_under_the_id_of_a_kernel_that_runs_leaves_it_alone(gateway: trio_gateway.Gateway) -> None:
    """It answers 500 to a second one, and a start that has failed is cleaned up by its id."""
    running = await gateway.kernels.start("python3")
    try:
        async with gateway.attach_kernel(running.id) as kernel:
            assert (await kernel.execute("x = 6 * 7")).error is None
            assert (await gateway.kernels.start("python3", kernel_id=running.id)).id == running.id
            for number in range(4):
                with trio.move_on_after(0.02 * number):
                    await gateway.kernels.start("python3", kernel_id=running.id)
            assert (await kernel.execute("x")).text == "42"
    finally:
        with trio.move_on_after(60, shield=True):
            await gateway.kernels.shutdown(running.id)
    assert list(await gateway.kernels.list()) == []


async def test_g2_starts_under_one_id_at_the_same_time_give_one_kernel(gateway: trio_gateway.Gateway) -> None:
    wished = str(uuid.uuid4())
    found: list[str] = []

    async def start() -> None:
        model = await gateway.kernels.start("python3", kernel_id=wished)
        async with gateway.attach_kernel(model.id) as kernel:
            found.append((await kernel.execute("6 * 7")).text)

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(start)
        assert found == ["42"] * 3
        assert [model.id for model in await gateway.kernels.list()] == [wished]
    finally:
        with trio.move_on_after(60, shield=True):
            await gateway.kernels.shutdown(wished)


async def test_an_unknown_kernelspec_is_named_before_anything_is_started(gateway: trio_gateway.Gateway) -> None:
    with pytest.raises(trio_gateway.KernelSpecNotFoundError, match="python3") as caught:
        async with gateway.start_kernel("no-such-kernel"):
            pytest.fail("it started")
    assert caught.value.name == "no-such-kernel"
    assert (await gateway.kernelspecs.get("python3")).language == "python"


async def test_a_wrong_token_is_an_authentication_error(enterprise_gateway: Server) -> None:
    async with trio_gateway.open_gateway(enterprise_gateway.url, auth_token="not-the-token") as gateway:
        with pytest.raises(trio_gateway.AuthenticationError) as caught:
            await gateway.kernelspecs.list()
    assert caught.value.status_code == 401
    assert "not-the-token" not in str(caught.value)


async def test_binary_buffers_come_whole(gateway: trio_gateway.Gateway) -> None:
    code = (
        "from comm import create_comm\n"
        "comm = create_comm(target_name='bytes', data={'a': 1}, buffers=[b'\\x00\\xff' * 1000, b''])\n"
        "comm.on_msg(lambda m: comm.send({'got': [len(b) for b in m['buffers']]}, buffers=m['buffers']))"
    )
    async with gateway.start_kernel("python3") as kernel, kernel.comms.accept("bytes") as comms:
        assert (await kernel.execute(code)).error is None
        comm = await comms.receive()
        assert [bytes(buffer) for buffer in comm.opening.buffers] == [b"\x00\xff" * 1000, b""]
        await comm.send({}, buffers=[b"abc", bytes(100_000)])
        answer = await comm.receive()
        assert answer.data == {"got": [3, 100_000]}
        assert [bytes(buffer) for buffer in answer.buffers] == [b"abc", bytes(100_000)]


@pytest.mark.timeout(900)
def test_the_scenarios_end_as_on_the_fake(enterprise_gateway: Server) -> None:
    config = trio_gateway.GatewayConfig(url=enterprise_gateway.url, auth_token=enterprise_gateway.token, kernel_username="alice")
    real = trio.run(play, config)
    assert differences(real, outcomes_of_the_fake()) == LACKS
