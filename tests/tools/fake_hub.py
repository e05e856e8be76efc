"""The fake hub with the tokens of two users and of a service."""

from __future__ import annotations

from typing import Any

from trio_gateway.testing import FakeHub, FakeHubToken

__all__ = ["ALICE", "SERVICE", "open_fake_hub"]

ALICE = "alices-token-0123456789"
SERVICE = "service-token-0123456789"


def open_fake_hub(**settings: Any) -> FakeHub:
    """Make a fake hub, to be entered by `async with`."""
    hub = FakeHub(token=ALICE, **settings)
    hub.tokens |= {SERVICE: FakeHubToken("tests", "service"), "bobs": FakeHubToken("bob")}
    return hub
