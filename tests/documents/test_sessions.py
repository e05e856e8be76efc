"""`gateway.sessions` over a directory of kernels that is a fake: kernels vanish, answers fail, callers are cancelled."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trio_gateway._documents.sessions import KernelDirectory, Sessions
from trio_gateway._documents.store import PathTakenError, SessionRow, SessionStore, open_session_store
from trio_gateway._errors import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    ProtocolError,
    SessionNotFoundError,
    SessionStoreError,
)
from trio_gateway._events import GatewayEvent
from trio_gateway._kernel_resources import KernelResources
from trio_gateway._models import KernelModel, SessionModel

RESOURCES = KernelResources(cpu=1)
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def nothing() -> None:
    pass


class Kernels:
    """A gateway's kernels, without a gateway. Each request takes a checkpoint before it has its effect, and `delay` seconds."""

    def __init__(self) -> None:
        self.running: dict[str, KernelModel] = {}
        self.asked: list[str] = []
        """Each request, as a word and its argument."""
        self.failures: dict[str, Exception] = {}
        """What the next requests of a word, or of a word and an argument, raise."""
        self.hooks: dict[str, Callable[[], Awaitable[object]]] = {}
        """What happens, once, in the middle of a request of that word, before its effect."""
        self.omitted: set[str] = set()
        """Kernels that the list lacks."""
        self.delay = 0.0
        self.environments: list[Mapping[str, str] | None] = []
        self.resources: list[KernelResources | None] = []
        self.at_once = self.most_at_once = 0
        self.step: Callable[[], None] = nothing

    async def _request(self, word: str, argument: str = "") -> None:
        self.asked.append(f"{word} {argument}".strip())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.step()
            await trio.sleep(self.delay)
            if word in self.hooks:
                await self.hooks.pop(word)()
        finally:
            self.at_once -= 1
        failure = self.failures.get(word) or self.failures.get(f"{word} {argument}")
        if failure is not None:
            raise failure

    def add(self, name: str = "python3") -> KernelModel:
        kernel = KernelModel(id=str(uuid.uuid4()), name=name, execution_state="idle", connections=0)
        self.running[kernel.id] = kernel
        return kernel

    async def start(
        self, name: str | None, *, env: Mapping[str, str] | None, path: str | None, resources: KernelResources | None
    ) -> KernelModel:
        await self._request("start", f"{name} {path}")
        self.environments.append(env)
        self.resources.append(resources)
        return self.add(name or "python3")

    async def get(self, kernel_id: str) -> KernelModel:
        await self._request("get", kernel_id)
        try:
            return self.running[kernel_id]
        except KeyError:
            raise KernelNotFoundError(kernel_id) from None

    def words(self) -> list[str]:
        return [asked.split()[0] for asked in self.asked]

    async def list(self) -> Sequence[KernelModel]:
        await self._request("list")
        return [kernel for kernel in self.running.values() if kernel.id not in self.omitted]

    async def shutdown(self, kernel_id: str) -> None:
        await self._request("shutdown", kernel_id)
        gone = self.running.pop(kernel_id, None) is None
        self.step()
        await trio.lowlevel.checkpoint()
        if gone:
            raise KernelNotFoundError(kernel_id)


@attrs.frozen
class Scene:
    sessions: Sessions
    store: SessionStore
    kernels: Kernels
    events: list[GatewayEvent]

    def told(self) -> list[tuple[str, str]]:
        return [(event.action, event.status) for event in self.events]

    async def paths(self) -> dict[str, str]:
        """Path to kernel, of all rows."""
        return {row.path: row.kernel_id for row in await self.store.find()}


@asynccontextmanager
async def open_scene(database: Path | None = None, kernels: Kernels | None = None, **arguments: Any) -> AsyncGenerator[Scene]:
    events: list[GatewayEvent] = []
    kernels = Kernels() if kernels is None else kernels
    arguments = {"gateway_url": "http://gateway/base", "emit": events.append, "now": lambda: NOON} | arguments
    async with open_session_store(database) as store:
        scene = Scene(Sessions(store, kernels, **arguments), store, kernels, events)
        yield scene
        assert not scene.sessions._creating._turns


@pytest.fixture
async def scene() -> AsyncGenerator[Scene]:
    async with open_scene() as opened:
        yield opened


def the_fake_is_a_directory(kernels: Kernels) -> KernelDirectory:
    return kernels


UNKNOWN: dict[str, Exception] = {
    "503": GatewayHTTPError(503, "Service Unavailable"),
    "404 of a proxy": GatewayHTTPError(404, "Not Found"),
    "timeout": GatewayTimeoutError("request", 42.0, "request_timeout"),
    "name that does not resolve": GatewayConnectionError("no such host"),
    "401": AuthenticationError(401, "Unauthorized"),
    "403": AuthenticationError(403, "Forbidden"),
    "HTML": ProtocolError("not JSON"),
}


# --- create


async def test_create_starts_a_kernel_and_keeps_a_session(scene: Scene) -> None:
    with assert_checkpoints():
        session = await scene.sessions.create(
            "folder/sub/a.ipynb", kernel_name="ir", name="a.ipynb", type="console", env={"KERNEL_X": "1"}, resources=RESOURCES
        )
    (kernel,) = scene.kernels.running.values()
    assert session == SessionModel(id=session.id, path="folder/sub/a.ipynb", name="a.ipynb", type="console", kernel=kernel)
    assert uuid.UUID(session.id).version == 4
    assert scene.kernels.asked == ["start ir folder/sub"]
    assert scene.kernels.environments == [{"KERNEL_X": "1"}]
    assert scene.kernels.resources == [RESOURCES]
    (row,) = await scene.store.find()
    assert (row.id, row.kernel_id, row.created, row.updated) == (session.id, kernel.id, NOON, NOON)


