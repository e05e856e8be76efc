"""A gateway's REST interface, typed: what each method asks, reads, notes and tells."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tools.rest_fake import ID_A, ID_B, NOON, URL, Answer, Request, RestFake, error
from trio_gateway import (
    GatewayConfig,
    GatewayConnectionError,
    GatewayEvent,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    ProtocolError,
)
from trio_gateway._api import KernelApi, open_kernel_api
from trio_gateway._services import open_services


@attrs.define
class Notes:
    """Takes the notes down."""

    events: list[GatewayEvent]
    taken: list[tuple[str, ...]] = attrs.field(factory=list)
    told_before: list[int] = attrs.field(factory=list)
    """How many actions had been told when each was taken."""

    def made(self, kernel_id: str, name: str) -> None:
        self.taken.append(("made", kernel_id, name))
        self.told_before.append(sum(event.kind == "kernel" for event in self.events))

    def forget(self, kernel_id: str) -> None:
        self.taken.append(("forget", kernel_id))
        self.told_before.append(sum(event.kind == "kernel" for event in self.events))

    def __contains__(self, kernel_id: object) -> bool:
        return kernel_id in [taken[1] for taken in self.taken] and self.taken[-1][0] == "made"

    def name(self, kernel_id: str) -> str | None:
        return "noted" if ("made", kernel_id, "python3") in self.taken else None


@attrs.define
class Bench:
    fake: RestFake
    api: KernelApi
    notes: Notes
    events: list[GatewayEvent]

    def told(self) -> list[tuple[str, str, int | None, str]]:
        found = [event for event in self.events if event.kind == "kernel"]
        return [(event.action, event.status, event.status_code, event.message) for event in found]


@asynccontextmanager
async def bench(**settings: Any) -> AsyncGenerator[Bench]:
    fake, events = RestFake(), []
    notes = Notes(events)
    async with open_services() as services:
        fake._services = services
        config = GatewayConfig(**{"url": URL, "max_request_retries": 0, **settings})
        async with open_kernel_api(config, connector=fake.connect, emit=events.append, notes=notes) as api:
            yield Bench(fake, api, notes, events)


async def start(it: Bench, kernel_id: str = ID_A, **arguments: Any) -> Any:
    given = {"name": "python3", "env": {"KERNEL_X": "1"}, "path": None, "timeout": 9.0, **arguments}
    return await it.api.start(kernel_id=kernel_id, **given)


async def test_the_interface_is_of_one_http_client(autojump_clock: MockClock) -> None:
    async with bench() as it:
        assert it.api.config is it.api.http.config
    with pytest.raises(trio.ClosedResourceError):
        await it.api.list()


async def test_without_notes_nobody_takes_any(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_services() as services, open_kernel_api(GatewayConfig(url=URL), connector=fake.connect) as api:
        fake._services = services
        model = await api.start(kernel_id=ID_A, name=None, env={}, path=None, timeout=5)
        await api.shutdown(model.id)
        with pytest.raises(KernelNotFoundError):
            await api.shutdown(model.id)


# -------------------------------------------------------------------------------------------------------------- starting


async def test_a_start_asks_for_all_of_it_and_is_noted_and_told(autojump_clock: MockClock) -> None:
    async with bench() as it:
        sending: list[int] = []
        model = await start(it, path="a/b", on_sending=lambda: sending.append(len(it.fake.requests)))
        assert (model.id, model.name) == (ID_A, "python3")
        assert it.fake.requests[0].body == {"kernel_id": ID_A, "name": "python3", "path": "a/b", "env": {"KERNEL_X": "1"}}
        assert sending == [0], "before anything was sent"
        assert it.notes.taken == [("made", ID_A, "python3")]
        assert it.notes.told_before == [0], "it is noted before it is told"
        assert it.told() == [("start", "success", 201, "")]


async def test_a_start_without_wishes_has_an_environment_all_the_same(autojump_clock: MockClock) -> None:
    async with bench() as it:
        await start(it, name=None, env={})
        assert it.fake.requests[0].body == {"kernel_id": ID_A, "env": {}}


async def test_the_kernel_that_the_gateway_chose_is_noted(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.script("POST .*", Answer(201, {"id": ID_B, "name": ""}))
        assert (await start(it)).id == ID_B
        assert it.notes.taken == [("made", ID_B, "python3")]
        assert it.events[-1].kernel_id == ID_B


@pytest.mark.parametrize(("answer", "kind"), [(error(500), GatewayHTTPError), (Answer(201, b"null"), ProtocolError)])
async def test_a_start_that_fails_is_told_and_not_noted(autojump_clock: MockClock, answer: Answer, kind: type[Exception]) -> None:
    async with bench() as it:
        it.fake.script("POST .*", answer)
        with pytest.raises(kind) as caught:
            await start(it)
        assert it.notes.taken == []
        ((action, status, code, message),) = it.told()
        assert (action, status, message) == ("start", "error", str(caught.value))
        assert code == (500 if kind is GatewayHTTPError else None)


async def test_a_start_has_its_own_limit(autojump_clock: MockClock) -> None:  # G3
    async with bench() as it:
        it.fake.script("POST .*", forever)
        with pytest.raises(GatewayTimeoutError) as caught:
            await start(it)
        assert (trio.current_time(), caught.value.setting, caught.value.phase) == (9, "launch_timeout", "kernel start")


async def forever(_: Request) -> None:
    await trio.sleep_forever()


async def test_a_start_that_is_cancelled_is_told_as_such(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.script("POST .*", forever)
        with trio.move_on_after(1):
            await start(it)
        assert it.told() == [("start", "error", None, "cancelled")]


# --------------------------------------------------------------------------------------------------------------- looking


async def test_looks_come_with_the_gateways_time(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.add(ID_A)
        look = await it.api.look_at(ID_A)
        assert ([model.id for model in look.models], look.time) == ([ID_A], NOON)
        everything = await it.api.look_at_all()
        assert ([model.id for model in everything.models], everything.time) == ([ID_A], NOON)
        assert [model.id for model in await it.api.list()] == [ID_A]
        assert (await it.api.get(ID_A)).id == ID_A
        it.fake.date = None
        assert (await it.api.look_at(ID_A)).time is None
        assert it.told() == [], "looking is no action"


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("Fri, 02 Jan 2026 12:00:00 +0200", datetime(2026, 1, 2, 10, tzinfo=UTC)),
        ("Fri, 02 Jan 2026 12:00:00 -0000", NOON),
        ("tomorrow", None),
        ("Fri, 02 Jan 99999 12:00:00 GMT", None),
    ],
)
async def test_times_however_they_are_written(autojump_clock: MockClock, date: str, time: datetime | None) -> None:
    async with bench() as it:
        it.fake.date = None
        it.fake.script("GET .*", Answer(200, [], {"Date": date}))
        assert (await it.api.look_at_all()).time == time


async def test_a_kernel_that_is_not_there_is_named(autojump_clock: MockClock) -> None:
    async with bench() as it:
        with pytest.raises(KernelNotFoundError) as caught:
            await it.api.get(ID_A)
        assert (caught.value.kernel_id, caught.value.method) == (ID_A, "GET")
        it.fake.script("GET .*", error(500))
        with pytest.raises(GatewayHTTPError) as other:
            await it.api.get(ID_A)
        assert not isinstance(other.value, KernelNotFoundError)


@pytest.mark.parametrize("kernel_id", ["", "a\0b", 5])
async def test_what_is_no_id_is_refused_before_anything_is_kept(autojump_clock: MockClock, kernel_id: Any) -> None:  # G10
    async with bench() as it:
        for call in (it.api.get, it.api.interrupt, it.api.restart, it.api.shutdown):
            with pytest.raises(InvalidInputError):
                await call(kernel_id)
        assert it.fake.requests == []
        assert it.told() == []
        assert it.api.own_restarts(kernel_id) == 0


# ---------------------------------------------------------------------------------------------------------------- acting


@pytest.mark.parametrize(("action", "status"), [("interrupt", "error"), ("restart", "error"), ("shutdown", "success")])
async def test_a_kernel_that_is_gone_is_noted_as_such(autojump_clock: MockClock, action: str, status: str) -> None:
    async with bench() as it:
        if action == "restart":
            it.fake.script(".*restart", error(404))
        with pytest.raises(KernelNotFoundError):
            await getattr(it.api, action)(ID_A)
        assert it.notes.taken == [("forget", ID_A)]
        assert it.told() == [(action, status, 404, "the gateway does not know it")]


@pytest.mark.parametrize("action", ["get", "interrupt", "restart", "shutdown"])
async def test_that_a_kernel_of_ours_is_gone_takes_three_answers(autojump_clock: MockClock, action: str) -> None:  # G3
    """Behind a balancer one of them may be a replica's that does not know it."""
    for lacking in (1, 2, 3):
        async with bench() as it:
            await start(it)
            it.fake.script(".* /api/kernels/.*", error(404), times=lacking)
            if lacking < 3:
                await getattr(it.api, action)(ID_A)
                assert it.told()[1:] in ([], [(action, "success", it.events[-1].status_code, "")])
            else:
                with pytest.raises(KernelNotFoundError):
                    await getattr(it.api, action)(ID_A)
                assert it.notes.taken[1:] == ([("forget", ID_A)] if action != "get" else [])
            assert len(it.fake.requests) == 1 + min(lacking + 1, 3)
            assert trio.current_time() <= 3 * 0.5


