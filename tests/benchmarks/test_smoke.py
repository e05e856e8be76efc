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
from benchmarks import environments, goals, harness, parts, progress, report  # noqa: E402

LIMIT = 250.0
"""How long a child may take that hangs, in seconds: below the limit of a test."""
QUICK = "latency"
OURS = [entry for entry in CLIENTS.values() if entry.is_ours and entry.load().missing(**entry.options) is None]
OTHERS = [entry for entry in CLIENTS.values() if not entry.is_ours and environments.python_of(entry.environment) is not None]
# Cases that differ in their sizes only are one here.
DIFFERENT = list({(case.body, case.server, case.full.get("each")): case for case in reversed(CASES.values())}.values())


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
            processor = [1.0] if entry.is_ours else [2.0]
            cells[case.name, entry.key] = harness.Cell(
                case.name, entry.key, [value, value * 1.1, value * 0.9], details, processor, [30.0], threads=1, took=6.0
            )
    return harness.Run("full", 3, harness.describe_machine(), {"trio": "0"}, cells, make_parts())


def make_line(what: str, gateway: str, ratio: float) -> dict[str, object]:
    """Make a line of what the benchmark of values finds."""
    rest = {"peak here": 1.05, "peak base64": 2.5, "counted up": gateway == "as it comes"}
    return {"what": what, "gateway": gateway, "here": 1.0, "base64": ratio, "times as fast": ratio, **rest}


def make_parts() -> dict[str, object]:
    """Make what scripts found."""
    lines = [
        make_line("push of an array", "without limits", 40),
        make_line("pull of an array", "without limits", 6),
        make_line("push of an array", "as it comes", 30),
        make_line("pull of an array", "as it comes", 100),
    ]
    taken = {"seconds": 0.25, "processor": 0.1, "peak": 0.1}
    data = {
        "megabytes": 100,
        "limited": 5,
        "lines": lines,
        "floor": {"push": taken, "pull": taken},
        "big": {"megabytes": 1000, "push": taken, "pull": taken},
        "call without arguments": {"call_ms": 3.0, "execute_ms": 9.0, "ratio": 0.33},
    }
    lease = {"median_ms": 2.0, "p99_ms": 4.0}
    pool = {
        "start_kernel": {"median_ms": 500.0, "p99_ms": 600.0},
        "lease, heard of lately": lease,
        "lease, asked first": lease,
        "lease on the fake": {"leases a second": 2000.0, "processor_ms": 0.5},
        "bytes of a warm kernel": 40_000,
    }
    proxy = [
        {"python": "3"},
        {"target": "direct", "execute_us": 900.0, "messages_s": 2000.0, "cpu_us": 0.0},
        {"target": "ours", "execute_us": 1000.0, "messages_s": 1500.0, "cpu_us": 100.0},
        {"goals": "ours"},
    ]
    faces = [{"call": "kernel.state", "face": face, "median": 1.0, "p99": 2.0} for face in ("trio", "asyncio")]
    found = {"data": data, "pool": pool, "proxy": proxy, "faces": faces}
    return {name: {"found": each, "problem": "", "seconds": 60.0} for name, each in found.items()}


def test_goals_are_read_from_a_run() -> None:
    verdicts = {(goal.topic, goal.sentence): goal.verdict(make_run()) for goal in goals.GOALS}
    assert verdicts["latency, real gateway", "at least 6 × as fast as each peer"] == ("10 ×", True)
    for way in ("execute", "stream"):
        assert verdicts[f"latency of `{way}`", "at most 1.8 × raw picows"] == ("0.1 ×", True)
        assert verdicts[f"flood by `{way}`", "at least 40 × as fast as jupyter_server.gateway"] == ("10 ×", False)
        assert verdicts[f"flood by `{way}`", "at least 6 × as fast as the same with wsaccel"] == ("10 ×", True)
        assert verdicts[f"fan-out by `{way}`", "at least 1.8 × as fast as jupyter_server.gateway with wsaccel"] == ("10 ×", True)
        processor = "at most 0.45 of the processor time of jupyter_server.gateway with wsaccel"
        assert verdicts[f"latency of `{way}`", processor] == ("0.5 of it", False)
    values = "push and pull at least 20 × as fast as base64 in code and output"
    assert verdicts["values, gateway as it comes", values] == ("30 ×", True)
    assert verdicts["values, gateway without limits", values] == ("6 ×", False)
    assert verdicts["import", "at most 0.25 × jupyter_server.gateway"] == ("0.1 ×", True)
    assert verdicts["big, 50 MB", "peak memory at most 3 × the message"] == ("2 ×", True)
    empty = harness.Run("full", 1, {}, {}, {})
    assert {goal.verdict(empty) for goal in goals.GOALS} == {("–", None)}


