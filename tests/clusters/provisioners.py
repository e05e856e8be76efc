"""An environment with a Kernel Gateway that starts its kernels on other hosts, by gateway_provisioners: made once, and kept.

`python tests/clusters/provisioners.py` makes it ahead, while other tests run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from tools.environments import CannotBeHad, made_environment

__all__ = ["SPEC", "provisioners"]

WANTED = ("gateway_provisioners==0.5.0", "jupyter_kernel_gateway>=3,<4", "ipykernel>=7,<8")
SPEC = Path("share", "jupyter", "kernels", "ssh_python")
"""Where the environment has the kernelspec that goes over SSH, and in its folder `scripts` what starts a kernel on a host."""


def provisioners() -> Path:
    """Return the environment; make it if it is not complete.

    Raises:
        CannotBeHad: pip can't install it.
    """
    return made_environment("provisioners", WANTED, furnish=_furnish)


def _furnish(environment: Path) -> None:
    # The launcher in the wheel is not complete: the command puts its parts together.
    command = [environment / "bin" / "jupyter-ssh-spec", "install", "--prefix", environment, "--kernel-name", SPEC.name]
    subprocess.run([*command, "--remote-hosts=nowhere"], check=True, capture_output=True)


if __name__ == "__main__":
    try:
        provisioners()
    except CannotBeHad as error:
        sys.exit(str(error))
