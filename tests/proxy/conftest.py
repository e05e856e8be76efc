"""What is behind the proxy: a fake gateway that listens, and in the full tier a real one too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio.testing

if TYPE_CHECKING:
    from .proxy_kit import Behind


@pytest.fixture(params=["fake", pytest.param("real", marks=[pytest.mark.full, pytest.mark.gateway])])
def behind(request: pytest.FixtureRequest) -> Behind:
    """The real gateway, or None for a fake one that the test opens."""
    return request.getfixturevalue("real_gateway") if request.param == "real" else None


@pytest.fixture
def elastic_clock() -> trio.testing.MockClock:
    """Time that passes only while nothing happens: for tests with sockets whose both ends are in this process."""
    return trio.testing.MockClock(autojump_threshold=0.05)
