"""An extension that runs code in a real Jupyter Server, whose kernels are on a real gateway, and what the server tells it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools.face_tools import kernel_ids, rest

from .server_tools import ask, open_server

if TYPE_CHECKING:
    from conftest import RunningGateway
    from tools.serving import Server

pytestmark = [pytest.mark.gateway, pytest.mark.full]


@pytest.fixture(scope="module")
def server(real_gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Jupyter Server with an extension, whose kernels are on the real gateway."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    extensions = {"server_extension": True}
    folder = tmp_path_factory.mktemp("server")
    with open_server(real_gateway, folder, env={"PYTHONPATH": path}, ServerApp_jpserver_extensions=extensions) as server:
        yield server


def told(server: Server) -> list[tuple[str, ...]]:
    """What the server has told its extension of: action, status, status code, kernel."""
    status, events = ask(server, "GET", "/try/told")
    assert status == 200
    return [(event["action"], event["status"], event.get("status_code"), event.get("kernel_id")) for event in events]


def test_an_extension_runs_code_in_a_notebooks_kernel(server: Server) -> None:
    """By a client of the kernel's manager; before and after a restart."""
    body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python3"}}
    session = ask(server, "POST", "/api/sessions", body)[1]
    kernel_id = session["kernel"]["id"]
    status, found = ask(server, "POST", f"/try/execute/{kernel_id}", {"code": "a = 6 * 7; print(a)"})
    assert (status, found["status"], found["text"].split()) == (200, "ok", ["42"])
    assert (found["alive"], found["spec"]) == (True, "python")
    assert found["state"] in {"starting", "idle"}
    assert ask(server, "POST", f"/api/kernels/{kernel_id}/restart")[0] == 200
    assert ask(server, "POST", f"/try/execute/{kernel_id}", {"code": "a"})[1]["status"] == "error"
    assert ask(server, "DELETE", f"/api/sessions/{session['id']}")[0] == 204
    assert ask(server, "POST", f"/try/execute/{kernel_id}", {"code": "1"})[0] == 404


def test_an_extension_runs_a_notebook_in_a_kernel_of_its_own(server: Server, real_gateway: RunningGateway) -> None:
    """nbclient is given the manager, and ends the kernel; the server has it no more."""
    status, found = ask(server, "POST", "/try/notebook", {"code": "import os; print(os.environ['JPY_SESSION_NAME'])"})
    assert status == 200
    assert found["gone"] is True
    assert found["id"] not in kernel_ids(real_gateway)


def test_actions_are_told_to_an_extension(server: Server) -> None:
    """By the server's own event logger, with success and with the error's status."""
    told(server)
    kernel_id = ask(server, "POST", "/api/kernels", {"name": "python3"})[1]["id"]
    for method, action in (("POST", "/interrupt"), ("POST", "/restart"), ("DELETE", "")):
        assert ask(server, method, f"/api/kernels/{kernel_id}{action}")[0] in {200, 204}
    actions = ["start", "interrupt", "restart", "shutdown"]
    assert told(server) == [(action, "success", None, kernel_id) for action in actions]
    assert ask(server, "POST", "/api/kernels", {"name": "cobol"})[0] == 404
    assert told(server) == [("start", "error", 404, None)]


def test_an_action_that_fails_is_told_with_its_status(server: Server, real_gateway: RunningGateway) -> None:
    """The kernel was deleted behind the server's back."""
    kernel_id = ask(server, "POST", "/api/kernels", {"name": "python3"})[1]["id"]
    rest(real_gateway, "DELETE", f"/api/kernels/{kernel_id}")
    told(server)
    assert ask(server, "POST", f"/api/kernels/{kernel_id}/interrupt")[0] == 404
    assert told(server) == [("interrupt", "error", 404, kernel_id)]
    assert ask(server, "GET", "/api/kernels")[1] == []


def test_a_session_that_wants_an_unknown_kernelspec(server: Server) -> None:
    """Jupyter Server says what to do, as for a kernelspec of its own."""
    body = {"path": "b.ipynb", "name": "b", "type": "notebook", "kernel": {"name": "cobol"}}
    status, said = ask(server, "POST", "/api/sessions", body)
    assert (status, json.loads(said)["short_message"]) == (501, "cobol not found")


def test_a_kernel_that_was_taken_in_where_lists_are_forbidden(forbidding_gateway: RunningGateway, tmp_path: Path) -> None:
    """It is the server's after each list, until the gateway says of its id that it is gone."""
    there: dict[str, Any] = rest(forbidding_gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})
    path = f"/api/kernels/{there['id']}"
    with open_server(forbidding_gateway, tmp_path) as server:
        assert ask(server, "POST", "/api/kernels", {"name": "python3", "kernel_id": there["id"]})[0] == 201
        for _ in range(2):
            assert [model["id"] for model in ask(server, "GET", "/api/kernels")[1]] == [there["id"]]
            assert ask(server, "GET", path)[0] == 200
        rest(forbidding_gateway, "DELETE", path)
        assert ask(server, "GET", "/api/kernels")[1] == []
        assert ask(server, "GET", path)[0] == 404
