"""The variables of a user's shell, or of a CI, that change what the command and the gateways do are taken out before the tests.

pytest has read what is for itself (PYTEST_ADDOPTS, FORCE_COLOR) when this is done.

All other variables stay. Of those that may decide something, a proxy stays: environments of other servers are installed through
it; but loopback is reached without it. CI stays, with which pytest shows a failure at full length. XDG_CONFIG_HOME stays, and so
does the user's file of gateways there, or in `~/.config/trio-gateway`: the command reads it where a test names no other file.
"""

from __future__ import annotations

import os

import pytest

__all__ = ["TELLING"]

COLOURS = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS")
"""What rich, the command's help and pytest look at."""
TELLING = ("JUPYTER_GATEWAY_", "TRIO_GATEWAY_FILE", "KERNEL_", *COLOURS, "COLUMNS", "LINES", "TTY_")
"""How variables begin that change what the command does."""
OTHERS = ("PYTEST_ADDOPTS", "PYTHONWARNINGS", "KG_", "EG_")
"""How others begin that change what the processes do that tests start: pytest, Python, Kernel Gateway, Enterprise Gateway."""
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
