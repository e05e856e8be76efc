"""A Jupyter Server that runs its kernels through the library: driven by the library's own client, and by plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway.blocking as tg
from tools.face_tools import kernel_ids, rest
from trio_gateway._kernel import supervisor
from trio_gateway.testing.scenarios import SCENARIOS, Stage, run_scenario

from .server_tools import ask, open_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RunningGateway
    from tools.serving import Server

pytestmark = [pytest.mark.gateway, pytest.mark.full]


@pytest.fixture(scope="module")
def server(real_gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Jupyter Server whose kernels are on the real gateway."""
    with open_server(real_gateway, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(params=["v1", "legacy"])
def framing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the client here speaks with the server; the server speaks v1 with its gateway."""
    if request.param == "legacy":
        real = supervisor.connect_websocket
        monkeypatch.setattr(
            supervisor, "connect_websocket", lambda url, **arguments: real(url, **{**arguments, "subprotocols": []})
        )
    return str(request.param)


@pytest.mark.usefixtures("framing")
def test_the_librarys_client_on_the_server(server: Server, real_gateway: RunningGateway) -> None:
    """Kernels started, used, interrupted, restarted and shut down; they run on the gateway, and comms carry buffers both ways."""
    before = kernel_ids(real_gateway)
    with tg.open_gateway(server.url, auth_token=server.token) as gateway, gateway.start_kernel("python3") as kernel:
        assert kernel_ids(real_gateway) - before == {kernel.id}
        assert kernel.execute("6 * 7").text == "42"
        with kernel.stream("for i in range(100): print(i)") as outputs:
            assert "".join(output.text for output in outputs).split() == list(map(str, range(100)))
        assert outputs.result.output_gaps == ()
        assert kernel.execute("input('who? ')", stdin=lambda prompt, password: "me").text == "'me'"

        echo = (
            "def opened(comm, message):\n"
            "    comm.on_msg(lambda message: comm.send({}, buffers=message['buffers']))\n"
            "get_ipython().kernel.comm_manager.register_target('echo', opened)"
        )
        kernel.execute(echo).raise_for_error()
        with kernel.comms.open("echo") as comm:
            blob = bytes(range(256)) * 4096
            comm.send({}, buffers=[blob, b"\x00"])
            assert [bytes(buffer) for buffer in comm.receive().buffers] == [blob, b"\x00"]

        with kernel.stream("import time\nprint('on', end='')\nwhile True: time.sleep(0.01)") as outputs:
            next(outputs)
            kernel.interrupt()
            assert [type(output).__name__ for output in outputs] == ["Error"]
        kernel.execute("a = 1")
        kernel.restart()
        assert "NameError" in str(kernel.execute("a"))
        assert kernel.id in [model.id for model in gateway.kernels.list()]
    assert kernel_ids(real_gateway) == before


def test_kernels_by_http(server: Server, real_gateway: RunningGateway) -> None:
    """Models, 404s that are the gateway's, and a kernel that runs there taken in by its id."""
    status, model = ask(server, "POST", "/api/kernels", {"name": "python3"})
    assert status == 201
    assert model.keys() == {"id", "name", "last_activity", "execution_state", "connections"}
    path = f"/api/kernels/{model['id']}"
    assert ask(server, "GET", path)[1]["name"] == "python3"
    assert [found["id"] for found in ask(server, "GET", "/api/kernels")[1]] == [model["id"]]
    assert ask(server, "POST", f"{path}/interrupt")[0] == 204
    assert ask(server, "POST", f"{path}/restart")[0] == 200
    rest(real_gateway, "DELETE", path)  # behind the server's back
    assert ask(server, "GET", path)[0] == 404
    assert ask(server, "GET", "/api/kernels")[1] == []
    assert ask(server, "POST", "/api/kernels", {"name": "cobol"})[0] in (404, 500)
    unknown = "11111111-1111-4111-8111-111111111111"
    assert ask(server, "GET", f"/api/kernels/{unknown}")[0] == 404

    there = rest(real_gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})["id"]
    status, model = ask(server, "POST", "/api/kernels", {"name": "python3", "kernel_id": there})
    assert (status, model["id"]) == (201, there)
    assert ask(server, "DELETE", f"/api/kernels/{there}")[0] == 204
    assert there not in kernel_ids(real_gateway)


