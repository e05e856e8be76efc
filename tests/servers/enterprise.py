"""An environment with Enterprise Gateway 3.3: made once, beside the project, and kept.

It pins an old jupyter_server, so it can't live where Kernel Gateway does, and it needs Python 3.11. To make it takes most of a
minute: `python tests/servers/enterprise.py` makes it ahead, while other tests run; a test that wants it meanwhile waits for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from tools.environments import CannotBeHad, made_environment

__all__ = ["CannotBeHad", "enterprise_python"]

WANTED = ("jupyter_enterprise_gateway==3.3.0", "ipykernel<7")


def enterprise_python() -> Path:
    """Return the environment's python; make the environment if it is not complete.

    Raises:
        CannotBeHad: there is no Python 3.11, or pip can't install it.
    """
    return made_environment("enterprise", WANTED, python=(3, 11)) / "bin" / "python"


if __name__ == "__main__":
    try:
        enterprise_python()
    except CannotBeHad as error:
        sys.exit(str(error))
