"""Make the pictures of the pages again: `python docs/pictures.py`, or some of them: `python docs/pictures.py drawings status`.

| Picture | Is |
|---|---|
| `drawings` | each drawing in Mermaid, as an SVG that the site shows: nobody's browser has to fetch what draws it |
| `status` | the proxy's status page, with kernels of a local gateway |
| `terminal` | what the command prints, and what a program in a terminal shows |
| `plots` | what examples write |

The chart of the benchmarks is made by `python -m benchmarks --report docs/benchmarks/results.json --output docs/benchmarks`.
Needed are the extra `test`, Chromium, Node.js and npm, which gets playwright-core and mermaid into a temporary folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from rich.console import Console
from rich.text import Text

import trio_gateway
from trio_gateway import proxy

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "_static" / "pictures"
DRAWINGS = DOCS / "_static" / "drawings"
EXAMPLES = DOCS.parent / "examples"
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(drawing: str) -> str:
    """Return the name of a drawing's file: another drawing has another one."""
    return hashlib.sha256(drawing.encode()).hexdigest()[:12] + ".svg"


@contextmanager
def browser() -> Iterator[Path]:
    """Make a folder with what drives Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "playwright-core@1", "mermaid@11"]
        subprocess.run(npm, cwd=folder, check=True, capture_output=True)
        shutil.copy(DOCS / "pictures.mjs", folder)
        yield Path(folder)


def drive(folder: Path, what: str, *arguments: str) -> None:
    """Run the driver."""
    environment = {**os.environ, "CHROMIUM": shutil.which("chromium") or "chromium"}
    subprocess.run(["node", "pictures.mjs", what, *arguments], cwd=folder, check=True, env=environment)


def drawings(folder: Path) -> None:
    """Draw what the pages have in Mermaid; what no page has any more goes."""
    found = {name_of(text): text for page in DOCS.glob("*.md") for text in MERMAID.findall(page.read_text(encoding="utf-8"))}
    DRAWINGS.mkdir(parents=True, exist_ok=True)
    for path in DRAWINGS.glob("*.svg"):
        if path.name not in found:
            path.unlink()
    (folder / "drawings.json").write_text(json.dumps(found), encoding="utf-8")
    drive(folder, "drawings", str(DRAWINGS))


async def status(folder: Path) -> None:
    """Photograph the proxy's status page: three kernels, one of them busy."""
    async with trio_gateway.open_local_gateway() as gateway:
        app = proxy.create_app(gateway)
        async with (
            gateway.start_kernel() as first,
            gateway.start_kernel() as second,
            gateway.start_kernel(),
            trio.open_nursery() as nursery,
        ):
            listening = await nursery.start(partial(proxy.serve, app, port=0))
            await gateway.sessions.create(path="nightly/report.ipynb", kernel_id=first.id)
            await first.execute("1 + 1")
            nursery.start_soon(second.execute, "import time\ntime.sleep(600)")
            await second.wait_for(trio_gateway.KernelState.BUSY)
            photograph = partial(drive, folder, "status", listening.url, app.token or "", str(PICTURES / "status.png"))
            await trio.to_thread.run_sync(photograph)
            nursery.cancel_scope.cancel()


def last_seen(text: str) -> str:
    """Return what a terminal shows in the end: whole lines that are written anew stand in place of the old ones."""
    lines, row, anew = [""], 0, False
    for part in re.split(r"(\r\n|\n|\r|\x1b\[\d*[AJK]|\x1b\[\?25[hl])", text):
        if part in {"\n", "\r\n"}:
            row, anew = row + 1, False
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            anew = True
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part.endswith(("J", "K")) and part.startswith("\x1b["):
            lines[row] = ""
        elif part and not part.startswith("\x1b[?25"):
            lines[row], anew = ("" if anew else lines[row]) + part, False
    return "\n".join(lines).rstrip()


def shown(command: list[str], title: str, path: Path, width: int = 90, term: str = "xterm-256color") -> None:
    """Run a command, and write what it shows as a terminal of an SVG."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": term}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=EXAMPLES, env=environment, check=True, **output)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold green]$[/] {title}")
    console.print(Text.from_ansi(last_seen(done.stdout.decode())))
    console.save_svg(str(path), title="", unique_id=path.stem)


async def textual() -> None:
    """Use the example's program in a terminal, and keep what it shows."""
    spec: Any = importlib.util.spec_from_file_location("terminal", EXAMPLES / "terminal.py")
    terminal = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(terminal)
    app = terminal.Kernels()
    async with app.run_test(size=(72, 10)) as pilot:
        table = app.query_one(terminal.DataTable)

        async def wait_for(count: int, state: str) -> None:  # noqa: ASYNC910 - asyncio's
            while table.row_count < count or table.get_row_at(count - 1)[2] != state:
                await pilot.pause(0.05)

        while app.gateway is None:
            await pilot.pause(0.05)
        for count in (1, 2, 3):
            await pilot.press("s")
            await wait_for(count, "idle")
        await pilot.press("down", "r")
        await wait_for(2, "busy")
        (PICTURES / "kernels.svg").write_text(app.export_screenshot(title=""), encoding="utf-8")
        await pilot.press("q")
        while not app.block.done():
            await pilot.pause(0.05)


def terminals() -> None:
    """Show the command that runs a notebook, a sweep, and the kernels of a gateway."""
    command = str(Path(sys.executable).with_name("trio-gateway"))
    run = "trio-gateway run hello.ipynb"
    shown([command, "run", "hello.ipynb"], run, PICTURES / "run.svg", term="dumb")  # no board: it is gone in the end
    shown([sys.executable, "sweep.py"], "python sweep.py", PICTURES / "sweep.svg", 72)

    async def with_gateway() -> None:
        async with trio_gateway.open_local_gateway() as gateway:
            os.environ["JUPYTER_GATEWAY_URL"] = gateway.config.url
            os.environ["JUPYTER_GATEWAY_AUTH_TOKEN"] = str(gateway.config.auth_token)
            await trio.to_thread.run_sync(partial(asyncio.run, textual()))

    trio.run(with_gateway)


def plots(folder: Path) -> None:
    """Keep what examples write: a plot, and a page of a notebook."""
    for name in ("plots.py", "farm.py"):
        subprocess.run([sys.executable, EXAMPLES / name, folder], check=True)
    shutil.copy(folder / "plot-3.png", PICTURES / "plot.png")
    drive(folder, "page", (folder / "north.html").as_uri(), str(PICTURES / "farm.png"))


def main() -> None:
    """Make them."""
    wanted = sys.argv[1:] or ["drawings", "status", "terminal", "plots"]
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser() as folder:
        if "drawings" in wanted:
            drawings(folder)
        if "status" in wanted:
            trio.run(status, folder)
        if "terminal" in wanted:
            terminals()
        if "plots" in wanted:
            plots(folder)


if __name__ == "__main__":
    main()
