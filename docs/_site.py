"""What the site needs beyond Sphinx's extensions: Markdown as Sphinx wants it, and names that are checked without the network.

- The directive `names` documents public names of a module: one a line. What is another module's is a link to where it stands.
- References to names of other libraries are looked up in the libraries themselves, which are installed: one that does not exist
  is a warning, so an error of the build. No inventory of another site is needed for that.
"""

from __future__ import annotations

import builtins
import enum
import hashlib
import importlib
import re
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.docutils import SphinxDirective

from trio_gateway._portal.members import MEMBERS, How

DOCS = Path(__file__).parent
MODULES = [
    "trio_gateway",
    "trio_gateway.notebooks",
    "trio_gateway.python",
    "trio_gateway.events",
    "trio_gateway.proxy",
    "trio_gateway.testing",
    "trio_gateway.testing.scenarios",
    "trio_gateway.jupyter",
    "trio_gateway.jupyter.server",
    "trio_gateway.blocking",
    "trio_gateway.blocking.notebooks",
    "trio_gateway.blocking.python",
    "trio_gateway.anyio",
    "trio_gateway.anyio.notebooks",
    "trio_gateway.anyio.python",
]
"""The public modules; a name that several have is documented in the first of them."""

REACHED = (
    "trio_gateway._gateway.kernels:Kernels",
    "trio_gateway._gateway.kernelspecs:KernelSpecDirectory",
    "trio_gateway._documents.sessions:Sessions",
    "trio_gateway._config.typed:FleetSettings",
    "trio_gateway._config:HubSettings",
    "trio_gateway._config:LocalSettings",
    "trio_gateway._fleet.placement:Placement",
    "trio_gateway._gateway.listeners:Listeners",
    "trio_gateway._kernel.channels:ChannelStatistics",
    "trio_gateway._kernel.executor:OnCancel",
    "trio_gateway._kernel.inbox:InboxStatistics",
    "trio_gateway._kernel.inbox:WhenFull",
    "trio_gateway._pool.options:Reuse",
    "trio_gateway._protocol.code:Stdin",
    "trio_gateway._protocol.messages:Buffer",
    "trio_gateway._transport.connector:Connector",
)
"""What no public module names, and readers meet: classes of attributes, such as `gateway.kernels`, and types in signatures."""


# ----------------------------------------------------------------------------------------------------------------- names


def original(module: str, name: str) -> str:
    """Return the first public module that has this very object under this name."""
    value = getattr(importlib.import_module(module), name)
    for other in MODULES:
        found = importlib.import_module(other)
        if name in found.__all__ and is_same(getattr(found, name), value):
            return other
    return module


def is_same(one: object, other: object) -> bool:
    """Say whether two are one object, or classes of which one stands for the other under its name, as on asyncio."""
    if isinstance(one, type) and isinstance(other, type):
        return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)
    return one is other


def directive_for(value: object) -> str:
    """Return the directive of autodoc for an object."""
    if isinstance(value, type) and not isinstance(value, types.GenericAlias):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if callable(value) and hasattr(value, "__code__") else "autodata"


def hidden_bases(cls: type) -> list[type]:
    """Return the bases of a class that no page has: what they have is shown as its own."""
    homes = public_homes()
    return [
        base
        for base in cls.__mro__[1:]
        if base.__module__.startswith("trio_gateway._") and f"{base.__module__}.{base.__qualname__}" not in homes
    ]


class Names(SphinxDirective):
    """Document names of a module, one a line; what another public module has is a link."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Make autodoc's directives, and let them be read."""
        module = self.arguments[0]
        lines: list[str] = []
        same: list[str] = []
        for name in filter(None, map(str.strip, self.content)):
            value = importlib.import_module(module)
            for part in name.split("."):
                value = getattr(value, part)
            home = module if "._" in module else original(module, name)
            if home == module:
                lines += [f".. {directive_for(value)}:: {module}.{name}", ""]
                if isinstance(value, type) and issubclass(value, enum.Enum):
                    lines.insert(-1, "   :undoc-members:")
                elif isinstance(value, type) and hidden_bases(value):
                    lines.insert(-1, "   :inherited-members:")
            else:
                same.append(f":py:obj:`~{home}.{name}`")
        lines += [", ".join(same), ""]
        container = nodes.container()
        text = StringList(["````{eval-rst}", *lines, "````"], self.get_source_info()[0])
        self.state.nested_parse(text, self.content_offset, container)
        return container.children


