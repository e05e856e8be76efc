"""The rules about the code as a whole: layers, exports, docstrings, and what no module may do."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import pkgutil
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import trio_gateway
from tools.public_modules import PUBLIC

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = Path(trio_gateway.__file__).parent
MODULES = sorted({"trio_gateway", *(found.name for found in pkgutil.walk_packages([str(PACKAGE)], "trio_gateway."))})

WIRE_LIBRARIES = {"httpx", "httpcore", "httpcore2", "trio_websocket", "wsproto", "h11", "websockets"}
"""What only `WIRE_MODULES` may import."""


@functools.cache
def tree_of(module: str) -> ast.Module:
    """Parse a module, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"), spec.origin)


def imported_packages(tree: ast.Module) -> Iterator[str]:
    """Yield the top-level name of everything that is imported absolutely."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def test_the_layers_hold() -> None:
    """import-linter's contracts of pyproject.toml are kept, and every module is in one."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(cache_dir=None))"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


WIRE_MODULES = ("trio_gateway._transport", "trio_gateway.testing._server", "trio_gateway.testing._channels")
"""Who speaks to the wire: the transport, and the fake's server, which must not share its code."""
H11_MODULES = ("trio_gateway._protocol.websocket", "trio_gateway.proxy._http1", "trio_gateway.testing._hub")
"""Who may import h11 beside them, which does no I/O."""


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith(WIRE_MODULES)])
def test_only_transport_knows_the_wire_libraries(module: str) -> None:
    """Also not inside a function: httpx and the WebSocket libraries stay behind one seam."""
    forbidden = WIRE_LIBRARIES - {"h11"} if module in H11_MODULES else WIRE_LIBRARIES
    assert forbidden.isdisjoint(imported_packages(tree_of(module)))


@pytest.mark.parametrize("module", MODULES)
def test_module_says_what_it_is(module: str) -> None:
    """Every module opens with a docstring; where something is annotated, annotations aren't evaluated."""
    tree = tree_of(module)
    docstring = ast.get_docstring(tree)
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":")), "a docstring's first line is a sentence"
    if any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign) for node in ast.walk(tree)):
        assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)


def imports_from_siblings(module: str) -> Iterator[tuple[ModuleType, str, int]]:
    """Yield each name that a module imports from another one of the package: where from, the name, the line."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").partition(".")[0] == "trio_gateway"):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), spec.parent)
            for alias in node.names:
                yield importlib.import_module(origin), alias.name, node.lineno


@pytest.mark.parametrize("module", MODULES)
def test_all_agrees_with_the_contents(module: str) -> None:
    """`__all__` names what exists, once each; and whatever another module of the package imports is in it."""
    exported = getattr(importlib.import_module(module), "__all__", [])
    assert len(exported) == len(set(exported))
    assert [name for name in exported if not hasattr(importlib.import_module(module), name)] == []
    hidden = [
        f"{origin.__name__}.{name} (line {line})"
        for origin, name, line in imports_from_siblings(module)
        if name not in getattr(origin, "__all__", [name])
        and name != "*"  # these are those of `__all__`
        and not isinstance(getattr(origin, name), ModuleType)
    ]
    assert hidden == [], "imported from elsewhere, so it belongs into __all__ there"


WITHOUT_A_TEST_FILE = {
    "_version": "a number",
    "_transport/websocket/engine": "what both engines share: tests/transport/websocket/test_opening.py has each test for both",
    "_transport/websocket/trio_websocket": "the other engine: tests/transport/websocket/test_opening.py has each test for both",
    "jupyter/_link": "the half of _client that runs in Trio: tests/jupyter/test_client.py, test_jupyter.py",
    "jupyter/_websocket": "is a browser's side of a Jupyter Server: tests/jupyter/test_server.py",
    "jupyter/_wire": "the half of _websocket that runs in Trio: tests/jupyter/test_server.py",
}
"""Modules that have no test file of their name, each with its reason: at most ten."""


FOLDERS = {"anyio": "anyio_face"}
"""Folders of tests that can't be called as their package: there it would hide a library."""


def test_each_module_has_a_test_file_of_its_name() -> None:
    """So that a person finds what covers a module: `_kernel/pending.py` has `tests/kernel/test_pending.py`."""
    lacking = set()
    for path in PACKAGE.rglob("*.py"):
        if path.stem not in {"__init__", "__main__"}:
            module = path.relative_to(PACKAGE).with_suffix("")
            folder = ROOT.joinpath("tests", *(FOLDERS.get(part, part.strip("_")) for part in module.parent.parts))
            if not (folder / f"test_{path.stem.lstrip('_')}.py").is_file():
                lacking.add(module.as_posix())
    assert lacking == set(WITHOUT_A_TEST_FILE)
    assert len(WITHOUT_A_TEST_FILE) <= 10


def test_the_facade_re_exports_and_does_nothing_else() -> None:
    """Each statement after the docstring is `from .module import name as name`, so type checkers take the name for public."""
    docstring, *statements, names = tree_of("trio_gateway").body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(names, ast.Assign)
    assert ast.unparse(names).startswith("__all__ = [")
    for node in statements:
        assert isinstance(node, ast.ImportFrom), f"line {node.lineno}"
        assert node.level == 1, f"line {node.lineno}"
        assert all(alias.asname == alias.name for alias in node.names), f"line {node.lineno}"