async def test_create_at_the_root_with_all_defaults(scene: Scene) -> None:
    session = await scene.sessions.create("a.ipynb")
    assert (session.name, session.type, session.kernel.name) == ("", "notebook", "python3")
    assert scene.kernels.asked == ["start None None"]


async def test_create_for_a_path_that_has_a_session_returns_that_one(scene: Scene) -> None:
    first = await scene.sessions.create("a", kernel_name="python3", name="n")
    assert await scene.sessions.create("a", kernel_name="ir", name="other", type="file") == first
    assert await scene.sessions.create("a", kernel_id="another") == first
    assert scene.kernels.words() == ["start", "get", "get"]
    assert (await scene.sessions.create("A")).id != first.id, "paths are compared as they are written"


async def test_create_with_a_kernel_of_someone_uses_it_and_starts_none(scene: Scene) -> None:
    kernel = scene.kernels.add()
    session = await scene.sessions.create("a", kernel_id=kernel.id, kernel_name="ignored")
    assert session.kernel == kernel
    assert scene.kernels.words() == ["get"]
    assert (await scene.sessions.create("b", kernel_id=kernel.id)).kernel == kernel, "two sessions may share a kernel"


async def test_create_with_a_kernel_that_is_not_there_makes_nothing(scene: Scene) -> None:
    with pytest.raises(KernelNotFoundError):
        await scene.sessions.create("a", kernel_id="nobody")
    assert await scene.paths() == {}
    assert scene.kernels.words() == ["get"]
    assert scene.told() == [("create", "error")]


async def test_create_replaces_a_session_whose_kernel_is_gone(scene: Scene) -> None:
    old = await scene.sessions.create("a")
    scene.kernels.running.clear()
    new = await scene.sessions.create("a")
    assert new.id != old.id
    assert await scene.paths() == {"a": new.kernel.id}
    assert scene.told() == [("create", "success"), ("drop", "success"), ("create", "success")]


async def test_a_start_that_fails_raises_as_it_is_and_makes_nothing(scene: Scene) -> None:
    scene.kernels.failures["start"] = failure = KernelSpecNotFoundError("ir", available=["python3"])
    with pytest.raises(KernelSpecNotFoundError) as caught:
        await scene.sessions.create("a", kernel_name="ir")
    assert caught.value is failure
    assert await scene.paths() == {}
    (event,) = scene.events
    assert (event.kind, event.action, event.status, event.status_code, event.kernel_name) == (
        "session",
        "create",
        "error",
        404,
        "ir",
    )


