"""What a user's shell, or a CI, has in its environment decides nothing about a test.

pytest has read what is for itself (PYTEST_ADDOPTS, FORCE_COLOR) when this is done. A proxy stays: environments of other servers
are installed through it; but loopback is reached without it. CI stays too, with which pytest shows a failure at full length.
"""

from __future__ import annotations

import os

import pytest

__all__ = ["TELLING"]

COLOURS = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")
"""What rich, or rich-click for a help, looks at."""
TELLING = ("JUPYTER_GATEWAY_", "TRIO_GATEWAY_FILE", "KERNEL_", *COLOURS, "COLUMNS", "LINES", "TTY_")
"""How variables begin that change what the command does."""
OTHERS = ("PYTEST_ADDOPTS", "PYTHONWARNINGS")
"""How others begin that change what the processes do that tests start."""
LOOPBACK = "127.0.0.1,localhost,::1"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart() -> None:
    """Before any test is imported."""
    for name in [*os.environ]:
        if name.startswith(TELLING + OTHERS):
            del os.environ[name]
    os.environ["TERM"] = "xterm-256color"
    for name in ("no_proxy", "NO_PROXY"):  # who reads both prefers the first
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), LOOPBACK]))
