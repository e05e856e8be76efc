"""The directory that Jupyter's tools ask for: honoured where gateway and tool share it, and else not ignored in silence."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbclient
import nbformat
import pytest
import trio

from trio_gateway._gateway import placing
from trio_gateway.jupyter import BlockingGatewayKernelManager, GatewayKernelManager
from trio_gateway.jupyter._environment import absolute_directory

from .jupyter_tools import cell, run_tool

if TYPE_CHECKING:
    from tools.face_tools import ListeningFake

WHERE = "import os; print(os.getcwd(), end='')"
ELSEWHERE = "its own machine, which has no such directory, or another one"


def where_a_notebook_works(path: object) -> str:
    """Run a notebook whose folder this is; nbclient calls it the notebook's resources' path."""
    notebook = cell(WHERE)
    nbclient.NotebookClient(
        notebook, kernel_manager_class=GatewayKernelManager, kernel_name="python3", resources={"metadata": {"path": path}}
    ).execute()
    return str(notebook.cells[0].outputs[0].text)


@pytest.mark.gateway
@pytest.mark.usefixtures("configured")
def test_a_notebook_s_folder_on_the_gateway_s_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real Kernel Gateway knows nothing of it, and the kernel works there all the same; also after a restart."""
    folder = tmp_path / "a $folder"  # which can't be sent to a gateway as it is
    folder.mkdir()
    assert where_a_notebook_works(str(folder)) == str(folder)
    monkeypatch.chdir(tmp_path)
    assert where_a_notebook_works(folder.name) == str(folder), "a relative one is relative to this process's own"

    manager = BlockingGatewayKernelManager(kernel_name="python3")
    manager.start_kernel(cwd=tmp_path)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        manager.restart_kernel()
        client.wait_for_ready(timeout=60)
        shown: list[Any] = []
        client.execute_interactive(f"{WHERE}\nlen(In)", output_hook=shown.append)
        assert "".join(m["content"]["text"] for m in shown if m["msg_type"] == "stream") == str(tmp_path)
        (count,) = [m["content"] for m in shown if m["msg_type"] == "execute_result"]
        assert (count["data"]["text/plain"], count["execution_count"]) == ("2", 1), "the kernel's history has nothing of it"
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


@pytest.mark.gateway
@pytest.mark.usefixtures("configured")
def test_a_folder_that_the_gateway_s_machine_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a gateway elsewhere, whose folder of the same name is another one: that is told, once, and the notebook runs."""
    monkeypatch.setattr(placing, "_mark", lambda directory: [0, 0, 0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        places = {where_a_notebook_works(str(tmp_path)) for _ in range(2)}
    assert str(tmp_path) not in places
    (warning,) = [str(found.message) for found in told]
    assert f"does not work in {tmp_path}" in warning
    assert places.pop() in warning
    assert ELSEWHERE in warning
    with pytest.warns(UserWarning, match="could not go there.*No such file"):
        where_a_notebook_works("/no/such/folder")


def test_a_kernel_that_can_not_be_asked(fake_gateway: ListeningFake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows no such expressions is left where it is; no folder, no question."""

    async def no_answer(kernel: object, expression: str) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setenv("JUPYTER_GATEWAY_URL", fake_gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", fake_gateway.token)
    manager = BlockingGatewayKernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path))
    manager.shutdown_kernel()
    assert Path.cwd() != tmp_path
    monkeypatch.setattr(placing, "ask", no_answer)
    with pytest.warns(UserWarning, match="does not answer expressions"):
        manager.start_kernel(cwd=str(tmp_path))
    assert manager.is_alive()
    manager.shutdown_kernel()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="does not work in"):
            manager.start_kernel(cwd=str(tmp_path))
        assert not manager.has_kernel, "an error here leaves no kernel"
        manager.start_kernel(cwd=None)
    manager.shutdown_kernel()


def test_absolute_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_directory("a/b") == absolute_directory(Path("a/b")) == str(tmp_path / "a" / "b")
    assert absolute_directory(os.sep) == os.sep
    assert absolute_directory(None) is None
    assert absolute_directory(3) == 3  # whose error is said where it is sent


@pytest.mark.full
@pytest.mark.gateway
@pytest.mark.usefixtures("configured")
def test_papermill_s_cwd(tmp_path: Path) -> None:
    """`papermill --cwd`: there its own kernels work too."""
    folder = tmp_path / "work"
    folder.mkdir()
    nbformat.write(cell(WHERE), tmp_path / "in.ipynb")
    for engine in ((), ("--engine", "trio_gateway")):
        run_tool("papermill", *engine, "-k", "python3", "--cwd", "work", "in.ipynb", "out.ipynb", cwd=tmp_path)
        assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs[0].text == str(folder)
    run_tool("papermill", "--engine", "trio_gateway", "-k", "python3", "in.ipynb", "out.ipynb", cwd=tmp_path)
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs[0].text != str(tmp_path)
