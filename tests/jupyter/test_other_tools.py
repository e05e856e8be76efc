"""Tools of other projects, each run as `docs/jupyter.md` says, on a real gateway: testbook, jupytext, nbmake, nbval and others.

They have an environment of their own, which `nox -s tools` makes: Sphinx and voila bring half of the world with them.
"""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import nbformat
import pytest

from tools.face_tools import kernel_ids
from tools.serving import serve

from .jupyter_tools import EXAMPLES, cell

if TYPE_CHECKING:
    from conftest import RunningGateway

ENVIRONMENT = os.environ.get("TRIO_GATEWAY_TOOLS_ENV", "")

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.full,
    pytest.mark.usefixtures("configured"),
    pytest.mark.skipif(not ENVIRONMENT, reason="these tools need an environment of their own: run nox -s tools"),
]

BINARIES = Path(ENVIRONMENT) / "bin"
PAGE = (EXAMPLES.parent / "docs" / "jupyter.md").read_text("utf-8")
(THE_LINE,) = [line for line in PAGE.splitlines() if line.startswith("import jupyter_client, trio_gateway.jupyter;")]
ASKING = "import os; print('gateway', os.environ.get('KERNEL_GATEWAY'), end='')"
"""Only a kernel of the gateway has this variable."""
ANSWER = "gateway 1"


