"""Jupyter Server's manager of all its kernels, on a fake gateway in this process: what its holders may rely on."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from jupyter_client.kernelspec import NoSuchKernel
from tornado import web

from trio_gateway._portal.asyncio_side import LoopCaller
from trio_gateway.testing import FakeGateway, FakeKernelSpec

from .manager_kit import App, Fake, start_elsewhere, with_app


def test_the_gateway_of_a_name(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trait takes a name from the file of gateways, in place of a URL."""
    path = tmp_path / "gateways.toml"
    path.write_text(f'[prod]\nurl = "{fake.url}"\ntoken_env = "PROD_TOKEN"\n', encoding="utf-8")
    monkeypatch.setenv("TRIO_GATEWAY_FILE", str(path))
    monkeypatch.setenv("PROD_TOKEN", fake.gateway.token)

    async def use(app: App) -> None:
        kernel_id = await app.kernel_manager.start_kernel()
        assert list(fake.gateway.kernels) == [kernel_id]
        await app.kernel_manager.shutdown_kernel(kernel_id)

    with_app(attrs.evolve(fake, url="", gateway=FakeGateway(token="")), use, gateway_name="prod")


@pytest.mark.parametrize("lists", [True, False, None], ids=["listed", "forbidden", "lacking"])
def test_a_kernel_that_was_taken_in_is_kept(fake: Fake, lists: bool | None) -> None:
    """Until the gateway says of its id that it is gone: not for a list that lacks it, is forbidden, or can't be had."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        there = await start_elsewhere(fake)
        if lists is None:
            fake.do(lambda: fake.gateway.faults.answer("GET /api/kernels", 200, []))
        fake.gateway.list_kernels = lists is not False
        assert await manager.start_kernel(kernel_id=there) == there
        for _ in range(2):
            assert [model["id"] for model in await manager.list_kernels()] == [there]
            assert (await manager.kernel_model(there))["name"] == "python3"
        fault = fake.do(lambda: fake.gateway.faults.answer(f"GET /api/kernels(/{there})?", 418))
        with pytest.raises(web.HTTPError):
            await manager.list_kernels()
        assert there in manager
        fake.do(fault.remove)
        fake.do(lambda: fake.gateway.remove_kernel(fake.gateway.kernels[there]))
        assert await manager.list_kernels() == []
        assert there not in manager

    with_app(fake, use)


def test_a_kernel_that_cannot_be_asked_about_is_listed_all_the_same(fake: Fake) -> None:
    """Where the gateway fails for one kernel, the others are listed, and that one with the state "unknown"."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        fake.gateway.list_kernels = False
        first, second = await start_elsewhere(fake), await manager.start_kernel(kernel_name="python3")
        await manager.start_kernel(kernel_id=first)
        fake.do(lambda: fake.gateway.faults.answer(f"GET /api/kernels/{first}", 418))
        states = {model["id"]: model["execution_state"] for model in await manager.list_kernels()}
        assert states[first] == "unknown"
        assert states[second] != "unknown"
        fake.do(fake.gateway.faults.clear)

    with_app(fake, use)


def test_an_open_gateway_that_was_closed_forgets_no_kernel(fake: Fake) -> None:
    """A gateway that is opened again knows nothing of what its predecessor knew; the manager does."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        fake.gateway.list_kernels = False
        kernel_id = await manager.start_kernel(kernel_name="python3")
        await manager.close_gateway()
        assert [model["id"] for model in await manager.list_kernels()] == [kernel_id]

    with_app(fake, use)


def test_a_kernel_that_was_taken_in_is_culled_as_the_others_are(fake: Fake) -> None:
    """The server's own limits count for it too."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        there = await start_elsewhere(fake)
        await manager.start_kernel(kernel_id=there)
        gateway: Any = await manager.gateway()
        assert there in manager.portal.run_sync(gateway._original._known.ids)

    with_app(fake, use)