BIG_MEMORY = ("big, 50 MB", "peak memory at most 3 × the message")
BIG_RATE = ("big, 50 MB, fast engine", "at least 0.8 of raw sans-I/O")
EACH_PEER = ("latency, real gateway", "at least 6 × as fast as each peer")


def verdict(run: harness.Run, topic_and_sentence: tuple[str, str]) -> tuple[str, bool | None]:
    (goal,) = [goal for goal in goals.GOALS if (goal.topic, goal.sentence) == topic_and_sentence]
    return goal.verdict(run)


@pytest.mark.parametrize("case", ["big-text-50", "big-buffer-50"])
@pytest.mark.parametrize("goal", [BIG_MEMORY, BIG_RATE])
def test_a_goal_over_several_cases_is_not_met_without_one_of_them(goal: tuple[str, str], case: str) -> None:
    run = make_run()
    assert verdict(run, goal)[1]
    run.cells[case, "ours-fast"] = harness.Cell(case, "ours-fast", problem="took more than 300 s")
    assert verdict(run, goal) == ("–", None)


@pytest.mark.parametrize(
    "peer",
    ["jupyter-server", "jupyter-server-wsaccel", "jupyter-server-connection", "jupyter-kernel-client", "agent-jupyter-toolkit"],
)
def test_a_goal_over_each_peer_is_not_met_without_one_of_them(peer: str) -> None:
    run = make_run()
    assert verdict(run, EACH_PEER) == ("10 ×", True)
    del run.cells["latency-real", peer]
    assert verdict(run, EACH_PEER) == ("–", None)


def test_a_goal_over_each_peer_asks_for_none_that_cannot_do_the_case() -> None:
    run = make_run()
    assert "agent-jupyter-toolkit" in CASES["gets"].cannot
    assert ("gets", "agent-jupyter-toolkit") not in run.cells
    assert verdict(run, ("control plane", "at least 1.6 × as fast as each peer")) == ("10 ×", True)


def test_a_report_says_what_has_no_figures_and_leaves_out_who_took_no_part() -> None:
    run = make_run()
    run.parts["notebooks"] = {"found": "| --- |", "problem": "", "seconds": 1.0}
    assert report.without_figures(run) == []
    assert "agent-jupyter-toolkit" in report.short_markdown(run)
    for key in list(run.cells):
        if "agent-jupyter-toolkit" in key or "fan-out-real" in key:
            del run.cells[key]
    run.parts["pool"] = {"found": None, "problem": "ended with 1", "seconds": 1.0}
    (sentence,) = report.without_figures(run)
    assert sentence == "Without figures in this run: `fan-out-real`, the part `pool`, agent-jupyter-toolkit."
    assert sentence in report.markdown(run)
    assert "agent-jupyter-toolkit" not in report.short_markdown(run)
    assert {len(row) for row in report.summary_rows(run)} == {len(report.summary_head(run))}


def test_a_column_is_there_for_who_cannot_do_a_case() -> None:
    run = harness.Run("full", 1, harness.describe_machine(), {}, {})
    run.cells["gets", "ours"] = harness.Cell("gets", "ours", [1.0])
    run.cells["gets", "agent-jupyter-toolkit"] = harness.Cell("gets", "agent-jupyter-toolkit", problem="reads no model")
    assert report.summary_head(run) == ("", "trio_gateway", "agent-jupyter-toolkit", "limit or floor")


def test_the_middle_of_two_is_between_them() -> None:
    run = make_run()
    run.cells["latency", "ours-fast"].cpu_us[:] = [100.0, 300.0]
    row = next(row for row in report.case_rows(run, CASES["latency"]) if row[0] == CLIENTS["ours-fast"].label)
    assert row[report.case_head(CASES["latency"]).index("CPU µs/op")] == "200"


def test_a_report_survives_json_and_names_every_case(tmp_path: Path) -> None:
    run = harness.Run.from_json(make_run().to_json())
    text = report.markdown(run)
    for case in CASES.values():
        assert f"`{case.name}`" in text
    assert "(10 ×)" in text
    assert "(10 ×)" in report.short_markdown(run)
    assert "better by" not in text
    assert "trio_gateway is … times as fast" in text
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results: begin (by a machine) -->\nold\n<!-- results: end -->\nafter\n")
    report.write_between(page, "results", text)
    assert page.read_text().startswith("before\n<!-- results: begin (by a machine) -->\n\nMeasured on")
    assert page.read_text().endswith("\n<!-- results: end -->\nafter\n")
    assert "old" not in page.read_text()
    with pytest.raises(ValueError, match="markers"):
        report.write_between(page, "others", text)


