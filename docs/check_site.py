"""Check the site that was built: `python docs/check_site.py build/site`.

Sphinx has checked what it resolves itself. Here the pages are read as a browser reads them: each link inside the site leads to a
file and to a place in it; each public name has an entry in the index of names; the search knows the words by which people look.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import types
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

from sphinx.search.en import SearchEnglish
from sphinx.util.inventory import InventoryFile

SITE = importlib.import_module("_site")
MODULES = SITE.MODULES
WORDS = ["timeout", "cancel", "plot", "progress", "token", "proxy", "pandas", "jupyter_client", "FastAPI", "Kubernetes"]
"""What the site's search has to find."""


class Page(HTMLParser):
    """The links of a page, and the places that can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element says."""
        del tag
        values = dict(attrs)
        if values.get("id"):
            self.places.add(str(values["id"]))
        for name in ("href", "src"):
            if values.get(name):
                self.links.append(str(values[name]))


def broken_links(site: Path) -> list[str]:
    """Return the links inside the site that lead nowhere."""
    pages: dict[Path, Page] = {}
    for path in site.rglob("*.html"):
        pages[path] = Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, page in pages.items():
        for link in page.links:
            target, place = urldefrag(link)
            if "://" in target or target.startswith(("data:", "mailto:")):
                continue
            there = (path.parent / unquote(target.partition("?")[0])).resolve() if target else path
            if not there.exists() or (place and there in pages and unquote(place) not in pages[there].places):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


def missing_names(site: Path) -> list[str]:
    """Return the public names that the index of names has not, under any module."""
    with (site / "objects.inv").open("rb") as stream:
        inventory = InventoryFile.load(stream, "", lambda _, path: path)
    there = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    documented = {name.rpartition(".")[2] for name in there}
    members = {".".join(name.split(".")[-2:]) for name in there}
    missing = []
    for module in MODULES:
        found = importlib.import_module(module)
        for name in found.__all__:
            if name not in documented:
                missing.append(f"{module}.{name}")
            elif module.startswith("trio_gateway.jupyter"):
                continue  # its classes have jupyter_client's methods, which are documented there
            elif isinstance(cls := getattr(found, name), type) and cls.__module__.startswith("trio_gateway."):
                missing += [f"{module}.{name}.{member}" for member in undocumented(cls, members)]
    return missing


def undocumented(cls: type, members: set[str]) -> list[str]:
    """Return the methods of a class, of ours, that have a docstring and stand neither at it nor at one of its public bases."""
    hidden = SITE.hidden_bases(cls)
    return [
        member
        for member in dir(cls)
        if not member.startswith("_")
        and (isinstance(value := getattr(cls, member, None), types.FunctionType) and value.__doc__)
        and f"{value.__module__}.{value.__qualname__}" not in SITE.INTERNAL
        and next((base for base in cls.__mro__ if member in vars(base)), cls).__module__.startswith("trio_gateway.")
        and not any(f"{base.__name__}.{member}" in members for base in cls.__mro__ if base not in hidden)
    ]


def internal_names(site: Path) -> list[str]:
    """Return the members of public classes that only the library's own parts call, and that the index of names has."""
    with (site / "objects.inv").open("rb") as stream:
        inventory = InventoryFile.load(stream, "", lambda _, path: path)
    internal = {".".join(name.split(".")[-2:]) for name in SITE.INTERNAL}
    members = [name for kind in ("py:method", "py:property", "py:attribute") for name in inventory.get(kind, {})]
    return sorted(name for name in members if ".".join(name.split(".")[-2:]) in internal)


def missing_words(site: Path) -> list[str]:
    """Return the words that the site's search does not find."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    language = SearchEnglish({})
    known = index["terms"].keys() | index["titleterms"].keys()
    return [word for word in WORDS if not {language.stem(part.lower()) for part in re.findall(r"\w+", word)} <= known]


def words_of_python(site: Path) -> list[str]:
    """Return the pages that have what Python says of unions in general, in the place of a docstring."""
    words = (types.UnionType.__doc__ or "").split("\n")[0]
    pages = sorted((site / "reference").glob("*.html"))
    return [str(path.relative_to(site)) for path in pages if words and words in path.read_text(encoding="utf-8")]


def main() -> int:
    """Check all of it, and say what is wrong."""
    site = Path(sys.argv[1]).resolve()
    found = {
        "leads nowhere": broken_links(site),
        "is no public name of the index": missing_names(site),
        "is the library's own, and no name for the reference": internal_names(site),
        "is not found": missing_words(site),
        "has Python's own docstring of unions": words_of_python(site),
    }
    for what, those in found.items():
        for each in those:
            print(f"{each} {what}")
    print(f"{len(list(site.rglob('*.html')))} pages")
    return int(any(found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
