"""One kernel of a pool by itself: when it is ready, when it is handed out unasked, and what ends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_gateway import Gateway, GatewayTimeoutError, KernelInitError
from trio_gateway._pool.member import ANSWER_SECONDS, HEARD_LATELY, Member, Stage
from trio_gateway._pool.options import PoolOptions
from trio_gateway._services import open_services
from trio_gateway.testing import FakeGateway


class Owner:
    """A pool that only notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.errors: list[Exception] = []

    def became_ready(self, member: Member, *, is_start: bool) -> None:
        self.told.append("ready" if is_start else "settled")

    def start_failed(self, member: Member, error: Exception) -> None:
        self.told.append("failed")
        self.errors.append(error)

    def was_lost(self, member: Member, reason: str) -> None:
        self.told.append(f"lost: {reason}")
        member.stage = Stage.ENDING
        member.nudge()

    def is_cut_off(self, member: Member) -> None:
        self.told.append("cut off")

    def has_gone(self, member: Member) -> None:
        self.told.append("gone")


@asynccontextmanager
async def open_member(fake: FakeGateway | None = None, **options: Any) -> AsyncGenerator[tuple[FakeGateway, Owner, Member]]:
    owner = Owner()
    async with fake or FakeGateway() as fake_gateway, fake_gateway.open() as gateway, open_services() as services:
        member = make_member(owner, gateway, **options)
        services.start_soon(member.run, name="member")
        await trio.sleep(10)
        yield fake_gateway, owner, member
    assert fake_gateway.kernels == {}


def make_member(owner: Owner, gateway: Gateway, **options: Any) -> Member:
    return Member(owner, lambda: gateway.start_kernel("python3"), PoolOptions(**{"size": 1, **options}))


async def test_it_is_ready_when_its_init_has_run_and_gone_when_it_is_not_wanted(autojump_clock: MockClock) -> None:
    async with open_member(init="import time; time.sleep(5)") as (fake, owner, member):
        assert owner.told == ["ready"]
        assert member.started_at - member.asked_at >= 5
        member.stage = Stage.ENDING
        member.nudge()
        await trio.sleep(5)
        assert owner.told == ["ready", "gone"]
        assert fake.kernels == {}


async def test_an_init_that_the_kernel_skips_is_told(autojump_clock: MockClock) -> None:
    async with open_member(init="1 / 0") as (_, owner, _member):
        assert owner.told == ["failed", "gone"]
        assert isinstance(owner.errors[0], KernelInitError)


async def test_one_that_never_answers_is_not_ready(autojump_clock: MockClock) -> None:
    fake = FakeGateway()
    fake.faults.drop("shell kernel_info_reply")
    async with open_member(fake, init_timeout=7) as (_, owner, _member):
        assert owner.told == ["failed", "gone"]
        assert isinstance(owner.errors[0], GatewayTimeoutError)
        assert owner.errors[0].setting == "init_timeout"


async def test_a_restart_has_a_limit(autojump_clock: MockClock) -> None:
    """G3"""
    async with open_member(FakeGateway(restart_seconds=1e6), reuse="restart", init_timeout=50) as (_, owner, member):
        member.stage = Stage.STARTING
        member.nudge()
        await trio.sleep(200)
        assert owner.told == ["ready", "failed", "gone"]


async def test_an_error_of_a_start_that_is_no_gateway_s_is_told_too(autojump_clock: MockClock) -> None:
    """G9: it does not end the pool."""
    owner = Owner()

    def start() -> Any:
        raise PermissionError("a folder")

    async with open_services() as services:
        services.start_soon(Member(owner, start, PoolOptions(size=1)).run, name="member")
        await wait_all_tasks_blocked()
    assert owner.told == ["failed", "gone"]
    assert isinstance(owner.errors[0], PermissionError)


async def test_a_session_that_ended_is_asked_no_more(autojump_clock: MockClock) -> None:
    """G3: not again and again, without time passing."""
    async with open_member() as (_, _owner, member):
        pass
    assert await member.ask() != ""


async def test_it_is_asked_unless_it_was_heard_of_lately(autojump_clock: MockClock) -> None:
    async with open_member() as (fake, _, member):
        assert member.look() is None
        assert (await member.ask()) == ""
        (kernel,) = fake.kernels.values()
        kernel.stall()
        assert member.kernel is not None
        assert member.look() == "", "its word of a moment ago holds"
        await trio.sleep(HEARD_LATELY * 1.5)
        assert member.look() is None
        assert (await member.ask()) == f"no answer in {ANSWER_SECONDS:g} s"
        kernel.resume()


