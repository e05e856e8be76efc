"""What leaves a process of its environment with a start by one of Jupyter's own tools: what is meant for a kernel (G8).

A fake gateway that listens on loopback shows what arrived.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import nbclient
import nbformat
import pytest
import trio

import trio_gateway.anyio
import trio_gateway.blocking
from trio_gateway._cli.opening import configured_gateway
from trio_gateway._cli.options import Options
from trio_gateway._gateway.starting import Inherited
from trio_gateway.jupyter import BlockingGatewayKernelManager, GatewayKernelManager
from trio_gateway.jupyter._environment import choose_directory, choose_variables
from trio_gateway.testing import FakeGateway

from .server_tools import open_server

SECRET = "pass-w0rd-of-the-database"
INHERITED = {
    "DATABASE_PASSWORD": SECRET,
    "PS1": "$(whoami)`id`",
    "SEVERAL_LINES": "one\ntwo",
    "BASH_FUNC_which%%": "() {  echo $1\n}",
    "TOO_LONG": "x" * 5000,
    "KERNEL_COLOUR": "blue",
    "KERNEL_PROMPT": "$ ",
    "KERNEL_USERNAME": "alice",
}
"""What may stand in anybody's environment."""


@attrs.define
class Fake:
    """A fake gateway in a thread, on loopback."""

    url: str = ""
    token: str = "fake-token"
    gateway: FakeGateway = attrs.field(factory=FakeGateway)

    def environments(self) -> list[dict[str, Any]]:
        """The environments of all starts, as they came, but for the ids that the library chooses."""
        starts = [request for request in self.gateway.requests if str(request) == "POST /api/kernels"]
        bodies = [request.json()["env"] for request in starts]
        for body in bodies:
            assert body.pop("KERNEL_ID")
        return bodies


@pytest.fixture
def kind() -> str:
    """Which gateway the fake says that it is. The one that takes less, unless a test says otherwise."""
    return "enterprise"


@pytest.fixture
def fake(kind: str) -> Iterator[Fake]:
    """A fake gateway that listens on loopback."""
    made = Fake()
    if kind == "enterprise":
        made.gateway.faults.answer("GET /api", 200, {"version": "1.24.0", "gateway_version": "3.3.0"})
    started = threading.Event()
    stop: list[Any] = []

    async def serve() -> None:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(scope.cancel))
            async with made.gateway, made.gateway.listen() as made.url:
                started.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    started.wait()
    yield made
    stop[0]()
    thread.join()
    assert made.gateway.protocol_errors == []


@pytest.fixture
def configured(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The gateway and everything else in this process's environment."""
    for name in [name for name in os.environ if name.startswith("KERNEL_")]:
        monkeypatch.delenv(name)
    for name, value in {**INHERITED, "JUPYTER_GATEWAY_URL": fake.url, "JUPYTER_GATEWAY_AUTH_TOKEN": fake.token}.items():
        monkeypatch.setenv(name, value)
    return fake


def test_the_usual_idiom_of_a_blocking_program(configured: Fake) -> None:
    """`env=dict(os.environ, X="1")` sends X, and what is meant for kernels."""
    manager = BlockingGatewayKernelManager(kernel_name="python3")
    manager.start_kernel(env=dict(os.environ, X="1", KERNEL_COLOUR="red"))
    manager.shutdown_kernel()
    assert configured.environments() == [{"X": "1", "KERNEL_COLOUR": "red", "KERNEL_USERNAME": "alice"}]


@pytest.mark.parametrize("kind", ["enterprise", "kernel"])
def test_the_process_s_own_kernel_variables_go_along_without_env(configured: Fake, kind: str) -> None:
    """As the reference does; what the gateway does not take is left out, and refuses nothing."""
    manager = BlockingGatewayKernelManager(kernel_name="python3")
    manager.start_kernel()
    manager.shutdown_kernel()
    more = {"KERNEL_PROMPT": "$ "} if kind == "kernel" else {}
    assert configured.environments() == [{"KERNEL_COLOUR": "blue", "KERNEL_USERNAME": "alice", **more}]


@pytest.mark.parametrize("kind", ["enterprise", "kernel"])
def test_a_notebook_s_start(configured: Fake, kind: str, tmp_path: Path) -> None:
    """nbclient passes `env` and the notebook's folder on; a folder whose name the gateway does not take is left out."""
    folder = tmp_path / "a$b"
    folder.mkdir()
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(),
        kernel_manager_class=GatewayKernelManager,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=dict(os.environ, X="1"))
    more = {"KERNEL_PROMPT": "$ ", "KERNEL_WORKING_DIR": str(folder)} if kind == "kernel" else {}
    assert configured.environments() == [{"X": "1", "KERNEL_COLOUR": "blue", "KERNEL_USERNAME": "alice", **more}]


