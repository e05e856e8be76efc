"""Write the tables of `dependencies.md` anew, from `pyproject.toml` and the packages' metadata: `python docs/dependencies.py`.

To be run where the extra `all` is installed. With `--check` nothing is written, and the exit code is 1 where the tables are out
of date. A package without a reason here is an error in both cases.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

PAGE = Path(__file__).with_name("dependencies.md")
BEGIN = "<!-- dependencies: begin (written by dependencies.py) -->\n"
END = "<!-- dependencies: end -->\n"

WHY = {
    "anyio": "says on which async library a caller of `trio_gateway.anyio` runs; httpcore2 needs it",
    "attrs": "classes of values: settings, models, outputs",
    "cattrs": "turns the gateway's JSON into values of attrs",
    "click": "the command's arguments and help",
    "cloudpickle": "sends a function itself to a kernel that has not its module",
    "h11": "reads HTTP/1.1 of answers, strictly",
    "httpcore2": "the pool of HTTP connections",
    "httpx": "`gateway.http_client()`",
    "ipykernel": "the Python kernel of a local gateway",
    "junitparser": "`run --report FILE.xml`",
    "jupyter-client": "the contract that `trio_gateway.jupyter` keeps",
    "jupyter-events": "`to_jupyter_events()`",
    "jupyter-kernel-gateway": "the local gateway",
    "msgspec": "reads and writes kernels' messages",
    "nbconvert": "a notebook as a page: `run --html`",
    "nbformat": "reads, checks and writes notebooks",
    "opentelemetry-api": "`to_opentelemetry()`",
    "papermill": "writes parameters in a notebook's language",
    "prometheus-client": "the proxy's metrics",
    "psutil": "ends the processes of a local gateway, all of them",
    "rich": "the command's tables and colours",
    "sniffio": "says which async library runs",
    "starlette": "the proxy's routes and requests",
    "trio": "the library runs on it",
    "trio-websocket": "one of the two WebSocket engines",
    "websockets": "masks what the fast WebSocket engine sends, in C",
    "wsproto": "the server's side of WebSockets in `trio_gateway.testing`",
}


def licence(package: str) -> str:
    """Return a package's licence as its metadata have it: the expression, or what its classifiers say, or its short field."""
    metadata = importlib.metadata.metadata(package)
    if metadata.get("License-Expression"):
        return str(metadata["License-Expression"])
    named = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or ()
        if line.startswith("License :: OSI Approved :: ")
    ]
    return ", ".join(named) or str(metadata.get("License") or "").partition("\n")[0] or "not said"


def rows(requirements: list[str]) -> list[str]:
    """Return a table's rows, one for each requirement."""
    made = []
    for requirement in requirements:
        name, bounds = re.fullmatch(r"([\w.-]+)(.*?)(?:;.*)?", requirement).groups()  # type: ignore[union-attr]
        package = name.replace("_", "-").lower()
        if package == "trio-gateway":
            continue
        if package not in WHY:
            raise SystemExit(f"docs/dependencies.py does not say why {package} is needed")
        made.append(f"| {package} | `{bounds}` | {licence(package)} | {WHY[package]} |")
    return made


def tables() -> str:
    """Return both tables."""
    project = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    lines = ["| Package | Versions | Licence | For |", "|---|---|---|---|", *rows(project["dependencies"])]
    extras = project["optional-dependencies"]
    lines += ["", "## With extras", "", "| Extra | Package | Versions | Licence | For |", "|---|---|---|---|---|"]
    for extra in re.findall(r"\w+", str(extras["all"]).partition("[")[2].partition("[")[2].partition("]")[0]):
        lines += [f"| `{extra}` {row}" for row in rows(extras[extra])]
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """Give the page's text with the tables as they must be."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has lost its markers; it needs the lines\n{BEGIN}{END}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main() -> int:
    """Write the page, or check it."""
    page = PAGE.read_text("utf-8")
    new = updated(page)
    if "--check" in sys.argv[1:]:
        return int(new != page and bool(print("docs/dependencies.md is out of date: run python docs/dependencies.py") or 1))
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
