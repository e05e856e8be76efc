"""What a release says of itself in several places agrees; and each page is in the site's index."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import trio_gateway

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
(ALL,) = re.findall(r"\[(.*)\]", EXTRAS["all"][0])


def constant(name: str) -> Any:
    """Return what `noxfile.py` says for a name."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    (value,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name]
    return ast.literal_eval(value)


def test_the_citation_has_the_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", text, re.MULTILINE) == [trio_gateway.__version__]


def test_the_release_check_tries_each_extra_and_each_python() -> None:
    assert set(constant("EXTRAS")) == set(ALL.split(","))
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.fullmatch(r".* :: 3\.\d+", line)]
    assert constant("PYTHONS") == versions


def test_the_report_on_dependencies_has_each_with_its_versions() -> None:
    """Mend it with: python docs/dependencies.py, where the extra `all` is installed."""
    report = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\|(?: `\w+` \|)? ([\w-]+) \| `(.*?)` \|", report, re.MULTILINE))
    wanted = [*PROJECT["dependencies"], *(each for extra in ALL.split(",") for each in EXTRAS[extra])]
    pairs = [re.match(r"([\w.-]+)([^;]*)", each) for each in wanted if not each.startswith("trio-gateway")]
    assert told == {(pair[1].replace("_", "-").lower(), pair[2]) for pair in pairs if pair}


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")))
def test_each_page_is_in_the_index(page: str) -> None:
    """In a toctree of docs/index.md, or of its folder's: else the site can't be built."""
    folder = (ROOT / "docs" / page).parent
    index = (folder / "index.md").read_text(encoding="utf-8")
    if page != "index.md":
        target = page if page.endswith("/index.md") else Path(page).name
        where = (ROOT / "docs" / "index.md").read_text(encoding="utf-8") if page.endswith("/index.md") else index
        assert re.search(rf"^{re.escape(target.removesuffix('.md'))}$", where, re.MULTILINE)


def test_the_source_distribution_has_what_the_readme_leads_to_and_the_tests_read() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    include = tools["hatch"]["build"]["targets"]["sdist"]["include"]
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    wanted = {f"/{link.partition('/')[0]}" for link in links} | {"/.ci", "/CITATION.cff", "/noxfile.py", "/tests"}
    assert wanted - set(include) == set()


def test_the_readme_can_be_read_at_once() -> None:
    """What it has no room for stands on a page."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
