"""The gallery: each program of it is run as its reader would run it, on a real gateway, and prints what is said here.

Those that open the settings' gateway share one. The terminal's program is driven by textual's own pilot; web applications are
served by uvicorn, on a loopback port.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from websockets.sync.client import connect

from .test_examples import EXAMPLES, processes_with, run_program, told

if TYPE_CHECKING:
    from collections.abc import Generator

    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]


def variables_of(gateway: RunningGateway) -> dict[str, str]:
    """Return what a program finds that gateway by."""
    return {"JUPYTER_GATEWAY_URL": gateway.url, "JUPYTER_GATEWAY_AUTH_TOKEN": gateway.token}


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import an example; FastAPI looks annotations up where they were written."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(app: Any) -> Generator[str]:
    """Serve an application in a thread; give its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on", ws="wsproto"))
    started = threading.Event()
    startup = server.startup

    async def startup_and_tell(*arguments: Any, **more: Any) -> None:
        await startup(*arguments, **more)
        started.set()

    server.startup = startup_and_tell  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        assert started.wait(250)
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(250)
    assert not thread.is_alive()


def test_each_program_is_in_the_gallery() -> None:
    """And has a docstring whose first line says how to run it."""
    page = (EXAMPLES.parent / "docs" / "gallery.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.*"):
        assert f"(../examples/{path.name})" in page


def test_a_sweep(tmp_path: Path) -> None:
    done = run_program(sys.executable, EXAMPLES / "sweep.py", cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "states(2.5) = 1",
        "states(2.9) = 1",
        "states(3.2) = 2",
        "states(3.5) = 4",
        "states(3.7) = 400",
        "states(3.9) = 400",
    ]
    assert "rates" in done.stderr  # the progress bar
    assert "100%" in done.stderr


def test_plots(tmp_path: Path) -> None:
    done = run_program(sys.executable, EXAMPLES / "plots.py", tmp_path, cwd=tmp_path)
    assert done.stdout.splitlines() == told("plots.py")
    contents = {(tmp_path / name).read_bytes() for name in done.stdout.splitlines()}
    assert len(contents) == 3
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") for content in contents)


def test_a_farm_of_notebooks(tmp_path: Path) -> None:
    done = run_program(sys.executable, EXAMPLES / "farm.py", tmp_path, cwd=tmp_path)
    assert done.stdout.splitlines() == told("farm.py")
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    pages = re.findall(r'href="(\w+\.html)"', index)
    assert pages == ["east.html", "north.html", "south.html", "west.html"]
    assert all(page.partition(".")[0] in (tmp_path / page).read_text(encoding="utf-8") for page in pages)


def test_frames(tmp_path: Path) -> None:
    done = run_program(sys.executable, EXAMPLES / "frames.py", cwd=tmp_path)
    # pandas 2 counts in nanoseconds, pandas 3 in microseconds.
    printed = done.stdout.replace("datetime64[ns", "datetime64[us")
    assert [line.rstrip() for line in printed.splitlines()] == told("frames.py")


def test_a_suite_with_faults(tmp_path: Path) -> None:
    done = run_program(
        sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", EXAMPLES / "test_with_faults.py", cwd=tmp_path
    )
    assert "3 passed" in done.stdout


def test_server_sent_events(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each output is an event, as it comes; a visitor who leaves ends the kernel."""
    for name, value in variables_of(real_gateway).items():
        monkeypatch.setenv(name, value)
    with served(load("web_events", monkeypatch).app) as address:
        answer = httpx.post(f"http://{address}/run", json={"code": "print(1)\n2\n1 / 0"}, timeout=250)
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.text.strip().splitlines() == told("web_events.py")
        endless = {"code": "import time\nwhile True: print('on', flush=True); time.sleep(0.05)"}
        with httpx.stream("POST", f"http://{address}/run", json=endless, timeout=250) as stream:
            assert next(stream.iter_lines()) == "event: output"
    assert real_gateway.kernel_processes() == []


def test_a_websocket(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel keeps its variables from one code to the next; a visitor who leaves in the middle ends it."""
    for name, value in variables_of(real_gateway).items():
        monkeypatch.setenv(name, value)
    with served(load("web_socket", monkeypatch).app) as address:
        with connect(f"ws://{address}/kernel", open_timeout=250, compression=None) as socket:
            socket.send("x = 20")
            answers = [socket.recv(250)]
            socket.send("print(x + 1, end='')")
            assert [*answers, socket.recv(250), socket.recv(250)] == told("web_socket.py")
            socket.send("print('begun', end='', flush=True)\nwhile True: pass")
            assert json.loads(socket.recv(250)) == {"text": "begun"}
    assert real_gateway.kernel_processes() == []


def test_a_terminal(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel is started, is shown as busy, is interrupted, and is shut down with the program."""
    for name, value in variables_of(real_gateway).items():
        monkeypatch.setenv(name, value)
    terminal = load("terminal", monkeypatch)

    async def use() -> None:
        app = terminal.Kernels()
        async with app.run_test(size=(60, 12)) as pilot:

            async def wait_for(condition: Any) -> None:
                async with asyncio.timeout(250):
                    while not condition():
                        await pilot.pause(0.05)

            table = app.query_one(terminal.DataTable)
            await wait_for(lambda: app.gateway is not None)
            await pilot.press("s")
            await wait_for(lambda: table.row_count == 1)
            await wait_for(lambda: table.get_row_at(0)[2] == "idle")
            await pilot.press("r")
            await wait_for(lambda: table.get_row_at(0)[2] == "busy")
            await pilot.press("i")
            await wait_for(lambda: table.get_row_at(0)[2] == "idle")
            await pilot.press("s")
            await wait_for(lambda: table.row_count == 2)
            await pilot.press("k")
            await wait_for(lambda: table.row_count == 1)
            await pilot.press("q")
            await wait_for(app.block.done)

    asyncio.run(use())
    assert real_gateway.kernel_processes() == []


def test_jupyterlab_through_the_proxy(tmp_path: Path) -> None:
    """JupyterLab shows the gateway's kernelspecs, and ends with its program, which leaves nothing."""
    mark = os.urandom(8).hex()
    environment = {
        **os.environ,
        "TRIO_GATEWAY_TEST_MARK": mark,
        "JUPYTER_CONFIG_DIR": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
        "JUPYTER_ALLOW_INSECURE_WRITES": "1",
    }
    options = [
        "--ServerApp.port=0",
        "--ServerApp.ip=127.0.0.1",
        "--allow-root",
        "--IdentityProvider.token=secret",
        f"--ServerApp.root_dir={tmp_path}",
    ]
    command = [sys.executable, EXAMPLES / "lab.py", *options]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = next(
                match for line in process.stderr if (match := re.search(r"http://127\.0\.0\.1:\d+/", line)) and "lab" in line
            )
            specs = httpx.get(f"{found[0]}api/kernelspecs", headers={"Authorization": "token secret"}, timeout=250).json()
            assert "python3" in specs["kernelspecs"]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=250)
    assert processes_with(mark) == []
