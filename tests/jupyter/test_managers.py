"""The managers of Jupyter Server, and those of one's own, on a fake gateway in this process: what their holders may rely on."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import nbclient
import pytest
import trio
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_core.utils import ensure_event_loop
from jupyter_events import EventLogger
from jupyter_server.services.contents.manager import ContentsManager
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from tornado import web
from traitlets.config import LoggingConfigurable

import trio_gateway
from trio_gateway._portal.asyncio_side import LoopCaller
from trio_gateway.jupyter import (
    BlockingGatewayKernelManager,
    GatewayKernelManager,
    NoSuchKernelError,
    NotOnAGatewayError,
    start_new_async_kernel,
    start_new_kernel,
)
from trio_gateway.jupyter._server_kernel import KERNEL_ACTIONS
from trio_gateway.jupyter.server import (
    GatewayKernel,
    GatewayKernelSpecManager,
    GatewayMappingKernelManager,
    GatewaySessionManager,
)
from trio_gateway.testing import FakeGateway, FakeKernelSpec

from .jupyter_tools import cell

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
        kernel_id = await app.kernel_manager.start_kernel(kernel_name="python")
        assert (await app.kernel_manager.kernel_model(kernel_id))["name"] == gets
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


def test_a_session_that_was_kept_in_a_file(fake: Fake, tmp_path: Path) -> None:
    """Its kernel outlived the server that began it: the next one takes it in, until the gateway says that it is gone."""
    found: list[str] = []

    async def begin(app: App) -> None:
        session = await app.session_manager.create_session(path="a.ipynb", name="a", type="notebook", kernel_name="python3")
        found.append(session["kernel"]["id"])
        app.kernel_manager._kernels.clear()  # so that its end ends no kernel, as a crash does not

    async def go_on(app: App) -> None:
        (session,) = await app.session_manager.list_sessions()
        assert session["kernel"]["id"] == found[0]
        assert found[0] in app.kernel_manager
        app.kernel_manager._kernels.clear()
        fault = fake.do(lambda: fake.gateway.faults.answer(f"GET /api/kernels/{found[0]}", 418))
        with pytest.raises(web.HTTPError):
            await app.session_manager.list_sessions()
        fake.do(fault.remove)
        assert len(await app.session_manager.list_sessions()) == 1
        await app.kernel_manager.shutdown_kernel(found[0])
        assert await app.session_manager.list_sessions() == []

    with_app(fake, begin, database=str(tmp_path / "sessions"))
    with_app(fake, go_on, database=str(tmp_path / "sessions"))


# -------------------------------------------------------------------------------------------- what extensions do with a kernel


def test_a_session_whose_kernel_is_gone(fake: Fake, tmp_path: Path) -> None:
    """It is not listed; by its id it is there, with a dead kernel, and can be renamed, moved to another kernel, or ended."""

    async def use(app: App) -> None:
        sessions = app.session_manager
        made = [
            await sessions.create_session(path=f"{number}.ipynb", name="a", type="notebook", kernel_name="python3")
            for number in range(3)
        ]
        for kernel in list(fake.gateway.kernels.values()):
            fake.do(lambda kernel=kernel: fake.gateway.remove_kernel(kernel))
        renamed, ended, opened_again = (session["id"] for session in made)
        before = await sessions.get_session(session_id=renamed)
        assert before == {**made[0], "kernel": {**before["kernel"], "id": made[0]["kernel"]["id"], "name": "python3"}}
        assert before["kernel"]["execution_state"] == "dead"
        assert await sessions.list_sessions() == []
        with pytest.raises(TypeError):
            await sessions.update_session(renamed, colour="blue")
        await sessions.update_session(renamed, path="b.ipynb")
        assert (await sessions.get_session(session_id=renamed))["notebook"]["path"] == "b.ipynb"
        # In the order in which Jupyter Server's handler of PATCH does it.
        kernel_id = await sessions.start_kernel_for_session(
            renamed, kernel_name="python3", name=before["name"], path=before["path"], type=before["type"]
        )
        await sessions.update_session(renamed, kernel_id=kernel_id)
        after = await sessions.get_session(session_id=renamed)
        assert (after["kernel"]["id"], after["path"]) == (kernel_id, "b.ipynb")
        await app.kernel_manager.shutdown_kernel(before["kernel"]["id"])
        assert await sessions.list_sessions() == [after]

        await sessions.delete_session(ended)
        again = await sessions.create_session(path="2.ipynb", name="a", type="notebook", kernel_name="python3")
        for session_id in (ended, opened_again):
            with pytest.raises(web.HTTPError, match="404"):
                await sessions.get_session(session_id=session_id)
        assert [session["id"] for session in await sessions.list_sessions()] == [renamed, again["id"]]
        with pytest.raises(web.HTTPError, match="404"):
            await app.kernel_manager.shutdown_kernel("never-there")

    with_app(fake, use, database=str(tmp_path / "sessions"))


def test_an_extension_that_executes(fake: Fake) -> None:
    """`get_kernel(id).client()`, as voila and others do: to execute, to interrupt, and over a restart."""

    async def use(app: App) -> None:
        kernel = app.kernel_manager.get_kernel(await app.kernel_manager.start_kernel(kernel_name="python3"))
        assert isinstance(kernel, ServerKernelManager)
        assert await kernel.is_alive()
        client = kernel.client()
        client.start_channels()
        await client.wait_for_ready(timeout=PATIENCE)
        assert client.kernel_id == kernel.kernel_id
        reply = await client.execute_interactive("1 + 1", timeout=PATIENCE, output_hook=lambda message: None)
        assert reply["content"]["status"] == "ok"
        client.execute("import time\nwhile True: time.sleep(0.01)")
        while (await client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "execute_input":
            pass
        await kernel.interrupt_kernel()
        assert (await client.get_shell_msg(timeout=PATIENCE))["content"]["ename"] == "KeyboardInterrupt"
        await kernel.restart_kernel()
        await client.wait_for_ready(timeout=PATIENCE)
        assert await client.is_alive()
        blocking = kernel.blocking_client()

        def run_in_a_thread() -> Any:
            blocking.start_channels()
            blocking.wait_for_ready(timeout=PATIENCE)
            reply = blocking.execute("2", reply=True, timeout=PATIENCE)
            blocking.stop_channels()
            ensure_event_loop().close()  # jupyter_core has made it for this thread
            return reply

        assert (await asyncio.to_thread(run_in_a_thread))["content"]["status"] == "ok"
        client.stop_channels()
        await kernel.shutdown_kernel()
        assert (kernel.has_kernel, await kernel.is_alive(), kernel.kernel) == (False, False, None)
        assert kernel.kernel_id not in app.kernel_manager

    with_app(fake, use)


def test_nbclient_in_a_kernel_of_the_server(fake: Fake) -> None:
    """A notebook run in a kernel that the server has, and which it has on."""

    async def use(app: App) -> None:
        kernel = app.kernel_manager.get_kernel(await app.kernel_manager.start_kernel(kernel_name="python3"))
        client = nbclient.NotebookClient(cell("print(1)"), km=kernel, timeout=PATIENCE)
        notebook = await client.async_execute(cleanup_kc=False)
        assert notebook.cells[0].outputs[0].text == "1\n"
        client.kc.stop_channels()
        assert await kernel.is_alive()

    with_app(fake, use)


def test_what_is_known_of_a_kernel(fake: Fake) -> None:
    """State, activity, connections and kernelspec; and whoever asks to be told of a restart or an end is."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        there = await start_elsewhere(fake)
        await manager.start_kernel(kernel_id=there)
        kernel = manager.get_kernel(there)
        assert kernel.execution_state in {"starting", "idle"}
        assert (kernel.kernel_name, kernel.ready.result()) == ("python3", None)
        assert kernel.kernel_spec is None  # nobody has asked for the kernelspecs yet
        await app.kernel_spec_manager.get_all_specs()
        assert (kernel.kernel_spec.name, kernel.kernel_spec.language) == ("python3", "python")
        calls: list[str] = []
        restarted, died = (lambda: calls.append("restart")), (lambda: calls.append("dead"))
        for callback, event in ((restarted, "restart"), (died, "dead"), (lambda: 1 / 0, "dead")):
            manager.add_restart_callback(there, callback, event)
        there_model = {"id": there, "name": "python3", "last_activity": "2099-01-01T00:00:00.000000Z", "connections": 3}
        await kernel.refresh_model({**there_model, "execution_state": "restarting"})
        await kernel.refresh_model({**there_model, "execution_state": "restarting", "reason": "it died"})
        assert (kernel.execution_state, kernel.last_activity.year, kernel.reason) == ("restarting", 2099, "it died")
        assert manager._kernel_connections[there] == 3
        assert manager.last_kernel_activity.year == 2099
        await manager.list_kernels()
        assert kernel.execution_state in {"starting", "idle"}
        kernel.remove_restart_callback(restarted)
        kernel.remove_restart_callback(restarted)
        await kernel.refresh_model({**there_model, "execution_state": "restarting"})
        fake.do(lambda: fake.gateway.remove_kernel(fake.gateway.kernels[there]))
        assert not await kernel.is_alive()
        assert (calls, kernel.execution_state, there in manager) == (["restart", "dead"], "dead", False)
        assert await kernel.refresh_model() is None

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
        fake.do(lambda: setattr(fake.gateway.kernels[young.kernel_id], "last_activity", 1e10))  # the fake has a clock of its own
        await app.told()
        await manager.cull_kernel_if_idle(young.kernel_id)
        assert len(await manager.list_kernels()) == 2
        await manager.cull_kernels()
        assert [model["id"] for model in await manager.list_kernels()] == [young.kernel_id]
        assert [(event["action"], event["status"], event["kernel_id"]) for event in await app.told()] == [
            ("shutdown", "success", old.kernel_id)
        ]

    with_app(fake, use)


