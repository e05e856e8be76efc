"""`gateway.kernels` on a gateway in memory: listing, acting, starting, shutting down all, culling."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from tools.rest_fake import ID_A, ID_B, NORMAL, Answer, Request, RestFake, error, kernel_events, open_fake
from trio_gateway import (
    AuthenticationError,
    CullPolicy,
    GatewayEvent,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
)

# ------------------------------------------------------------------------------------------------------------- listing


async def test_all_kernels_are_listed(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.add(ID_A)
    fake.add(ID_B, name="ir")
    async with open_fake(fake) as gateway:
        assert [(model.id, model.name) for model in await gateway.kernels.list()] == [(ID_A, "python3"), (ID_B, "ir")]
    assert fake.asked() == ["GET /api/kernels"]


async def test_where_listing_is_forbidden_the_known_kernels_are_looked_up(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.lists = False
    fake.add(ID_A)
    async with open_fake(fake) as gateway:
        assert await gateway.kernels.list() == []
        mine = await gateway.kernels.start(env={})
        assert [model.id for model in await gateway.kernels.list()] == [mine.id]
        with pytest.raises(AuthenticationError) as caught:
            await gateway.kernels.list(complete=True)
        assert caught.value.status_code == 403
        await gateway.kernels.shutdown(mine.id)
        assert await gateway.kernels.list() == []


async def test_other_refusals_of_a_list_are_errors(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.script("GET /api/kernels", error(401))
    async with open_fake(fake) as gateway:
        with pytest.raises(AuthenticationError):
            await gateway.kernels.list()
        with pytest.raises(AuthenticationError):
            await gateway.kernels.shutdown_all()


async def test_a_known_kernel_that_the_list_lacks_is_looked_up_by_id(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        one, two = await gateway.kernels.start(), await gateway.kernels.start()
        fake.omitted = {one.id, two.id}
        del fake.kernels[two.id]
        assert [model.id for model in await gateway.kernels.list()] == [one.id]
        fake.requests.clear()
        assert [model.id for model in await gateway.kernels.list()] == [one.id]
        assert f"GET /api/kernels/{two.id}" not in fake.asked(), "the gateway said that it is gone"


async def test_a_kernel_that_cannot_be_asked_about_is_listed_as_unknown(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        one = await gateway.kernels.start("python3")
        fake.omitted = {one.id}
        fake.script(f"GET /api/kernels/{one.id}", error(500), times=1)
        (model,) = await gateway.kernels.list()
        assert (model.id, model.name, model.execution_state) == (one.id, "python3", "unknown")
        (model,) = await gateway.kernels.list()
        assert model.execution_state == "starting"
        fake.script(f"GET /api/kernels/{one.id}", error(403))
        with pytest.raises(AuthenticationError):
            await gateway.kernels.list()


async def test_a_kernel_started_while_the_list_is_made_is_not_looked_for(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:

        async def meanwhile(_: Request) -> Answer:
            await gateway.kernels.start()
            return Answer(200, [])

        fake.script("GET /api/kernels", meanwhile, times=1)
        assert await gateway.kernels.list() == []
        assert len(await gateway.kernels.list()) == 1


# --------------------------------------------------------------------------------------------------------------- acting


async def test_actions_and_their_events(autojump_clock: MockClock) -> None:
    fake = RestFake()
    events: list[GatewayEvent] = []
    async with open_fake(fake, on_event=events.append) as gateway:
        model = await gateway.kernels.start("python3")
        await gateway.kernels.interrupt(model.id)
        assert (await gateway.kernels.restart(model.id)).id == model.id
        await gateway.kernels.shutdown(model.id)
        await gateway.kernels.shutdown(model.id)
    actions = ["start", "interrupt", "restart", "shutdown", "shutdown"]
    assert kernel_events(events) == [(action, "success", model.id) for action in actions]
    kernel = [event for event in events if event.kind == "kernel"]
    assert [event.status_code for event in kernel] == [201, 204, 200, 204, 404]
    assert [event.kernel_name for event in kernel] == [*["python3"] * 4, None]  # the last one was forgotten before
    assert {event.gateway_url for event in events} == {gateway.url}


@pytest.mark.parametrize("action", ["get", "interrupt", "restart"])
async def test_an_unknown_kernel(autojump_clock: MockClock, action: str) -> None:
    fake = RestFake()
    events: list[GatewayEvent] = []
    async with open_fake(fake, on_event=events.append) as gateway:
        with pytest.raises(KernelNotFoundError) as caught:
            await getattr(gateway.kernels, action)(ID_A)
        assert caught.value.kernel_id == ID_A
        await gateway.kernels.shutdown(ID_A)
    assert kernel_events(events)[:-1] == ([] if action == "get" else [(action, "error", ID_A)])


@pytest.mark.parametrize("kernel_id", [5, None, b"a", [], "", "..", "a\n", "\ud800"])
@pytest.mark.parametrize("action", ["get", "interrupt", "restart", "shutdown"])
async def test_what_is_no_id_is_refused_and_nothing_told(autojump_clock: MockClock, action: str, kernel_id: Any) -> None:  # G10
    fake = RestFake()
    events: list[GatewayEvent] = []
    async with open_fake(fake, on_event=events.append) as gateway:
        with pytest.raises(InvalidInputError) as caught:
            await getattr(gateway.kernels, action)(kernel_id)
        assert caught.value.field == "kernel_id"
    assert (fake.requests, events) == ([], [])


@pytest.mark.parametrize("action", ["get", "interrupt", "restart", "shutdown"])
async def test_a_kernel_that_turns_out_to_be_gone_is_known_no_more(autojump_clock: MockClock, action: str) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        model = await gateway.kernels.start()
        fake.kernels.clear()
        with suppress(KernelNotFoundError):
            await getattr(gateway.kernels, action)(model.id)
        fake.requests.clear()
        assert await gateway.kernels.list() == []
    assert fake.asked() == ["GET /api/kernels"]


@pytest.mark.parametrize("answer", [error(500), error(503), None, Answer(200, b"<html>")])
async def test_a_restart_that_fails_is_not_called_an_unknown_kernel(autojump_clock: MockClock, answer: Answer | None) -> None:
    fake = RestFake()
    fake.add(ID_A)
    fake.script(f"POST /api/kernels/{ID_A}/restart", error(500))
    fake.script(f"GET /api/kernels/{ID_A}", answer)
    async with open_fake(fake) as gateway:
        with pytest.raises(GatewayHTTPError) as caught:
            await gateway.kernels.restart(ID_A)
    assert (type(caught.value), caught.value.status_code) == (GatewayHTTPError, 500)


async def test_a_start_under_the_id_of_a_kernel_that_runs_ends_nothing(autojump_clock: MockClock) -> None:
    """Enterprise Gateway answers 500 to it, after which an own kernel would be cleaned up: nothing is asked for, it is given."""
    fake = RestFake()
    fake.add(ID_A, name="ir")
    fake.script("POST /api/kernels", error(500))
    async with open_fake(fake) as gateway:
        assert (await gateway.kernels.start("python3", env={}, kernel_id=ID_A)).name == "ir"
        fake.lists = False
        assert [model.id for model in await gateway.kernels.list()] == [ID_A]
    assert fake.asked() == [f"GET /api/kernels/{ID_A}", "GET /api/kernels", f"GET /api/kernels/{ID_A}"]


async def test_starts_under_one_id_at_the_same_time_end_nothing(autojump_clock: MockClock) -> None:
    """The first one starts the kernel, the others are given it; Enterprise Gateway would answer 500 to them."""
    fake = RestFake()
    fake.script("POST /api/kernels", NORMAL, error(500))
    found: list[str] = []
    async with open_fake(fake) as gateway:

        async def start() -> None:
            found.append((await gateway.kernels.start("python3", env={}, kernel_id=ID_A)).id)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(start)
        assert found == [ID_A] * 3
        assert [model.id for model in await gateway.kernels.list()] == [ID_A]
    assert [asked for asked in fake.asked() if not asked.startswith("GET")] == ["POST /api/kernels"]


@pytest.mark.parametrize(("status", "content"), [(204, b""), (200, b""), (200, b"null")])
async def test_a_restart_that_is_answered_without_a_model(autojump_clock: MockClock, status: int, content: bytes) -> None:
    """It is done, and what the kernel is like is asked for; where that can't be told, it is done all the same."""
    fake = RestFake()
    fake.add(ID_A)
    events: list[GatewayEvent] = []
    async with open_fake(fake, on_event=events.append) as gateway:
        fake.script(f"POST /api/kernels/{ID_A}/restart", *[Answer(status, content)] * 3)
        assert (await gateway.kernels.restart(ID_A)).name == "python3"
        fake.script(f"GET /api/kernels/{ID_A}", error(418))
        assert (await gateway.kernels.restart(ID_A)).execution_state == "unknown"
        assert kernel_events(events) == [("restart", "success", ID_A)] * 2
        fake.script(f"GET /api/kernels/{ID_A}", error(404))
        with pytest.raises(KernelNotFoundError):
            await gateway.kernels.restart(ID_A)


