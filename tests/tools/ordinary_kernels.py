"""For folders about servers and their processes: kernels that the shared gateway starts itself, an interpreter for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import RunningGateway

__all__ = ["real_gateway"]


@pytest.fixture(scope="session")
def real_gateway(ordinary_gateway: RunningGateway) -> RunningGateway:
    """What tests/conftest.py gives under this name has kernels that are forked."""
    return ordinary_gateway
