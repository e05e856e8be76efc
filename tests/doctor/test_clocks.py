"""How far a server's clock is from this machine's."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from trio_gateway._doctor.clocks import compare_clocks

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC).timestamp()


def at(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(NOON + seconds, UTC), usegmt=True)


@pytest.mark.parametrize("apart", [-31, -30, 0, 1, 30])
def test_clocks_that_agree(apart: float) -> None:
    """As far as whole seconds tell: noon and 0.9 s is noon."""
    assert compare_clocks(at(apart), before=NOON, after=NOON).status == "ok"


def test_a_slow_answer_is_no_slow_clock() -> None:
    assert compare_clocks(at(50), before=NOON, after=NOON + 100).status == "ok"


@pytest.mark.parametrize(("apart", "words"), [(-32, "31 s behind"), (31, "31 s ahead of"), (86400, "86400 s ahead of")])
def test_clocks_that_differ(apart: float, words: str) -> None:
    found = compare_clocks(at(apart), before=NOON, after=NOON)
    assert (found.status, found.detail) == ("warning", f"{words} this machine's")
    assert "NTP" in found.advice


@pytest.mark.parametrize("date", [None, "", "yesterday", "Fri, 99 Jan 2026 99:00:00 GMT"])
def test_a_server_that_does_not_say(date: str | None) -> None:
    assert compare_clocks(date, before=NOON, after=NOON).status == "skipped"
