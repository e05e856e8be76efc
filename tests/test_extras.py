"""What needs an extra that is not installed says which, whatever way it is asked for; and what needs none works without any."""

from __future__ import annotations

import subprocess
import sys

import pytest

EXTRAS = {
    "cli": ("click", "junitparser", "rich"),
    "events": ("jupyter_events",),
    "fast": ("websockets",),
    "html": ("nbconvert",),
    "jupyter": ("jupyter_client", "jupyter_core", "jupyter_server", "tornado", "traitlets"),
    "local": ("kernel_gateway", "ipykernel", "psutil"),
    "notebooks": ("nbformat", "papermill"),
    "otel": ("opentelemetry",),
    "proxy": ("starlette", "prometheus_client"),
    "python": ("cloudpickle", "numpy", "pandas", "polars", "pyarrow"),
}
PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
sys.argv = ["trio-gateway", *{arguments!r}]
{statement}
"""


def run(statement: str, blocked: tuple[str, ...], arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a statement in a Python that lacks some packages."""
    program = PROGRAM.format(blocked=set(blocked), statement=statement, arguments=arguments)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=False)


EVERYTHING = tuple(name for names in EXTRAS.values() for name in names)


@pytest.mark.parametrize(
    ("statement", "blocked", "install"),
    [
        ("import trio_gateway.proxy", ("starlette",), "'trio-gateway[proxy]'"),
        ("from trio_gateway.proxy import create_app", ("prometheus_client",), "'trio-gateway[proxy]'"),
        ("import trio_gateway.jupyter", EVERYTHING, "'trio-gateway[jupyter]'"),
        ("import trio_gateway.jupyter.server", ("jupyter_server",), "'trio-gateway[jupyter]' jupyter_server"),
        ("import trio_gateway.notebooks", EVERYTHING, "'trio-gateway[notebooks]'"),
        ("from trio_gateway.notebooks import run", ("nbformat",), "'trio-gateway[notebooks]'"),
        ("import trio_gateway.events as e; e.to_jupyter_events(None)", EVERYTHING, "'trio-gateway[events]'"),
        ("import trio_gateway.events as e; e.to_opentelemetry()", EVERYTHING, "'trio-gateway[otel]'"),
    ],
)
def test_a_missing_extra_names_itself(statement: str, blocked: tuple[str, ...], install: str) -> None:
    ended = run(statement, blocked)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: trio_gateway.")
    assert f"pip install {install} (there is no module " in last
    assert ended.stderr.count("Traceback") == 1, "what Python said first is of no use"


@pytest.mark.parametrize(
    ("arguments", "blocked", "install"),
    [
        (("--help",), EXTRAS["cli"], "trio-gateway[cli]"),
        (("exec", "1"), ("rich",), "trio-gateway[cli]"),
        (("run", "a.ipynb"), ("nbformat",), "trio-gateway[cli]"),
        (("run", "a.ipynb", "--html", "a.html"), ("nbconvert",), "trio-gateway[html]"),
        (("run", "a.ipynb", "--report", "a.xml"), ("junitparser",), "trio-gateway[cli]"),
        (("proxy",), EXTRAS["proxy"], "trio-gateway[proxy]"),
    ],
)
def test_so_it_does_on_the_command_line(arguments: tuple[str, ...], blocked: tuple[str, ...], install: str) -> None:
    ended = run("from trio_gateway_command import main; main()", blocked, arguments)
    assert ended.returncode == 2, ended
    line = ended.stderr.strip().splitlines()[0]
    assert line.startswith("trio-gateway: error: ")
    assert install in line


def test_what_needs_no_extra_works_without_any() -> None:
    modules = ("", ".anyio", ".blocking", ".events", ".testing", ".testing.scenarios")
    ended = run("\n".join(f"import trio_gateway{name}" for name in modules), EVERYTHING)
    assert (ended.returncode, ended.stderr) == (0, "")
