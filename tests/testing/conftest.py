"""A fake for the tests of its parts."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from trio_gateway.testing import FakeGateway


@pytest.fixture(params=["v1", pytest.param("legacy", marks=pytest.mark.full)])
async def fake(request: pytest.FixtureRequest) -> AsyncGenerator[FakeGateway]:
    """A fake that speaks one of the framings, and has nothing to complain about at its end."""
    async with FakeGateway(framings=[request.param]) as fake:
        yield fake
    assert not fake.kernels
    assert not fake.connections
    assert fake.protocol_errors == []
