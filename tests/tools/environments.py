"""Python environments for programs that can't live in ours: made once, beside the project, and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .run_folder import locked

__all__ = ["REPOSITORY", "CannotBeHad", "made_environment"]

REPOSITORY = Path(__file__).resolve().parents[2]


class CannotBeHad(Exception):
    """It can't be had on this machine; the message says why, and what to do."""


def made_environment(
    name: str, wanted: Sequence[str], *, python: tuple[int, int] | None = None, furnish: Callable[[Path], object] | None = None
) -> Path:
    """Return an environment with these packages; make it if it is not complete. Who asks meanwhile waits.

    Args:
        name: what it is called: `.venv-NAME` in the project, or where the variable TRIO_GATEWAY_NAME_ENV says.
        wanted: what pip installs; other wishes than those that it was made for have it made anew.
        python: the Python that it needs, such as (3, 11); None for ours.
        furnish: is called with the environment, once, when the packages are there.

    Raises:
        CannotBeHad: there is no such Python, or pip can't install it.
    """
    environment = Path(os.environ.get(f"TRIO_GATEWAY_{name.upper()}_ENV", REPOSITORY / f".venv-{name}"))
    marker = environment / "complete"
    wishes = "\n".join(wanted)
    environment.mkdir(parents=True, exist_ok=True)
    with locked(environment):
        if not marker.exists() or marker.read_text(encoding="utf-8") != wishes:
            _make(environment, wanted, python or sys.version_info[:2])
            if furnish is not None:
                furnish(environment)
            marker.write_text(wishes, encoding="utf-8")
    return environment


def _make(environment: Path, wanted: Sequence[str], version: tuple[int, int]) -> None:
    called = f"python{version[0]}.{version[1]}"
    python = str(environment / "bin" / "python")
    # Our own environment may have no pip; what it was made from mostly has.
    base = getattr(sys, "_base_executable", sys.executable) if sys.version_info[:2] == version else shutil.which(called)
    if base is None:
        raise CannotBeHad(f"{wanted[0]} needs Python {version[0]}.{version[1]}: put {called} on the PATH")
    bare, pip = ["--without-pip"], [base, "-m", "pip", "--python", python]
    if subprocess.run([base, "-m", "pip", "--version"], check=False, capture_output=True).returncode:
        bare, pip = [], [python, "-m", "pip"]
    subprocess.run([base, "-m", "venv", "--clear", *bare, str(environment)], check=True)
    # Python compiles what it imports; pip would compile all there is.
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-compile", *wanted]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBeHad(f"{wanted[0]} can't be installed here; pip says: {done.stderr[-500:]}")
