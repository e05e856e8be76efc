"""Two tiers of tests: the quick one, which README's command runs, and the full one, which `.ci/run` runs.

A test is quick unless it, its parameter or its module is marked `full`. Who names a test or a file gets it, whatever its tier.
"""

from __future__ import annotations

import pytest

__all__ = ["names_tests", "tier_of"]

TIERS = ("quick", "rest", "full")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tier be chosen."""
    parser.addoption(
        "--tier",
        choices=TIERS,
        default=None,
        help="quick: what README's command runs (the default for the whole suite and for folders); "
        "rest: what .ci/run runs besides; full: both (the default where tests or files are named)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "full: of the full tier: `.ci/run` runs it, README's command does not (--tier=full does)")


def names_tests(config: pytest.Config) -> bool:
    """Whether files or single tests were named, not only folders."""
    return any(".py" in argument for argument in config.args)


def tier_of(config: pytest.Config) -> str:
    """Return the tier that runs."""
    chosen: str | None = config.getoption("--tier")
    return chosen or ("full" if names_tests(config) else "quick")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which tier runs, and how to have the other one."""
    tier = tier_of(config)
    return f"tier: {tier}" + (" (what .ci/run runs besides: --tier=rest; both: --tier=full)" if tier == "quick" else "")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other tier."""
    tier = tier_of(config)
    if tier == "full":
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (kept if (item.get_closest_marker("full") is not None) == (tier == "rest") else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