def said_of(tool: str) -> str:
    """Return what the page says of a tool."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {tool} |")]
    return row.split(" | ", 2)[2].removesuffix(" |")


def run(*command: str | Path, cwd: Path, given: str | None = None, status: int = 0) -> str:
    """Run a command of that environment, and return what it prints."""
    program = BINARIES / str(command[0])
    path = f"{BINARIES}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [program, *command[1:]], cwd=cwd, check=False, capture_output=True, text=True, timeout=250, input=given,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout


def write(path: Path, code: str = ASKING) -> None:
    """Write a notebook of one cell."""
    notebook = cell(code)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


def output_of(text: str) -> str:
    """Return what the one cell of a notebook has put out."""
    notebook = nbformat.reads(text, as_version=4)
    return "".join(output.get("text", "") for each in notebook.cells for output in each.get("outputs", []))


def test_testbook(tmp_path: Path) -> None:
    assert "kernel_manager_class=GatewayKernelManager" in said_of("testbook")
    write(tmp_path / "in.ipynb")
    program = """
        from testbook import testbook
        from trio_gateway.jupyter import GatewayKernelManager

        @testbook("in.ipynb", execute=True, kernel_manager_class=GatewayKernelManager)
        def look(notebook):
            print(notebook.cell_output_text(0))

        look()
    """
    assert ANSWER in run("python", "-c", textwrap.dedent(program), cwd=tmp_path)


def test_jupytext_before_nbconvert(tmp_path: Path) -> None:
    assert "jupytext --to ipynb --set-kernel python3 -o - in.py" in said_of("jupytext")
    (tmp_path / "in.py").write_text(f"{ASKING}\n")
    notebook = run("jupytext", "--to", "ipynb", "--set-kernel", "python3", "-o", "-", "in.py", cwd=tmp_path)
    notebook = run(
        "jupyter", "nbconvert", "--stdin", "--stdout", "--to", "notebook", "--execute",
        "--ExecutePreprocessor.kernel_manager_class=trio_gateway.jupyter.GatewayKernelManager",
        cwd=tmp_path, given=notebook,
    )  # fmt: skip
    assert output_of(notebook) == ANSWER


def test_jupytext_by_the_line(tmp_path: Path) -> None:
    end = "from jupytext.cli import jupytext; jupytext()"
    assert f'python -c "THE_LINE; {end}" --to ipynb --set-kernel python3 --execute in.py' in said_of("jupytext")
    (tmp_path / "in.py").write_text(f"{ASKING}\n")
    arguments = ("--to", "ipynb", "--set-kernel", "python3", "--execute", "in.py")
    run("python", "-c", f"{THE_LINE}; {end}", *arguments, cwd=tmp_path)
    assert output_of((tmp_path / "in.ipynb").read_text()) == ANSWER


def test_nbmake(tmp_path: Path) -> None:
    assert said_of("nbmake") == "the line below in `conftest.py`"
    (tmp_path / "conftest.py").write_text(f"{THE_LINE}\n")
    write(tmp_path / "in.ipynb")
    run("python", "-m", "pytest", "-p", "no:cacheprovider", "--nbmake", "--overwrite", "in.ipynb", cwd=tmp_path)
    assert output_of((tmp_path / "in.ipynb").read_text()) == ANSWER


def test_nbval(tmp_path: Path) -> None:
    (line,) = re.findall("`(import nbval.kernel.*?)`", said_of("nbval"))
    (tmp_path / "conftest.py").write_text(f"{line}\n")
    for expected, status in ((ANSWER, 0), ("another", 1)):
        notebook = cell(ASKING)
        notebook.cells[0].execution_count = 1
        notebook.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text=expected)]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, tmp_path / "in.ipynb")
        run("python", "-m", "pytest", "-p", "no:cacheprovider", "--nbval", "in.ipynb", cwd=tmp_path, status=status)


@pytest.mark.parametrize("executor", ["local-serial", "local-parallel"])
def test_jupyter_cache(executor: str, tmp_path: Path) -> None:
    end = "from jupyter_cache.cli.commands.cmd_main import jcache; jcache()"
    assert f'`python -c "THE_LINE; {end}" project execute`; `local-serial` and `local-parallel`' in said_of("jupyter-cache")
    write(tmp_path / "in.ipynb")
    given = ("--cache-path", str(tmp_path / "cache"))
    run("jcache", "notebook", *given, "add", "in.ipynb", cwd=tmp_path, given="y\n")
    run("python", "-c", f"{THE_LINE}; {end}", "project", *given, "execute", "--executor", executor, cwd=tmp_path, given="y\n")
    (kept,) = (tmp_path / "cache").rglob("base.ipynb")
    assert output_of(kept.read_text()) == ANSWER


@pytest.mark.parametrize("mode", ["force", "cache", "inline"])
def test_myst_nb(mode: str, tmp_path: Path) -> None:
    assert said_of("myst-nb").startswith("the line below in Sphinx's `conf.py`")
    assert f"`{mode}`" in said_of("myst-nb")
    settings = f'extensions = ["myst_nb"]\nnb_execution_mode = "{mode}"\nnb_execution_raise_on_error = True\n'
    (tmp_path / "conf.py").write_text(f"{THE_LINE}\n{settings}")
    source = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n# A page\n"
    (tmp_path / "index.md").write_text(f"{source}\n```{{code-cell}} ipython3\n{ASKING}\n```\n")
    run("python", "-m", "sphinx", "-q", "-b", "text", ".", "out", cwd=tmp_path)
    assert ANSWER in (tmp_path / "out" / "index.txt").read_text()


def test_voila(real_gateway: RunningGateway, tmp_path: Path) -> None:
    """It shows what a kernel of the gateway has put out, and leaves none."""
    write(tmp_path / "in.ipynb")
    (line,) = re.findall("`(voila in.ipynb .*?)`", said_of("voila"))
    before = kernel_ids(real_gateway)

    def command(port: int) -> list[str]:
        return [str(BINARIES / "voila"), *line.split()[1:], "--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}"]

    gateway = {name: os.environ[name] for name in ("JUPYTER_GATEWAY_URL", "JUPYTER_GATEWAY_AUTH_TOKEN")}
    with serve(command, tmp_path, env=gateway) as server:
        answer = httpx.get(f"{server.url}/", timeout=200, trust_env=False)
        assert answer.status_code == 200
        assert ANSWER in answer.text
    assert kernel_ids(real_gateway) == before
