"""The values that an examination is made of."""

from __future__ import annotations

from trio_gateway import GatewayConnectionError
from trio_gateway._doctor.findings import Check, Failed, Finding


def test_a_check_is_equal_to_another_whatever_it_ended_with() -> None:
    """Scripts and tests compare what was found."""
    assert Check("tcp", "failed", "no", error=ValueError()) == Check("tcp", "failed", "no")
    assert "ValueError" not in repr(Check("tcp", "failed", "no", error=ValueError("s3cret")))


def test_a_finding_is_well_unless_it_says_otherwise() -> None:
    assert (Finding("x").status, Finding("x").advice) == ("ok", "")


def test_a_failure_says_what_to_do() -> None:
    error = GatewayConnectionError("no")
    assert (Failed(error, "do").error, Failed(error, "do").advice) == (error, "do")