def test_a_report_says_what_is_left_of_the_floor() -> None:
    run = make_run()
    rows = {row[0]: row[1:] for row in report.floor_rows(run)}
    # Ten times as fast as what should be the floor: nothing is left.
    assert rows["1 + 1, fast gateway, µs"] == ("1", "10", "10 ×", "–", "–")
    run.cells["latency", "raw-sansio"].values[:] = [0.25]
    run.cells["latency", "raw-sansio"].cpu_us[:] = [0.5]
    run.cells["flood", "raw-sansio"].values[:] = [4000.0]
    rows = {row[0]: row[1:] for row in report.floor_rows(run)}
    assert rows["1 + 1, fast gateway, µs"] == ("1", "0.25", "0.25 ×", "75%", "50%")
    assert rows["20,000 messages of 200 bytes, messages/s"][1:4] == ("4,000", "0.25 ×", "75%")
    # What the gateway takes: of the processor time nothing is known.
    assert rows["100 starts at once, 0.5 s each, s"] == ("1", "0.5", "0.5 ×", "50%", "–")
    with_floor = {case.name for case in CASES.values() if case.floor or harness.takes_part(case, CLIENTS["raw-sansio"])}
    assert {"latency-real", "flood", "fan-out-stream", "gets", "start-up"} <= with_floor


def test_a_ratio_below_one_reads_as_what_it_is() -> None:
    run = make_run()
    run.cells["latency", "raw-picows"].values[:] = [0.133]
    row = next(row for row in report.case_rows(run, CASES["latency"]) if row[0].startswith("raw picows"))
    assert dict(zip(report.case_head(CASES["latency"]), row, strict=True))["trio_gateway is … times as fast"] == "0.133 ×"
    assert "times as fast" not in " ".join(report.case_head(CASES["idle"])), "who waits is not fast"


def test_parts_stand_in_the_report_with_their_floor(tmp_path: Path) -> None:
    run = make_run()
    text = report.markdown(run)
    assert "| trio_gateway.proxy | 1,000 | 10% | 1,500 | 25% | 100 |" in text
    assert "| a lease of a warm kernel that is asked first | 2 ms | 4 ms | 250 × |" in text
    assert "| `kernel.state` | 1 | 1 |" in text
    values = report.values_markdown(run)
    assert values is not None
    assert "| pull of an array, gateway as it comes | 1 s | 100 s* | 100 × | 1.05 × | 2.5 × |" in values
    assert "counted up from 5 MB" in values
    assert "75% of ours is left to take" in values
    assert values not in text
    docs = tmp_path / "docs"
    docs.mkdir()
    readme, page, data = tmp_path / "README.md", docs / "benchmarks.md", docs / "data.md"
    readme.write_text("<!-- benchmarks: begin -->\n<!-- benchmarks: end -->\n")
    page.write_text("<!-- results: begin -->\n<!-- results: end -->\n<!-- notebooks: begin -->\nold\n<!-- notebooks: end -->\n")
    data.write_text("<!-- values: begin -->\n<!-- values: end -->\n")
    report.write_pages(run, docs, readme)
    assert "100 s*" in data.read_text()
    assert "trio_gateway.proxy" in page.read_text()
    assert "old" in page.read_text(), "no notebook was run"


def test_what_a_script_prints_is_read_as_json_by_line_or_whole() -> None:
    assert parts.read('{\n  "a": 1\n}') == {"a": 1}
    assert parts.read('{"a": 1}\n{"b": 2}\n') == [{"a": 1}, {"b": 2}]
    notebooks = '{"python": "3.12", "rounds": 1, "trio": "0"}\n\n**title**\n\n| | ours |\n| --- | ---: |\n'
    assert parts.notebooks_markdown(parts.read(notebooks)).startswith("1 round; python 3.12, trio 0.\n\n**title**")


def test_a_run_says_where_its_time_went() -> None:
    run = make_run()
    rows = dict(report.time_rows(run))
    assert float(rows["latency"]) == 6.0 * len([key for name, key in run.cells if name == "latency"])
    assert rows["pool"] == "60"


def test_the_time_that_is_left_is_what_the_last_run_took_at_the_speed_of_this_one() -> None:
    steps = [("a", "x"), ("b", "x"), ("a", "x"), ("c", "x")]
    found = progress.Progress(steps, {("a", "x"): 10.0, ("b", "x"): 20.0})
    assert found.left() == 10 + 20 + 10 + progress.DEFAULT
    found.took(("a", "x"), 20.0)
    assert found.left() == 20.0 + 2 * 20 + 2 * progress.DEFAULT
    found.took(("b", "x"), 0)  # left out
    assert found.left() == 20.0 + 2 * progress.DEFAULT
    found.took(("a", "x"), 20.0)
    found.took(("c", "x"), 1.0)
    assert found.left() == 0
    assert progress.shown(90) == "90 s left"
    assert progress.shown(601) == "10 min left"


