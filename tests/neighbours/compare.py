"""Runs another project's own tests twice, with its own classes for kernels and with ours, and compares: `nox -s neighbours`.

The one idea: its tests know best what its users rely on. What differs has a row in docs/neighbours.md, with its reason, or is a
fault of ours. The tests come from the project's source distribution, and stay out of this repository.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "neighbours.md"

TESTS = {
    "nbclient": ["tests"],
    "papermill": [f"papermill/tests/test_{name}.py" for name in ("autosave", "cli", "clientwrap", "engines", "execute")],
    "jupyter_server": [
        *(f"tests/services/{name}" for name in ("api", "kernels", "kernelspecs", "sessions")),
        *(f"--ignore=tests/services/kernels/test_{name}.py" for name in ("connection", "transport_encryption")),
    ],
}
"""Whose tests, and which: those that have to do with kernels."""
ON_A_GATEWAY_BOTH_TIMES = {"jupyter_server"}
"""Whose own classes are for a gateway too: `swapped` is there in both runs."""
# -W default: as other versions of their dependencies are warned of; their own options are for coverage.
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:trio_gateway", "-o", "addopts=", "-W", "default"]
# A test that takes too long fails, where jupyter_server's own options end the whole run. Its logs are long.
MORE_OPTIONS = {"jupyter_server": ["-o", "log_cli_level=", "--timeout-method=signal", "--tb=line", "--show-capture=no"]}


def unpack(name: str, folder: Path) -> Path:
    """Get the source distribution of the version that is installed, and return its folder."""
    wanted = f"{name}=={version(name)}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", str(folder)]
    subprocess.run([*command, wanted], check=True)
    (archive,) = folder.glob(f"{name}-{version(name)}.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def run(name: str, source: Path, tests: list[str], *, ours: bool) -> dict[str, str]:
    """Run tests; return each one's outcome by its name."""
    report = source.parent / f"{name}-{'ours' if ours else 'own'}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *OPTIONS, *MORE_OPTIONS.get(name, ()), "--junitxml", str(report)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER_GATEWAY_", "KERNEL_"))}
    uses = report.with_suffix(".uses")
    if ours or name in ON_A_GATEWAY_BOTH_TIMES:
        command += ["-p", "swapped"]
        environment |= {"TRIO_GATEWAY_NEIGHBOUR": name, "TRIO_GATEWAY_SIDE": "ours" if ours else "own"}
        environment |= {"TRIO_GATEWAY_USES": str(uses), "PYTHONPATH": str(HERE)}
    subprocess.run([*command, *tests], cwd=source, env=environment, check=False)
    if ours:
        print(f"{name}: a manager of ours was used {uses.read_text()} times")
        if uses.read_text() == "0":
            raise SystemExit("these tests have not used our managers")
    found: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        outcome = next((child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed")
        found[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return found


def compare(name: str, source: Path, tests: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Run tests with the neighbour's own classes, and with ours."""
    return run(name, source, tests, ours=False), run(name, source, tests, ours=True)


def documented(name: str) -> set[str]:
    """Return the tests that have a row on the page; one without its parameters stands for all of them."""
    section = PAGE.read_text("utf-8").partition(f"## {name}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def unexplained(different: set[str], rows: set[str]) -> tuple[set[str], set[str]]:
    """Return the tests that differ without a row, and the rows about none that differs."""
    without = {test for test in different if not {test, test.partition("[")[0]} & rows}
    return without, rows - different - {test.partition("[")[0] for test in different}


def main() -> int:
    """Compare, and say what differs without a row, and which row is about nothing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=TESTS)
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()
    name = arguments.name
    arguments.cache.mkdir(parents=True, exist_ok=True)
    source = unpack(name, arguments.cache)
    own, ours = compare(name, source, TESTS[name])
    different = {test for test in own.keys() | ours.keys() if own.get(test) != ours.get(test)}
    rows = documented(name)
    without, stale = unexplained(different, rows)
    if without or stale:  # once more: one that fails now and then is no difference
        words = " or ".join(sorted({re.split(r"[:\[]+", test)[1] for test in without | stale}))
        again = compare(name, source, [*TESTS[name], "-k", words])
        seen = again[0].keys() | again[1].keys()
        different = (different - seen) | {test for test in seen if again[0].get(test) != again[1].get(test)}
        without, stale = unexplained(different, rows)
    print(f"\n{name} {version(name)}: {len(own)} tests, {len(different)} differ")
    for test in sorted(different):
        said = "NO ROW" if test in without else "documented"
        print(f"  {said}: {test}: {own.get(test)}, with ours {ours.get(test)}")
    for test in sorted(stale):
        print(f"  NO DIFFERENCE, but a row: {test}")
    passed = sum(outcome == "passed" for outcome in ours.values())
    print(f"{passed} passed, {len(without) + len(stale)} failed")
    return 1 if without or stale else 0


if __name__ == "__main__":
    sys.exit(main())