def test_ready_says_how_a_restart_ends_too(fake: Fake) -> None:
    """As jupyter_client has it: `ready` is another one from the restart on, for those who wait for the kernel to be back."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        kernel = manager.get_kernel(await manager.start_kernel(kernel_name="python3"))
        started = kernel.ready
        restart = asyncio.create_task(kernel.restart_kernel())
        await asyncio.sleep(0)
        ready = kernel.ready
        assert (started.done(), ready.done(), ready is started) == (True, False, False)
        await restart
        assert ready.result() is None
        fault = fake.do(lambda: fake.gateway.faults.answer(f"POST /api/kernels/{kernel.kernel_id}/restart", 418))
        with pytest.raises(web.HTTPError) as caught:
            await kernel.restart_kernel()
        assert kernel.ready.exception() is caught.value
        fake.do(fault.remove)

    with_app(fake, use)


@pytest.mark.parametrize("fails", [(), (1,), (1, 2)])
def test_restarts_at_once(fake: Fake, fails: tuple[int, ...]) -> None:
    """Each ends as its own request does, and `ready` says how the first of them ended."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        kernel = manager.get_kernel(await manager.start_kernel(kernel_name="python3"))
        fault = fake.do(lambda: fake.gateway.faults.answer(f"POST /api/kernels/{kernel.kernel_id}/restart", 418, nth=fails))
        ends = await asyncio.gather(*(kernel.restart_kernel() for _ in range(2)), return_exceptions=True)
        assert [type(end) for end in ends if end is not None] == [web.HTTPError] * len(fails)
        assert isinstance(kernel.ready.exception(), web.HTTPError) == bool(fails)
        fake.do(fault.remove)

    with_app(fake, use)


def test_a_restart_that_is_answered_without_a_model(fake: Fake) -> None:
    """As with 204: it is done, as the reference has it."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        kernel_id = await manager.start_kernel(kernel_name="python3")
        fake.do(lambda: fake.gateway.faults.answer(f"POST /api/kernels/{kernel_id}/restart", 204))
        await manager.restart_kernel(kernel_id)

    with_app(fake, use)


def test_an_answer_that_makes_no_sense_has_a_status(fake: Fake) -> None:
    """What can't be understood is the gateway's fault: 502, and not a bare 500."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        kernel_id = await manager.start_kernel(kernel_name="python3")
        fault = fake.do(lambda: fake.gateway.faults.answer(f"GET /api/kernels/{kernel_id}", 200, "[1"))
        with pytest.raises(web.HTTPError) as caught:
            await manager.kernel_model(kernel_id)
        assert caught.value.status_code == 502
        fake.do(fault.remove)

    with_app(fake, use)