async def test_a_404_that_is_no_gateways_says_nothing_of_the_kernel(autojump_clock: MockClock) -> None:  # G3
    async with bench() as it:
        it.fake.script(".*", Answer(404, b"404 page not found"))
        for call in (it.api.get, it.api.interrupt, it.api.restart, it.api.shutdown):
            with pytest.raises(GatewayHTTPError) as caught:
                await call(ID_A)
            assert not isinstance(caught.value, KernelNotFoundError)
            assert (caught.value.status_code, caught.value.from_gateway) == (404, False)
        assert it.notes.taken == []


@pytest.mark.parametrize("answer", [error(500), None])
async def test_a_clean_up_that_fails_is_told_by_those_who_give_it_up(autojump_clock: MockClock, answer: Answer | None) -> None:
    async with bench(max_request_retries=3) as it:
        it.fake.script("DELETE .*", answer)
        with pytest.raises((GatewayHTTPError, GatewayConnectionError)):
            await it.api.shutdown(ID_A, action="cleanup", retry=False)
        assert it.told() == []
        assert len(it.fake.requests) == 1, "whoever looks again and again needs no repetition of each look"


@pytest.mark.parametrize("action", ["cull", "cleanup"])
async def test_of_what_is_done_unasked_to_what_is_gone_nothing_is_told(autojump_clock: MockClock, action: str) -> None:
    async with bench() as it:
        with pytest.raises(KernelNotFoundError):
            await it.api.shutdown(ID_A, action=action)
        assert it.notes.taken == [("forget", ID_A)]
        assert it.told() == []