def test_a_slow_client_of_others_is_asked_once() -> None:
    slow = harness.Cell("latency", "zmq", [1.0], seconds=harness.SLOW + 1)
    assert harness.is_enough(slow, CLIENTS["zmq"])
    assert not harness.is_enough(slow, CLIENTS["ours-fast"])
    assert not harness.is_enough(harness.Cell("latency", "zmq", [1.0], seconds=1), CLIENTS["zmq"])
    assert not harness.is_enough(harness.Cell("latency", "zmq"), CLIENTS["zmq"])
    assert harness.is_enough(harness.Cell("latency", "zmq", problem="can't"), CLIENTS["ours-fast"])


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


@dataclasses.dataclass
class Command:
    """The command with a measuring that is made up, and with pages in a directory of the test's."""

    docs: Path
    monkeypatch: pytest.MonkeyPatch
    parts_run: list[str] = dataclasses.field(default_factory=list)
    pages_of: list[harness.Run] = dataclasses.field(default_factory=list)

    def measured(self, *arguments: str, interrupted: bool = False, interrupted_in: str = "") -> str:
        """Run it: interrupted in the cases, or in a part. Return what it printed."""

        def measure(*_args: object, **_options: object) -> harness.Run:
            return dataclasses.replace(make_run(), parts={}, interrupted=interrupted)

        def run_part(part: parts.Part, *, quick: bool) -> tuple[object, str, float]:
            assert not quick
            self.parts_run.append(part.name)
            if part.name == interrupted_in:
                raise KeyboardInterrupt
            found = make_parts().get(part.name, {"found": "| --- |"})
            return found["found"], "", 1.0

        self.monkeypatch.setattr(command.harness, "measure", measure)
        self.monkeypatch.setattr(command.beside, "run", run_part)
        self.monkeypatch.setattr(command.report, "write_pages", lambda run, *_paths: self.pages_of.append(run))
        self.monkeypatch.setattr(command, "OUTPUT", self.docs)
        self.monkeypatch.setattr(command, "find_spec", lambda _name: None)  # no chart
        self.monkeypatch.setattr(command, "_available", lambda entries, **_options: entries)
        result = CliRunner().invoke(command.main, ["--no-make", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "The goals" in result.output
        return result.output


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path / "docs", monkeypatch)


def test_a_whole_run_writes_the_pages(faked: Command) -> None:
    faked.measured()
    assert faked.parts_run == list(parts.PARTS)
    assert len(faked.pages_of) == 1
    assert harness.Run.from_json((faked.docs / "results.json").read_text()).parts.keys() == parts.PARTS.keys()


def test_a_run_that_is_interrupted_in_the_cases_runs_no_part_and_writes_no_page(faked: Command) -> None:
    assert "the documentation stays as it was" in faked.measured(interrupted=True)
    assert faked.parts_run == []
    assert faked.pages_of == []
    assert not faked.docs.exists() or not list(faked.docs.iterdir())


def test_a_run_that_is_interrupted_in_a_part_reports_what_there_is_and_writes_no_page(faked: Command) -> None:
    output = faked.measured(interrupted_in="proxy")
    assert faked.parts_run == ["data", "pool", "proxy"]
    assert "A kernel of a pool" in output
    assert faked.pages_of == []
    assert not faked.docs.exists() or not list(faked.docs.iterdir())


def test_what_an_interrupted_run_has_is_kept_where_that_is_asked_for(faked: Command, tmp_path: Path) -> None:
    faked.measured("--output", str(tmp_path / "kept"), interrupted=True)
    kept = harness.Run.from_json((tmp_path / "kept" / "results.json").read_text())
    assert kept.interrupted
    assert kept.cells
    assert faked.pages_of == []


def test_ctrl_c_in_the_cases_gives_a_run_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object, **_options: object) -> dict[str, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(harness, "run_child", interrupt)
    arguments = [CASES["import"]], [CLIENTS["ours"]]
    assert harness.measure(*arguments, mode="smoke", repetitions=1, tell=lambda _line: None).interrupted
    monkeypatch.setattr(harness, "run_child", lambda *_args, **_options: {"error": "none"})
    assert not harness.measure(*arguments, mode="smoke", repetitions=1, tell=lambda _line: None).interrupted


def test_the_examples_of_the_command_stand_line_by_line() -> None:
    shown = CliRunner().invoke(command.main, ["--help"], terminal_width=80).output
    (line,) = [line for line in shown.splitlines() if "--case flood" in line]
    assert line.endswith("--repetitions 3")