def test_what_no_kernel_on_a_gateway_has(fake: Fake) -> None:
    """Asked for by the kernel's id, at the mapping manager: a typed error that says why."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        kernel_id = await manager.start_kernel(kernel_name="python3")
        for ask in (manager.get_connection_info, manager.connect_iopub, manager.connect_shell, manager.connect_hb):
            with pytest.raises(NotOnAGatewayError, match=r"client\(\)"):
                ask(kernel_id)
        with pytest.raises(NotOnAGatewayError, match="SIGINT"):
            await manager.signal_kernel(kernel_id, 15)
        with pytest.raises(NotOnAGatewayError, match="get_all_specs"):
            app.kernel_spec_manager.find_kernel_specs()
        manager.transport_encryption = "required"
        with pytest.raises(web.HTTPError, match="CurveZMQ"):
            await manager.start_kernel(kernel_name="python3")

    with_app(fake, use)


def test_an_unknown_kernelspec_is_an_error_that_a_server_understands(fake: Fake) -> None:
    """`NoSuchKernel`, which the sessions' handler answers, and an HTTPError, which the kernels' handler does."""

    async def use(app: App) -> None:
        create = app.session_manager.create_session
        for start in (app.kernel_manager.start_kernel, lambda **name: create(path="a", name="a", type="notebook", **name)):
            with pytest.raises(NoSuchKernel) as caught:
                await start(kernel_name="cobol")
            assert isinstance(caught.value, web.HTTPError)
            assert (caught.value.status_code, caught.value.name) == (404, "cobol")
        with pytest.raises(NoSuchKernel):
            await app.kernel_spec_manager.get_kernel_spec("cobol")
        assert (await app.kernel_spec_manager.list_kernel_specs())["default"] == "python3"

    with_app(fake, use)


def test_a_kernel_without_a_mapping_manager_says_so() -> None:
    """It has no gateway of its own."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match="GatewayKernelManager"):
            await GatewayKernel().start_kernel(kernel_name="python3")

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------------------- kernel_actions


