"""`python -m trio_gateway`: the command line. Nothing else belongs here."""

from __future__ import annotations

from trio_gateway._cli import main

if __name__ == "__main__":
    main()
