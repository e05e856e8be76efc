"""Import every public module of the installed library: each comes, or names an extra that this environment has not.

`python .ci/imports.py EXTRA...` says which extras were installed; `all` is all of them. A module whose extra is there must come.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from pathlib import Path

import trio_gateway

EVERY = set(importlib.metadata.metadata("trio-gateway").get_all("Provides-Extra") or ())


def public_modules() -> list[str]:
    """Return the public modules' names, from their files: a module whose extra is missing can't be walked into."""
    found = {"trio_gateway"}
    for path in Path(trio_gateway.__file__).parent.rglob("*.py"):
        parts = path.relative_to(Path(trio_gateway.__file__).parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            found.add(".".join(["trio_gateway", *parts]))
    return sorted(found)


def main() -> int:
    """Try each, and say what came."""
    given = EVERY if "all" in sys.argv[1:] else set(sys.argv[1:])
    wrong = []
    missing = []
    for name in public_modules():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            named = re.search(r"pip install 'trio-gateway\[(\w+)\]'(.*?) \(there is no module", str(error))
            if named is None or (named[1] in given and not named[2]):
                wrong.append(f"{name}: {error}")
            else:
                missing.append(f"{name} wants {named[1]}{named[2]}")
    told = f"{len(missing)} modules name what they want, {len(wrong)} are wrong"
    print(f"  {sys.version.split()[0]} with {', '.join(sys.argv[1:]) or 'no extra'}: {told}")
    for each in wrong:
        print(f"    {each}")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