# ------------------------------------------------------------------------------------------------------------ references


@cache
def public_homes() -> dict[str, str]:
    """Return where each public object is documented, by each of the ways in which an annotation may name it."""
    homes: dict[str, str] = {}
    for module in MODULES:
        found = importlib.import_module(module)
        for name in found.__all__:
            home = f"{original(module, name)}.{name}"
            value = getattr(found, name)
            inside = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', name)}"
            homes[f"{module}.{name}"] = home
            homes.setdefault(inside, home)
            homes.setdefault(name, home)
    for place in REACHED:
        module, _, name = place.partition(":")
        homes.setdefault(name, f"{module}.{name}")
    return homes


def name_exactly(app: Sphinx, doctree: nodes.document) -> None:
    """Let each reference name one thing: of several of the same name that of its own module, else the first."""
    homes: dict[str, str] = app.trio_gateway_homes  # type: ignore[attr-defined]
    for node in doctree.findall(addnodes.pending_xref):
        target = node.get("reftarget", "").removeprefix("~")
        if node.get("refdomain") != "py" or "trio_gateway." in target:
            continue
        module = importlib.import_module(node.get("py:module") or "trio_gateway")
        name, _, member = target.partition(".")
        if name in getattr(module, "__all__", ()):
            home = homes.get(f"{module.__name__}.{name}")
        elif node.get("reftype") == "class" or member:
            home = homes.get(name)
        else:
            home = None
        if home:
            node["reftarget"] = f"{home}.{member}" if member else home
        node.attributes.pop("refspecific", None)  # its value does not matter to Sphinx


def exists(target: str) -> bool:
    """Say whether there is such a name: a builtin, or something of a module that is installed."""
    if hasattr(builtins, target.partition(".")[0]) and "." not in target:
        return True
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            value: Any = importlib.import_module(name)
        except ImportError:
            continue
        for part in parts[length:]:
            value = getattr(value, part, None) or (getattr(value, "__annotations__", {}) or {}).get(part)
            if value is None:
                return False
        return True
    return False


BARE_MODULES = ("typing", "collections.abc", "contextlib", "datetime", "pathlib")
OTHERS = {"TracerProvider", "MeterProvider", "EventLogger", "AsyncClient", "Client", "Scheme", "NoSuchKernel", "CrashedError"}
"""What annotations name without its module, for it was imported for type checkers alone; and exceptions of others."""
BARE = OTHERS.union(*(dir(importlib.import_module(name)) for name in BARE_MODULES))


def resolve(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Find what a reference of a signature or docstring means: a public name of ours, or one of another library."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removeprefix("~")
    homes: dict[str, str] = app.trio_gateway_homes  # type: ignore[attr-defined]
    home = homes.get(target) or (homes.get(target.rpartition(".")[2]) if target.startswith("trio_gateway.") else None)
    if home is None and "." in target:  # a member: Class.method
        owner, _, member = target.rpartition(".")
        owner_home = homes.get(owner) or homes.get(owner.rpartition(".")[2])
        home = f"{owner_home}.{member}" if owner_home else None
    if home is not None and home != target:
        domain = env.domains.python_domain if hasattr(env.domains, "python_domain") else env.get_domain("py")
        found = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, contnode)
        if found is not None:
            return found
    if len(target) == 1 and target.isupper():  # a type variable
        return contnode
    if target in BARE or target.startswith(("t.", "collections.abc.Callable[[")) or exists(target):
        return contnode
    if target.startswith("trio_gateway._"):  # what lies inside is no business of readers: its name alone
        return contnode
    return None


# ------------------------------------------------------------------------------------------------------------ docstrings


def plain_blocks(lines: list[str]) -> Iterator[str]:
    """Yield a docstring's lines, with `::` before what is indented as Markdown's code is."""
    before = ""
    for index, line in enumerate(lines):
        opens = (
            line.startswith("    ")
            and before
            and not before.startswith((" ", "-", "*"))
            and index
            and not lines[index - 1].strip()
        )
        if opens and not before.rstrip().endswith("::"):
            yield "::"
            yield ""
        if line.strip():
            before = line
        yield line