def test_what_is_allowed_goes_along(configured: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """`allowed_envs` names them; one that can't be sent is left out, and refuses nothing."""
    monkeypatch.setenv("JUPYTER_GATEWAY_ALLOWED_ENVS", "HARMLESS,PS1,ABSENT")
    monkeypatch.setenv("HARMLESS", "yes")
    manager = BlockingGatewayKernelManager(kernel_name="python3")
    manager.start_kernel(env=dict(os.environ))
    manager.shutdown_kernel()
    assert configured.environments() == [{"HARMLESS": "yes", "KERNEL_COLOUR": "blue", "KERNEL_USERNAME": "alice"}]


def test_settings_win_over_the_variables_that_they_are_read_from(configured: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel's user, and how long its start may take."""
    monkeypatch.setenv("KERNEL_LAUNCH_TIMEOUT", "50")
    manager = BlockingGatewayKernelManager(kernel_name="python3", settings={"kernel_username": "bob", "launch_timeout": 30})
    manager.start_kernel(env=dict(os.environ))
    manager.shutdown_kernel()
    assert configured.environments() == [{"KERNEL_COLOUR": "blue", "KERNEL_USERNAME": "bob", "KERNEL_LAUNCH_TIMEOUT": "30"}]


@pytest.mark.parametrize("asked", [False, True])
def test_the_library_sends_them_where_it_is_asked_to(configured: Fake, monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    """On each of its faces: `KERNEL_*` in `allowed_envs` names them all, and without it none leaves this process (G8)."""
    if asked:
        monkeypatch.setenv("JUPYTER_GATEWAY_ALLOWED_ENVS", "KERNEL_*")

    async def start(package: Any) -> None:
        async with package.open_gateway() as gateway, gateway.start_kernel(env={"X": "1"}):
            pass

    trio.run(start, trio_gateway)
    asyncio.run(start(trio_gateway.anyio))
    with trio_gateway.blocking.open_gateway() as gateway, gateway.start_kernel(env={"X": "1"}):
        pass
    with trio_gateway.blocking.open_gateway() as gateway:
        gateway.kernels.start(env={"X": "1"})
    wanted = {"X": "1", "KERNEL_USERNAME": "alice", **({"KERNEL_COLOUR": "blue"} if asked else {})}
    assert configured.environments() == [wanted] * 4


def test_what_is_allowed_beside_them(configured: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a start, or a setting, says of a kernel wins over the variable."""
    monkeypatch.setenv("KERNEL_WORKING_DIR", "/of/the/process")
    monkeypatch.setenv("HARMLESS", "yes")
    settings: Any = {"allowed_envs": ["KERNEL_*", "HARMLESS"], "kernel_username": "bob", "launch_timeout": 30}
    with trio_gateway.blocking.open_gateway(**settings) as gateway:
        gateway.kernels.start(env={"KERNEL_COLOUR": "red"}, cwd="/of/the/start")
    said = {"KERNEL_USERNAME": "bob", "KERNEL_LAUNCH_TIMEOUT": "30", "KERNEL_WORKING_DIR": "/of/the/start"}
    assert configured.environments() == [{"KERNEL_COLOUR": "red", "HARMLESS": "yes", **said}]


@pytest.mark.parametrize("arguments", [["exec", "1"], ["run", "a.py"], ["run", "a.ipynb"], ["doctor"]])
def test_the_command_sends_them(configured: Fake, tmp_path: Path, arguments: list[str]) -> None:
    """As Jupyter's own tools do: its environment is how a command is told."""
    (tmp_path / "a.py").write_text("1")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), tmp_path / "a.ipynb")
    command = [sys.executable, "-m", "trio_gateway", *arguments]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert configured.environments() == [{"KERNEL_COLOUR": "blue", "KERNEL_USERNAME": "alice"}]
    assert "KERNEL_PROMPT" in done.stderr, "what can't be sent is told"
    assert "of-the-database" not in repr(configured.gateway.requests)


def test_the_command_for_others_sends_none(configured: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """`trio-gateway proxy` starts other people's kernels: there a setting has to ask for them."""
    monkeypatch.setenv("JUPYTER_GATEWAY_ALLOWED_ENVS", "A")
    assert configured_gateway(Options()).allowed_envs == ("A", "KERNEL_*")
    assert configured_gateway(Options(), for_others=True).allowed_envs == ("A",)
    for name in ("KERNEL_COLOUR", "KERNEL_PROMPT"):
        monkeypatch.delenv(name)
    assert configured_gateway(Options()).allowed_envs == ("A",), "there is nothing to send"


def test_what_is_chosen() -> None:
    """The rule itself, and whom it tells. What only some gateways take is marked, for when the gateway is known."""
    said: list[str] = []
    environ = {"A": "1", "SECRET": SECRET, "KERNEL_A": "1", "KERNEL_B": "a\udc80"}
    assert choose_variables(None, environ, said.append) == {"KERNEL_A": "1"}
    assert choose_variables({"A": "1", "B": "2"}, environ, said.append) == {"KERNEL_A": "1", "B": "2"}
    found = choose_variables({"A": "2", "SECRET": SECRET, "B": "a$b"}, environ, said.append)
    assert found == {"KERNEL_A": "1", "A": "2", "B": "a$b"}
    assert {name for name, value in found.items() if isinstance(value, Inherited)} == {"KERNEL_A"}
    assert len(said) == 3
    assert all("KERNEL_B" in text and "a\udc80" not in text for text in said)
    # A whole environment that is a little older than the process's own, as in a server: only what is named.
    said.clear()
    found = choose_variables(
        {"GONE": SECRET, "JPY_SESSION_NAME": "/a", "KERNEL_C": "3"}, environ, said.append, only={"JPY_SESSION_NAME"}
    )
    assert found == {"KERNEL_A": "1", "JPY_SESSION_NAME": "/a", "KERNEL_C": "3"}
    assert all(isinstance(value, Inherited) for value in found.values())
    assert choose_variables({"A": "1", "KERNEL_C": "3"}, {}, said.append, only={"KERNEL_*"}) == {"KERNEL_C": "3"}
    assert choose_variables({"JPY_SESSION_NAME": "/a\udc80"}, {}, said.append, only={"JPY_SESSION_NAME"}) == {}
    assert "JPY_SESSION_NAME" in said[-1]
    assert choose_variables(["A"], {}, said.append) == ["A"]
    assert choose_directory("/a", said.append) == "/a"
    assert isinstance(choose_directory("/a`b", said.append), Inherited)
    assert choose_directory(None, said.append) is None
    assert choose_directory("/a\udc80", said.append) is None
    assert "KERNEL_WORKING_DIR" in said[-1]


@pytest.mark.full
def test_a_server_with_a_secret_in_its_environment(fake: Fake, tmp_path: Path) -> None:
    """A real Jupyter Server opens a session; of its environment arrives what is meant for kernels, and nothing else anywhere."""
    environ = {**INHERITED, "JUPYTER_GATEWAY_ALLOWED_ENVS": "HARMLESS", "HARMLESS": "yes"}
    (tmp_path / "a$b").mkdir()
    with open_server(fake, tmp_path, env=environ) as server:

        def open_session(path: str) -> None:
            session = {"path": path, "name": Path(path).name, "type": "notebook", "kernel": {"name": "python3"}}
            request = urllib.request.Request(
                f"{server.url}/api/sessions",
                data=json.dumps(session).encode(),
                headers={"Authorization": f"token {server.token}"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status == 201

        open_session("a.ipynb")
        open_session("a$b/c.ipynb")
        common = {"HARMLESS": "yes", "KERNEL_COLOUR": "blue", "KERNEL_USERNAME": "alice"}
        notebook = {"KERNEL_WORKING_DIR": str(tmp_path), "JPY_SESSION_NAME": str(tmp_path / "a.ipynb")}
        assert fake.environments() == [{**common, **notebook}, common]
        arrived = repr([(str(request), request.query, request.headers, request.body) for request in fake.gateway.requests])
        assert SECRET not in arrived
        assert server.token not in arrived
