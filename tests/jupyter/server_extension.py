"""An extension of a Jupyter Server as others write them: it runs code in the server's kernels, and is told of actions on them."""

from __future__ import annotations

import json
from typing import Any

import nbclient
import nbformat
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

__all__ = ["EVENTS", "_jupyter_server_extension_points", "_load_jupyter_server_extension"]

SCHEMA = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
EVENTS: list[dict[str, Any]] = []
"""What was told of actions on kernels."""


class ExecuteHandler(APIHandler):
    """Runs code in a kernel that the server has, by a client of its own."""

    @web.authenticated
    async def post(self, kernel_id: str) -> None:
        """Run the body's `code`, and answer what came of it."""
        manager = self.kernel_manager.get_kernel(kernel_id)
        state = manager.execution_state  # type: ignore[attr-defined]  # which Jupyter Server's mapping manager sets
        before = {"alive": await manager.is_alive(), "state": state, "spec": manager.kernel_spec.language}
        texts: list[str] = []
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=120)
            reply = await client.execute_interactive(
                self.get_json_body()["code"],
                timeout=120,
                output_hook=lambda message: texts.append(message["content"].get("text", "")),
            )
        finally:
            client.stop_channels()
        self.finish(json.dumps({**before, "status": reply["content"]["status"], "text": "".join(texts)}))


class NotebookHandler(APIHandler):
    """Runs a notebook in a kernel that it starts, as voila does, and ends."""

    @web.authenticated
    async def post(self) -> None:
        """Run a notebook of one cell, the body's `code`, and answer its output."""
        kernel_id = await self.kernel_manager.start_kernel(kernel_name="python3", path="", env={"JPY_SESSION_NAME": "a.ipynb"})
        manager = self.kernel_manager.get_kernel(kernel_id)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(self.get_json_body()["code"])])
        client = nbclient.NotebookClient(notebook, km=manager, timeout=120)
        client.reset_execution_trackers()
        # Step by step, as voila does: nbclient's `async_execute` would take the server's handler of SIGTERM away.
        await client.async_start_new_kernel_client()
        try:
            await client.async_execute_cell(notebook.cells[0], 0)
        finally:
            await client._async_cleanup_kernel()  # noqa: ASYNC102 - bounded by the library
        gone = kernel_id not in self.kernel_manager
        self.finish(json.dumps({"id": kernel_id, "gone": gone, "text": notebook.cells[0].outputs[0]["text"]}))


class EventsHandler(APIHandler):
    """Gives what was told."""

    @web.authenticated
    async def get(self) -> None:
        """Answer what was told since the last time."""
        await self.serverapp.event_logger.gather_listeners()
        self.finish(json.dumps(EVENTS, default=str))
        EVENTS.clear()


async def _listen(logger: object, schema_id: str, data: dict[str, Any]) -> None:
    del logger, schema_id
    EVENTS.append(data)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: Any) -> None:
    handlers = [("execute/([^/]+)", ExecuteHandler), ("notebook", NotebookHandler), ("told", EventsHandler)]
    app.web_app.add_handlers(".*$", [(url_path_join(app.base_url, "try", path), handler) for path, handler in handlers])
    app.event_logger.add_listener(schema_id=SCHEMA, listener=_listen)
