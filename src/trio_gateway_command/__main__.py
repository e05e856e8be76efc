"""`python -m trio_gateway_command`: the command line, as `trio-gateway`."""

from __future__ import annotations

from trio_gateway_command import main

if __name__ == "__main__":
    main()