def test_actions_on_kernels_are_told(fake: Fake) -> None:
    """As Jupyter Server's own managers do: start, interrupt, restart and shutdown, with success or the error's status."""

    async def use(app: App) -> None:
        manager = app.kernel_manager
        app.listen()
        kernel_id = await manager.start_kernel(kernel_name="python3")
        await manager.interrupt_kernel(kernel_id)
        await manager.restart_kernel(kernel_id)
        await manager.shutdown_kernel(kernel_id, restart=True)
        await manager.shutdown_kernel(kernel_id)
        told = await app.told()
        for event in told:
            assert KERNEL_ACTIONS not in event
            assert (event["status"], event["kernel_id"], event["kernel_name"]) == ("success", kernel_id, "python3")
        assert [event["action"] for event in told] == ["start", "interrupt", "restart", "restart", "shutdown"]
        said = [event["msg"].split()[-1] for event in told]
        assert said == ["started.", "interrupted.", "restarted.", "restarted.", "shutdown."]

        kernel_id = await manager.start_kernel(kernel_name="python3")
        await app.told()
        fault = fake.do(lambda: fake.gateway.faults.answer(f"(POST|DELETE) /api/kernels/{kernel_id}.*", 418))
        for act in (manager.interrupt_kernel, manager.restart_kernel, manager.shutdown_kernel):
            with pytest.raises(web.HTTPError):
                await act(kernel_id)
        for event in (told := await app.told()):
            assert (event["status"], event["status_code"], event["kernel_id"]) == ("error", 418, kernel_id)
            assert "418" in event["msg"]
        assert [event["action"] for event in told] == ["interrupt", "restart", "shutdown"]
        fake.do(fault.remove)
        with pytest.raises(web.HTTPError):
            await manager.start_kernel(kernel_name="cobol")
        (event,) = await app.told()
        assert (event["action"], event["status"], event["status_code"], event["kernel_name"]) == ("start", "error", 404, "cobol")
        assert "kernel_id" not in event

    with_app(fake, use)