@pytest.mark.parametrize("takes", [True, False])
def test_the_id_that_is_asked_for(fake: Fake, caplog: pytest.LogCaptureFixture, takes: bool) -> None:
    """It is the kernel's where the gateway takes one; where not, that is said, and the kernel is there all the same."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        fake.gateway.takes_kernel_id = takes
        wish = manager.new_kernel_id()
        kernel_id = await manager.start_kernel(kernel_name="python3", kernel_id=wish)
        assert (kernel_id == wish) == takes
        assert (wish in caplog.text) == (not takes)
        assert [model["id"] for model in await manager.list_kernels()] == [kernel_id]

    caplog.set_level(logging.WARNING)
    with_app(fake, use)


@pytest.mark.parametrize("wish", ["foo", "12345678-1234-5678-1234-567812345678"])
def test_an_id_that_no_gateway_has_and_not_every_one_takes(fake: Fake, caplog: pytest.LogCaptureFixture, wish: str) -> None:
    """A session's kernel gets another one, which is said: jupyter_server's own test of its deprecated call names one `foo`."""

    async def use(app: App) -> None:
        session = await app.session_manager.create_session(path="a.ipynb", type="notebook", kernel_name="python", kernel_id=wish)
        kernel = session["kernel"]
        assert (kernel["name"], kernel["id"] in fake.gateway.kernels, kernel["id"] == wish) == ("python3", True, False)
        assert f"kernel id '{wish}'" in caplog.text
        assert await app.kernel_manager.list_kernels() == [kernel]

    caplog.set_level(logging.WARNING)
    with_app(fake, use)


@pytest.mark.parametrize(("has", "gets"), [("python3", "python3"), ("python", "python")])
def test_the_kernelspec_python(fake: Fake, has: str, gets: str) -> None:
    """As jupyter_client's managers have it, `python` is `python3`; but not on a gateway that has a `python`."""

    async def use(app: App) -> None:
        fake.gateway.kernelspecs = {has: FakeKernelSpec(name=has)}
        fake.gateway.requests.clear()
        await app.kernel_manager.start_kernel(kernel_name="python")
        (start,) = [
            request.json() for request in fake.gateway.requests if (request.method, request.path) == ("POST", "/api/kernels")
        ]
        assert start["name"] == gets
        with pytest.raises(NoSuchKernel):
            await app.kernel_manager.start_kernel(kernel_name="pythonic")

    specs = fake.gateway.kernelspecs
    try:
        with_app(fake, use)
    finally:
        fake.gateway.kernelspecs = specs


def test_one_id_that_several_ask_for_at_once(fake: Fake) -> None:
    """The first starts the kernel, the others take it; and they hold the same object."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        wish = manager.new_kernel_id()
        starts = [manager.start_kernel(kernel_name="python3", kernel_id=wish) for _ in range(3)]
        assert await asyncio.gather(*starts) == [wish] * 3
        assert fake.asked().count("POST /api/kernels") == 1
        kernel = manager.get_kernel(wish)
        await manager.start_kernel(kernel_id=wish)
        assert manager.get_kernel(wish) is kernel

    with_app(fake, use)


def test_g2_a_start_that_ends_while_others_are_shut_down(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shut down too, also one that is heard of when the gateway is closed already. One that can't be is tried once."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        first, stays = [await manager.start_kernel(kernel_name="python3") for _ in range(2)]
        fault = fake.do(lambda: fake.gateway.faults.answer(f"DELETE /api/kernels/{stays}", 418))
        shut_down, close = manager.shutdown_kernel, manager.close_gateway
        late: list[str] = []

        async def shut_down_after_a_start(kernel_id: str, **arguments: Any) -> None:
            if kernel_id == first:
                late.append(await manager.start_kernel(kernel_name="python3"))
            await shut_down(kernel_id, **arguments)

        async def close_before_a_start() -> None:
            await close()
            if len(late) == 1:
                late.append(await manager.start_kernel(kernel_name="python3"))

        monkeypatch.setattr(manager, "shutdown_kernel", shut_down_after_a_start)
        monkeypatch.setattr(manager, "close_gateway", close_before_a_start)
        fake.gateway.requests.clear()
        await manager.shutdown_all()
        asked = [request for request in fake.asked() if request.startswith("DELETE")]
        assert sorted(asked) == sorted(f"DELETE /api/kernels/{each}" for each in (first, stays, *late))
        assert (list(fake.gateway.kernels), manager.list_kernel_ids(), len(late)) == ([stays], [stays], 2)
        assert manager._gateway is None
        fake.do(fault.remove)

    with_app(fake, use)


def test_g2_a_start_that_is_answered_when_the_gateway_is_closed(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is the server's all the same: it is shut down with it."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        await manager.gateway()
        start = asyncio.create_task(manager.start_kernel(kernel_name="python3"))
        take = LoopCaller._take
        closing: list[asyncio.Task[None]] = []

        def take_late(self: LoopCaller, message: Any) -> None:
            if "KernelModel" in repr(getattr(message, "value", None)) and not closing:
                closing.append(asyncio.create_task(manager.close_gateway()))
                closing[0].add_done_callback(lambda _: take(self, message))
            else:
                take(self, message)

        monkeypatch.setattr(LoopCaller, "_take", take_late)
        kernel_id = await start
        assert closing
        assert closing[0].done()
        assert manager.list_kernel_ids() == [kernel_id] == list(fake.gateway.kernels)

    with_app(fake, use)


def test_a_start_asks_the_thread_for_no_more_than_the_kernel(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library has noted what it started; only another's kernel is to be made known, which the event loop waits for."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        await manager.gateway()
        assert manager.portal is not None
        met: list[str] = []
        know = manager._know
        monkeypatch.setattr(manager, "_know", lambda model: (met.append(model.id), know(model)))
        await manager.start_kernel(kernel_name="python3")
        await manager.start_kernel(kernel_name="python3", kernel_id=manager.new_kernel_id())
        assert met == []
        gateway: Any = await manager.gateway()
        assert set(manager.portal.run_sync(gateway._original._known.ids)) == set(manager.list_kernel_ids())
        there = await start_elsewhere(fake)
        await manager.start_kernel(kernel_id=there)
        assert met == [there]

    with_app(fake, use)


@pytest.mark.parametrize("named", [False, True])
def test_g2_a_start_that_is_cancelled_when_its_answer_is_there(fake: Fake, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is nobody's then, whoever chose its id, and is shut down."""

    async def use(app: App) -> None:
        await app.kernel_manager.gateway()
        kernel_id = app.kernel_manager.new_kernel_id() if named else None
        start = asyncio.create_task(app.kernel_manager.start_kernel(kernel_name="python3", kernel_id=kernel_id))
        told = LoopCaller._take

        def take(self: LoopCaller, message: Any) -> None:
            told(self, message)
            if "KernelModel" in repr(getattr(message, "value", None)):
                start.cancel()

        monkeypatch.setattr(LoopCaller, "_take", take)
        with pytest.raises(asyncio.CancelledError):
            await start
        assert "POST /api/kernels" in fake.asked()
        assert fake.gateway.kernels == {}

    with_app(fake, use)