@pytest.mark.parametrize("error", [SessionStoreError("f", "full"), ZeroDivisionError()])
async def test_a_session_that_cannot_be_kept_leaves_no_kernel(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(row: SessionRow) -> SessionRow:
        raise error

    monkeypatch.setattr(scene.store, "insert", fail)
    with pytest.raises(type(error)) as caught:
        await scene.sessions.create("a")
    assert caught.value is error
    assert scene.kernels.running == {}
    assert scene.kernels.words() == ["start", "shutdown"]


async def test_a_session_that_cannot_be_kept_leaves_a_kernel_of_someone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(row: SessionRow) -> SessionRow:
        raise SessionStoreError("f", "full")

    kernel = scene.kernels.add()
    monkeypatch.setattr(scene.store, "insert", fail)
    with pytest.raises(SessionStoreError):
        await scene.sessions.create("a", kernel_id=kernel.id)
    assert list(scene.kernels.running) == [kernel.id]


@pytest.mark.parametrize("what", UNKNOWN)
async def test_create_does_not_start_a_second_kernel_while_the_first_is_unknown(scene: Scene, what: str) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.failures["get"] = UNKNOWN[what]
    with pytest.raises(type(UNKNOWN[what])) as caught:
        await scene.sessions.create("a")
    assert caught.value is UNKNOWN[what]
    assert scene.kernels.words() == ["start", "get"]
    scene.kernels.failures.clear()
    assert await scene.sessions.create("a") == session


# --- get and list


async def test_get_finds_by_id_path_and_kernel(scene: Scene) -> None:
    a = await scene.sessions.create("a")
    b = await scene.sessions.create("b", kernel_id=a.kernel.id)
    with assert_checkpoints():
        assert await scene.sessions.get(a.id) == a
    assert await scene.sessions.get(path="b") == b
    assert await scene.sessions.get(kernel_id=a.kernel.id) == a, "the oldest"
    assert await scene.sessions.get(kernel_id=a.kernel.id, path="b") == b
    with pytest.raises(SessionNotFoundError):
        await scene.sessions.get(a.id, path="b")


async def test_get_tells_what_the_kernel_is_like_now(scene: Scene) -> None:
    a = await scene.sessions.create("a")
    scene.kernels.running[a.kernel.id] = busy = attrs.evolve(a.kernel, execution_state="dead")
    assert (await scene.sessions.get(a.id)).kernel == busy, "a dead kernel is still there: it can be restarted"


async def test_get_of_nobody_is_a_key_error_that_says_what_was_asked_for(scene: Scene) -> None:
    with pytest.raises(KeyError) as caught:
        await scene.sessions.get(path="a'b", kernel_id="k")
    assert isinstance(caught.value, SessionNotFoundError)
    assert not isinstance(caught.value, GatewayHTTPError)
    assert str(caught.value) == """there is no session with path="a'b", kernel_id='k'"""
    assert scene.events == []


async def test_a_session_whose_kernel_is_gone_is_dropped_when_looked_at(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    with pytest.raises(SessionNotFoundError, match=f"kernel {session.kernel.id} is gone"):
        await scene.sessions.get(session.id)
    assert await scene.paths() == {}
    assert scene.told()[1:] == [("drop", "success")]
    assert scene.events[-1].kernel_id == session.kernel.id
    with pytest.raises(SessionNotFoundError) as caught:
        await scene.sessions.get(session.id)
    assert caught.value.reason == ""


@pytest.mark.parametrize("what", UNKNOWN)
async def test_a_session_whose_kernel_is_unknown_is_kept(scene: Scene, what: str) -> None:
    """The reference forgets a kernel after any failure of a look-up; a name that did not resolve became a 404."""
    a = await scene.sessions.create("a")
    b = await scene.sessions.create("b")
    scene.kernels.omitted = {a.kernel.id}
    scene.kernels.failures["get"] = UNKNOWN[what]
    with pytest.raises(type(UNKNOWN[what])):
        await scene.sessions.get(a.id)
    unknown = KernelModel(id=a.kernel.id, name="", execution_state="unknown")
    assert await scene.sessions.list() == [attrs.evolve(a, kernel=unknown), b]
    scene.kernels.failures.clear()
    assert await scene.sessions.list() == [a, b]
    assert ("drop", "success") not in scene.told()


async def test_list_asks_nothing_when_there_is_nothing_to_ask(scene: Scene) -> None:
    scene.kernels.failures["list"] = GatewayConnectionError("refused")
    with assert_checkpoints():
        assert await scene.sessions.list() == []
    assert scene.kernels.asked == []


async def test_list_looks_up_only_what_the_gateways_list_lacks_and_drops_what_is_gone(scene: Scene) -> None:
    a, b, c = [await scene.sessions.create(path) for path in "abc"]
    scene.kernels.omitted = {a.kernel.id}
    del scene.kernels.running[c.kernel.id]
    scene.kernels.asked.clear()
    assert await scene.sessions.list() == [a, b]
    assert scene.kernels.asked[0] == "list"
    assert sorted(scene.kernels.asked[1:]) == sorted([f"get {a.kernel.id}", f"get {c.kernel.id}"])
    assert set(await scene.paths()) == {"a", "b"}
    assert scene.told()[3:] == [("drop", "success")]


async def test_list_works_where_the_gateway_forbids_listing(scene: Scene, autojump_clock: MockClock) -> None:
    made = [await scene.sessions.create(f"{number}") for number in range(40)]
    scene.kernels.failures["list"] = AuthenticationError(403, "Forbidden")
    scene.kernels.most_at_once = 0
    scene.kernels.delay = 1.0
    assert await scene.sessions.list() == made
    assert scene.kernels.most_at_once == 10, "a few at once, not all and not one by one"
    assert trio.current_time() == 5.0, "one request for the list, then four rounds"


@pytest.mark.parametrize("what", [what for what in UNKNOWN if what != "403"])
async def test_list_raises_when_the_gateway_cannot_be_asked(scene: Scene, what: str) -> None:
    await scene.sessions.create("a")
    scene.kernels.failures["list"] = UNKNOWN[what]
    with pytest.raises(type(UNKNOWN[what])) as caught:
        await scene.sessions.list()
    assert caught.value is UNKNOWN[what]
    assert len(await scene.paths()) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError(), SessionStoreError("f", "damaged")])
