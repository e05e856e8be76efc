"""Look at the site in Chromium: `python docs/look_at_site.py build/site`.

No page may be wider than its window, on a desktop or a phone. The search has to lead to where each of the words of `SEARCHES` is
explained: that page comes first. Without Chromium, Node.js or npm it looks at nothing, and says so.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

DOCS = Path(__file__).resolve().parent
SEARCHES = {
    "timeout": "limits",
    "cancel": "limits",
    "plot": "outputs",
    "progress": "notebooks",
    "token": "configuration",
    "proxy": "proxy",
    "pandas": "data",
    "jupyter_client": "migrate-jupyter-client",
    "FastAPI": "asyncio",
    "Kubernetes": "clusters",
    "replicas": "clusters",
    "upload": "data",
    "pytest": "testing",
    "retry": "limits",
    "install": "start",
}
"""What people look for, and the page that has to be the first."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name in the base class
        """Say nothing."""


def main() -> int:
    """Look, and say what is wrong."""
    site = Path(sys.argv[1]).resolve()
    chromium = shutil.which("chromium")
    if chromium is None or shutil.which("node") is None or shutil.which("npm") is None:
        print("not looked at in a browser: Debian's chromium, nodejs and npm are not all here")
        return 0
    pages = sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "playwright-core@1"]
        installed = subprocess.run(npm, cwd=folder, check=False, capture_output=True, encoding="utf-8")
        if installed.returncode != 0:
            print(f"not looked at in a browser: npm can't install playwright-core: {installed.stderr[-300:]}")
            return 0
        shutil.copy(DOCS / "look_at_site.mjs", folder)
        given = json.dumps({"url": f"http://127.0.0.1:{server.server_port}", "pages": pages, "words": list(SEARCHES)})
        done = subprocess.run(
            ["node", "look_at_site.mjs", given],
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "CHROMIUM": chromium},
        )
    server.shutdown()
    seen = json.loads(done.stdout)
    problems = [f"{page} is {wide} pixels wide in a window of {window}" for page, window, wide in seen["wide"]]
    for word, wanted in SEARCHES.items():
        found = [path.removesuffix(".html") for path in seen["found"][word]]
        if found[:1] != [wanted]:
            problems.append(f"the search for {word!r} finds {', '.join(found[:5])}; {wanted} is to be the first")
    print(*problems, *[f"{word}: {', '.join(found[:3])}" for word, found in seen["found"].items()], sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
