"""Runs of pytest inside a test: what a user's tests do, but in this process. A new one takes seconds to load its plugins."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

__all__ = ["TRIO", "run_pytest"]

TRIO = "[pytest]\ntrio_mode = true\nfilterwarnings = error\n"


class _Imported:
    """Notes what is imported when a run ends."""

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] = {}

    def pytest_unconfigure(self) -> None:
        self.modules = dict(sys.modules)


def run_pytest(
    pytester: pytest.Pytester, program: str, *arguments: str, ini: str = TRIO, apart: bool = False
) -> pytest.RunResult:
    """Run a file of tests, with the configuration `ini`.

    Args:
        apart: in a process of its own.
    """
    pytester.makefile(".ini", pytest=ini)
    written = pytester.makepyfile(program)
    arguments = ("-p", "no:cacheprovider", *arguments)
    if apart:
        return pytester.runpytest_subprocess(*arguments)
    imported = _Imported()
    result = pytester.runpytest_inprocess(*arguments, plugins=[imported])
    # pytester forgets what the run imported. Of a module that is imported again there would be two, with classes that differ.
    del imported.modules[written.stem]
    sys.modules.update(imported.modules)
    return result
