"""The goals: each compares our library with something measured in the same run.

The one idea: a goal is a sentence, a limit and a way to read a number from a run, so the report can say met or not met and
nobody has to look a ratio up. Where no engine is named, the fast one is meant if it was measured, else trio-websocket.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from .cases import CASES, FLOOR
from .clients.registry import CLIENTS
from .harness import Run, clients_of

Reader = Callable[[Run], float | None]
SLOW, FAST = "ours-trio-websocket", "ours-fast"
PLAIN, WSACCEL = "jupyter-server", "jupyter-server-wsaccel"


@dataclass(frozen=True)
class Goal:
    """One goal."""

    topic: str
    sentence: str
    read: Reader
    limit: float
    at_least: bool = True
    """Whether more is better; else at most."""
    unit: str = "×"

    def verdict(self, run: Run) -> tuple[str, bool | None]:
        """Return the number as text, and whether the goal is met; None where it was not measured."""
        found = self.read(run)
        if found is None:
            return "–", None
        met = found >= self.limit if self.at_least else found <= self.limit
        return f"{found:.3g} {self.unit}", met


def fast(run: Run) -> str:
    """Return the key of the fast engine, or of the one there is."""
    return FAST if any(key == FAST and cell.values for (_, key), cell in run.cells.items()) else SLOW


def advantage(run: Run, case: str, ours: str, other: str) -> float | None:
    """Return how many times as fast ours is as another; of what waits, how many times less it takes."""
    return times_as_fast(run.value(case, ours), run.value(case, other), higher=CASES[case].higher)


def times_as_fast(mine: float | None, theirs: float | None, *, higher: bool) -> float | None:
    """Return how many times as fast one figure is as another, where more is better or less; None where one is missing."""
    if not mine or not theirs:
        return None
    return mine / theirs if higher else theirs / mine


def processor_share(run: Run, case: str, ours: str, other: str) -> float | None:
    """Return ours in shares of another's processor time for an operation."""
    mine, theirs = (run.cells.get((case, key)) for key in (ours, other))
    if not mine or not theirs or not mine.cpu_us or not theirs.cpu_us:
        return None
    return statistics.median(mine.cpu_us) / statistics.median(theirs.cpu_us)


def floor_shares(run: Run, case: str, ours: str) -> tuple[float | None, float | None]:
    """Return which share of a case's floor is left to take: of the time, and of the processor time.

    The floor is raw frames on Trio, or what the gateway itself takes. At twice the floor's time half is left. Nothing is left
    where ours is no slower than the floor. None where there is no floor to compare with.
    """
    floor = CASES[case].floor or run.value(case, FLOOR)
    reached = times_as_fast(run.value(case, ours), floor, higher=CASES[case].higher)
    processor = None if CASES[case].floor else processor_share(run, case, ours, FLOOR)
    return (
        None if reached is None else max(0.0, 1 - reached),
        None if not processor else max(0.0, 1 - 1 / processor),
    )


def _over(case: str, other: str, ours: str | None = None, other_case: str = "") -> Reader:
    """How many times as fast as another ours is, which is measured in the same case or in one that is the same for it."""

    def read(run: Run) -> float | None:
        mine, theirs = run.value(case, ours or fast(run)), run.value(other_case or case, other)
        return times_as_fast(mine, theirs, higher=CASES[case].higher)

    return read


def _processor(case: str, other: str) -> Reader:
    """Which share of another's processor time for an operation ours takes."""
    return lambda run: processor_share(run, case, fast(run), other)


def _over_each_peer(case: str, ours: str | None = None) -> Reader:
    """How many times as fast as the fastest peer ours is; None unless each that can do the case was measured."""
    peers = [entry.key for entry in clients_of(CASES[case], list(CLIENTS.values())) if entry.group == "peer"]
    return lambda run: _extreme(min, [advantage(run, case, ours or fast(run), key) for key in peers])


def _times(case: str, other: str, ours: str | None = None) -> Reader:
    """How many times another's time ours is."""

    def read(run: Run) -> float | None:
        ratio = advantage(run, case, ours or fast(run), other)
        return 1 / ratio if ratio else None

    return read


def _extreme(choose: Callable[[list[float]], float], found: list[float | None]) -> float | None:
    """Return the least or the largest; None where one is missing, for that one could be it."""
    known = [each for each in found if each is not None]
    return choose(known) if known and len(known) == len(found) else None


def _smallest(*readers: Reader) -> Reader:
    return lambda run: _extreme(min, [reader(run) for reader in readers])


def _largest(*readers: Reader) -> Reader:
    return lambda run: _extreme(max, [reader(run) for reader in readers])


def _detail(case: str, name: str) -> Reader:
    def read(run: Run) -> float | None:
        cell = run.cells.get((case, fast(run)))
        return cell.detail(name) if cell else None

    return read


def _threads(case: str) -> Reader:
    def read(run: Run) -> float | None:
        cell = run.cells.get((case, fast(run)))
        return float(cell.threads) if cell and cell.values else None

    return read


