"""Jupyter Server's sessions, whose kernels may be gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tornado import web

from .manager_kit import App, Fake, with_app


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
