"""`gateway.sessions` on a real Kernel Gateway: kernels really start, move and end. System: `GatewaySessionManager`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway
from tools.gateway_tools import rest
from trio_gateway import GatewayEvent, InvalidInputError, KernelNotFoundError, KernelSpecNotFoundError, SessionNotFoundError

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway


@asynccontextmanager
async def opened(real: RunningGateway, **arguments: Any) -> AsyncGenerator[trio_gateway.Gateway]:
    async with trio_gateway.open_gateway(real.url, auth_token=real.token, **arguments) as gateway:
        yield gateway
    # Each test says which kernels stay.


async def test_gateway_session_manager(real_gateway: RunningGateway) -> None:
    """System: `GatewaySessionManager`: create, get, list, update and delete; a session has a real kernel."""
    events: list[GatewayEvent] = []
    async with opened(real_gateway, on_event=events.append) as gateway:
        session = await gateway.sessions.create("notes/a.ipynb", kernel_name="python3", name="a", type="notebook")
        assert (session.path, session.name, session.type) == ("notes/a.ipynb", "a", "notebook")
        async with gateway.attach_kernel(session.kernel.id) as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
        same = await gateway.sessions.create("notes/a.ipynb", kernel_name="python3")
        assert (same.id, same.kernel.id) == (session.id, session.kernel.id), "a path has one session, and that one kernel"
        assert (await gateway.sessions.get(session.id)).kernel.id == session.kernel.id
        assert (await gateway.sessions.get(path="notes/a.ipynb")).id == session.id
        assert (await gateway.sessions.get(kernel_id=session.kernel.id)).id == session.id

        renamed = await gateway.sessions.update(session.id, path="notes/b.ipynb", name="b")
        assert (renamed.path, renamed.name, renamed.kernel.id) == ("notes/b.ipynb", "b", session.kernel.id)
        moved = await gateway.sessions.update(session.id, kernel_name="python3")
        assert moved.kernel.id != session.kernel.id
        with pytest.raises(KernelNotFoundError):
            await gateway.kernels.get(session.kernel.id)
        assert [(found.id, found.kernel.id) for found in await gateway.sessions.list()] == [(session.id, moved.kernel.id)]

        await gateway.sessions.delete(session.id)
        assert await gateway.sessions.list() == []
        with pytest.raises(KernelNotFoundError):
            await gateway.kernels.get(moved.kernel.id)
        with pytest.raises(SessionNotFoundError):
            await gateway.sessions.get(session.id)
    told = [(event.action, event.status) for event in events if event.kind == "session"]
    assert told == [("create", "success"), ("update", "success"), ("update", "success"), ("delete", "success")]
    assert real_gateway.kernel_processes() == []


@pytest.mark.full
async def test_however_many_ask_one_kernel_is_started(real_gateway: RunningGateway) -> None:
    async with opened(real_gateway) as gateway:
        found: list[trio_gateway.SessionModel] = []

        async def create() -> None:
            found.append(await gateway.sessions.create("a.ipynb", kernel_name="python3"))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(create)
        assert len({(session.id, session.kernel.id) for session in found}) == 1
        assert len(await gateway.kernels.list()) == 1
        await gateway.sessions.delete(found[0].id)
    assert real_gateway.kernel_processes() == []


@pytest.mark.full
async def test_a_session_whose_kernel_was_culled_is_dropped(real_gateway: RunningGateway) -> None:
    events: list[GatewayEvent] = []
    async with opened(real_gateway, on_event=events.append) as gateway:
        one = await gateway.sessions.create("a.ipynb", kernel_name="python3")
        two = await gateway.sessions.create("b.ipynb", kernel_name="python3")
        rest(real_gateway, "DELETE", f"/api/kernels/{one.kernel.id}")
        assert [session.id for session in await gateway.sessions.list()] == [two.id]
        rest(real_gateway, "DELETE", f"/api/kernels/{two.kernel.id}")
        with pytest.raises(SessionNotFoundError, match="gone"):
            await gateway.sessions.get(two.id)
        again = await gateway.sessions.create("b.ipynb", kernel_name="python3")
        assert again.id != two.id
        await gateway.sessions.delete(again.id)
    assert [event.action for event in events if event.kind == "session"].count("drop") == 2


@pytest.mark.full
async def test_sessions_in_a_file_outlive_the_program_and_keep_to_their_gateway(
    real_gateway: RunningGateway, tmp_path: Path
) -> None:
    database = tmp_path / "sessions.db"
    async with opened(real_gateway, session_database=database) as gateway:
        session = await gateway.sessions.create("a.ipynb", kernel_name="python3")
    async with opened(real_gateway, session_database=str(database)) as gateway:
        (found,) = await gateway.sessions.list()
        assert (found.id, found.path, found.kernel.id) == (session.id, "a.ipynb", session.kernel.id)
        async with opened(real_gateway, session_database=database) as other:
            renamed = await other.sessions.update(session.id, name="renamed")
        assert (await gateway.sessions.get(session.id)).name == renamed.name == "renamed"
        await gateway.sessions.delete(session.id)
    assert real_gateway.token.encode() not in database.read_bytes()  # G8
    assert real_gateway.kernel_processes() == []


@pytest.mark.full
async def test_what_cannot_be_leaves_neither_session_nor_kernel(real_gateway: RunningGateway) -> None:
    async with opened(real_gateway) as gateway:
        with pytest.raises(KernelSpecNotFoundError):
            await gateway.sessions.create("a.ipynb", kernel_name="missing")
        with pytest.raises(InvalidInputError, match="path"):
            await gateway.sessions.create("")
        with pytest.raises(KernelNotFoundError):
            await gateway.sessions.create("a.ipynb", kernel_id="aaaaaaaa-0000-4000-8000-000000000000")
        with trio.move_on_after(0.05):
            await gateway.sessions.create("a.ipynb", kernel_name="python3")
        for session in await gateway.sessions.list():  # it may have been quicker than that
            await gateway.sessions.delete(session.id)
    assert real_gateway.kernel_processes() == []


@pytest.mark.full
async def test_sessions_of_a_local_gateway(tmp_path: Path) -> None:
    """Their kernels work in the document's folder; a gateway that is started again has other kernels, so they are dropped."""
    folder = tmp_path / "root" / "notes"
    folder.mkdir(parents=True)
    database = tmp_path / "sessions.db"
    async with trio_gateway.open_local_gateway(cwd=tmp_path / "root", session_database=database) as gateway:
        for path, where in [("notes/a.ipynb", folder), ("missing/b.ipynb", folder.parent), (f"{folder}/c.ipynb", folder)]:
            session = await gateway.sessions.create(path, kernel_name="python3")
            async with gateway.attach_kernel(session.kernel.id) as kernel:
                assert (await kernel.execute("import os; print(os.getcwd())")).text.strip() == str(where)
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute("import os; print(os.getcwd())")).text.strip() == str(folder.parent)
        async with gateway.start_kernel(cwd=folder) as kernel:
            assert (await kernel.execute("import os; print(os.getcwd())")).text.strip() == str(folder)
        assert len(await gateway.sessions.list()) == 3
    async with trio_gateway.open_local_gateway(session_database=database) as gateway:
        assert await gateway.sessions.list() == []
