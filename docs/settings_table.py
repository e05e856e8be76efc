"""Write the table of settings in `configuration.md` anew, from the class: `python docs/settings_table.py`.

With `--check` nothing is written, and the exit code is 1 where the table is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trio_gateway._config import settings_table

PAGE = Path(__file__).with_name("configuration.md")
BEGIN = "<!-- settings: begin (written by settings_table.py) -->\n"
END = "<!-- settings: end -->\n"


def updated(page: str) -> str:
    """Give the page's text with the table as it must be."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has lost its markers; it needs the lines\n{BEGIN}{END}")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def main() -> int:
    """Write the page, or check it."""
    page = PAGE.read_text("utf-8")
    new = updated(page)
    if "--check" in sys.argv[1:]:
        return int(new != page)
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