def returned(lines: list[str]) -> list[str]:
    """Write `Returns:` as a field: what stands before a colon there is a part of the sentence, never a type."""
    result: list[str] = []
    inside = False
    for line in lines:
        if line in {"Returns:", "Yields:"}:
            inside = True
            result += ["", ":returns:"]
        else:
            inside = inside and (line.startswith("    ") or not line)
            result.append(line)
    return result


def docstring(app: Sphinx, what: str, name: str, obj: object, options: object, into: list[str]) -> None:
    """Translate the Markdown of a docstring: links to names, and code by its indentation."""
    if isinstance(obj, types.UnionType) and into[:1] == (types.UnionType.__doc__ or "").split("\n")[:1]:
        into.clear()  # Python's own words about unions, which say nothing of this one
    lines = returned(list(plain_blocks(into)))
    text = re.sub(r"\[`?(\w+)`?\]\[([\w.]+)\]", r":py:obj:`\1 <\2>`", "\n".join(lines))
    if what not in {"attribute", "property", "data"}:  # what stands before a colon there is no type
        text = str(GoogleDocstring(text, Config(napoleon_use_ivar=False), app, what, name, obj, options))
    into[:] = [*text.split("\n"), ""]


INTERNAL = {
    f"{cls.__module__}.{cls.__qualname__}.{name}" for cls, members in MEMBERS.items() for name in members.get(How.INTERNAL, ())
}
"""What has no place in the reference of its class: the faces have none of it either."""


def skip(app: Sphinx, what: str, name: str, obj: object, would_skip: bool, options: object) -> bool | None:
    """Leave out what attrs adds, what is said of values in general, and what only the library's own parts call."""
    function = obj.fget if isinstance(obj, property) else obj
    full = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    return True if name.startswith("__") or full in INTERNAL else None


def signature(app: Sphinx, what: str, name: str, obj: object, options: object, own: str, returns: str) -> tuple[str, str] | None:
    """Show no arguments for a class that readers never call: its docstring says by what its objects are made."""
    return ("", "") if what == "class" and "Made by `" in (obj.__doc__ or "").partition("\n\n")[0] else None


def bases(app: Sphinx, name: str, obj: type, options: object, found: list[type]) -> None:
    """Name no base class that no public module has."""
    homes: dict[str, str] = app.trio_gateway_homes  # type: ignore[attr-defined]
    found[:] = [
        cls for cls in found if "trio_gateway._" not in cls.__module__ or f"{cls.__module__}.{cls.__qualname__}" in homes
    ] or [object]


# ----------------------------------------------------------------------------------------------------------------- pages