def test_a_listener_that_fails_costs_no_kernel(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started is there, whoever could not be told of it."""

    async def use(app: App) -> None:
        monkeypatch.setattr(app.event_logger, "emit", lambda **event: 1 / 0)
        assert await app.kernel_manager.start_kernel(kernel_name="python3") in app.kernel_manager

    with_app(fake, use)


# ------------------------------------------------------------------------------------------------------- a manager of one's own

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


@pytest.mark.parametrize("by", ["trait", "argument"])
def test_the_id_that_a_manager_is_given(fake: Fake, kind: type[Any], by: str) -> None:
    """It is the kernel's, each time."""

    async def use(own: Own) -> None:
        for _ in range(2):
            await own.start_kernel(**({"kernel_id": ID} if by == "argument" else {}))
            assert (own.manager.kernel_id, list(fake.gateway.kernels)) == (ID, [ID])
            await own.shutdown_kernel()
            assert fake.gateway.kernels == {}

    with_own(fake, kind, use, **({"kernel_id": ID} if by == "trait" else {}))


def test_a_manager_without_an_id_takes_a_new_one_each_time(fake: Fake, kind: type[Any]) -> None:
    """A kernel's id is not the next one's; a manager has one kernel at a time."""

    async def use(own: Own) -> None:
        await own.start_kernel()
        first = own.manager.kernel_id
        with pytest.raises(RuntimeError, match="already"):
            await own.start_kernel()
        assert list(fake.gateway.kernels) == [first]
        await own.shutdown_kernel()
        await own.start_kernel()
        assert list(fake.gateway.kernels) == [own.manager.kernel_id] != [first]

    with_own(fake, kind, use)


def test_a_gateway_that_chooses_ids_itself(fake: Fake, kind: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    """The log says so, and the kernel is there under the gateway's."""

    async def use(own: Own) -> None:
        fake.gateway.takes_kernel_id = False
        await own.start_kernel()
        assert list(fake.gateway.kernels) == [own.manager.kernel_id] != [ID]
        assert f"{own.manager.kernel_id}, and not {ID}" in caplog.text
        await own.shutdown_kernel()
        assert fake.gateway.kernels == {}

    caplog.set_level(logging.WARNING)
    with_own(fake, kind, use, kernel_id=ID)


@pytest.mark.parametrize("owns", [True, False])
def test_a_kernel_that_runs_is_taken(fake: Fake, kind: type[Any], owns: bool) -> None:
    """It is shut down when that is asked for, by a manager that owns it; and by nothing else."""

    async def use(own: Own) -> None:
        there = await start_elsewhere(fake)
        await own.start_kernel(kernel_id=there)
        assert own.manager.kernel_id == there
        assert await own.is_alive()
        await own.restart_kernel()
        await own.cleanup_resources()
        assert list(fake.gateway.kernels) == [there]
        await own.start_kernel(kernel_id=there)
        await own.shutdown_kernel()
        assert (there in fake.gateway.kernels) != owns
        if not owns:
            fake.do(lambda: fake.gateway.remove_kernel(fake.gateway.kernels[there]))
            with pytest.raises(trio_gateway.KernelNotFoundError):
                await own.start_kernel(kernel_id=there)
            with pytest.raises(RuntimeError, match="owns no kernel"):
                await Own(fake, kind, owns_kernel=False).start_kernel()
            assert fake.gateway.kernels == {}

    with_own(fake, kind, use, owns_kernel=owns)


def test_an_id_that_no_gateway_takes(fake: Fake, kind: type[Any]) -> None:
    """Nothing is started."""

    async def use(own: Own) -> None:
        with pytest.raises(trio_gateway.InvalidInputError, match="UUID"):
            await own.start_kernel(kernel_id="mine")
        assert "POST /api/kernels" not in fake.asked()

    with_own(fake, kind, use)


def test_an_unknown_kernelspec_is_both_errors(fake: Fake, kind: type[Any]) -> None:
    """jupyter_client's, and the library's with all it says."""

    async def use(own: Own) -> None:
        own.manager.kernel_name = "cobol"
        with pytest.raises(NoSuchKernel) as caught:
            await own.start_kernel()
        error: Any = caught.value
        assert isinstance(error, trio_gateway.KernelSpecNotFoundError)
        for one in (error, pickle.loads(pickle.dumps(error)), NoSuchKernelError("cobol", available=["python3"])):
            assert (one.name, one.available, one.status_code) == ("cobol", ("python3",), 404)
            assert "python3" in str(one)
        assert own.manager.ready.exception() is error

    with_own(fake, kind, use)


def test_a_client_that_is_made_before_its_kernel(fake: Fake) -> None:
    """As programs that use jupyter_client may: its channels are started when there is a kernel; a second kernel is another."""

    async def main() -> None:
        own = Own(fake, GatewayKernelManager)
        manager = own.manager
        client = manager.client()
        assert not await client.is_alive()
        with pytest.raises(RuntimeError, match="No kernel is running"):
            client.start_channels()
        for _ in range(2):
            await manager.start_kernel()
            client.start_channels()
            await client.wait_for_ready(timeout=PATIENCE)
            assert client.kernel_id == manager.kernel_id
            client.stop_channels()
            await manager.shutdown_kernel()

    asyncio.run(main())


def test_a_new_kernel_by_one_call(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """`start_new_kernel` and its asynchronous brother take an id too; one that does not answer leaves no kernel."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", fake.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", fake.gateway.token)

    async def main() -> None:
        manager, client = await start_new_async_kernel(kernel_id=ID)
        assert manager.kernel_id == ID
        assert (await client.execute("1", reply=True, timeout=PATIENCE))["content"]["status"] == "ok"
        client.stop_channels()
        await manager.shutdown_kernel()
        with pytest.raises(RuntimeError, match="respond"):
            await start_new_async_kernel(startup_timeout=0)

    asyncio.run(main())
    manager, client = start_new_kernel(kernel_id=ID)
    client.stop_channels()
    manager.shutdown_kernel()