async def test_a_restart_may_take_as_long_as_a_start(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.add(ID_A)

    async def slow(_: Request) -> Any:
        await trio.sleep(41)
        return NORMAL

    fake.script(".*/restart", slow)
    async with open_fake(fake, request_timeout=5, launch_timeout=40) as gateway:
        await gateway.kernels.restart(ID_A)
        with pytest.raises(GatewayTimeoutError):
            fake.script(".*/interrupt", slow)
            await gateway.kernels.interrupt(ID_A)


async def test_shutting_down_and_looking_have_checkpoints(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        with assert_checkpoints():
            await gateway.kernels.list()
        with assert_checkpoints():
            await gateway.kernels.shutdown(ID_A)
        with assert_checkpoints():
            await gateway.kernels.shutdown_all()
        with assert_checkpoints():
            await gateway.kernels.cull(CullPolicy(idle_timeout=5))


# ------------------------------------------------------------------------------------------------------------- starting


async def test_a_start_that_nothing_owns(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake, launch_timeout=50.0) as gateway:
        model = await gateway.kernels.start("python3", env={"KERNEL_X": "1"}, path="a/b", launch_timeout=30)
    assert list(fake.kernels) == [model.id], "the block's end leaves it"
    (post,) = [request for request in fake.requests if request.method == "POST"]
    assert post.body == {
        "kernel_id": model.id,
        "name": "python3",
        "path": "a/b",
        "env": {"KERNEL_X": "1", "KERNEL_ID": model.id, "KERNEL_LAUNCH_TIMEOUT": "30"},
    }


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("path", {"path": "a", "cwd": "/b"}),
        ("path", {"path": "a\0"}),
        ("path", {"path": 5}),
        ("cwd", {"cwd": ""}),
        ("cwd", {"cwd": b"/x"}),
        ("cwd", {"cwd": 5}),
        ("name", {"name": ""}),
        ("launch_timeout", {"launch_timeout": 0}),
        ("launch_timeout", {"launch_timeout": math.nan}),
        ("launch_timeout", {"launch_timeout": "5"}),
        ("env", {"env": {"A": 5}}),
        ("env", {"env": ["A"]}),
    ],
)
async def test_a_wrong_argument_of_a_start_is_named_and_nothing_sent(
    autojump_clock: MockClock, field: str, arguments: dict[str, Any]
) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        with pytest.raises(InvalidInputError, match=field):
            await gateway.kernels.start(**arguments)
        with pytest.raises(InvalidInputError, match=field):
            gateway.start_kernel(**arguments)
    assert fake.requests == []


