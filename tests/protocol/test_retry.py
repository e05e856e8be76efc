"""The schedule of repetitions is a pure function, so its exact numbers can be tested."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._protocol.retry import (
    backoff,
    parse_retry_after,
    reconnect_delay,
    reconnect_delays,
    request_delay,
    was_never_passed_on,
)


@attrs.frozen
class Dice:
    value: float

    def random(self) -> float:
        return self.value


NEVER_JITTERED = Dice(0.0)
MOST_JITTERED = Dice(1.0)


def test_the_pause_doubles_up_to_its_limit():
    pauses = [backoff(failures, base=0.1, limit=1.0, rng=NEVER_JITTERED) for failures in range(1, 7)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_jitter_takes_off_up_to_half():
    assert backoff(3, base=1, limit=30, rng=NEVER_JITTERED) == 4
    assert backoff(3, base=1, limit=30, rng=MOST_JITTERED) == 2
    drawn = {backoff(3, base=1, limit=30, rng=random.Random(seed)) for seed in range(20)}
    assert len(drawn) == 20


@given(
    failures=st.integers(1, 10**9),
    base=st.floats(0, 1e6),
    limit=st.floats(0, 1e6),
    dice=st.floats(0, 1, exclude_max=True),
)
def test_a_pause_is_always_a_number_within_its_limit(failures: int, base: float, limit: float, dice: float):
    assert 0 <= backoff(failures, base=base, limit=limit, rng=Dice(dice)) <= limit


def test_http_pauses_are_short_at_first():
    assert request_delay(1, limit=30, rng=NEVER_JITTERED) == pytest.approx(0.1)
    assert request_delay(2, limit=30, rng=NEVER_JITTERED) == pytest.approx(0.2)


def test_retry_after_is_never_undercut_and_never_exceeds_the_limit():  # lesson B35
    assert request_delay(1, limit=30, rng=NEVER_JITTERED, retry_after=5) == pytest.approx(5.1)
    assert request_delay(1, limit=30, rng=MOST_JITTERED, retry_after=5) == pytest.approx(5.05)
    assert request_delay(1, limit=5, rng=NEVER_JITTERED, retry_after=5) == 5
    assert request_delay(1, limit=5, rng=NEVER_JITTERED, retry_after=5.001) is None
    assert request_delay(1, limit=30, rng=NEVER_JITTERED, retry_after=0) == pytest.approx(0.1)


def test_websocket_pauses_follow_the_two_settings():
    assert [reconnect_delay(n, interval=1, interval_max=30, rng=NEVER_JITTERED) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert list(reconnect_delays(interval=2, interval_max=5, attempts=3, rng=NEVER_JITTERED)) == [2, 4, 5]
    assert list(reconnect_delays(interval=2, interval_max=5, attempts=0, rng=NEVER_JITTERED)) == []


def test_a_longest_pause_below_the_first_one_does_not_shorten_it():
    assert reconnect_delay(1, interval=3, interval_max=1, rng=NEVER_JITTERED) == 3


NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 17 ", 17),
        ("1.5", 1.5),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("9" * 5000, None),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("١٢", None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(value: str | None, seconds: float | None):  # lesson B35
    assert parse_retry_after(value, now=NOW) == seconds


@given(st.text())
def test_any_retry_after_is_a_number_or_nothing(value: str):
    found = parse_retry_after(value, now=NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    "message",
    [
        "503 Service Unavailable No server is available to handle this request.",  # HAProxy
        "503 Service Temporarily Unavailable",  # nginx
        "no healthy upstream",  # Envoy
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
        "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport ...",
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
        "no available server",  # Traefik
    ],
)
def test_a_balancer_without_a_server_passes_nothing_on(message: str):
    assert was_never_passed_on(503, message)
    assert not was_never_passed_on(502, message)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (503, ""),
        (503, "Service Unavailable"),
        (503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination"),
        (
            503,
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection failure",
        ),
        (502, "502 Bad Gateway The server returned an invalid or incomplete response."),  # HAProxy: it was passed on
        (502, "502 Bad Gateway"),  # nginx: whether or not it was
        (504, "504 Gateway Time-out The server didn't respond in time."),
    ],
)
def test_other_words_prove_nothing(status: int, message: str):
    assert not was_never_passed_on(status, message)
