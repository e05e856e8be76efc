"""A block with background services: neither they nor their end show in what its body raises (G9), and none outlives it (G1)."""

from __future__ import annotations

import gc
import logging
import sys
import traceback
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_gateway._errors import GatewayInternalError
from trio_gateway._services import Services, alongside, open_services


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its members, its causes and contexts, and theirs."""
    yield error
    for inner in getattr(error, "exceptions", ()):
        yield from chain(inner)
    for origin in (error.__cause__, error.__context__):
        if origin is not None:
            yield from chain(origin)


def fail(error: BaseException) -> None:
    raise error


async def raise_when_cancelled(error: BaseException) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise error


async def end_at_once() -> None:
    await trio.lowlevel.checkpoint()


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


# --- a body that ends well, and what its services do meanwhile


async def test_services_run_beside_the_body_and_end_with_it() -> None:
    before = tasks()
    ended = trio.Event()

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with open_services() as services:
        services.start_soon(service, name="service")
        await wait_all_tasks_blocked()
        assert tasks() == before + 1
        assert not ended.is_set()
    assert ended.is_set()
    assert tasks() == before


async def test_a_block_needs_no_service() -> None:
    async with open_services() as services:
        assert services.failure is None


async def test_a_service_may_end_when_its_work_is_done() -> None:
    async with open_services() as services:
        services.start_soon(end_at_once, name="service")
        await wait_all_tasks_blocked()
        services.start_soon(trio.sleep_forever, name="another")


async def test_arguments_and_the_name_of_a_service() -> None:
    seen: list[object] = []

    async def service(*args: object) -> None:
        seen.extend([*args, trio.lowlevel.current_task().name])

    async with open_services() as services:
        services.start_soon(service, 1, "b", name="trio_gateway.reader")
        await wait_all_tasks_blocked()
    assert seen == [1, "b", "trio_gateway.reader"]


async def test_one_service_can_be_ended_alone() -> None:
    log: list[str] = []

    async def service(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append(name)

    async with open_services() as services:
        services.start_soon(service, "first", name="first")
        scope = services.start_soon(service, "second", name="second")
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert log == ["second"]
        assert services.failure is None
    assert log == ["second", "first"]


async def test_a_service_that_ended_is_forgotten() -> None:
    async with open_services() as services:
        for _ in range(3):
            services.start_soon(end_at_once, name="service")
        await wait_all_tasks_blocked()
        assert services._scopes == set()


async def test_services_may_start_services() -> None:
    ran = trio.Event()

    async def second() -> None:
        ran.set()

    async with open_services() as services:

        async def first() -> None:
            services.start_soon(second, name="second")

        services.start_soon(first, name="first")
        await ran.wait()


async def test_a_service_started_after_stop_ends_at_its_first_checkpoint() -> None:
    log: list[str] = []

    async def late() -> None:
        log.append("started")
        await trio.lowlevel.checkpoint()
        log.append("went on")

    async with open_services() as services:
        services.stop()
        assert services.start_soon(late, name="late").cancel_called
    assert log == ["started"]


async def test_a_service_that_starts_another_while_it_is_stopped_does_not_hold_up_the_block() -> None:
    async with open_services() as services:

        async def starts_at_the_end() -> None:
            try:
                await trio.sleep_forever()
            finally:
                services.start_soon(trio.sleep_forever, name="late")

        services.start_soon(starts_at_the_end, name="service")
        await wait_all_tasks_blocked()


# --- what the body raises is what comes out

BODY_ERRORS = [
    ValueError("of the body"),
    ExceptionGroup("of the body", [ValueError(), KeyError()]),
    BaseExceptionGroup("of the body", [ValueError(), KeyboardInterrupt()]),
    ExceptionGroup("of the body", [ExceptionGroup("inner", [ValueError()]), KeyError()]),
    KeyboardInterrupt(),
    SystemExit(3),
    StopIteration(5),
    StopAsyncIteration(),
    GeneratorExit(),
    RuntimeError("of the body"),
    TimeoutError(),
]


@pytest.mark.parametrize("error", BODY_ERRORS, ids=[type(error).__name__ for error in BODY_ERRORS])
@pytest.mark.parametrize("nested", [False, True])
async def test_the_bodys_error_comes_out_as_it_is(error: BaseException, nested: bool) -> None:
    error.__context__ = error.__traceback__ = None  # those of an earlier run of this test
    with pytest.raises(type(error)) as caught:
        async with open_services() as services:
            services.start_soon(trio.sleep_forever, name="service")
            if nested:
                async with open_services() as inner:
                    inner.start_soon(trio.sleep_forever, name="inner")
                    raise error
            raise error
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    frames = {frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)}
    assert frames == {__name__}, "the traceback leads to the user's own lines only"


async def test_the_context_that_the_body_gave_is_kept() -> None:
    with pytest.raises(ValueError, match="second") as caught:
        async with open_services() as services:
            services.start_soon(trio.sleep_forever, name="service")
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second")  # noqa: B904 - its context is looked at
    assert isinstance(caught.value.__context__, KeyError)
    assert caught.value.__context__.__context__ is None


async def test_an_error_that_was_being_handled_outside_stays_its_context() -> None:
    outside = KeyError("outside")
    with pytest.raises(ValueError, match="inside") as caught:
        try:
            raise outside
        except KeyError:
            async with open_services() as services:
                services.start_soon(trio.sleep_forever, name="service")
                fail(ValueError("inside"))
    assert caught.value.__context__ is outside


async def test_nothing_that_the_user_sees_leads_to_the_nursery() -> None:
    with pytest.raises(ValueError, match="of the body") as caught:
        async with open_services() as services:
            services.start_soon(trio.sleep_forever, name="service")
            raise ValueError("of the body")
    seen = list(chain(caught.value))
    assert seen == [caught.value]
    assert not any(isinstance(each, BaseExceptionGroup | trio.Cancelled) for each in seen)
    nurseries = [each for each in gc.get_referrers(caught.value) if isinstance(each, trio.Nursery | BaseExceptionGroup)]
    assert nurseries == []


async def test_an_error_with_members_of_its_own_nursery_is_kept_whole() -> None:
    """The user's nursery gives a group, with Cancelled gone or not; it is the user's."""
    with pytest.RaisesGroup(ValueError, KeyError) as caught:
        async with open_services() as services:
            services.start_soon(trio.sleep_forever, name="service")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(raise_when_cancelled, KeyError("of a child"))
                await wait_all_tasks_blocked()
                raise ValueError("of the body")
    assert [type(each) for each in caught.value.exceptions] == [ValueError, KeyError]


# --- cancellation


async def test_a_cancelled_body_is_cancelled_as_usual() -> None:
    with trio.CancelScope() as scope:
        async with open_services() as services:
            services.start_soon(trio.sleep_forever, name="service")
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_body_that_ends_while_it_is_cancelled_has_ended_well() -> None:
    """Like that of a nursery, a block's end is no place where a cancellation arrives."""
    with trio.CancelScope() as scope:
        async with open_services() as services:
            services.start_soon(trio.sleep_forever, name="service")
            scope.cancel()
    assert not scope.cancelled_caught


