"""Jupyter Server's managers on a fake gateway, in this process: what they promise to whoever holds them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import pytest
import trio
from jupyter_events import EventLogger
from tornado import web
from traitlets.config import LoggingConfigurable

from trio_gateway.jupyter.server import GatewayKernelSpecManager, GatewayMappingKernelManager, GatewaySessionManager
from trio_gateway.testing import FakeGateway

PATIENCE = 250
"""For what comes at once, or never."""


@attrs.define
class Fake:
    """A fake gateway in a thread, on loopback, and the means to do things to it."""

    url: str = ""
    gateway: FakeGateway = attrs.field(factory=FakeGateway)
    trio_token: Any = None

    def do(self, function: Callable[[], Any]) -> Any:
        """Call a function in the fake's thread."""
        return trio.from_thread.run_sync(function, trio_token=self.trio_token)

    def asked(self) -> list[str]:
        """What it was asked, as "GET /api/kernels"."""
        return [str(request) for request in self.gateway.requests]


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[Fake]:
    """The module's fake."""
    fake = Fake()
    started = threading.Event()
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        with trio.CancelScope() as scope:
            fake.trio_token = token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(scope.cancel))
            async with fake.gateway, fake.gateway.listen() as fake.url:
                started.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=lambda: trio.run(serve))
    thread.start()
    started.wait()
    yield fake
    stop[0]()
    thread.join()


@pytest.fixture
def fake(shared_fake: Fake) -> Iterator[Fake]:
    """The module's fake, without kernels and faults before and after."""
    shared_fake.gateway.requests.clear()
    yield shared_fake
    shared_fake.do(shared_fake.gateway.faults.clear)
    shared_fake.gateway.list_kernels = True
    assert shared_fake.gateway.kernels == {}


class App(LoggingConfigurable):
    """What a server application is to its managers: their parent, with an event logger."""

    base_url = "/"

    def __init__(self, fake: Fake, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.event_logger = EventLogger()
        self.root_dir = "/"
        self.kernel_manager = GatewayMappingKernelManager(parent=self, url=fake.url, auth_token=fake.gateway.token)
        self.kernel_spec_manager = GatewayKernelSpecManager(parent=self)
        self.kernel_manager.kernel_spec_manager = self.kernel_spec_manager
        self.session_manager = GatewaySessionManager(parent=self, kernel_manager=self.kernel_manager)


def with_app(fake: Fake, use: Callable[[App], Awaitable[None]]) -> None:
    """Run a test with the managers of a server, whose kernels end with it."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            app = App(fake)
            try:
                await use(app)
            finally:
                await app.kernel_manager.shutdown_all()  # noqa: ASYNC102 - bounded in Trio
                app.session_manager.close()

    asyncio.run(main())


async def start_elsewhere(fake: Fake) -> str:
    """Start a kernel that is none of the server's."""
    model = await asyncio.to_thread(
        lambda: trio.from_thread.run(fake.gateway.start_kernel, "python3", trio_token=fake.trio_token)
    )
    return str(model.id)


# ------------------------------------------------------------------------------------------------------ kernels taken in


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
        assert there in manager.realm.run_sync(gateway._original._roster.ids)

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
