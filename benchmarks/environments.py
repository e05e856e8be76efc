"""Virtual environments for the peers and the servers, made once and kept."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from .clients.registry import ENVIRONMENTS, HERE

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".nox" / "bench-peers"
"""Ignored by git, like everything of nox's."""

_VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def python_of(name: str) -> Path | None:
    """Return the interpreter of an environment; None if it is not there, or is there for other requirements."""
    if name == HERE:
        return Path(sys.executable)
    python = FOLDER / name / "bin" / "python"
    stamp = FOLDER / name / "made-for"
    return python if stamp.exists() and stamp.read_text() == _stamp(name) else None


def make(name: str) -> Path:
    """Make an environment if it is not there; return its interpreter. It takes pip and an index of packages."""
    python = python_of(name)
    if python is not None:
        return python
    folder = FOLDER / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *ENVIRONMENTS[name]], check=True)
    (folder / "made-for").write_text(_stamp(name))
    return python


def versions(python: Path, distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed there."""
    command = [str(python), "-c", _VERSIONS, *distributions]
    found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _stamp(name: str) -> str:
    wanted = json.dumps([sys.version, *ENVIRONMENTS[name]])
    return hashlib.sha256(wanted.encode()).hexdigest()
