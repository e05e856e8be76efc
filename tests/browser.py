"""A real browser for tests: Debian's Chromium, driven by playwright-core from npm. What can't be had is skipped, with why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

__all__ = ["drive", "driver_folder", "program"]

PLAYWRIGHT = "playwright-core@1"


def program(name: str, package: str) -> str:
    """Find a program; it is installed from the distribution's packages where this user may."""
    found = shutil.which(name)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        subprocess.run(install, check=False, capture_output=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: install it, on Debian with `apt-get install {package}`")
    return found


def driver_folder(folder: Path, drivers: Path) -> Path:
    """Install what drives the browser into a folder, with the drivers, `*.mjs`, of another one."""
    program("node", "nodejs")
    install = [program("npm", "npm"), "install", "--prefix", str(folder), "--no-audit", "--no-fund", PLAYWRIGHT]
    done = subprocess.run(install, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"{PLAYWRIGHT} can't be installed here; npm says: {done.stderr[-500:]}")
    for driver in drivers.glob("*.mjs"):
        shutil.copy(driver, folder)
    return folder


async def drive(folder: Path, driver: str, *arguments: str) -> Any:
    """Run a driver that is in a folder; return the JSON that it prints."""
    environment = {**os.environ, "CHROMIUM": program("chromium", "chromium")}
    with trio.fail_after(100):
        done = await trio.run_process(
            ["node", str(folder / driver), *arguments], check=False, capture_stdout=True, capture_stderr=True, env=environment
        )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
