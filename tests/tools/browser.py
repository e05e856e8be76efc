"""Node and a real browser for tests: Debian's Chromium, driven by playwright-core. What can't be had is skipped, with why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tools.run_folder import locked, made_once

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["drive", "driver_folder", "node_modules", "program"]

PLAYWRIGHT = {"playwright-core": "1", "axe-core": "4"}
"""What drives a browser, and what looks at a page as a screen reader's user would have it."""
PACKAGES = Path("/var/lib/dpkg")
"""Where Debian's packages are noted; locked by us while we install some."""


def program(name: str, package: str) -> str:
    """Find a program; it is installed from the distribution's packages where this user may."""
    found = shutil.which(name)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0 and PACKAGES.is_dir():
        with locked(PACKAGES):
            found = shutil.which(name) or _install(name, package)
    if found is None:
        pytest.skip(f"{name} is not here: install it, on Debian with `apt-get install {package}`")
    return found


def _install(name: str, package: str) -> str | None:
    wait = ["-o", "DPkg::Lock::Timeout=300"]  # another program may be installing something, too
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", *wait, *command], check=False, capture_output=True, env=environment)
    return shutil.which(name)


def node_modules(factory: pytest.TempPathFactory, name: str, packages: Mapping[str, str]) -> Path:
    """Install packages from npm, once in a run.

    Args:
        factory: the run's temporary folders.
        name: a name for these packages.
        packages: the packages' names and versions.

    Returns:
        The folder `node_modules`.
    """
    program("node", "nodejs")
    return made_once(factory, f"npm-{name}", partial(_npm_install, program("npm", "npm"), packages)) / "node_modules"


def _npm_install(npm: str, packages: Mapping[str, str], folder: Path) -> None:
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": dict(packages)}), encoding="utf-8")
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.skip(f"{', '.join(packages)} can't be installed here; npm says: {done.stderr[-500:]}")


def driver_folder(factory: pytest.TempPathFactory, drivers: Path) -> Path:
    """Make a folder with what drives the browser, and with the drivers, `*.mjs`, of another one."""
    program("chromium", "chromium")
    folder = factory.mktemp("driver")
    (folder / "node_modules").symlink_to(node_modules(factory, "playwright", PLAYWRIGHT))
    for driver in drivers.glob("*.mjs"):
        shutil.copy(driver, folder)
    return folder


async def drive(folder: Path, driver: str, *arguments: str) -> Any:
    """Run a driver that is in a folder; return the JSON that it prints."""
    environment = {**os.environ, "CHROMIUM": program("chromium", "chromium")}
    with trio.fail_after(280):
        done = await trio.run_process(
            ["node", str(folder / driver), *arguments], check=False, capture_stdout=True, capture_stderr=True, env=environment
        )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
