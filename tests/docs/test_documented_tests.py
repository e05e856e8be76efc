"""The tests that the README and docs/testing.md show to users are run, by pytest, as a user's."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from tools.inner_pytest import TRIO, run_pytest
from trio_gateway.testing import Faults

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TESTS = [
    pytest.param(block, id=f"{name}-{number}")
    for name in ("README.md", "docs/testing.md")
    for number, block in enumerate(BLOCK.findall((ROOT / name).read_text(encoding="utf-8")))
    if "def test_" in block
]


def test_there_are_some() -> None:
    assert [parameters.id.partition("-")[0] for parameters in TESTS] == ["README.md", *["docs/testing.md"] * 4]


@pytest.mark.parametrize("block", TESTS)
@pytest.mark.parametrize("ini", [TRIO, "[pytest]\nfilterwarnings = error\n"], ids=["trio_mode", "as printed"])
def test_it_passes(pytester: pytest.Pytester, block: str, ini: str) -> None:
    run_pytest(pytester, block, ini=ini).assert_outcomes(passed=block.count("def test_"))


@pytest.mark.full
@pytest.mark.parametrize("block", TESTS[:1])
def test_it_passes_in_a_new_process(pytester: pytest.Pytester, block: str) -> None:
    """The plugin is found where nothing of it is imported yet."""
    run_pytest(pytester, block, apart=True).assert_outcomes(passed=block.count("def test_"))


def test_the_table_of_faults_has_their_signatures() -> None:
    """As they are called; what is the same in each stands above the table."""
    told = set(re.findall(r"`(\w+\([^`]*\))`", (ROOT / "docs/testing.md").read_text(encoding="utf-8").partition("## Faults")[2]))
    made: set[str] = set()
    for name, function in vars(Faults).items():
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        signature = inspect.signature(function)
        if signature.return_annotation == "Fault":
            taken = [
                str(parameter.replace(annotation=inspect.Parameter.empty))
                for parameter in signature.parameters.values()
                if parameter.name not in {"self", "nth", "times"}
            ]
            keywords = [p.kind is p.KEYWORD_ONLY for p in signature.parameters.values() if p.name not in {"self", "nth", "times"}]
            if True in keywords:
                taken.insert(keywords.index(True), "*")
            made.add(f"{name}({', '.join(taken)})".replace("'", '"'))
    assert made <= told, sorted(made - told)