async def test_a_shutdown_is_noted_and_told_with_its_reason(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.add(ID_A)
        await it.api.shutdown(ID_A, action="cull", kernel_name="ir", message="idle for 5 s")
        assert it.fake.kernels == {}
        assert it.notes.taken == [("forget", ID_A)]
        assert it.told() == [("cull", "success", 204, "idle for 5 s")]
        assert it.notes.told_before == [0], "it is noted before it is told"
        assert it.events[-1].kernel_name == "ir"


async def test_a_shutdown_that_fails_leaves_the_kernel_known(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.script("DELETE .*", error(500))
        with pytest.raises(GatewayHTTPError):
            await it.api.shutdown(ID_A)
        assert it.notes.taken == []
        assert it.told()[0][:3] == ("shutdown", "error", 500)


async def test_a_restart_is_counted_before_it_is_asked_for(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.add(ID_A)
        counts: list[tuple[str, int]] = []

        def note(when: str) -> Callable[[], None]:
            return lambda: counts.append((when, it.api.own_restarts(ID_A)))

        model = await it.api.restart(ID_A, on_sending=note("sending"), on_restarted=note("restarted"))
        assert model.id == ID_A
        assert counts == [("sending", 1), ("restarted", 1)]
        assert it.api.own_restarts(ID_B) == 0
        assert it.told() == [("restart", "success", 200, "")]
        assert it.notes.taken == []


async def test_a_restart_that_is_cancelled_is_seen_through(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.add(ID_A)
        it.fake.script(".*restart", slow(it, 5))
        with trio.move_on_after(1):
            await it.api.restart(ID_A)
        assert trio.current_time() == 5
        assert it.told() == [("restart", "success", 200, "")]


def slow(it: Bench, seconds: float) -> Any:
    async def answer(request: Request) -> Answer:
        await trio.sleep(seconds)
        return it.fake.answer(request)

    return answer


async def test_acts_on_one_kernel_take_turns(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.add(ID_A)
        it.fake.script(".*restart", slow(it, 5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.api.restart, ID_A)
            await trio.sleep(1)
            nursery.start_soon(it.api.shutdown, ID_A)
        assert [str(request).partition(" ")[0] for request in it.fake.requests] == ["POST", "DELETE"]
        assert it.fake.most_at_once == 1
        assert trio.current_time() == 5


async def test_a_shutdown_after_a_restart_whose_end_is_not_known_looks_whether_the_kernel_comes_back(
    autojump_clock: MockClock,
) -> None:  # G2
    async with bench() as it:
        it.fake.add(ID_A)
        it.fake.script(".*restart", None)
        with pytest.raises(GatewayConnectionError):
            await it.api.restart(ID_A)
        it.fake.scripts.clear()

        async def comes_back() -> None:
            await trio.sleep(1)
            it.fake.add(ID_A)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(comes_back)
            await it.api.shutdown(ID_A)
        assert it.fake.kernels == {}
        it.fake.requests.clear()
        it.fake.add(ID_A)
        await it.api.shutdown(ID_A)
        assert it.fake.asked() == [f"DELETE /api/kernels/{ID_A}"], "once it is known, nobody looks again"


async def test_what_happened_by_itself_is_told_as_an_error(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.api.tell("died", kernel_id=ID_A, kernel_name="python3", message="it died")
        (event,) = it.events
        assert (event.kind, event.action, event.status, event.kernel_id) == ("kernel", "died", "error", ID_A)
        assert (event.kernel_name, event.message, event.gateway_url) == ("python3", "it died", URL)


# ----------------------------------------------------------------------------------------------------------- kernelspecs


async def test_kernelspecs_are_those_of_a_user(autojump_clock: MockClock) -> None:
    async with bench() as it:
        assert list((await it.api.kernelspecs(user="a b")).kernelspecs) == ["python3"]
        assert (await it.api.kernelspec("python3", user="a b")).name == "python3"
        assert [request.query for request in it.fake.requests] == [{"user": ["a b"]}] * 2
        await it.api.kernelspecs()
        assert it.fake.requests[-1].query == {}


async def test_a_kernelspec_that_is_not_there_is_named(autojump_clock: MockClock) -> None:
    async with bench() as it:
        with pytest.raises(KernelSpecNotFoundError) as caught:
            await it.api.kernelspec("ir")
        assert caught.value.name == "ir"
        it.fake.script("GET .*", error(500))
        with pytest.raises(GatewayHTTPError) as other:
            await it.api.kernelspec("ir")
        assert not isinstance(other.value, KernelSpecNotFoundError)


async def test_a_file_is_asked_for_by_its_version(autojump_clock: MockClock) -> None:
    async with bench() as it:
        it.fake.files["python3/a.png"] = Answer(200, b"PNG")
        assert (await it.api.resource("python3", "a.png")).content == b"PNG"
        assert "if-none-match" not in it.fake.requests[-1].headers
        it.fake.files["python3/a.png"] = Answer(304)
        assert (await it.api.resource("python3", "a.png", etag='"1"')).status_code == 304
        assert it.fake.requests[-1].headers["if-none-match"] == '"1"'
        assert it.fake.requests[-1].headers["accept"] == "*/*"