def _value(case: str, ours: str | None = None, scale: float = 1.0) -> Reader:
    def read(run: Run) -> float | None:
        found = run.value(case, ours or fast(run))
        return None if found is None else found * scale

    return read


def _values(gateway: str) -> Reader:
    """How many times as fast as base64 values go over a gateway: the least of kinds and directions."""

    def read(run: Run) -> float | None:
        found = run.parts.get("data", {}).get("found")
        lines = [line["times as fast"] for line in found["lines"] if line["gateway"] == gateway] if found else []
        return min(lines, default=None)

    return read


_BIG = ("big-text-50", "big-buffer-50")
_SEND = ("send-text-10", "send-buffer-10", "send-buffer-50")

_OF_PROCESSOR = "at most 0.45 of the processor time of jupyter_server.gateway with wsaccel"
_AS_BASE64 = "push and pull at least 20 × as fast as base64 in code and output"
_AS_FAN_OUT = "at least 1.8 × as fast as jupyter_server.gateway with wsaccel"

GOALS = (
    Goal("latency, real gateway", "at most 1.4 × ZeroMQ without a gateway", _times("latency-real", "zmq"), 1.4, at_least=False),
    Goal("latency, real gateway", "at least 6 × as fast as each peer", _over_each_peer("latency-real"), 6),
    Goal("latency of `execute`", "at most 1.8 × raw picows", _times("latency", "raw-picows"), 1.8, at_least=False),
    Goal("latency of `execute`", _OF_PROCESSOR, _processor("latency", WSACCEL), 0.45, at_least=False, unit="of it"),
    Goal("latency of `stream`", "at most 1.8 × raw picows", _times("latency-stream", "raw-picows"), 1.8, at_least=False),
    Goal("latency of `stream`", _OF_PROCESSOR, _processor("latency-stream", WSACCEL), 0.45, at_least=False, unit="of it"),
    Goal("flood, trio-websocket", "at least 15 × as fast as jupyter_server.gateway", _over("flood", PLAIN, SLOW), 15),
    Goal("flood, trio-websocket", "at least 1.5 × as fast as the same with wsaccel", _over("flood", WSACCEL, SLOW), 1.5),
    Goal(
        "flood by `execute`",
        "at least 40 × as fast as jupyter_server.gateway",
        _over("flood-collected", PLAIN, FAST, "flood"),
        40,
    ),
    Goal(
        "flood by `execute`", "at least 6 × as fast as the same with wsaccel", _over("flood-collected", WSACCEL, FAST, "flood"), 6
    ),
    Goal("flood by `stream`", "at least 40 × as fast as jupyter_server.gateway", _over("flood", PLAIN, FAST), 40),
    Goal("flood by `stream`", "at least 6 × as fast as the same with wsaccel", _over("flood", WSACCEL, FAST), 6),
    Goal(
        "big, 50 MB, trio-websocket",
        "at least 0.8 of raw trio-websocket",
        _smallest(*[_over(case, "raw-trio-websocket", SLOW) for case in _BIG]),
        0.8,
    ),
    Goal(
        "big, 50 MB, fast engine",
        "at least 0.8 of raw sans-I/O",
        _smallest(*[_over(case, "raw-sansio", FAST) for case in _BIG]),
        0.8,
    ),
    Goal(
        "big, 50 MB",
        "peak memory at most 3 × the message",
        _largest(*[_detail(case, "peak ÷ size") for case in _BIG]),
        3,
        at_least=False,
    ),
    Goal("send_big", "at least raw tornado's rate", _smallest(*[_over(case, "raw-tornado") for case in _SEND]), 1),
    Goal("fan-out by `execute`", _AS_FAN_OUT, _over("fan-out", WSACCEL), 1.8),
    Goal("fan-out by `stream`", _AS_FAN_OUT, _over("fan-out-stream", WSACCEL), 1.8),
    Goal("fan-out", "one thread", _threads("fan-out"), 1, at_least=False, unit="threads"),
    Goal("fan-out", "at most 48 kB a session", _detail("sessions-1000", "kB a session"), 48, at_least=False, unit="kB"),
    Goal("fan-out", "5,000 sessions held and executing in one process", _value("sessions-5000"), 1, unit="executions/s"),
    Goal("idle", "at most 0.05 % of a core for 50 waiting sessions", _value("idle"), 0.05, at_least=False, unit="%"),
    Goal(
        "start-up",
        "no slower than the fastest peer (noise: 5 %)",
        _smallest(_over_each_peer("start-up"), _over_each_peer("start-up-real")),
        0.95,
    ),
    Goal("values, gateway as it comes", _AS_BASE64, _values("as it comes"), 20),
    Goal("values, gateway without limits", _AS_BASE64, _values("without limits"), 20),
    Goal("100 starts at once", "at most 1.5 × what one takes the gateway", _value("starts", "ours", 2), 1.5, at_least=False),
    Goal("import", "at most 0.25 × jupyter_server.gateway", _times("import", "jupyter-server", "ours"), 0.25, at_least=False),
    Goal("control plane", "at least 1.6 × as fast as each peer", _over_each_peer("gets", "ours"), 1.6),
)