ELSEWHERE = {
    "../README.md": "start.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../examples": "gallery.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site for what lies beside `docs`."""
BESIDE = {"changelog", "contributing"}
"""Pages whose text stands beside `docs`."""
ENTRIES: dict[str, dict[str, tuple[str, ...]]] = {
    "asyncio": {"": ("asyncio", "anyio"), "In a web application": ("FastAPI", "Starlette", "web application")},
    "blocking": {"": ("threads", "synchronous")},
    "clusters": {"": ("cluster", "Kubernetes"), "Several addresses": ("replicas",), "JupyterHub": ("JupyterHub",)},
    "configuration": {"": ("token", "environment variables"), "All settings": ("settings",)},
    "data": {"": ("pandas", "numpy", "DataFrame"), "Files": ("upload", "download")},
    "errors": {"": ("exceptions", "errors", "doctor")},
    "events": {"": ("logging", "telemetry"), "OpenTelemetry": ("OpenTelemetry",)},
    "jupyter": {"": ("nbclient", "papermill", "nbconvert")},
    "kernels": {"Comms": ("comms", "widgets"), "Requests, input, channels": ("input", "stdin")},
    "limits": {"": ("timeout", "cancel"), "What is tried again": ("retries", "retry")},
    "migrate-jupyter-client": {"": ("jupyter_client",)},
    "migration": {"": ("jupyter_server",)},
    "notebooks": {"Parameters": ("parameters",), "Progress": ("progress",)},
    "outputs": {"Save a plot": ("plot", "image", "matplotlib")},
    "pools": {"": ("pool",), "A fleet: several gateways as one": ("fleet",)},
    "proxy": {"": ("proxy", "JupyterLab")},
    "start": {"Install": ("install",)},
    "testing": {"": ("pytest",), "Faults": ("faults",)},
}
"""The words by which people look for a page, or a section of it: entries of its index, which the search shows first."""
MERMAID = re.compile(r"^```mermaid\n.*?^```$", re.MULTILINE | re.DOTALL)


def page(app: Sphinx, name: str, source: list[str]) -> None:
    """Translate what GitHub understands and Sphinx does not."""
    text = source[0]
    if name in BESIDE:
        beside = DOCS.parent / f"{name.upper()}.md"
        app.env.note_dependency(beside)
        text = beside.read_text(encoding="utf-8").replace("](docs/", "](")
    for there, here in ELSEWHERE.items():
        text = re.sub(rf"\]\({re.escape(there)}(#[^)]*)?\)", lambda found, here=here: f"]({here}{found[1] or ''})", text)
    # A folder beside `docs` has no page: its name is left.
    text = re.sub(r"\[([^\]]+)\]\((\.\./[^)#]*)\)", lambda found: found[0] if (DOCS / found[2]).is_file() else found[1], text)
    text = MERMAID.sub(lambda found: drawn(found[0]), text)
    for heading, words in ENTRIES.get(name, {}).items():
        index = "".join([f"```{{index}} ! {word}\n```\n\n" for word in words])
        before, line, after = text.partition(f"\n## {heading}\n" if heading else text.partition("\n")[0] + "\n")
        if not line:
            raise ValueError(f"{name}.md has no section {heading!r}, where the index has {', '.join(words)}")
        text = f"{before}{line}\n{index}{after}"
    source[0] = text


def menu(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Make the menu from the pages' titles alone: for each page Sphinx would copy all sections of all, to leave them out."""
    whole = context.get("toctree")
    if whole is None:
        return
    if not hasattr(app, "trio_gateway_titles"):
        app.trio_gateway_titles = {page: title_of(toc) for page, toc in app.env.tocs.items()}  # type: ignore[attr-defined]

    def toctree(**options: Any) -> str:
        tocs = app.env.tocs
        if options.get("titles_only"):
            app.env.tocs = app.trio_gateway_titles  # type: ignore[attr-defined]
        try:
            return str(whole(**options))
        finally:
            app.env.tocs = tocs

    context["toctree"] = toctree


def title_of(toc: nodes.bullet_list) -> nodes.bullet_list:
    """Return a page's table of contents with the title alone; as it is if other pages stand in it."""
    if next(toc.findall(addnodes.toctree), None) is not None:
        return toc
    short = toc.deepcopy()
    for item in short.children:
        del item[1:]  # type: ignore[index]
    return short


def drawn(block: str) -> str:
    """Return a drawing, which GitHub makes by itself, as the file that `docs/pictures.py` made of it, and as a table."""
    text = block.removeprefix("```mermaid\n").removesuffix("```")
    path = f"_static/drawings/{hashlib.sha256(text.encode()).hexdigest()[:12]}.svg"
    if not (DOCS / path).is_file():
        raise ValueError(f"a drawing has changed and was not made again: python docs/pictures.py drawings\n{text}")
    if not text.startswith("stateDiagram"):
        return framed(path, "what is above imports from what is below, as the table says")
    return f"{framed(path, 'the same as in the table below')}\n\n::::{{dropdown}} As a table\n{as_table(text)}\n::::"


def framed(path: str, alt: str) -> str:
    """Return an image in a box, which can be scrolled sideways where the image is wider than the screen."""
    return f"::::{{container}} drawn\n:::{{image}} {path}\n:alt: {alt}\n:class: drawing\n:::\n::::"


def as_table(drawing: str) -> str:
    """Return a state machine as a table, for those who do not see it."""
    rows = ["| From | Event | To |", "|---|---|---|"]
    for before, after, event in re.findall(r"^ +(\S+) --> (\S+?)(?:: (.*))?$", drawing, re.MULTILINE):
        rows.append(f"| {'(begin)' if before == '[*]' else f'`{before}`'} | {event} | `{after}` |")
    return "\n".join(rows)


def setup(app: Sphinx) -> dict[str, object]:
    """Be a Sphinx extension."""
    app.trio_gateway_homes = public_homes()  # type: ignore[attr-defined]
    app.add_directive("names", Names)
    app.connect("doctree-read", name_exactly)
    app.connect("missing-reference", resolve, priority=900)
    app.connect("autodoc-process-docstring", docstring, priority=100)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-bases", bases)
    app.connect("source-read", page)
    app.connect("html-page-context", menu, priority=400)  # before the theme, which makes the menu
    return {"parallel_read_safe": True, "parallel_write_safe": True}
