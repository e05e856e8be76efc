"""Our own notebooks, run by us on a real gateway and by nbclient on this machine: the same documents, but where one says why not.

Those of nbclient and papermill themselves, and what other tools do with what we write, are in `nox -s neighbours`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
import trio

from neighbours.notebooks import (
    FOLDERS,
    Job,
    comparable,
    compare,
    faults_of_the_file,
    find_notebooks,
    make_kernelspec,
    run_all_with_ours,
)
from tools.likeness import differences

pytestmark = [pytest.mark.gateway, pytest.mark.full]

OWN = ("cases", "examples")
NAMES = sorted(f"{owner}: {path.stem}" for owner in OWN for path in Path(FOLDERS[owner]).glob("*.ipynb"))
DIFFERENT: dict[str, str] = {
    "cases: id_in_44": r"nbformat_minor: 4 \| 5",
    "cases: late_asyncio": r'cells\[0\].outputs\[0\].text: "started\\n" \| "started\\ntask 0\\n.*task 4\\n"',
    "cases: md_outputs": r"cells\[0\].execution_count: null \| -;cells\[0\].outputs: \[\] \| -",
    "cases: raw_null": r'outcome: refused: .*\| ok;.*;cells\[0\].outputs: \[\] \| .*"text/html": "<b>x</b>".*',
    "cases: sysexit0": r"outcome: error SystemExit \| ok",
}
"""How ours differ from nbclient's, as a pattern of all differences together; docs/neighbours.md says why."""


@attrs.frozen
class Found:
    """What came of the notebooks."""

    jobs: Mapping[str, Job]
    differences: Mapping[str, list[str]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Everything is run once, several notebooks at a time; our own output is run once more."""
    folder = tmp_path_factory.mktemp("notebooks")
    jobs = find_notebooks(folder, OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", make_kernelspec(folder))
        differ = compare(jobs)
        trio.run(run_all_with_ours, [(job, job.written("ours"), job.written("ours-again")) for job in jobs])
    return Found({job.name: job for job in jobs}, differ)


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_are_the_same_or_it_is_said_why_not(found: Found, name: str) -> None:
    told = ";".join(found.differences[name])
    assert re.fullmatch(DIFFERENT.get(name, ""), told, re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_what_we_write_is_valid_and_run_again_it_is_the_same(found: Found, name: str) -> None:
    job = found.jobs[name]
    assert faults_of_the_file(job.written("ours")) == []
    assert differences(comparable(job.written("ours")), comparable(job.written("ours-again"))) == []