def test_only_the_gateways_word_ends_a_kernel(fake: Fake) -> None:
    """Where it can't tell, the kernel is there; an error on the way to its end leaves it where it was."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        kernel = manager.get_kernel(await manager.start_kernel(kernel_name="python3"))
        fault = fake.do(lambda: fake.gateway.faults.answer(f"(GET|DELETE) /api/kernels/{kernel.kernel_id}", 418))
        assert await kernel.is_alive()
        with pytest.raises(web.HTTPError) as caught:
            await kernel.shutdown_kernel()
        assert (caught.value.status_code, kernel.has_kernel, kernel.kernel_id in manager) == (418, True, True)
        fake.do(fault.remove)

    with_app(fake, use)


def test_kernels_that_are_culled_by_hand(fake: Fake) -> None:
    """`cull_kernels()` of an extension, or of Jupyter Server's own culler, is by the server's limits."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        await manager.cull_kernels()  # the limit is off
        manager.cull_idle_timeout, manager.cull_busy = 1, True
        app.listen()
        young = manager.get_kernel(await manager.start_kernel(kernel_name="python3"))
        old = manager.get_kernel(await manager.start_kernel(kernel_name="python3"))
        fake.do(lambda: setattr(fake.gateway.kernels[old.kernel_id], "last_activity", trio.current_time() - 1000))
        await app.told()
        await manager.cull_kernel_if_idle(young.kernel_id)
        assert len(await manager.list_kernels()) == 2
        await manager.cull_kernels()
        assert [model["id"] for model in await manager.list_kernels()] == [young.kernel_id]
        assert [(event["action"], event["status"], event["kernel_id"]) for event in await app.told()] == [
            ("shutdown", "success", old.kernel_id)
        ]

    with_app(fake, use)
