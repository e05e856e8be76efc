"""Culling: whose clock decides, who is spared, and what goes on when something fails."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from tools.rest_fake import ID_A, ID_B, ID_C, Answer, Request, RestFake, error, open_fake
from trio_gateway import (
    CullPolicy,
    GatewayEvent,
    GatewayHTTPError,
    InvalidInputError,
)


async def test_culling_once(autojump_clock: MockClock) -> None:
    fake = RestFake()
    events: list[GatewayEvent] = []
    async with open_fake(fake, on_event=events.append) as gateway:
        old, new = await gateway.kernels.start("python3"), await gateway.kernels.start("python3")
        fake.idle_for(old.id, 100)
        fake.idle_for(new.id, 50)
        fake.idle_for(ID_A, 100)
        assert [model.id for model in await gateway.kernels.cull(CullPolicy(idle_timeout=60))] == [old.id]
        assert set(fake.kernels) == {new.id, ID_A}
        culled = await gateway.kernels.cull(CullPolicy(idle_timeout=60, all_listed=True))
        assert [model.id for model in culled] == [ID_A]
        assert await gateway.kernels.cull(CullPolicy(idle_timeout=60, all_listed=True)) == []
    (first, second) = [event for event in events if event.action == "cull"]
    assert (first.kernel_id, first.kernel_name, first.status, first.message) == (old.id, "python3", "success", "idle for 100 s")
    assert second.kernel_id == ID_A


async def test_a_policy_can_spare_kernels_of_its_own_choice(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    fake = RestFake()
    for kernel_id in (ID_A, ID_B, ID_C):
        fake.idle_for(kernel_id, 100)

    def only(model: trio_gateway.KernelModel) -> bool:
        if model.id == ID_B:
            raise LookupError("oops")
        return model.id == ID_A

    async with open_fake(fake) as gateway:
        await gateway.kernels.cull(CullPolicy(idle_timeout=60, all_listed=True, only=only))
    assert set(fake.kernels) == {ID_B, ID_C}
    assert "cull_policy_failed" in caplog.text


async def test_the_gateways_clock_decides(autojump_clock: MockClock) -> None:
    """Ours may be years off: only where the gateway's answers have no date is it looked at."""
    fake = RestFake()
    fake.idle_for(ID_A, 50)
    policy = CullPolicy(idle_timeout=60, all_listed=True)
    async with open_fake(fake) as gateway:
        assert await gateway.kernels.cull(policy) == []
        fake.date = None
        assert len(await gateway.kernels.cull(policy)) == 1  # the fake's noon was long ago


async def test_a_kernelspec_may_set_another_limit_and_it_is_the_right_kernelspec(autojump_clock: MockClock) -> None:  # lesson B20
    fake = RestFake()
    fake.add_spec("slow", metadata={"cull_idle_timeout": 500})
    fake.add_spec("quick", metadata={"cull_idle_timeout": 5})
    fake.idle_for(ID_A, 100, name="slow")
    fake.idle_for(ID_B, 10, name="quick")
    fake.idle_for(ID_C, 10, name="python3")
    async with open_fake(fake) as gateway:
        await gateway.kernels.cull(CullPolicy(idle_timeout=60, all_listed=True))
    assert set(fake.kernels) == {ID_A, ID_C}


async def test_culling_lives_without_kernelspecs_and_without_a_list(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.lists = False
    fake.script("GET /api/kernelspecs", error(404))
    async with open_fake(fake) as gateway:
        model = await gateway.kernels.start()
        fake.idle_for(model.id, 100)
        fake.idle_for(ID_A, 100)
        await gateway.kernels.cull(CullPolicy(idle_timeout=60, all_listed=True))
    assert set(fake.kernels) == {ID_A}


async def test_a_kernel_that_became_busy_since_it_was_listed_is_spared(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.idle_for(ID_A, 100)

    def listing(_: Request) -> Answer:
        answer = Answer(200, [dict(fake.kernels[ID_A])])
        fake.kernels[ID_A]["execution_state"] = "busy"
        return answer

    fake.script("GET /api/kernels", listing)
    async with open_fake(fake) as gateway:
        assert await gateway.kernels.cull(CullPolicy(idle_timeout=60, all_listed=True)) == []
    assert set(fake.kernels) == {ID_A}


async def test_one_failure_does_not_stop_culling_the_others(autojump_clock: MockClock) -> None:
    fake = RestFake()
    for kernel_id in (ID_A, ID_B, ID_C):
        fake.idle_for(kernel_id, 100)
    fake.script(f"DELETE /api/kernels/{ID_B}", error(500))
    async with open_fake(fake) as gateway:
        with pytest.RaisesGroup(pytest.RaisesExc(GatewayHTTPError, match="500")) as caught:
            await gateway.kernels.cull(CullPolicy(idle_timeout=60, all_listed=True))
        assert ID_B in caught.value.exceptions[0].__notes__[0]
        with pytest.raises(InvalidInputError, match="policy"):
            await gateway.kernels.cull(60)  # type: ignore[arg-type]
    assert set(fake.kernels) == {ID_B}


async def test_a_gateway_culls_while_its_block_lasts(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    fake = RestFake()
    async with open_fake(fake, cull=CullPolicy(idle_timeout=100, interval=30, all_listed=True)):
        fake.idle_for(ID_A, 200)
        await trio.sleep(29)
        assert ID_A in fake.kernels
        await trio.sleep(2)
        assert ID_A not in fake.kernels
        fake.idle_for(ID_B, 200)
        fake.script("GET /api/kernels", error(500), times=1)
        await trio.sleep(31)
        assert ID_B in fake.kernels
        assert "cull_failed" in caplog.text
        await trio.sleep(30)
        assert ID_B not in fake.kernels
        count = len(fake.requests)
    await trio.sleep(100)
    assert len(fake.requests) == count


async def test_what_is_no_policy_is_refused(autojump_clock: MockClock) -> None:
    with pytest.raises(InvalidInputError, match="cull"):
        async with open_fake(RestFake(), cull=60):
            pass


async def test_a_kernel_that_is_gone_when_it_is_to_be_culled(autojump_clock: MockClock) -> None:
    fake = RestFake()
    events: list[GatewayEvent] = []
    async with open_fake(fake, on_event=events.append) as gateway:
        model = await gateway.kernels.start()
        fake.idle_for(model.id, 100)
        fake.script(f"DELETE /api/kernels/{model.id}", error(404))
        assert await gateway.kernels.cull(CullPolicy(idle_timeout=60)) == []
        fake.lists = False
        assert await gateway.kernels.list() == []
    assert [event.action for event in events if event.kind == "kernel"] == ["start"]
