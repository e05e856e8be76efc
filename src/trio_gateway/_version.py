"""The version, once: the build and `trio_gateway.__version__` read it from here."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