async def test_what_list_raises_comes_out_as_it_is(scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    for path in "abc":
        await scene.sessions.create(path)
    if isinstance(error, SessionStoreError):

        async def fail(*arguments: Any, **keywords: Any) -> None:
            raise error

        scene.kernels.running.clear()
        monkeypatch.setattr(scene.store, "delete", fail)
    else:
        scene.kernels.omitted = set(scene.kernels.running)
        scene.kernels.failures["get"] = error
    with pytest.raises(type(error)) as caught:  # not a group
        await scene.sessions.list()
    assert caught.value is error


@pytest.mark.parametrize("look", ["get", "list", "create"])
async def test_a_session_that_gets_a_new_kernel_while_the_old_one_is_looked_up_stays(scene: Scene, look: str) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    fresh = scene.kernels.add()
    scene.kernels.hooks["get"] = lambda: scene.store.update(session.id, updated=NOON, kernel_id=fresh.id)
    expected = attrs.evolve(session, kernel=fresh)
    if look == "get":
        assert await scene.sessions.get(session.id) == expected
    elif look == "list":
        assert await scene.sessions.list() == [expected]
    else:
        assert await scene.sessions.create("a") == expected
    assert scene.told() == [("create", "success")]


async def test_a_session_that_is_deleted_while_its_kernel_is_looked_up_is_not_dropped_twice(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    scene.kernels.hooks["get"] = lambda: scene.store.delete(session.id)
    with pytest.raises(SessionNotFoundError):
        await scene.sessions.get(session.id)
    assert scene.told() == [("create", "success")]


async def test_create_does_not_return_a_session_that_was_renamed_meanwhile(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    fresh = scene.kernels.add()
    scene.kernels.hooks["get"] = lambda: scene.store.update(session.id, updated=NOON, kernel_id=fresh.id, path="renamed")
    created = await scene.sessions.create("a")
    assert created.path == "a"
    assert await scene.paths() == {"renamed": fresh.id, "a": created.kernel.id}


# --- update


async def test_update_changes_what_is_given(scene: Scene) -> None:
    session = await scene.sessions.create("a", name="n", type="notebook")
    with assert_checkpoints():
        assert await scene.sessions.update(session.id, path="b") == attrs.evolve(session, path="b")
    expected = attrs.evolve(session, path="c", name="", type="file")
    assert await scene.sessions.update(session.id, path="c", name="", type="file") == expected
    assert await scene.sessions.get(session.id) == expected
    assert scene.kernels.running == {session.kernel.id: session.kernel}
    assert scene.told() == [("create", "success"), ("update", "success"), ("update", "success")]


async def test_update_of_nothing_changes_nothing(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    assert await scene.sessions.update(session.id) == session
    assert scene.told() == [("create", "success")]


async def test_update_of_nobody(scene: Scene) -> None:
    with pytest.raises(SessionNotFoundError, match="session_id='nobody'"):
        await scene.sessions.update("nobody", kernel_name="python3")
    assert scene.kernels.asked == []
    assert scene.events == []


async def test_update_of_a_session_whose_kernel_is_gone(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    with pytest.raises(SessionNotFoundError, match="is gone"):
        await scene.sessions.update(session.id, name="n")
    assert await scene.paths() == {}


async def test_update_with_a_new_kernel_starts_it_and_ends_the_old_one(scene: Scene) -> None:
    session = await scene.sessions.create("folder/a")
    updated = await scene.sessions.update(session.id, kernel_name="ir", env={"KERNEL_X": "1"}, resources=RESOURCES)
    assert updated == attrs.evolve(session, kernel=updated.kernel)
    assert updated.kernel.name == "ir"
    assert list(scene.kernels.running) == [updated.kernel.id]
    assert scene.kernels.asked[1:] == ["start ir folder", f"shutdown {session.kernel.id}"]
    assert scene.kernels.environments[-1] == {"KERNEL_X": "1"}
    assert scene.kernels.resources[-1] == RESOURCES
    assert scene.events[-1].kernel_name == "ir"
    await scene.sessions.update(session.id, kernel_name="ir", path="other/a")
    assert "start ir other" in scene.kernels.asked, "it starts where the document is from now on"


async def test_update_gives_a_session_whose_kernel_is_gone_a_new_one(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    updated = await scene.sessions.update(session.id, kernel_name="python3", path="b")
    assert await scene.paths() == {"b": updated.kernel.id}


@pytest.mark.parametrize("how", ["start", "take"])
async def test_a_session_that_was_dropped_can_be_given_another_kernel(scene: Scene, how: str) -> None:
    """A front end that has the document open asks for the session that it knows."""
    session = await scene.sessions.create("folder/a", name="n", type="console")
    scene.kernels.running.clear()
    assert await scene.sessions.list() == []
    with pytest.raises(SessionNotFoundError):
        await scene.sessions.get(session.id)
    with pytest.raises(SessionNotFoundError):
        await scene.sessions.update(session.id, name="m")
    wanted: Any = {"kernel_name": "ir"} if how == "start" else {"kernel_id": scene.kernels.add("ir").id}
    updated = await scene.sessions.update(session.id, name="m", **wanted)
    assert updated == attrs.evolve(session, name="m", kernel=updated.kernel)
    assert (updated.kernel.name, list(scene.kernels.running)) == ("ir", [updated.kernel.id])
    assert await scene.sessions.list() == [updated]
    assert scene.events[-1].action == "update"
    await scene.sessions.delete(session.id)
    with pytest.raises(SessionNotFoundError):
        await scene.sessions.update(session.id, kernel_name="ir")
    assert scene.kernels.running == {}


async def test_a_session_that_is_dropped_while_its_new_kernel_starts_gets_it(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    scene.kernels.hooks["start"] = scene.sessions.list
    updated = await scene.sessions.update(session.id, kernel_name="ir")
    assert await scene.paths() == {"a": updated.kernel.id}
    assert list(scene.kernels.running) == [updated.kernel.id]


async def test_a_session_that_was_dropped_is_forgotten_with_the_next_of_its_path(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    other = await scene.sessions.create("a")
    with pytest.raises(SessionNotFoundError):
        await scene.sessions.update(session.id, kernel_name="ir")
    assert await scene.paths() == {"a": other.kernel.id}
    assert list(scene.kernels.running) == [other.kernel.id]


async def test_a_session_that_was_dropped_and_its_path_taken_by_another_program(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    assert await scene.sessions.list() == []
    taker = scene.kernels.add()
    await scene.store.insert(SessionRow(id="other", path="a", name="", type="t", kernel_id=taker.id, created=NOON, updated=NOON))
    with pytest.raises(PathTakenError):
        await scene.sessions.update(session.id, kernel_name="ir")
    assert list(scene.kernels.running) == [taker.id]


async def test_update_with_a_kernel_of_someone_uses_it(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    kernel = scene.kernels.add()
    updated = await scene.sessions.update(session.id, kernel_id=kernel.id, kernel_name="ignored", name="n")
    assert updated == attrs.evolve(session, kernel=kernel, name="n")
    assert list(scene.kernels.running) == [kernel.id]
    assert await scene.sessions.update(session.id, kernel_id=kernel.id) == updated, "its own kernel is not shut down"
    assert list(scene.kernels.running) == [kernel.id]
    with pytest.raises(KernelNotFoundError):
        await scene.sessions.update(session.id, kernel_id="nobody")
    assert await scene.paths() == {"a": kernel.id}


async def test_a_replaced_kernel_that_another_session_has_goes_on(scene: Scene) -> None:
    notebook = await scene.sessions.create("a")
    console = await scene.sessions.create("console", kernel_id=notebook.kernel.id)
    updated = await scene.sessions.update(console.id, kernel_name="python3")
    assert await scene.sessions.list() == [notebook, updated]


async def test_a_path_of_another_session_is_refused_before_anything_is_done(scene: Scene) -> None:
    a = await scene.sessions.create("a")
    b = await scene.sessions.create("b")
    with pytest.raises(InvalidInputError, match=f"session {a.id} has it"):
        await scene.sessions.update(b.id, path="a", kernel_name="python3")
    assert scene.kernels.words().count("start") == 2
    assert scene.told() == [("create", "success")] * 2, "what was refused is no event"
    assert await scene.sessions.update(a.id, path="a") == a
    assert await scene.sessions.list() == [a, b]


async def test_a_path_of_a_session_whose_kernel_is_gone_is_free(scene: Scene) -> None:
    a = await scene.sessions.create("a")
    b = await scene.sessions.create("b")
    del scene.kernels.running[a.kernel.id]
    assert (await scene.sessions.update(b.id, path="a")).path == "a"
    assert await scene.paths() == {"a": b.kernel.id}


@pytest.mark.parametrize("alive", [True, False])
async def test_a_path_that_is_taken_while_the_kernel_starts(scene: Scene, alive: bool) -> None:
    session = await scene.sessions.create("a")
    other = scene.kernels.add()
    if not alive:
        scene.kernels.running.pop(other.id)
    row = SessionRow(id="other", path="b", name="", type="t", kernel_id=other.id, created=NOON, updated=NOON)
    scene.kernels.hooks["start"] = lambda: scene.store.insert(row)
    if alive:
        with pytest.raises(PathTakenError):
            await scene.sessions.update(session.id, path="b", kernel_name="ir")
        assert await scene.paths() == {"a": session.kernel.id, "b": other.id}
        assert set(scene.kernels.running) == {session.kernel.id, other.id}, "the kernel started in vain is gone"
    else:
        updated = await scene.sessions.update(session.id, path="b", kernel_name="ir")
        assert await scene.paths() == {"b": updated.kernel.id}
        assert list(scene.kernels.running) == [updated.kernel.id]


async def test_a_session_that_is_deleted_while_its_new_kernel_starts(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.hooks["start"] = lambda: scene.store.delete(session.id)
    with pytest.raises(SessionNotFoundError, match="deleted meanwhile"):
        await scene.sessions.update(session.id, kernel_name="ir")
    assert list(scene.kernels.running) == [session.kernel.id], (
        "the one that was started is gone; the other's end is not ours to decide"
    )


async def test_a_rename_does_not_undo_another_programs_new_kernel(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    fresh = scene.kernels.add()
    scene.kernels.hooks["get"] = lambda: scene.store.update(session.id, updated=NOON, kernel_id=fresh.id)
    assert await scene.sessions.update(session.id, path="b") == attrs.evolve(session, path="b", kernel=fresh)
    assert fresh.id in scene.kernels.running


async def test_an_old_kernel_that_cannot_be_shut_down_is_told(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.failures["shutdown"] = GatewayHTTPError(503, "Service Unavailable")
    updated = await scene.sessions.update(session.id, kernel_name="ir")
    assert await scene.paths() == {"a": updated.kernel.id}
    assert scene.told() == [("create", "success"), ("update", "success"), ("cleanup", "error")]
    assert scene.events[-1].kernel_id == session.kernel.id
    assert "503" in scene.events[-1].message
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert session.kernel.id in caplog.text


async def test_an_old_kernel_of_which_the_store_cannot_tell_whether_it_is_used_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await scene.sessions.create("a")
    find = scene.store.find

    async def fails_by_kernel(**criteria: Any) -> list[SessionRow]:
        if "kernel_id" in criteria:
            raise SessionStoreError("f", "damaged")
        return await find(**criteria)

    monkeypatch.setattr(scene.store, "find", fails_by_kernel)
    await scene.sessions.update(session.id, kernel_name="ir")
    assert scene.told()[-1] == ("cleanup", "error")
    assert session.kernel.id in scene.kernels.running


# --- delete


async def test_delete_shuts_the_kernel_down_and_forgets(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    with assert_checkpoints():
        await scene.sessions.delete(session.id)
    assert scene.kernels.running == {}
    assert await scene.paths() == {}
    assert scene.told()[1:] == [("delete", "success")]
    with pytest.raises(SessionNotFoundError):
        await scene.sessions.delete(session.id)


async def test_delete_when_the_kernel_is_gone_already(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.running.clear()
    await scene.sessions.delete(session.id)
    assert await scene.paths() == {}
    assert scene.told()[1:] == [("delete", "success")]


@pytest.mark.parametrize("what", UNKNOWN)
async def test_delete_keeps_the_session_if_the_kernel_may_still_be_there(scene: Scene, what: str) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.failures["shutdown"] = UNKNOWN[what]
    with pytest.raises(type(UNKNOWN[what])):
        await scene.sessions.delete(session.id)
    assert len(await scene.paths()) == 1
    assert scene.told()[1:] == [("delete", "error")]
    scene.kernels.failures.clear()
    await scene.sessions.delete(session.id)
    assert scene.kernels.running == {}


async def test_delete_ends_the_kernel_that_another_program_gave_meanwhile(scene: Scene) -> None:
    session = await scene.sessions.create("a")
    fresh = scene.kernels.add()
    scene.kernels.hooks["shutdown"] = lambda: scene.store.update(session.id, updated=NOON, kernel_id=fresh.id)
    await scene.sessions.delete(session.id)
    assert scene.kernels.running == {}
    assert await scene.paths() == {}


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.0, 1.5, 2.5])
async def test_delete_during_an_update_ends_both_kernels(scene: Scene, autojump_clock: MockClock, delay: float) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.delay = 1.0

    async def update() -> None:
        with suppress(SessionNotFoundError):
            await scene.sessions.update(session.id, kernel_name="ir")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(update)
        await trio.sleep(delay)
        await scene.sessions.delete(session.id)
    assert scene.kernels.running == {}
    assert await scene.paths() == {}


async def test_of_two_updates_at_once_the_last_ones_kernel_stays(scene: Scene, autojump_clock: MockClock) -> None:
    session = await scene.sessions.create("a")
    scene.kernels.delay = 1.0
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(lambda: scene.sessions.update(session.id, kernel_name="ir"))
    (kept,) = await scene.sessions.list()
    assert kept.kernel.name == "ir"
    assert list(scene.kernels.running) == [kept.kernel.id]


# --- events


async def test_events_say_what_was_done_and_carry_no_secret(scene: Scene, autojump_clock: MockClock) -> None:
    scene.kernels.delay = 2.0
    session = await scene.sessions.create("a?b#c", env={"KERNEL_TOKEN": "hunter2"})
    (event,) = scene.events
    assert (event.kind, event.action, event.status, event.status_code) == ("session", "create", "success", None)
    assert (event.gateway_url, event.method, event.path, event.attempts) == ("http://gateway/base", None, None, 1)
    assert (event.kernel_id, event.kernel_name) == (session.kernel.id, "python3")
    assert event.message == f"session {session.id} of 'a?b#c'"
    assert event.seconds == 2.0, "the start of its kernel is part of it"
    scene.kernels.failures["shutdown"] = GatewayTimeoutError("request", 42.0, "request_timeout")
    with pytest.raises(GatewayTimeoutError):
        await scene.sessions.delete(session.id)
    assert (scene.events[-1].seconds, scene.events[-1].status_code) == (2.0, None)
    assert "request_timeout" in scene.events[-1].message
    assert "hunter2" not in repr(scene.events) + repr(scene.sessions) + repr(session)


async def test_nothing_is_swallowed_that_a_sink_raises() -> None:
    """That is the business of the one who hands events on: `EventFanOut`."""

    def fail(event: GatewayEvent) -> None:
        raise ZeroDivisionError

    async with open_scene(emit=fail) as scene:
        with pytest.raises(ZeroDivisionError):
            await scene.sessions.create("a")


# --- input


BAD_TEXTS: list[Any] = ["nul\0", "lone \udc80", 7, b"bytes", Path("path")]


@pytest.mark.parametrize("value", [*BAD_TEXTS, "", "x" * 5000], ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("field", ["path", "type", "kernel_id", "kernel_name", "session_id"])
async def test_bad_input_is_named_and_nothing_is_done(scene: Scene, field: str, value: Any) -> None:
    session = await scene.sessions.create("a")
    before = await scene.store.find()
    scene.kernels.asked.clear()
    calls: list[Callable[[], Awaitable[object]]] = []
    if field == "session_id":
        calls += [
            lambda: scene.sessions.get(value),
            lambda: scene.sessions.update(value, name="n"),
            lambda: scene.sessions.delete(value),
        ]
    else:
        calls += [
            lambda: scene.sessions.create(**{"path": "b", field: value}),
            lambda: scene.sessions.update(session.id, **{field: value}),
        ]
    if field == "path" or (field == "kernel_id" and value != "x" * 5000):
        calls.append(lambda: scene.sessions.get(**{field: value}))
    for call in calls:
        with pytest.raises(InvalidInputError) as caught:
            await call()
        assert (caught.value.field, caught.value.value) == (field, value)
        str(caught.value).encode()
    assert scene.kernels.asked == []
    assert await scene.store.find() == before
    assert scene.told() == [("create", "success")]


@pytest.mark.parametrize("value", [*BAD_TEXTS, "x" * 2000], ids=lambda value: repr(value)[:20])
async def test_a_bad_name_is_named(scene: Scene, value: Any) -> None:
    session = await scene.sessions.create("a", name="")
    with pytest.raises(InvalidInputError, match=r"^name: "):
        await scene.sessions.create("b", name=value)
    with pytest.raises(InvalidInputError, match=r"^name: "):
        await scene.sessions.update(session.id, name=value)


async def test_get_of_nothing_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidInputError, match="a path or a kernel_id"):
        await scene.sessions.get()


async def test_odd_text_is_kept_as_it_is(scene: Scene) -> None:
    path = "dir with ' \" ; -- \n/\U0001f40d %00 é.ipynb"
    session = await scene.sessions.create(path, name=path, type="\t")
    assert await scene.sessions.get(path=path) == session


# --- cancellation


class SteppingStore:
    """A store that counts its calls as steps: one before each, and one after its effect, where no checkpoint follows."""

    def __init__(self, store: SessionStore, step: Callable[[], None]) -> None:
        self._store = store
        self._step = step

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **keywords: Any) -> Any:
            self._step()
            result = await getattr(self._store, name)(*arguments, **keywords)
            self._step()
            return result

        return call


async def at_each_step(
    prepare: Callable[[Scene], Awaitable[Any]],
    operate: Callable[[Scene, Any], Awaitable[SessionModel | None]],
    check: Callable[[Scene, Any, bool], Awaitable[None]],
    *,
    at_least: int,
) -> None:
    """Cancel an operation at its first step, at its second, and so on until it has no more.

    After each, every kernel must have a session and every session a kernel.

    Args:
        prepare: is not cancelled; `operate` and `check` get what it returns.
        operate: what is cancelled.
        check: looks at what came of it; gets whether it was cancelled.
        at_least: how many steps there are at least, else the test would not see those it is about.
    """
    ends = set()
    for step in range(1, 100):
        scope = trio.CancelScope()
        count = 0

        def take_step(step: int = step, scope: trio.CancelScope = scope) -> None:
            nonlocal count
            count += 1
            if count == step:
                scope.cancel()

        async with open_scene() as scene:
            prepared = await prepare(scene)
            scene.sessions._store = SteppingStore(scene.store, take_step)  # type: ignore[assignment]
            scene.kernels.step = take_step
            with scope:
                await operate(scene, prepared)
            scene.kernels.step = nothing
            scene.sessions._store = scene.store
            await check(scene, prepared, scope.cancelled_caught)
            live = await scene.sessions.list()
            assert {session.kernel.id for session in live} == set(scene.kernels.running), f"step {step}: {scene.kernels.asked}"
        ends.add(scope.cancelled_caught)
        if count < step:
            assert step > at_least
            assert ends == {True, False}
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("before", ["nothing", "a session whose kernel is gone"])
async def test_create_cancelled_at_each_step_leaves_all_or_nothing(before: str) -> None:
    async def prepare(scene: Scene) -> None:
        if before != "nothing":
            await scene.sessions.create("a")
            scene.kernels.running.clear()

    async def check(scene: Scene, prepared: None, cancelled: bool) -> None:
        assert len(scene.kernels.running) == (0 if cancelled else 1)
        assert len(await scene.sessions.list()) == (0 if cancelled else 1)

    await at_each_step(prepare, lambda scene, _: scene.sessions.create("a"), check, at_least=5 if before == "nothing" else 9)


async def test_update_cancelled_at_each_step_changes_all_or_nothing() -> None:
    async def prepare(scene: Scene) -> SessionModel:
        return await scene.sessions.create("a")

    async def check(scene: Scene, prepared: SessionModel, cancelled: bool) -> None:
        (session,) = await scene.sessions.list()
        if cancelled:
            assert session == prepared
        else:
            assert (session.path, session.name, session.kernel.name) == ("b", "n", "ir")

    await at_each_step(
        prepare,
        lambda scene, session: scene.sessions.update(session.id, path="b", name="n", kernel_name="ir"),
        check,
        at_least=10,
    )


async def test_delete_cancelled_at_each_step_can_be_repeated() -> None:
    async def prepare(scene: Scene) -> SessionModel:
        return await scene.sessions.create("a")

    async def check(scene: Scene, prepared: SessionModel, cancelled: bool) -> None:
        assert len(await scene.paths()) == (1 if cancelled else 0)
        if cancelled:
            await scene.sessions.delete(prepared.id)
        assert scene.kernels.running == {}

    await at_each_step(prepare, lambda scene, session: scene.sessions.delete(session.id), check, at_least=6)


async def test_a_start_that_is_cancelled_leaves_nothing(scene: Scene, autojump_clock: MockClock) -> None:
    scene.kernels.delay = 10.0
    with trio.move_on_after(5) as scope:
        await scene.sessions.create("a")
    assert scope.cancelled_caught
    assert trio.current_time() == 5
    assert await scene.paths() == {}
    assert scene.kernels.running == {}
    assert scene.events == []


async def test_ending_an_unwanted_kernel_is_bounded(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene(cleanup_timeout=7.0) as scene:

        async def fail(row: SessionRow) -> SessionRow:
            scene.kernels.delay = 1e6
            raise SessionStoreError("f", "full")

        scene.store.insert = fail  # type: ignore[method-assign]
        with pytest.raises(SessionStoreError):
            await scene.sessions.create("a")
        assert trio.current_time() == 7
        assert scene.told() == [("cleanup", "error"), ("create", "error")]
        assert "cleanup_timeout = 7 s" in scene.events[0].message
        assert "may_be_left" in caplog.text


async def test_ending_a_replaced_kernel_is_bounded(autojump_clock: MockClock) -> None:
    async with open_scene(cleanup_timeout=7.0) as scene:
        session = await scene.sessions.create("a")

        async def hang() -> None:
            await trio.sleep_forever()

        scene.kernels.hooks["shutdown"] = hang
        updated = await scene.sessions.update(session.id, kernel_name="ir")
        assert trio.current_time() == 7
        assert await scene.paths() == {"a": updated.kernel.id}
        assert scene.told()[-1] == ("cleanup", "error")
        assert scene.events[-1].kernel_id == session.kernel.id


# --- many tasks, several programs


async def test_a_hundred_tasks_that_create_one_path_start_one_kernel(scene: Scene, autojump_clock: MockClock) -> None:
    scene.kernels.delay = 1.0
    made: list[SessionModel] = []

    async def create() -> None:
        made.append(await scene.sessions.create("a"))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(create)
    assert len({session.id for session in made}) == 1
    assert len(made) == 100
    assert scene.kernels.words().count("start") == 1


async def test_creates_of_several_paths_do_not_wait_for_each_other(scene: Scene, autojump_clock: MockClock) -> None:
    scene.kernels.delay = 1.0
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(scene.sessions.create, str(number))
    assert trio.current_time() == 1.0


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_when_the_first_of_two_creates_ends_badly_the_second_makes_the_session(
    scene: Scene, autojump_clock: MockClock, how: str
) -> None:
    scene.kernels.delay = 1.0
    outcomes: list[object] = []

    async def create(limit: float) -> None:
        with trio.move_on_after(limit):
            try:
                outcomes.append(await scene.sessions.create("a"))
            except GatewayError as error:
                scene.kernels.failures.clear()
                outcomes.append(error)

    if how == "fails":
        scene.kernels.failures["start"] = GatewayHTTPError(503, "Service Unavailable")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(create, 0.5 if how == "is cancelled" else 100)
        await wait_all_tasks_blocked()
        nursery.start_soon(create, 100)
    assert isinstance(outcomes[-1], SessionModel)
    assert len(outcomes) == (2 if how == "fails" else 1)
    assert len(scene.kernels.running) == 1


@pytest.mark.parametrize("seed", range(8))
async def test_a_hundred_busy_tasks_leave_one_kernel_for_each_session(autojump_clock: MockClock, seed: int) -> None:
    """Creates, updates, deletes and looks at random, some cancelled, while kernels die: nothing is orphaned, nothing doubled."""
    dice = random.Random(seed)
    kernels = Kernels()

    async with open_scene(kernels=kernels) as scene:

        async def work() -> None:
            for _ in range(6):
                kernels.delay = dice.random()
                with trio.move_on_after(dice.choice([0.2, 1.0, 100.0])):
                    with suppress(SessionNotFoundError, PathTakenError):
                        await act()

        async def act() -> None:
            choice = dice.random()
            path = dice.choice("abcdef")
            if choice < 0.4:
                await scene.sessions.create(path)
            elif choice < 0.5:
                await scene.sessions.list()
            elif choice < 0.6 and kernels.running:
                kernels.running.pop(dice.choice(sorted(kernels.running)))
            else:
                session = await scene.sessions.get(path=path)
                if choice < 0.7:
                    await scene.sessions.update(session.id, kernel_name="ir")
                elif choice < 0.8:
                    await scene.sessions.update(session.id, path=dice.choice("abcdef"))
                else:
                    await scene.sessions.delete(session.id)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(work)
        sessions = await scene.sessions.list()
        assert len({session.path for session in sessions}) == len(sessions)
        assert sorted(session.kernel.id for session in sessions) == sorted(kernels.running)
        assert kernels.words().count("start") > 20


async def test_two_programs_that_create_one_path_at_once_keep_one_kernel(tmp_path: Path) -> None:
    """Two stores on one file stand for two programs: here no lock is shared, only the database."""
    kernels = Kernels()
    made: list[SessionModel] = []
    async with (
        open_scene(tmp_path / "sessions.db", kernels) as one,
        open_scene(tmp_path / "sessions.db", kernels) as two,
    ):
        arrived = 0
        both = trio.Event()

        async def meet() -> None:
            nonlocal arrived
            arrived += 1
            if arrived == 2:
                both.set()
            else:
                kernels.hooks["start"] = meet
            await both.wait()

        kernels.hooks["start"] = meet

        async def create(scene: Scene) -> None:
            made.append(await scene.sessions.create("a"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(create, one)
            nursery.start_soon(create, two)
        assert made[0] == made[1]
        assert kernels.words().count("start") == 2
        assert list(kernels.running) == [made[0].kernel.id]
        assert await one.sessions.list() == await two.sessions.list() == [made[0]]
        assert len(one.events + two.events) == 1


async def test_the_other_programs_session_has_lost_its_kernel(scene: Scene) -> None:
    """Its row stands in the way, its kernel is gone: then ours is kept."""
    row = SessionRow(id="other", path="a", name="", type="t", kernel_id="gone", created=NOON, updated=NOON)
    scene.kernels.hooks["start"] = lambda: scene.store.insert(row)
    session = await scene.sessions.create("a")
    assert await scene.paths() == {"a": session.kernel.id}
    assert list(scene.kernels.running) == [session.kernel.id]


async def test_the_other_programs_session_is_renamed_meanwhile(scene: Scene) -> None:
    fresh = scene.kernels.add()
    row = SessionRow(id="other", path="a", name="", type="t", kernel_id="gone", created=NOON, updated=NOON)
    scene.kernels.hooks["start"] = lambda: scene.store.insert(row)
    scene.kernels.hooks["get"] = lambda: scene.store.update("other", updated=NOON, kernel_id=fresh.id, path="renamed")
    session = await scene.sessions.create("a")
    assert await scene.paths() == {"renamed": fresh.id, "a": session.kernel.id}


async def test_sessions_survive_a_restart(tmp_path: Path) -> None:
    kernels = Kernels()
    async with open_scene(tmp_path / "sessions.db", kernels) as scene:
        kept = await scene.sessions.create("a")
        lost = await scene.sessions.create("b")
    del kernels.running[lost.kernel.id]
    async with open_scene(tmp_path / "sessions.db", kernels) as scene:
        assert await scene.sessions.create("a") == kept
        assert await scene.sessions.list() == [kept]
        assert repr(scene.sessions) == f"<Sessions <SessionStore {tmp_path / 'sessions.db'}>>"
    async with open_scene(tmp_path / "sessions.db", kernels) as scene:
        assert set(await scene.paths()) == {"a"}


async def test_the_wall_clock_is_read_unless_one_is_given() -> None:
    async with open_session_store() as store:
        before = datetime.now(UTC)  # noqa: TID251
        await Sessions(store, Kernels()).create("a")
        (row,) = await store.find()
        assert before <= row.created <= datetime.now(UTC)  # noqa: TID251