async def test_an_error_of_a_cancelled_body_comes_out() -> None:
    error = ValueError("while it was cancelled")
    with pytest.raises(ValueError, match="while it was cancelled") as caught:
        with trio.CancelScope() as scope:
            async with open_services() as services:
                services.start_soon(trio.sleep_forever, name="service")
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    raise error
    assert caught.value is error
    assert isinstance(error.__context__, trio.Cancelled)  # Python's own doing: it was raised in a finally


async def test_a_group_of_an_error_and_a_cancellation_comes_out_without_the_cancellation() -> None:
    with pytest.RaisesGroup(ValueError):
        with trio.CancelScope() as scope:
            async with open_services() as services:
                services.start_soon(trio.sleep_forever, name="service")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(raise_when_cancelled, ValueError("of a child"))
                    await wait_all_tasks_blocked()
                    scope.cancel()
                    await trio.sleep_forever()


async def test_a_deadline_around_the_block_is_its_callers_own(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(5):
            async with open_services() as services:
                services.start_soon(trio.sleep_forever, name="service")
                await trio.sleep_forever()
    assert trio.current_time() == 5


async def test_services_outlive_a_cancelled_body_until_its_goodbye_is_said() -> None:
    answers: list[str] = []
    send_request, receive_request = trio.open_memory_channel[str](0)
    send_answer, receive_answer = trio.open_memory_channel[str](0)

    async def echo() -> None:
        async for request in receive_request:
            await send_answer.send(request)

    with trio.CancelScope() as scope:
        async with open_services() as services:
            services.start_soon(echo, name="echo")
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(200, shield=True):
                    await send_request.send("goodbye")
                    answers.append(await receive_answer.receive())
    assert answers == ["goodbye"]
    assert scope.cancelled_caught


# --- a service with a defect


async def test_a_service_that_raises_cancels_the_body_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    defect = KeyError("x")

    async def bad() -> None:
        raise defect

    with caplog.at_level(logging.DEBUG, "trio_gateway.services"):
        with pytest.raises(GatewayInternalError, match=r"^a background task failed: KeyError\('x'\)$") as caught:
            async with open_services() as services:
                services.start_soon(bad, name="bad")
                await trio.sleep_forever()
    assert caught.value.__cause__ is defect
    assert caught.value.__suppress_context__
    assert not any(isinstance(each, BaseExceptionGroup) for each in chain(caught.value))
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("DEBUG", "service_failed")
    assert record.exc_info is not None
    assert record.exc_info[1] is defect


async def test_other_services_go_on_until_the_body_has_ended() -> None:
    log: list[str] = []

    async def bad() -> None:
        raise KeyError("x")

    async def good() -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append("service ended")

    with pytest.raises(GatewayInternalError):
        async with open_services() as services:
            services.start_soon(good, name="good")
            await wait_all_tasks_blocked()
            services.start_soon(bad, name="bad")
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await wait_all_tasks_blocked()
                log.append("body ended")
    assert log == ["body ended", "service ended"]


async def test_the_first_of_two_failures_is_told() -> None:
    async with trio.open_nursery():  # so that both run in one batch, in either order
        first, second = KeyError("1"), KeyError("2")

        async def bad() -> None:
            raise first

        with pytest.raises(GatewayInternalError) as caught:
            async with open_services() as services:
                services.start_soon(raise_when_cancelled, second, name="second")
                await wait_all_tasks_blocked()
                services.start_soon(bad, name="bad")
                await trio.sleep_forever()
        assert caught.value.__cause__ is first


async def test_a_group_that_a_service_raises_is_a_failure_too() -> None:
    async def bad() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_when_cancelled, KeyError("x"))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    with pytest.raises(GatewayInternalError) as caught:
        async with open_services() as services:
            services.start_soon(bad, name="bad")
            await trio.sleep_forever()
    assert pytest.RaisesGroup(KeyError).matches(caught.value.__cause__)


