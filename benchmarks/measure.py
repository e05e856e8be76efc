"""A meter: what a stretch of a process costs, in time, processor, memory and threads.

Memory is the kernel's own count of resident pages (Linux); the peak is reset when a stretch begins, so that it is the stretch's.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def _status() -> dict[str, int]:
    """Return resident bytes now, at the peak, and the number of threads."""
    found = {"VmRSS": 0, "VmHWM": 0, "Threads": 0}
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) * (1 if name == "Threads" else 1024)
    return found


class Meter:
    """Measures one stretch: `start`, then `stop`; `sample` for single operations in between."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self.extra: dict[str, float] = {}
        self._result: dict[str, Any] = {}
        self._started = self._cpu = 0.0
        self.base = 0
        """Resident bytes when it began."""

    def start(self, *, memory: bool = True) -> None:
        """Begin: collect garbage, forget the peak of memory, look at the clocks.

        Args:
            memory: whether memory begins here too, or has begun with an earlier start.
        """
        gc.collect()
        if memory:
            if _RESET.exists():
                _RESET.write_text("5")
            self.base = _status()["VmRSS"]
        self._cpu = time.process_time()
        self._started = time.perf_counter()

    def sample(self, since: float) -> float:
        """Note that an operation took from `since` until now; return now."""
        now = time.perf_counter()
        self.samples.append(now - since)
        return now

    def stop(self, operations: int = 1) -> None:
        """End.

        Args:
            operations: how many operations it was.
        """
        seconds = time.perf_counter() - self._started
        cpu = time.process_time() - self._cpu
        status = _status()
        self._result = {
            "seconds": seconds,
            "cpu": cpu,
            "operations": operations,
            "rss_base": self.base,
            "rss_peak": status["VmHWM"],
            "rss": status["VmRSS"],
            "threads": status["Threads"],
        }

    def result(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {**self._result, "samples": self.samples, "extra": self.extra}
