"""An environment with Enterprise Gateway 3.3: made once, beside the project, and kept.

It pins an old jupyter_server, so it can't live where Kernel Gateway does, and it needs Python 3.11. To make it takes most of a
minute: `python tests/servers/enterprise.py` makes it ahead, while other tests run; a test that wants it meanwhile waits for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from tools.run_folder import locked

__all__ = ["CannotBeHad", "enterprise_python"]

REPOSITORY = Path(__file__).resolve().parents[2]
WANTED = ("jupyter_enterprise_gateway==3.3.0", "ipykernel<7")


class CannotBeHad(Exception):
    """It can't be had on this machine; the message says why."""


def enterprise_python() -> Path:
    """Return the environment's python; make the environment if it is not complete.

    Raises:
        CannotBeHad: there is no Python 3.11, or pip can't install it.
    """
    environment = Path(os.environ.get("TRIO_GATEWAY_ENTERPRISE_ENV", REPOSITORY / ".venv-enterprise"))
    marker = environment / "complete"
    if not marker.exists():
        environment.mkdir(parents=True, exist_ok=True)
        with locked(environment):
            if not marker.exists():
                _make(environment)
                marker.write_text(WANTED[0])
    return environment / "bin" / "python"


def _make(environment: Path) -> None:
    python = str(environment / "bin" / "python")
    # Our own environment may have no pip; what it was made from mostly has.
    base = getattr(sys, "_base_executable", sys.executable) if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if base is None:
        raise CannotBeHad("Enterprise Gateway 3.3 needs Python 3.11: put python3.11 on the PATH")
    bare, pip = ["--without-pip"], [base, "-m", "pip", "--python", python]
    if subprocess.run([base, "-m", "pip", "--version"], check=False, capture_output=True).returncode:
        bare, pip = [], [python, "-m", "pip"]
    subprocess.run([base, "-m", "venv", "--clear", *bare, str(environment)], check=True)
    # Python compiles what it imports; pip would compile all there is.
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-compile", *WANTED]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBeHad(f"{WANTED[0]} can't be installed here; pip says: {done.stderr[-500:]}")


if __name__ == "__main__":
    try:
        enterprise_python()
    except CannotBeHad as error:
        sys.exit(str(error))
