"""Jupyter Server's sessions: each ends when the gateway says that its kernel is gone."""

# The server awaits what its managers' methods give, and the annotations of their synchronous base classes don't say so.
# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyter_server.services.sessions.sessionmanager import SessionManager
from tornado import web

from .._models import KernelModel
from ._server_kernel import kernel_as_json

__all__ = ["GatewaySessionManager"]

_MAX_ENDED: Final = 1000
"""How many sessions that have ended are remembered; of more, the oldest are forgotten."""


class GatewaySessionManager(SessionManager):
    """Jupyter Server's `session_manager_class`: a session ends when the gateway says that its kernel is gone.

    It is not listed any more then, and its document gets another one when it is opened again. The client that has the
    document open does not know that yet: asked for by its id, the session is there with a dead kernel, and can be given
    another one (`PATCH`).
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)  # type: ignore[no-untyped-call]
        self._names: dict[str, str] = {}
        self._ended: dict[str, dict[str, Any]] = {}

    async def row_to_model(self, row: Any, tolerate_culled: bool = False) -> dict[str, Any] | None:
        """Give the model of a session that is kept.

        Raises:
            KeyError: its kernel is gone, and so the session has ended.
        """
        kept = dict(row)
        try:
            model: dict[str, Any] | None = await super().row_to_model(row, tolerate_culled)  # type: ignore[no-untyped-call]
        except KeyError:
            self._ended[kept["session_id"]] = kept
            if len(self._ended) > _MAX_ENDED:
                self._forget(next(iter(self._ended)))
            raise
        if model is None:
            self._forget(kept["session_id"])  # its path is about to get another session
        else:
            self._names[kept["session_id"]] = model["kernel"]["name"]
        return model

    async def get_session(self, **columns: Any) -> dict[str, Any]:
        """Give the model of a session; of one that has ended, by its id alone, with a dead kernel.

        Raises:
            tornado.web.HTTPError: 404: there is none.
        """
        try:
            model: Any = await super().get_session(**columns)  # type: ignore[no-untyped-call]
        except web.HTTPError as error:
            ended = self._ended.get(columns.get("session_id", ""))
            if error.status_code != 404 or ended is None or len(columns) > 1:
                raise
            return self._ended_as_json(ended)
        found: dict[str, Any] = model
        return found

    async def save_session(self, session_id: str, path: str | None = None, **more: Any) -> dict[str, Any]:
        """Keep a new session; one of the same path that has ended is forgotten."""
        for ended in [ended for ended, row in self._ended.items() if row["path"] == path]:
            self._forget(ended)
        model: Any = await super().save_session(session_id, path=path, **more)  # type: ignore[no-untyped-call]
        found: dict[str, Any] = model
        return found

    async def update_session(self, session_id: str, **columns: Any) -> None:
        """Change what is kept of a session; one that has ended lives again with another kernel."""
        await self.get_session(session_id=session_id)
        ended = self._ended.get(session_id)
        if ended is None:
            await super().update_session(session_id, **columns)  # type: ignore[no-untyped-call]
            return
        if unknown := columns.keys() - ended.keys():
            raise TypeError(f"No such column: {min(unknown)!r}")
        ended |= columns
        if "kernel_id" in columns:
            del self._ended[session_id]
            await self.save_session(**ended)

    async def delete_session(self, session_id: str) -> None:
        """End a session, and its kernel."""
        await super().delete_session(session_id)  # type: ignore[no-untyped-call]
        self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        self._ended.pop(session_id, None)
        self._names.pop(session_id, None)

    def _ended_as_json(self, row: Mapping[str, Any]) -> dict[str, Any]:
        kernel = KernelModel(id=row["kernel_id"], name=self._names.get(row["session_id"], ""), execution_state="dead")
        model = {"id": row["session_id"], "path": row["path"], "name": row["name"], "type": row["type"]}
        notebook = {"notebook": {"path": row["path"], "name": row["name"]}} if row["type"] == "notebook" else {}
        return {**model, "kernel": kernel_as_json(kernel), **notebook}

    async def kernel_culled(self, kernel_id: str) -> bool:
        """Say whether a kernel is gone."""
        # One that this server does not know may be of a session that was kept in a file, by a server before this one.
        if kernel_id not in self.kernel_manager and not await self.kernel_manager.take_in(kernel_id):
            return True
        try:
            await self.kernel_manager.kernel_model(kernel_id)
        except web.HTTPError as error:
            return error.status_code == 404
        return False
