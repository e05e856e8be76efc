"""A fake gateway in a thread, a server's managers on it, and managers of one's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import pytest
import trio
from jupyter_core.utils import ensure_event_loop
from jupyter_events import EventLogger
from jupyter_server.services.contents.manager import ContentsManager
from traitlets.config import LoggingConfigurable

from trio_gateway.jupyter import (
    BlockingGatewayKernelManager,
    GatewayKernelManager,
)
from trio_gateway.jupyter._server_kernel import KERNEL_ACTIONS
from trio_gateway.jupyter.server import (
    GatewayKernelSpecManager,
    GatewayMappingKernelManager,
    GatewaySessionManager,
)
from trio_gateway.testing import FakeGateway

__all__ = [
    "ID",
    "PATIENCE",
    "App",
    "Contents",
    "Fake",
    "Own",
    "fake",
    "kind",
    "shared_fake",
    "start_elsewhere",
    "with_app",
    "with_own",
]

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
    shared_fake.gateway.list_kernels = shared_fake.gateway.takes_kernel_id = True
    left = dict(shared_fake.gateway.kernels)
    for kernel in left.values():
        shared_fake.do(lambda kernel=kernel: shared_fake.gateway.remove_kernel(kernel))
    assert left == {}


class App(LoggingConfigurable):
    """What a server application is to its managers: their parent, with an event logger."""

    base_url = "/"

    def __init__(self, fake: Fake, database: str = ":memory:", **traits: Any) -> None:
        super().__init__()
        self.event_logger = EventLogger()
        self.events: list[dict[str, Any]] = []
        self.root_dir = "/"
        self.kernel_manager = GatewayMappingKernelManager(parent=self, url=fake.url, auth_token=fake.gateway.token, **traits)
        self.kernel_spec_manager = GatewayKernelSpecManager(parent=self)
        self.kernel_manager.kernel_spec_manager = self.kernel_spec_manager
        self.session_manager = GatewaySessionManager(
            parent=self, kernel_manager=self.kernel_manager, contents_manager=Contents(), database_filepath=database
        )

    def listen(self) -> list[dict[str, Any]]:
        """Listen to what is told of actions on kernels, as `await app.told()` gives it."""
        kernel = self.kernel_manager.kernel_manager_factory(parent=self.kernel_manager)
        assert kernel.event_logger is self.event_logger  # and the schema is known now

        async def listener(logger: EventLogger, schema_id: str, data: dict[str, Any]) -> None:
            del logger
            assert schema_id == KERNEL_ACTIONS
            self.events.append(data)

        self.event_logger.add_listener(schema_id=KERNEL_ACTIONS, listener=listener)
        return self.events

    async def told(self) -> list[dict[str, Any]]:
        """Give what was told since the last time."""
        await self.event_logger.gather_listeners()
        told = self.events[:]
        self.events.clear()
        return told


class Contents(ContentsManager):
    """Where a session's notebook is: nowhere."""

    async def get_kernel_path(self, path: str, model: object = None) -> str:
        del path, model
        return ""


def with_app(fake: Fake, use: Callable[[App], Awaitable[None]], **traits: Any) -> None:
    """Run a test with the managers of a server, whose kernels end with it."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            app = App(fake, **traits)
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


ID = "6f1b4e5a-8c1d-4f7e-9a53-0c2b6a1d9e77"


class Own:
    """A manager of one's own, asynchronous or not, on the fake: each of its methods can be awaited."""

    def __init__(self, fake: Fake, kind: type[Any], **traits: Any) -> None:
        self.manager = kind(url=fake.url, auth_token=fake.gateway.token, kernel_name="python3", **traits)

    def __getattr__(self, name: str) -> Any:
        async def ask(*arguments: Any, **more: Any) -> Any:
            if isinstance(self.manager, BlockingGatewayKernelManager):
                return await asyncio.to_thread(self._in_a_thread, name, arguments, more)
            return await getattr(self.manager, name)(*arguments, **more)

        return ask

    def _in_a_thread(self, name: str, arguments: Any, more: Any) -> Any:
        try:
            return getattr(self.manager, name)(*arguments, **more)
        finally:
            ensure_event_loop().close()  # jupyter_core has made it for this thread


@pytest.fixture(params=[GatewayKernelManager, BlockingGatewayKernelManager])
def kind(request: pytest.FixtureRequest) -> type[Any]:
    """The class of the manager."""
    found: type[Any] = request.param
    return found


def with_own(fake: Fake, kind: type[Any], use: Callable[[Own], Awaitable[None]], **traits: Any) -> None:
    """Run a test with a manager of one's own, whose kernel ends with it."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            own = Own(fake, kind, **traits)
            try:
                await use(own)
            finally:
                await own.shutdown_kernel()  # noqa: ASYNC102 - asyncio, and bounded by the manager

    asyncio.run(main())
