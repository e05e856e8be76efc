"""The examples, and every Python block of the README and the docs, are run as a user would run them.

That is: as programs, on a real gateway. A program has to end with exit code 0, print what is said here (or in the `text` block
after it), say nothing on stderr, and leave no process behind (G1, G2): each one runs with a mark in its environment, which the
gateway and its kernels inherit, and afterwards no process of this machine may carry that mark. Those that are given a gateway
share one, which must have no kernel afterwards.

README's blocks and its program are quick; the other examples and the blocks of the docs are of the full tier.
"""

from __future__ import annotations

import json
import os
import pkgutil
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conftest import RunningGateway

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
COMMAND = Path(sys.executable).with_name("trio-gateway")
MARK = "TRIO_GATEWAY_TEST_MARK"

pytestmark = pytest.mark.gateway


@attrs.frozen
class Finished:
    """What a program that has ended printed."""

    stdout: str
    stderr: str


def processes_with(mark: str) -> list[str]:
    """Return the command lines of the running processes that carry this mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def run_program(*arguments: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a program without any gateway setting of ours, and check that it succeeds and leaves no process."""
    mark = secrets.token_hex(8)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER_GATEWAY_", "KERNEL_"))}
    variables |= {MARK: mark, "PYTHONUTF8": "1", **(environment or {})}
    done = subprocess.run(list(map(str, arguments)), cwd=cwd, env=variables, check=False, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"exit code {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
    assert processes_with(mark) == []
    return Finished(done.stdout, done.stderr)


def told(program: str) -> list[str]:
    """Return the lines that the gallery says a program prints."""
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    found = re.search(rf"^`{re.escape(program)}`[^\n]*:\n\n```text\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the gallery does not say what {program} prints"
    return found[1].splitlines()


def test_the_mark_finds_a_process() -> None:
    """The check for processes left behind can fail."""
    mark = secrets.token_hex(8)
    command = [sys.executable, "-c", "input('it runs')"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ, MARK: mark}) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        found = processes_with(mark)
        process.communicate(b"\n")
    assert len(found) == 1
    assert "input(" in found[0]


# ------------------------------------------------------------------------------------------------------------- examples


def test_every_example_is_run_here() -> None:
    """An example without a test is an example that will break."""
    examples = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    here = Path(__file__)
    others = here.parents[1] / "portal" / "test_web_application.py", here.with_name("test_pools_page.py")
    source = "".join(path.read_text(encoding="utf-8") for path in (here, here.with_name("test_gallery.py"), *others))
    assert examples
    run = {name for name in examples if f'EXAMPLES / "{name}"' in source or f'load("{name.removesuffix(".py")}"' in source}
    assert examples - run == set()


def test_hello_program(tmp_path: Path) -> None:
    """The program shows results, a stream, an error and a cancelled execution."""
    done = run_program(sys.executable, EXAMPLES / "hello.py", cwd=tmp_path)
    assert done.stdout.splitlines() == told("hello.py")
    assert done.stderr == ""


@pytest.mark.full
def test_script(tmp_path: Path) -> None:
    """A script's output appears on the streams that it wrote to; stderr also says that a local gateway was started."""
    done = run_program(COMMAND, "run", EXAMPLES / "script.py", cwd=tmp_path)
    assert done.stdout.splitlines() == told("trio-gateway run script.py")
    assert "A line on stderr" in done.stderr
    assert "local" in done.stderr


def outputs_of(notebook: Mapping[str, Any], cell_id: str) -> list[Mapping[str, Any]]:
    """Return one cell's outputs."""
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == cell_id]
    return list(cell["outputs"])


def text(lines: str | Iterable[str]) -> str:
    """Join a notebook's multi-line string."""
    return "".join(lines)


@pytest.mark.full
def test_notebook_shown(tmp_path: Path) -> None:
    """The README's first command: the outputs appear, cell by cell, and the notebook stays as it was."""
    before = (EXAMPLES / "hello.ipynb").read_bytes()
    done = run_program(COMMAND, "run", EXAMPLES / "hello.ipynb", cwd=tmp_path)
    shown = done.stdout.splitlines()
    assert shown[:2] == [f"Python {sys.version.split()[0]} says hello", "42"]
    assert shown[-1] == "The last cell ran too."
    assert "ZeroDivisionError" in done.stderr
    assert "this never runs" not in done.stdout + done.stderr
    assert (EXAMPLES / "hello.ipynb").read_bytes() == before


