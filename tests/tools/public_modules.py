"""The public modules: what users import."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import trio_gateway

_FOUND = pkgutil.walk_packages([str(Path(trio_gateway.__file__).parent)], "trio_gateway.")
PUBLIC = sorted(
    {"trio_gateway", *(found.name for found in _FOUND if not any(part.startswith("_") for part in found.name.split(".")))}
)
"""Their names: no part of one begins with an underscore."""
