"""What a run says, as text: for the terminal, and as Markdown for the docs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .cases import CASES, Case
from .clients.registry import CLIENTS
from .goals import GOALS, advantage, fast
from .harness import Cell, Run

Row = Sequence[str]

HEADLINES = (
    ("latency-real", ("zmq",)),
    ("latency", ("raw-picows",)),
    ("flood", ("raw-sansio",)),
    ("big-text-50", ("raw-sansio",)),
    ("big-buffer-50", ("raw-sansio",)),
    ("send-text-10", ("raw-tornado",)),
    ("send-buffer-50", ("raw-tornado",)),
    ("fan-out", ("raw-picows",)),
    ("idle", ()),
    ("start-up-real", ("zmq",)),
    ("gets", ()),
    ("import", ()),
)
"""The cases of the summary, and what each is held against besides the peers."""
RATIOS = "(2 ×) means that trio_gateway is twice as good as this figure, (0.5 ×) that it is half as good."
PEERS = ("jupyter-server", "jupyter-server-wsaccel", "jupyter-kernel-client")


def number(value: float | None, unit: str = "") -> str:
    """Return three significant digits, with commas for thousands; a dash for nothing."""
    if value is None:
        return "–"
    if value >= 1000:
        digits = len(str(int(value))) - 3
        text = f"{round(value / 10**digits) * 10**digits:,}"
    elif value >= 100:
        text = f"{value:.0f}"
    else:
        text = f"{value:.3g}" if value >= 0.001 or value == 0 else f"{value:.1e}"
    return f"{text} {unit}".strip()


def ours_in(run: Run, case: str) -> str | None:
    """Return the key of our client that stands for us in a case."""
    for key in (fast(run), "ours", "ours-trio-websocket"):
        if run.value(case, key) is not None:
            return key
    return None


def goal_rows(run: Run) -> list[Row]:
    """Return each goal: topic, goal, measured, met or not."""
    rows: list[Row] = []
    for goal in GOALS:
        shown, met = goal.verdict(run)
        rows.append((goal.topic, goal.sentence, shown, "not measured" if met is None else "met" if met else "**not met**"))
    return rows


def summary_rows(run: Run) -> list[Row]:
    """Return each headline case: what, ours, the peers, the limit; in brackets how many times better we are."""
    rows: list[Row] = []
    for name, limits in HEADLINES:
        ours = ours_in(run, name)
        if ours is None:
            continue
        case = CASES[name]
        cells = [f"**{number(run.value(name, ours))}**"]
        for key in (*PEERS, *(limits or ("",))):
            value = run.value(name, key) if key else None
            ratio = advantage(run, name, ours, key) if key else None
            shown = number(value) + (f" ({number(ratio)} ×)" if ratio is not None else "")
            cells.append(
                shown + (f" {CLIENTS[key].label.partition(',')[0]}" if key and key not in PEERS and value is not None else "")
            )
        rows.append((f"{case.title}, {case.unit}", *cells))
    return rows


def case_rows(run: Run, case: Case) -> list[Row]:
    """Return one case's clients: name, median, spread, ratio, processor, memory, threads, details."""
    ours = ours_in(run, case.name)
    rows: list[Row] = []
    for (name, key), cell in run.cells.items():
        if name != case.name:
            continue
        if not cell.values:
            rows.append((CLIENTS[key].label, "–", "", "", "", "", "", cell.problem[:80]))
            continue
        ratio = advantage(run, name, ours, key) if ours and ours != key else None
        details = ", ".join(f"{detail} {number(cell.detail(detail))}" for detail in cell.details)
        if cell.problem:
            details += f" failed once: {cell.problem[:60]}"
        rows.append(
            (
                CLIENTS[key].label,
                number(cell.value),
                f"±{cell.spread / 2:.0%}" if len(cell.values) > 1 else "",
                number(ratio, "×") if ratio is not None else "",
                number(_median(cell.cpu_us)),
                number(_median(cell.peak_mb)),
                str(cell.threads),
                details,
            )
        )
    return rows


GOAL_HEAD = ("", "goal", "measured", "")
SUMMARY_HEAD = ("", "trio_gateway", "jupyter_server.gateway", "the same with wsaccel", "jupyter-kernel-client", "limit or floor")
CASE_HEAD = ("client", "median", "spread", "ours is better by", "CPU µs/op", "peak MB", "threads", "")


def _median(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None


def _table(head: Row, rows: Iterable[Row], numbers_from: int = 1) -> str:
    rules = ["---" if index < numbers_from else "---:" for index in range(len(head))]
    lines = [" | ".join(cells) for cells in (head, rules, *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def machine_line(run: Run) -> str:
    """Say on what it was measured."""
    machine = run.machine
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {machine['python']}; "
        f"{run.repetitions} repetitions{'' if run.mode == 'full' else f', {run.mode}'}"
    )


def markdown(run: Run) -> str:
    """Return everything as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    parts = [
        f"Measured on: {machine_line(run)}.",
        f"Versions: {versions}.",
        "### The goals",
        _table(GOAL_HEAD, goal_rows(run), 9),
        "### In short",
        RATIOS,
        _table(SUMMARY_HEAD, summary_rows(run)),
        "### Case by case",
    ]
    for case in CASES.values():
        rows = case_rows(run, case)
        if rows:
            parts += [
                f"**{case.title}** (`{case.name}`; {case.unit}, {'more' if case.higher else 'less'} is better)",
                _table(CASE_HEAD, rows),
            ]
    return "\n\n".join(parts) + "\n"


def short_markdown(run: Run) -> str:
    """Return the summary alone, for a page that links to the rest."""
    return "\n\n".join(
        [
            _table(SUMMARY_HEAD, summary_rows(run)),
            f"{RATIOS} {machine_line(run)}.",
        ]
    )


def write_between(path: Path, name: str, text: str) -> None:
    """Put text between the markers `<!-- NAME: begin … -->` and `<!-- NAME: end -->` of a file.

    Raises:
        ValueError: the file has no such markers.
    """
    whole = path.read_text()
    head, begin, rest = whole.partition(f"<!-- {name}: begin")
    note, arrow, rest = rest.partition("-->")
    _, end, tail = rest.partition(f"<!-- {name}: end -->")
    if not (begin and arrow and end):
        raise ValueError(f"{path} has no markers for {name}")
    path.write_text(f"{head}{begin}{note}{arrow}\n\n{text.strip()}\n\n{end}{tail}")


def print_run(run: Run) -> None:
    """Print it to the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)

    def show(title: str, head: Row, rows: Sequence[Row]) -> None:
        if not rows:
            return
        table = Table(title=title, title_justify="left", title_style="bold")
        for index, name in enumerate(head):
            table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
        for row in rows:
            style = "red" if row[-1] == "**not met**" else None
            table.add_row(*[cell.replace("**", "") for cell in row], style=style)
        console.print(table)

    for case in CASES.values():
        show(
            f"{case.title} ({case.name}; {case.unit}, {'more' if case.higher else 'less'} is better)",
            CASE_HEAD,
            case_rows(run, case),
        )
    show("In short", SUMMARY_HEAD, summary_rows(run))
    show("The goals", GOAL_HEAD, [row for row in goal_rows(run) if row[2] != "–"])
    console.print(machine_line(run))


__all__ = ["Cell", "markdown", "print_run", "short_markdown", "write_between"]