@pytest.mark.full
def test_notebook_saved(tmp_path: Path) -> None:
    """With `-o` the outputs of each cell are saved; cells run in order, and the tags are honoured."""
    before = (EXAMPLES / "hello.ipynb").read_bytes()
    saved = tmp_path / "out.ipynb"
    run_program(COMMAND, "run", EXAMPLES / "hello.ipynb", "-o", saved, cwd=tmp_path)

    notebook = json.loads(saved.read_text(encoding="utf-8"))
    stream, result = outputs_of(notebook, "text")
    assert stream["output_type"] == "stream"
    assert text(stream["text"]) == f"Python {sys.version.split()[0]} says hello\n"
    assert (result["output_type"], text(result["data"]["text/plain"])) == ("execute_result", "42")
    html, svg = outputs_of(notebook, "rich")
    assert text(html["data"]["text/html"]) == "<b>bold</b> and <i>italic</i>"
    assert text(svg["data"]["image/svg+xml"]).startswith("<svg")
    (progress,) = outputs_of(notebook, "progress")
    assert text(progress["data"]["text/plain"]) == "'100 %'"
    (error,) = outputs_of(notebook, "error")
    assert (error["output_type"], error["ename"]) == ("error", "ZeroDivisionError")
    assert outputs_of(notebook, "skip") == []
    counts = {cell["id"]: cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"}
    assert counts == {"text": 1, "rich": 2, "progress": 3, "error": 4, "skip": None, "last": 5}

    assert (EXAMPLES / "hello.ipynb").read_bytes() == before


# ------------------------------------------------------------------------------------------------------- README and docs

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# A fenced block, the comment that names it if there is one, and the `text` block after it if there is one.
BLOCK = re.compile(
    r"(?:^<!-- command: (?P<name>\w+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```\n(?:\n```text\n(?P<prints>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


def python_blocks(*, given_a_gateway: bool) -> list[Any]:
    """Return the Python blocks as tests' parameters, code and what it prints or None: those given a gateway, or the others."""
    blocks = []
    for document in DOCUMENTS:
        content = document.read_text(encoding="utf-8")
        for block in BLOCK.finditer(content):
            if block["language"] == "python" and ("open_gateway()" in block["code"]) == given_a_gateway:
                line = content.count("\n", 0, block.start()) + 1
                marks = () if document.name == "README.md" else pytest.mark.full
                blocks.append(pytest.param(block["code"], block["prints"], id=f"{document.name}:{line}", marks=marks))
    return blocks


def commands(document: Path) -> dict[str, str]:
    """Return the named shell commands of a document."""
    return {
        block["name"]: block["code"].strip()
        for block in BLOCK.finditer(document.read_text(encoding="utf-8"))
        if block["name"] is not None and block["language"] == "sh"
    }


STAND_INS = {
    "airflow/sdk.py": "def dag(function): return function\ndef task(function): return function\n",
}
"""What blocks import that no extra brings: as much of it as they use."""


def run_block(code: str, prints: str | None, folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a block as it stands, in a folder with the example's notebook."""
    shutil.copy(EXAMPLES / "report.ipynb", folder)
    for name, content in STAND_INS.items():
        (folder / name).parent.mkdir()
        (folder / name).write_text(content, encoding="utf-8")
    program = folder / "block.py"
    program.write_text(code, encoding="utf-8")
    done = run_program(sys.executable, program, cwd=folder, environment=environment)
    assert done.stderr == ""
    if prints is not None:
        assert done.stdout == prints


@pytest.mark.parametrize(("code", "prints"), python_blocks(given_a_gateway=False))
def test_python_block(code: str, prints: str | None, tmp_path: Path) -> None:
    """A block runs as it stands, and prints what the block after it says."""
    run_block(code, prints, tmp_path)


@pytest.mark.parametrize(("code", "prints"), python_blocks(given_a_gateway=True))
def test_python_block_on_a_gateway(code: str, prints: str | None, tmp_path: Path, real_gateway: RunningGateway) -> None:
    """`open_gateway()` finds a gateway's variables; no kernel is left there (G2)."""
    environment = {"JUPYTER_GATEWAY_URL": real_gateway.url, "JUPYTER_GATEWAY_AUTH_TOKEN": real_gateway.token}
    run_block(code, prints, tmp_path, environment)
    assert real_gateway.kernel_processes() == []


def test_every_block_is_run() -> None:
    """Those that are given a gateway and the others are all the Python blocks there are."""
    count = sum(len(re.findall(r"^```python$", document.read_text(encoding="utf-8"), re.MULTILINE)) for document in DOCUMENTS)
    assert count == len(python_blocks(given_a_gateway=False)) + len(python_blocks(given_a_gateway=True))


def test_the_readme_has_the_two_commands_and_ci_runs_them() -> None:
    """Each is one line, and CI runs it as it stands there."""
    found = commands(ROOT / "README.md")
    assert found.keys() == {"run", "test"}
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for command in found.values():
        assert "\n" not in command
        assert ci.count(command) == 1
    assert found["run"].endswith(".venv/bin/trio-gateway run examples/hello.ipynb")
    assert found["test"].endswith(".venv/bin/python -m pytest")


def test_names_in_the_documents_exist() -> None:
    """What a document calls `trio_gateway.something` is a public name or module."""
    import trio_gateway

    mentioned = {
        name
        for document in [*DOCUMENTS, ROOT / "CHANGELOG.md"]
        if document.parent.name != "reference"  # these: test_reference_pages.py
        for name in re.findall(r"\btrio_gateway\.(\w+)", document.read_text(encoding="utf-8"))
    }
    assert "open_gateway" in mentioned
    mentioned.discard("md")  # reference/trio_gateway.md
    modules = {module.name for module in pkgutil.iter_modules(trio_gateway.__path__) if not module.name.startswith("_")}
    assert {name for name in mentioned - modules if not hasattr(trio_gateway, name)} == set()


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link names a file or folder of this repository."""
    broken = [
        (document.name, target)
        for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert broken == []