async def test_an_unknown_kernelspec_is_not_asked_for(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        with pytest.raises(KernelSpecNotFoundError) as caught:
            await gateway.kernels.start("ir")
    assert caught.value.available == ("python3",)
    assert "POST /api/kernels" not in fake.asked()


# --------------------------------------------------------------------------------------------------------- shutting down


async def test_all_are_shut_down_also_those_that_the_list_lacks(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_fake(fake) as gateway:
        mine = await gateway.kernels.start()
        fake.add(ID_A)
        fake.omitted = {mine.id}
        await gateway.kernels.shutdown_all()
        assert fake.kernels == {}
        await gateway.kernels.shutdown_all()


async def test_where_listing_is_forbidden_the_known_ones_are_shut_down(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.lists = False
    fake.add(ID_A)
    async with open_fake(fake) as gateway:
        await gateway.kernels.start()
        await gateway.kernels.shutdown_all()
        assert list(fake.kernels) == [ID_A]


async def test_shutting_down_all_is_concurrent_and_bounded(autojump_clock: MockClock) -> None:
    fake = RestFake()
    for number in range(35):
        fake.add(f"{number:08x}-0000-4000-8000-000000000000")

    async def slow(_: Request) -> Any:
        await trio.sleep(1)
        return NORMAL

    fake.script("DELETE .*", slow)
    async with open_fake(fake) as gateway:
        started = trio.current_time()
        await gateway.kernels.shutdown_all()
        assert trio.current_time() - started == pytest.approx(4)
    assert fake.kernels == {}
    assert fake.most_at_once == 10
