"""Each benchmark runs, with our client and tiny sizes: it is here so that none can rot. No time is asserted.

One that stands for all is quick; the others, each a process, are of the full tier. Peers and raw clients take part where somebody
has made their environments.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the harness pins processes to cores and reads /proc")

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # the benchmarks are not installed

from benchmarks.cases import CASES, Case, check  # noqa: E402
from benchmarks.clients.base import Outcome  # noqa: E402
from benchmarks.clients.registry import CLIENTS, Entry  # noqa: E402
from benchmarks.servers import Server, fast_gateway  # noqa: E402

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import environments, goals, harness, report  # noqa: E402

LIMIT = 250.0
"""How long a child may take that hangs, in seconds: below the limit of a test."""
QUICK = "latency"
OURS = [entry for entry in CLIENTS.values() if entry.is_ours and entry.load().missing(**entry.options) is None]
OTHERS = [entry for entry in CLIENTS.values() if not entry.is_ours and environments.python_of(entry.environment) is not None]
# Cases that differ in their sizes only are one here.
DIFFERENT = list({(case.body, case.server, case.full.get("each")): case for case in CASES.values()}.values())


@pytest.fixture(scope="module")
def fast() -> Generator[Server]:
    with fast_gateway(Path(sys.executable)) as server:
        yield server


@pytest.fixture(scope="module")
def real() -> Generator[Server]:
    with harness.real_gateway(Path(sys.executable)) as server:
        yield server


def ours(case: Case) -> Entry:
    """Return the fast engine, where it is installed and takes part; else the first of ours."""
    entries = harness.clients_of(case, OURS)
    return next((entry for entry in entries if entry.key == goals.FAST), entries[0])


def run_once(case: Case, entry: Entry, server: Server | None) -> Mapping[str, object]:
    python = environments.python_of(entry.environment)
    assert python is not None
    result = harness.run_child(case, entry, python, server, mode="smoke", limit=LIMIT)
    assert "error" not in result, result
    return result


def read(case: Case, result: Mapping[str, object]) -> None:
    """Read the numbers as a report does."""
    cell = harness.Cell(case.name, "ours")
    harness.take(cell, case, dict(result))
    assert cell.value is not None
    assert cell.value > 0
    assert cell.threads >= 1
    assert cell.peak_mb[0] > 1
    assert all(values[0] >= 0 for values in cell.details.values())


def by_tier(cases: list[Case]) -> list[object]:
    """Return them as parameters: but for one, they are of the full tier."""
    return [pytest.param(case, id=case.name, marks=() if case.name == QUICK else pytest.mark.full) for case in cases]


@pytest.mark.parametrize("case", by_tier([case for case in DIFFERENT if case.server != "real"]))
def test_each_case_runs_with_our_client(case: Case, fast: Server) -> None:
    server = Server(fast.legacy_url) if case.server == "legacy" else fast
    read(case, run_once(case, ours(case), server))


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("case", [case for case in DIFFERENT if case.server == "real"], ids=lambda case: case.name)
def test_each_case_of_the_real_gateway_runs_with_our_client(case: Case, real: Server) -> None:
    read(case, run_once(case, ours(case), real))


@pytest.mark.full
@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.key)
def test_each_way_of_ours_runs(entry: Entry, fast: Server) -> None:
    read(CASES["latency"], run_once(CASES["latency"], entry, fast))


NO_PEERS = pytest.param(None, marks=pytest.mark.skip(reason="no peer is installed: nox -s bench -- --quick does it"), id="none")


@pytest.mark.full
@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.key) for entry in OTHERS] or [NO_PEERS])
def test_peers_run_where_they_are_installed(entry: Entry, fast: Server) -> None:
    server = None if entry.group == "floor" else fast
    read(CASES["latency"], run_once(CASES["latency"], entry, server))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(1, 9), {"characters": 10}),
        (Outcome(1, 12), {"characters": 10}),
        (Outcome(1, 0, 5), {"binary": 10}),
        (Outcome(1, text="3"), {"text": "2"}),
        (Outcome(-1, 9), {"characters": 10}),
    ],
)
def test_a_client_that_does_not_do_the_work_fails(outcome: Outcome, expected: dict[str, int]) -> None:
    with pytest.raises(RuntimeError):
        check(outcome, **expected)  # type: ignore[arg-type]


@pytest.mark.full
def test_a_child_that_fails_is_told_and_not_counted(fast: Server) -> None:
    nobody = Server(fast.url.rpartition(":")[0] + ":1")
    result = harness.run_child(CASES["latency"], OURS[0], Path(sys.executable), nobody, mode="smoke", limit=LIMIT)
    assert "GatewayConnectionError" in str(result["error"])
    cell = harness.Cell("latency", "ours")
    harness.take(cell, CASES["latency"], result)
    assert cell.value is None
    assert "GatewayConnectionError" in cell.problem


def test_a_client_that_cannot_is_shown_with_the_reason() -> None:
    case = dataclasses.replace(CASES["import"], cannot={"ours": "why it can't"})
    run = harness.measure([case], [CLIENTS["ours"]], mode="smoke", repetitions=1, tell=lambda _line: None)
    ((label, value, *_, reason),) = report.case_rows(run, case)
    assert (label, value, reason) == ("trio_gateway", "–", "why it can't")


def make_run() -> harness.Run:
    """Make a run in which our client is ten times as good as everybody, in every case."""
    cells = {}
    for case in CASES.values():
        for entry in harness.clients_of(case, list(CLIENTS.values())):
            good = 1000.0 if case.higher else 1.0
            poor = 100.0 if case.higher else 10.0
            value = good if entry.is_ours else poor
            details = {"peak ÷ size": [2.0], "kB a session": [50.0], "start s": [1.0]} if entry.is_ours else {}
            cells[case.name, entry.key] = harness.Cell(
                case.name, entry.key, [value, value * 1.1, value * 0.9], details, [1.0], [30.0], threads=1
            )
    return harness.Run("full", 3, harness.describe_machine(), {"trio": "0"}, cells)


def test_goals_are_read_from_a_run() -> None:
    verdicts = {(goal.topic, goal.sentence): goal.verdict(make_run()) for goal in goals.GOALS}
    assert verdicts["latency, real gateway", "at least 6 × faster than each peer"] == ("10 ×", True)
    assert verdicts["flood, fast engine", "at least 40 × jupyter_server.gateway"] == ("10 ×", False)
    assert verdicts["import", "at most 0.25 × jupyter_server.gateway"] == ("0.1 ×", True)
    assert verdicts["big, 50 MB", "peak memory at most 3 × the message"] == ("2 ×", True)
    empty = harness.Run("full", 1, {}, {}, {})
    assert {goal.verdict(empty) for goal in goals.GOALS} == {("–", None)}


def test_a_report_survives_json_and_names_every_case(tmp_path: Path) -> None:
    run = harness.Run.from_json(make_run().to_json())
    text = report.markdown(run)
    for case in CASES.values():
        assert f"`{case.name}`" in text
    assert "(10 ×)" in text
    assert "(10 ×)" in report.short_markdown(run)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results: begin (by a machine) -->\nold\n<!-- results: end -->\nafter\n")
    report.write_between(page, "results", text)
    assert page.read_text().startswith("before\n<!-- results: begin (by a machine) -->\n\nMeasured on")
    assert page.read_text().endswith("\n<!-- results: end -->\nafter\n")
    assert "old" not in page.read_text()
    with pytest.raises(ValueError, match="markers"):
        report.write_between(page, "others", text)


def test_nothing_in_a_report_says_where_it_was_made() -> None:
    machine = json.dumps(harness.describe_machine())
    assert set(harness.describe_machine()) == {"processor", "cores", "system", "python"}
    assert str(ROOT) not in machine


def test_the_chart_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install -e .[bench]")
    from benchmarks.chart import draw

    draw(make_run(), tmp_path / "chart.svg")
    assert "<svg" in (tmp_path / "chart.svg").read_text()


def test_the_command_shows_what_there_is_and_refuses_what_there_is_not(tmp_path: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(command.main, ["--list"])
    assert listed.exit_code == 0
    assert all(case in listed.output for case in CASES)
    refused = runner.invoke(command.main, ["--case", "nonsense"])
    assert refused.exit_code == 2
    assert "nonsense" in refused.output
    saved = tmp_path / "results.json"
    saved.write_text(make_run().to_json())
    shown = runner.invoke(command.main, ["--report", str(saved)])
    assert shown.exit_code == 0, shown.output
    assert "not met" in shown.output
