"""Runs another project's own tests twice, with its own kernel managers and with ours, and compares: `nox -s neighbours`.

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
}
"""Whose tests, and which: those that have to do with kernels."""
# -W default: as other versions of their dependencies are warned of; their own options are for coverage.
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:trio_gateway", "-o", "addopts=", "-W", "default"]


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
    command = [sys.executable, "-m", "pytest", *OPTIONS, "--junitxml", str(report)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER_GATEWAY_", "KERNEL_"))}
    if ours:
        command += ["-p", "swapped"]
        uses = report.with_suffix(".uses")
        environment |= {"TRIO_GATEWAY_NEIGHBOUR": name, "TRIO_GATEWAY_USES": str(uses), "PYTHONPATH": str(HERE)}
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


def documented(name: str) -> set[str]:
    """Return the tests that have a row on the page."""
    section = PAGE.read_text("utf-8").partition(f"## {name}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def main() -> int:
    """Compare, and say what differs without a row, and which row is about nothing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=TESTS)
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()
    name = arguments.name
    arguments.cache.mkdir(parents=True, exist_ok=True)
    source = unpack(name, arguments.cache)
    results = [run(name, source, TESTS[name], ours=ours) for ours in (False, True)]
    different = {test for test in results[0].keys() | results[1].keys() if results[0].get(test) != results[1].get(test)}
    if different:  # once more: one that fails now and then is no difference
        words = " or ".join(sorted({re.split(r"[:\[]+", test)[1] for test in different}))
        again = [run(name, source, [*TESTS[name], "-k", words], ours=ours) for ours in (False, True)]
        different = {test for test in different if again[0].get(test) != again[1].get(test)}
    print(f"\n{name} {version(name)}: {len(results[0])} tests, {len(different)} differ")
    rows = documented(name)
    for test in sorted(different):
        print(f"  {'documented' if test in rows else 'NO ROW'}: {test}: {results[0].get(test)}, with ours {results[1].get(test)}")
    for test in sorted(rows - different):
        print(f"  NO DIFFERENCE, but a row: {test}")
    passed = sum(outcome == "passed" for outcome in results[1].values())
    print(f"{passed} passed, {len(different - rows) + len(rows - different)} failed")
    return 1 if different != rows else 0


if __name__ == "__main__":
    sys.exit(main())
