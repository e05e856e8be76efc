"""The reference has each public name of each public module, on the module's page; and the site's own list of modules is whole."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
import sys
import types
from pathlib import Path

import pytest

from tools.public_modules import PUBLIC

DOCS = Path(__file__).parents[2] / "docs"
NAMES = re.compile(r"^```\{names\} (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def listed(module: str) -> list[str]:
    """Return the names of a module that its page documents, or links to."""
    name = module.removeprefix("trio_gateway.")
    page = (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")
    return [line for found, lines in NAMES.findall(page) if found == module for line in lines.split()]


@pytest.mark.parametrize("module", PUBLIC)
def test_each_public_name_is_in_the_reference(module: str) -> None:
    names = importlib.import_module(module).__all__
    assert sorted(listed(module)) == sorted(names)


def test_the_site_knows_each_public_module() -> None:
    """So that a name is a link from everywhere."""
    tree = ast.parse((DOCS / "_site.py").read_text(encoding="utf-8"))
    (modules,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODULES"]
    assert sorted(ast.literal_eval(modules)) == sorted(PUBLIC)


@pytest.mark.parametrize("module", PUBLIC)
def test_each_public_class_and_function_has_a_docstring(module: str) -> None:
    """What the reference shows of it."""
    found = importlib.import_module(module)
    values = {name: getattr(found, name) for name in found.__all__}
    bare = [name for name, value in values.items() if (inspect.isclass(value) or inspect.isroutine(value)) and not value.__doc__]
    assert bare == []


@pytest.mark.parametrize("kind", ["py:method", "py:property", "py:attribute"])
def test_a_member_that_only_the_library_calls_is_found_in_the_built_site(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sphinx is not installed where tests run: what it says that the site holds is said here."""
    inventory = {kind: {"trio_gateway.Kernel.mine": None, "trio_gateway.Kernel.id": None}}
    file = types.SimpleNamespace(load=lambda *_: inventory)
    monkeypatch.setitem(sys.modules, "sphinx.search.en", types.SimpleNamespace(SearchEnglish=None))
    monkeypatch.setitem(sys.modules, "sphinx.util.inventory", types.SimpleNamespace(InventoryFile=file))
    site = types.SimpleNamespace(MODULES=(), INTERNAL={"trio_gateway._kernel.kernel.Kernel.mine"})
    monkeypatch.setitem(sys.modules, "_site", site)
    check = runpy.run_path(str(DOCS / "check_site.py"))
    (tmp_path / "objects.inv").touch()
    assert check["internal_names"](tmp_path) == ["trio_gateway.Kernel.mine"]