def shown_names(module: str) -> set[str]:
    """Return the names that a module shows to type checkers: what it defines, and what it re-exports as itself."""
    found: set[str] = set()
    statements = list(tree_of(module).body)
    for node in statements:
        if isinstance(node, ast.Try):
            statements += node.body
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.add(node.name)
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_module_says_its_names_and_pydoc_shows_them(module: str) -> None:
    """`__all__` has each name that type checkers take for public, and `python -m pydoc` shows each."""
    imported = importlib.import_module(module)
    if module != "trio_gateway.testing.scenarios":  # whose functions are the scenarios, in SCENARIOS
        assert set(imported.__all__) >= shown_names(module)
    text = pydoc.plaintext.document(imported)  # type: ignore[attr-defined]
    text = text.partition("PACKAGE CONTENTS")[2] or text
    names = set(imported.__all__) - {"__version__"}  # which pydoc shows as "VERSION"
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", text)] == []


def public_functions(module: str) -> Iterator[tuple[str, Any]]:
    """Yield the functions of a public module, and its classes' public methods, with their names."""
    imported = importlib.import_module(module)
    for name in imported.__all__:
        value = getattr(imported, name)
        members = vars(value).items() if isinstance(value, type) else [("", value)]
        for member, function in members:
            if not member.startswith("_") and inspect.isroutine(function):
                yield f"{name}.{member}".strip("."), inspect.unwrap(getattr(function, "__func__", function))


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_function_that_takes_a_path_takes_text_too(module: str) -> None:
    only_paths = [
        f"{name}({parameter.name})"
        for name, function in public_functions(module)
        for parameter in inspect.signature(function).parameters.values()
        if str(parameter.annotation) in {"Path", "Path | None"} and getattr(function, "__globals__", {}).get("Path") is Path
    ]
    assert only_paths == []


def test_the_face_for_anyio_has_the_names_of_the_package() -> None:
    from trio_gateway import anyio

    assert anyio.__all__ == trio_gateway.__all__


def test_every_error_is_public_and_has_the_one_root() -> None:
    """Whatever the library raises on purpose can be named by a user, and is a GatewayError."""
    from trio_gateway import _errors

    errors = {name: value for name, value in vars(_errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert errors
    assert {name for name in errors if not hasattr(trio_gateway, name)} == set()
    assert {name for name, error in errors.items() if not issubclass(error, trio_gateway.GatewayError)} == set()


def test_the_version_stands_in_one_place() -> None:
    """The package, its metadata and the file that the build reads agree."""
    from trio_gateway import _version

    assert trio_gateway.__version__ == _version.__version__ == importlib.metadata.version("trio-gateway")
    assert "version" not in _project_table()


def _project_table() -> dict[str, object]:
    import tomllib

    table: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def test_the_types_are_shipped() -> None:
    """Type checkers of users read the annotations only where py.typed lies."""
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("folder", ["src", "tests", "examples", "benchmarks"])
def test_no_loose_exception_groups(folder: str) -> None:
    """Trio's option that hides groups at random (`strict_exception_groups=False`) is used nowhere."""
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "strict_exception_groups" in text else ():
            assert not (isinstance(node, ast.keyword) and node.arg == "strict_exception_groups"), f"{path}:{node.lineno}"


FRESH = """
import contextlib, io, json, sys

import pytest
before = set(sys.modules)
import pytest_trio_gateway
plugin = set(sys.modules) - before

import trio_gateway
library = set(sys.modules)

for name in ("click", "rich", "nbformat"):
    sys.modules[name] = None
from trio_gateway_command import main
said = io.StringIO()
with contextlib.redirect_stderr(said):
    try:
        main()
    except SystemExit as ended:
        code = ended.code
packages = [sorted({name.partition(".")[0] for name in names}) for names in (plugin, library)]
print(json.dumps([*packages, code, said.getvalue()]))
"""


@attrs.frozen
class Fresh:
    """What an interpreter that has imported nothing yet answers."""

    plugin: list[str]
    """The packages that our pytest plugin loads."""
    library: list[str]
    """All packages that are loaded once the library is imported."""
    code: object
    """What the command returns where its extra is not installed."""
    said: str
    """What it says then."""


@pytest.fixture(scope="module")
def fresh() -> Fresh:
    """Ask one new interpreter all there is to ask about imports."""
    done = subprocess.run([sys.executable, "-c", FRESH], check=True, capture_output=True, text=True)
    return Fresh(*json.loads(done.stdout))


def test_importing_the_library_loads_no_extra(fresh: Fresh) -> None:
    """What belongs to an extra is imported where it is used."""
    extras = {
        "click",
        "ipykernel",
        "jupyter_client",
        "jupyter_events",
        "jupyter_server",
        "kernel_gateway",
        "nbformat",
        "opentelemetry",
        "psutil",
        "rich",
        "tornado",
    }
    assert "trio_gateway" in fresh.library
    assert extras.isdisjoint(fresh.library)


def test_the_pytest_plugin_is_light(fresh: Fresh) -> None:
    """pytest imports it in every run: nothing of trio_gateway, and no Trio."""
    assert "pytest_trio_gateway" in fresh.plugin
    assert {"trio_gateway", "trio"}.isdisjoint(fresh.plugin)


def test_the_command_without_its_extra_says_what_to_install(fresh: Fresh) -> None:
    """`trio-gateway` is installed with the library; without the extra `cli` it explains itself instead of showing a traceback."""
    assert fresh.code
    assert "trio-gateway[cli]" in fresh.said
    assert "Traceback" not in fresh.said