async def test_a_question_is_one_message_and_its_answer_one(autojump_clock: MockClock) -> None:
    """It is asked where code runs: what answers there can take code, and says which process it is."""
    async with open_member(init="x = 1") as (fake, _, member):
        before = len(fake.conversation.lines)
        assert (await member.ask()) == ""
        asked = [line for line in fake.conversation.lines[before:] if "_request " in line or "_reply " in line]
        assert [line.split()[3:5] for line in asked] == [["shell", "kernel_info_request"], ["shell", "kernel_info_reply"]]


@pytest.mark.parametrize("lost", ["reply", "connection"])
async def test_a_question_that_was_lost_is_asked_again(autojump_clock: MockClock, lost: str) -> None:
    async with open_member() as (fake, _, member):
        if lost == "reply":
            fake.faults.cut_at_message("shell kernel_info_reply", times=1)
        else:
            fake.cut_connections()
        assert (await member.ask()) == ""


async def test_one_that_is_cut_off_says_so_and_is_checked(autojump_clock: MockClock) -> None:
    """A check leaves alone what it is: `init` does not run again, and it was not used."""
    async with open_member(init="x = 1", reuse="restart") as (fake, owner, member):
        used_at = member.used_at
        fake.cut_connections()
        await trio.sleep(1)
        assert owner.told[:2] == ["ready", "cut off"]
        member.stage = Stage.STARTING
        member.check()
        await trio.sleep(1)
        assert (owner.told[-1], member.stage, member.used_at) == ("settled", Stage.READY, used_at)
        (kernel,) = fake.kernels.values()
        assert kernel.restarts == 0
        kernel.stall()
        member.stage = Stage.STARTING
        member.check()
        await trio.sleep(2 * ANSWER_SECONDS)
        assert owner.told[-2:] == [f"lost: no answer in {ANSWER_SECONDS:g} s", "gone"]


async def test_a_question_can_be_given_up(autojump_clock: MockClock) -> None:
    async with open_member() as (fake, _, member), trio.open_nursery() as nursery:
        (kernel,) = fake.kernels.values()
        kernel.stall()
        began = trio.current_time()

        async def give_up() -> None:
            await trio.sleep(1)
            member.stop_asking()

        nursery.start_soon(give_up)
        assert await member.ask() == "its gateway does not answer"
        assert trio.current_time() == began + 1
        member.stop_asking()
        kernel.resume()


async def test_another_process_is_noticed_though_nothing_told_of_it(autojump_clock: MockClock) -> None:
    """As where the gateway starts it again while the connection is away."""
    async with open_member(init="x = 1") as (_, _owner, member):
        member._process = "another"
        assert await member.ask() != ""


async def test_what_is_leased_is_not_said_to_be_lost(autojump_clock: MockClock) -> None:
    async with open_member() as (fake, owner, member):
        member.stage = Stage.LEASED
        (kernel,) = fake.kernels.values()
        fake.remove_kernel(kernel)
        await trio.sleep(60)
        assert owner.told == ["ready"]
        assert not member.can_be_used_again(trio.current_time())
        member.stage = Stage.ENDING
        member.nudge()
        await trio.sleep(1)
        assert owner.told == ["ready", "gone"]


async def test_when_a_used_one_may_be_used_again(autojump_clock: MockClock) -> None:
    async with open_member(reuse="as-is", max_uses=2, max_age=100) as (_, _owner, member):
        now = trio.current_time()
        assert member.can_be_used_again(now)
        member.uses = 2
        assert not member.can_be_used_again(now)
        member.uses = 1
        assert not member.can_be_used_again(now + 100)
        await wait_all_tasks_blocked()
    async with open_member() as (_, _owner, member):
        assert not member.can_be_used_again(trio.current_time())


async def test_how_many_callers_one_can_serve_yet(autojump_clock: MockClock) -> None:
    async with open_member(reuse="as-is", max_uses=5) as (_, owner, member):
        now = trio.current_time()
        assert member.uses_to_come(now) == 0, "it is ready: nobody has to wait for it"
        member.uses, member.stage = 2, Stage.LEASED
        assert member.uses_to_come(now) == 3
        member.stage = Stage.STARTING  # it was given back
        assert member.uses_to_come(now) == 3
        member.stage = Stage.ENDING
        assert member.uses_to_come(now) == 0
        async with FakeGateway() as fake, fake.open() as gateway:
            assert make_member(owner, gateway, reuse="as-is").uses_to_come(now) == 1, "its start may fail"
    async with open_member() as (_, _owner, member):
        member.stage = Stage.LEASED
        assert member.uses_to_come(trio.current_time()) == 0
