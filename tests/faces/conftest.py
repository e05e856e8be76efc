"""Fixtures for tests of the faces. The tests are plain functions: each says itself on what it runs, for pytest-trio would run an
async one under Trio whatever it was written for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from face_tools import kernel_ids, rest, trio_threads

if TYPE_CHECKING:
    from conftest import RunningGateway


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """The shared thread ends with the last gateway (G1)."""
    assert trio_threads() == []
    yield
    assert trio_threads() == []


@pytest.fixture(autouse=True)
def no_kernel_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test's kernels are gone when it ends (G2)."""
    if "real_gateway" not in request.fixturenames:
        yield
        return
    gateway: RunningGateway = request.getfixturevalue("real_gateway")
    before = kernel_ids(gateway)
    yield
    assert kernel_ids(gateway) - before == set()


@pytest.fixture(scope="module")
def kernel_id(real_gateway: RunningGateway) -> Iterator[str]:
    """A kernel for those tests of a module that only run code in it."""
    found = rest(real_gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})["id"]
    yield found
    rest(real_gateway, "DELETE", f"/api/kernels/{found}")