def test_kernelspecs_by_http(server: Server) -> None:
    """The gateway's kernelspecs, with resources that lead to this server."""
    status, found = ask(server, "GET", "/api/kernelspecs")
    assert (status, found["default"]) == (200, "python3")
    spec = found["kernelspecs"]["python3"]
    assert spec["spec"]["language"] == "python"
    assert spec["spec"]["argv"]
    assert ask(server, "GET", "/api/kernelspecs/python3")[1] == spec
    assert ask(server, "GET", "/api/kernelspecs/cobol")[0] == 404
    for path in spec["resources"].values():
        assert path.startswith("/kernelspecs/python3/")
        status, content = ask(server, "GET", path)
        assert (status, len(content) > 100) == (200, True)
    assert ask(server, "GET", "/kernelspecs/python3/none.png")[0] == 404


def test_sessions_by_http(server: Server, real_gateway: RunningGateway) -> None:
    """A session has its kernel on the gateway; it is dropped when the gateway says that the kernel is gone."""
    body = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python3"}}
    status, session = ask(server, "POST", "/api/sessions", body)
    assert status == 201
    kernel_id = session["kernel"]["id"]
    assert kernel_id in kernel_ids(real_gateway)
    assert [found["id"] for found in ask(server, "GET", "/api/sessions")[1]] == [session["id"]]
    status, renamed = ask(server, "PATCH", f"/api/sessions/{session['id']}", {"path": "b.ipynb", "name": "b"})
    assert (status, renamed["path"], renamed["kernel"]["id"]) == (200, "b.ipynb", kernel_id)
    rest(real_gateway, "DELETE", f"/api/kernels/{kernel_id}")
    assert ask(server, "GET", "/api/sessions")[1] == []
    status, session = ask(server, "POST", "/api/sessions", body)
    assert ask(server, "DELETE", f"/api/sessions/{session['id']}")[0] == 204
    assert session["kernel"]["id"] not in kernel_ids(real_gateway)


@pytest.mark.parametrize("listed", [False, True], ids=["before the next list", "after it"])
def test_a_session_whose_kernel_is_gone_gets_another(server: Server, real_gateway: RunningGateway, listed: bool) -> None:
    """JupyterLab's "change kernel" after a restart of the gateway: the front end asks for the session that it knows."""
    path = f"gone {listed}.ipynb"
    body = {"path": path, "name": "gone", "type": "notebook", "kernel": {"name": "python3"}}
    session = ask(server, "POST", "/api/sessions", body)[1]
    rest(real_gateway, "DELETE", f"/api/kernels/{session['kernel']['id']}")  # what a gateway that was restarted does not know
    if listed:
        assert ask(server, "GET", "/api/sessions")[1] == []
    status, moved = ask(server, "PATCH", f"/api/sessions/{session['id']}", {"kernel": {"name": "python3"}})
    assert (status, moved["id"], moved["path"]) == (200, session["id"], path)
    assert moved["kernel"]["id"] in kernel_ids(real_gateway)
    assert [found["kernel"]["id"] for found in ask(server, "GET", "/api/sessions")[1]] == [moved["kernel"]["id"]]
    assert ask(server, "DELETE", f"/api/sessions/{session['id']}")[0] == 204
    assert ask(server, "PATCH", f"/api/sessions/{session['id']}", {"kernel": {"name": "python3"}})[0] == 404
    assert moved["kernel"]["id"] not in kernel_ids(real_gateway)


@pytest.mark.usefixtures("framing")
def test_a_browser_that_comes_back(server: Server) -> None:
    """Its connection is cut, and it comes again under the same session id: the gateway has kept what it has missed."""
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "replay")
    stage = Stage(tg.GatewayConfig(url=server.url, auth_token=server.token))
    finding = trio.run(run_scenario, scenario, stage)
    assert (finding.outcome, finding.detail) == ("yes", "")


def test_a_browser_is_told_when_its_kernel_is_gone(server: Server, real_gateway: RunningGateway) -> None:
    """Deleted on the gateway: the server hangs up, and its client learns why by asking."""
    with tg.open_gateway(server.url, auth_token=server.token) as gateway:
        model = gateway.kernels.start("python3")
        with gateway.attach_kernel(model.id) as kernel:
            assert kernel.execute("1").text == "1"
            rest(real_gateway, "DELETE", f"/api/kernels/{model.id}")
            with pytest.raises((tg.KernelCulledError, tg.KernelDiedError)):
                for _ in kernel.changes():
                    pass
                kernel.execute("1")