async def test_a_service_that_raises_while_it_is_stopped_is_told() -> None:
    with pytest.raises(GatewayInternalError):
        async with open_services() as services:
            services.start_soon(raise_when_cancelled, KeyError("x"), name="bad")
            await wait_all_tasks_blocked()


async def test_a_failure_comes_before_what_the_body_raised_because_of_it() -> None:
    defect, consequence = KeyError("x"), ValueError("the body saw its connection go")

    async def bad() -> None:
        raise defect

    with pytest.raises(GatewayInternalError) as caught:
        async with open_services() as services:
            services.start_soon(bad, name="bad")
            try:
                await trio.sleep_forever()
            finally:
                raise consequence
    assert caught.value.__cause__ is defect
    assert caught.value.__context__ is consequence, "for those who look"


async def test_a_failure_is_told_to_a_body_that_is_cancelled_too() -> None:
    with pytest.raises(GatewayInternalError):
        with trio.CancelScope() as scope:
            async with open_services() as services:
                services.start_soon(raise_when_cancelled, KeyError("x"), name="bad")
                await wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()


async def test_a_failure_is_told_when_the_end_of_the_block_is_cancelled() -> None:
    with pytest.raises(GatewayInternalError):
        with trio.CancelScope() as scope:
            async with open_services() as services:
                services.start_soon(raise_when_cancelled, KeyError("x"), name="bad")
                await wait_all_tasks_blocked()
                scope.cancel()


# --- a signal: KeyboardInterrupt may come up in any task


@pytest.mark.parametrize("body", ["goes on", "ends", "raises", "is cancelled"])
async def test_a_signal_in_a_service_is_never_swallowed(body: str) -> None:
    expected: list[type[BaseException]] = [KeyboardInterrupt, *([ValueError] if body == "raises" else [])]
    with pytest.RaisesGroup(*expected):
        with trio.CancelScope() as scope:
            async with open_services() as services:
                services.start_soon(raise_when_cancelled, KeyboardInterrupt(), name="interrupted")
                await wait_all_tasks_blocked()
                if body == "goes on":
                    services.stop()
                    await trio.sleep_forever()
                if body == "raises":
                    raise ValueError("of the body")
                if body == "is cancelled":
                    scope.cancel()
                    await trio.sleep_forever()


async def test_a_signal_beside_a_failed_service_is_not_swallowed() -> None:
    with pytest.RaisesGroup(KeyboardInterrupt):
        async with open_services() as services:
            services.start_soon(raise_when_cancelled, KeyboardInterrupt(), name="interrupted")
            services.start_soon(raise_when_cancelled, KeyError("x"), name="bad")
            await wait_all_tasks_blocked()


async def test_a_signal_in_the_body_comes_out_bare_even_beside_cancelled_services() -> None:
    interrupt = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as caught:
        async with open_services() as services:
            services.start_soon(trio.sleep_forever, name="service")
            await wait_all_tasks_blocked()
            raise interrupt
    assert caught.value is interrupt


async def test_a_block_that_is_given_up_by_its_generator_leaves_no_task() -> None:
    """`open_services` sits inside other context managers; an error thrown into those ends it like any other."""
    before = tasks()
    manager = open_services()
    services = await manager.__aenter__()
    assert isinstance(services, Services)
    services.start_soon(trio.sleep_forever, name="service")
    error = ValueError("thrown")
    try:
        raise error
    except ValueError:
        assert await manager.__aexit__(*sys.exc_info()) is False
    assert tasks() == before


async def test_work_alongside_a_service_gives_its_result_and_its_error_as_they_are() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    async def fail() -> int:
        await trio.lowlevel.checkpoint()
        raise ValueError("mine")

    assert await alongside(trio.sleep_forever, work) == 7
    with pytest.raises(ValueError, match="mine"):
        await alongside(trio.sleep_forever, fail)
