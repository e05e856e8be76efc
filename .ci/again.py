"""Run what failed once more, each test alone, and tell flaky tests from broken ones.

    python .ci/again.py STATUS... LOG...

The statuses are those with which the runs of pytest ended, the logs what they printed; what failed lies in the folder
TRIO_GATEWAY_FAILURES, where `tests/suite/failures.py` has put it. All that a person reads goes to standard error; the only line
on standard output is the tests' count. The exit code is 0 if each test passed, now or then.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

MOST = 15
"""More failures than this are no flakes."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def failures() -> dict[str, str]:
    """Return the reports of what failed, by the test's name."""
    found: dict[str, str] = {}
    for path in sorted(Path(os.environ["TRIO_GATEWAY_FAILURES"]).glob("*.json")):
        noted = json.loads(path.read_text(encoding="utf-8"))
        found[noted["test"]] = found.get(noted["test"], "") + noted["report"] + "\n"
    return found


def passes_alone(test: str) -> bool:
    """Run one test; what fails now is written down nowhere else."""
    environment = {name: value for name, value in os.environ.items() if name != "TRIO_GATEWAY_FAILURES"}
    command = [sys.executable, "-m", "pytest", "-n", "0", "--tier=full", test]
    return subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode == 0


def count(logs: list[Path]) -> dict[str, int]:
    """Add up what pytest's last lines say."""
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        endings = [line for line in text.splitlines() if re.search(r"\d+ (passed|failed|error).* in [\d.]+s", line)]
        for number, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", endings[-1] if endings else ""):
            total["failed" if kind == "error" else kind] += int(number)
    return total


def main() -> int:
    statuses = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    total = count([Path(argument) for argument in sys.argv[1:] if not argument.isdigit()])
    failed = failures()
    flaky: dict[str, str] = {}
    broken: list[str] = []
    if len(failed) > MOST:
        say(f"{len(failed)} tests failed: so many are no flakes, and are not run again")
        broken = list(failed)
    else:
        for test, report in failed.items():
            if passes_alone(test):
                flaky[test] = report
            else:
                broken.append(test)
    for test, report in flaky.items():
        say(f"\nflaky: {test}\nIt failed first, and passed alone. The first report:\n{report}")
    for test in broken:
        say(f"failed: {test}")
    # 1: tests failed, and each is named above. Anything else is no test's failure.
    strange = [status for status in statuses if status not in {0, 1}] or (1 in statuses and not failed)
    if strange:
        say(f"pytest ended with {statuses}, and that is not explained by the tests that failed")
    passed = total["passed"] + min(len(flaky), total["failed"])
    print(f"{passed} passed, {len(broken)} failed, {total['skipped']} skipped")
    return 1 if broken or strange or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
