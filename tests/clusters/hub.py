"""A real JupyterHub on loopback, with its proxy, in an environment of its own: made once, beside the project, and kept.

It takes npm for the proxy. `python tests/clusters/hub.py` makes the environment ahead.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

import attrs
import psutil

from tools.environments import CannotBeHad, made_environment
from tools.ports import held_port
from tools.serving import serve

__all__ = ["CannotBeHad", "RealHub", "hub_environment", "open_real_hub"]

WANTED = ("jupyterhub==6.1.1", "jupyter_server>=2.21", "ipykernel>=7")
PROXY = "configurable-http-proxy@5.3.0"
CONFIG = """
import asyncio, os, sys

c = get_config()
given = os.environ
folder = os.getcwd()
c.JupyterHub.bind_url = f"http://127.0.0.1:{given['TEST_PORT']}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{given['TEST_HUB_PORT']}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{given['TEST_API_PORT']}"
c.ConfigurableHTTPProxy.command = [given["TEST_PROXY"]]
c.JupyterHub.db_url = f"sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = f"{folder}/cookie_secret"
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = folder + "/home/{username}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.allow_named_servers = True
c.Spawner.cmd = [os.path.join(os.path.dirname(sys.executable), "jupyterhub-singleuser"), "--allow-root"]
c.Spawner.environment = {"PATH": os.path.dirname(sys.executable) + os.pathsep + given["PATH"]}
c.Spawner.http_timeout = 120
c.Spawner.poll_interval = 10
c.JupyterHub.services = [{"name": "tests", "api_token": given["TEST_TOKEN"]}]
scopes = ["admin:users", "admin:servers", "access:servers", "tokens"]
c.JupyterHub.load_roles = [{"name": "tests", "services": ["tests"], "scopes": scopes}]


async def before(spawner):
    if spawner.user.name.startswith("slow"):
        await asyncio.sleep(15)
    if spawner.user.name == "broken":
        raise RuntimeError("no such image")


c.Spawner.pre_spawn_hook = before
"""


def hub_environment() -> Path:
    """Return the environment with the hub and its proxy; make it if it is not complete.

    Raises:
        CannotBeHad: pip or npm can't install it, or there is no npm.
    """
    return made_environment("hub", WANTED, furnish=_get_proxy)


def _get_proxy(environment: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CannotBeHad("a JupyterHub's proxy comes from npm: install npm (Debian: npm)")
    command = [npm, "install", "--silent", "--prefix", str(environment), PROXY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBeHad(f"{PROXY} can't be installed here; npm says: {done.stderr[-500:]}")


@attrs.frozen
class RealHub:
    """The hub, and what an administrator does with it."""

    url: str
    token: str = attrs.field(repr=False)
    log: Path

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request of an administrator's, and give what its answer says."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}/hub/api{path}", data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def add_user(self, user: str) -> str:
        """Make a user, and return a token of that user's."""
        self.ask("POST", f"/users/{user}")
        return str(self.ask("POST", f"/users/{user}/tokens", {"note": "tests"})["token"])

    def server(self, user: str, name: str = "") -> dict[str, Any] | None:
        """Return how a server is; None if it does not run."""
        servers: dict[str, dict[str, Any]] = self.ask("GET", f"/users/{user}")["servers"]
        return servers.get(name)

    def process(self, user: str, name: str = "") -> psutil.Process:
        """Return a server's process."""
        server = self.server(user, name)
        assert server is not None
        return psutil.Process(server["state"]["pid"])


@contextmanager
def open_real_hub(folder: Path) -> Generator[RealHub]:
    """Run a hub, its proxy and its users' servers for the block.

    Args:
        folder: the hub's own.

    Raises:
        CannotBeHad: it can't be installed.
    """
    environment = hub_environment()
    (folder / "config.py").write_text(CONFIG, encoding="utf-8")
    token = secrets.token_hex(16)
    with ExitStack() as stack:
        hub_port, api_port = (stack.enter_context(held_port()) for _ in range(2))

        def command(port: int) -> list[str]:
            return ["env", f"TEST_PORT={port}", str(environment / "bin" / "jupyterhub"), "-f", "config.py"]

        env = {
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "TEST_HUB_PORT": str(hub_port),
            "TEST_API_PORT": str(api_port),
            "TEST_PROXY": str(environment / "node_modules" / ".bin" / "configurable-http-proxy"),
            "TEST_TOKEN": token,
        }
        server = stack.enter_context(serve(command, folder, token=token, env=env, without=("JUPYTER", "KERNEL_", "PYTHON")))
        hub = RealHub(server.url, token, server.log)
        _wait_for(hub)
        yield hub
        for user in hub.ask("GET", "/users"):
            for name in user["servers"]:
                path = f"/users/{user['name']}/" + (f"servers/{name}" if name else "server")
                hub.ask("DELETE", path)


def _wait_for(hub: RealHub) -> None:
    """Wait until the proxy, which listens first, knows the hub."""
    import time

    for _ in range(600):
        try:
            hub.ask("GET", "/user")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the hub does not answer; its log:\n{hub.log.read_text()}")


if __name__ == "__main__":
    try:
        hub_environment()
    except CannotBeHad as error:
        sys.exit(str(error))
