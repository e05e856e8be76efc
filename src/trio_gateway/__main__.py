"""`python -m trio_gateway`: the command line. Nothing else belongs here.

All of the library is imported before this begins; `trio_gateway_command` is the command from its first moment on.
"""

from __future__ import annotations

from trio_gateway_command import main

if __name__ == "__main__":
    main()
