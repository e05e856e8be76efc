"""The goals: each compares our library with something measured in the same run.

The one idea: a goal is a sentence, a limit and a way to read a number from a run, so the report can say met or not met and
nobody has to look a ratio up. Where no engine is named, the fast one is meant if it was measured, else trio-websocket.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .cases import CASES
from .clients.registry import CLIENTS
from .harness import Run

Reader = Callable[[Run], float | None]
SLOW, FAST = "ours-trio-websocket", "ours-fast"


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
    """Return how many times better ours is than another."""
    mine, theirs = run.value(case, ours), run.value(case, other)
    if not mine or not theirs:
        return None
    return mine / theirs if CASES[case].higher else theirs / mine


def _over(case: str, other: str, ours: str | None = None) -> Reader:
    return lambda run: advantage(run, case, ours or fast(run), other)


def _over_each_peer(case: str, ours: str | None = None) -> Reader:
    def read(run: Run) -> float | None:
        peers = [key for key, entry in CLIENTS.items() if entry.group == "peer"]
        found = [advantage(run, case, ours or fast(run), key) for key in peers]
        return min((ratio for ratio in found if ratio is not None), default=None)

    return read


def _times(case: str, other: str, ours: str | None = None) -> Reader:
    """How many times another's time ours is."""

    def read(run: Run) -> float | None:
        ratio = advantage(run, case, ours or fast(run), other)
        return 1 / ratio if ratio else None

    return read


def _smallest(*readers: Reader) -> Reader:
    def read(run: Run) -> float | None:
        found = [each for each in (reader(run) for reader in readers) if each is not None]
        return min(found, default=None)

    return read


def _largest(*readers: Reader) -> Reader:
    def read(run: Run) -> float | None:
        found = [each for each in (reader(run) for reader in readers) if each is not None]
        return max(found, default=None)

    return read


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


_BIG = ("big-text-50", "big-buffer-50")
_SEND = ("send-text-10", "send-buffer-10", "send-buffer-50")

GOALS = (
    Goal("latency, real gateway", "at most 1.4 × ZeroMQ without a gateway", _times("latency-real", "zmq"), 1.4, at_least=False),
    Goal("latency, real gateway", "at least 6 × faster than each peer", _over_each_peer("latency-real"), 6),
    Goal("latency, fast gateway", "at most 2 × raw picows", _times("latency", "raw-picows"), 2, at_least=False),
    Goal("latency, fast gateway", "at least 4 × faster than each peer", _over_each_peer("latency"), 4),
    Goal("flood, trio-websocket", "at least 15 × jupyter_server.gateway", _over("flood", "jupyter-server", SLOW), 15),
    Goal("flood, trio-websocket", "at least 1.5 × the same with wsaccel", _over("flood", "jupyter-server-wsaccel", SLOW), 1.5),
    Goal("flood, fast engine", "at least 40 × jupyter_server.gateway", _over("flood", "jupyter-server", FAST), 40),
    Goal("flood, fast engine", "at least 4 × the same with wsaccel", _over("flood", "jupyter-server-wsaccel", FAST), 4),
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
    Goal("fan-out", "at least 5 × each peer", _over_each_peer("fan-out"), 5),
    Goal("fan-out", "one thread", _threads("fan-out"), 1, at_least=False, unit="threads"),
    Goal("fan-out", "at most 60 kB a session", _detail("sessions-1000", "kB a session"), 60, at_least=False, unit="kB"),
    Goal("fan-out", "5,000 sessions held and executing in one process", _value("sessions-5000"), 1, unit="executions/s"),
    Goal("idle", "under 0.2 % of a core for 50 waiting sessions", _value("idle"), 0.2, at_least=False, unit="%"),
    Goal(
        "start-up",
        "no slower than the fastest peer (noise: 5 %)",
        _smallest(_over_each_peer("start-up"), _over_each_peer("start-up-real")),
        0.95,
    ),
    Goal("100 starts at once", "at most 1.5 × what one takes the gateway", _value("starts", "ours", 2), 1.5, at_least=False),
    Goal("import", "at most 0.25 × jupyter_server.gateway", _times("import", "jupyter-server", "ours"), 0.25, at_least=False),
    Goal("control plane", "at least 1.5 × each peer", _over_each_peer("gets", "ours"), 1.5),
)
