"""What a run says, as text: for the terminal, and as Markdown for the docs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from .cases import CASES, FLOOR, Case
from .clients.registry import CLIENTS
from .goals import GOALS, advantage, fast, floor_shares, times_as_fast
from .harness import Cell, Run
from .parts import PARTS, Table, notebooks_markdown, number, percent

Row = Sequence[str]

HEADLINES = (
    ("latency-real", ("zmq",)),
    ("latency", ("raw-picows",)),
    ("latency-stream", ("raw-picows",)),
    ("flood", ("raw-sansio",)),
    ("big-text-50", ("raw-sansio",)),
    ("big-buffer-50", ("raw-sansio",)),
    ("send-text-10", ("raw-tornado",)),
    ("send-buffer-50", ("raw-tornado",)),
    ("fan-out", ("raw-picows",)),
    ("fan-out-stream", ("raw-picows",)),
    ("idle", ()),
    ("start-up-real", ("zmq",)),
    ("gets", ()),
    ("import", ()),
)
"""The cases of the summary, and what each is held against besides the peers."""
RATIOS = (
    "In brackets: how many times as fast trio_gateway is. (2 ×) is twice as fast as this figure, (0.5 ×) half as fast. "
    "Of sessions that wait: how many times trio_gateway's processor time the other takes."
)
PEERS = {
    "jupyter-server": "jupyter_server.gateway",
    "jupyter-server-wsaccel": "the same with wsaccel",
    "jupyter-kernel-client": "jupyter-kernel-client",
    "agent-jupyter-toolkit": "agent-jupyter-toolkit",
}
"""The peers of the summary, and the heads of their columns."""
FASTER = "trio_gateway is … times as fast"
THRIFTIER = "takes … times trio_gateway's processor time"


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


def _peers_in(run: Run) -> list[str]:
    """Return the summary's peers that took part in a run, if only with the reason why they can't do something."""
    took_part = {key for _, key in run.cells}
    return [key for key in PEERS if key in took_part]


def summary_head(run: Run) -> Row:
    """Return the head of the summary: a peer that took no part has no column."""
    return ("", "trio_gateway", *(PEERS[key] for key in _peers_in(run)), "limit or floor")


def summary_rows(run: Run) -> list[Row]:
    """Return each headline case: what, ours, the peers, the limit; in brackets how many times as fast ours is."""
    rows: list[Row] = []
    for name, limits in HEADLINES:
        ours = ours_in(run, name)
        if ours is None:
            continue
        case = CASES[name]
        cells = [f"**{number(run.value(name, ours))}**"]
        for key in (*_peers_in(run), *(limits or ("",))):
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
FLOOR_HEAD = ("", "trio_gateway", "floor", "times as fast as the floor", "left to take", "left of the processor time")
FLOOR_SAYS = (
    "The floor is what raw frames on Trio take (`raw-sansio`), of 100 starts what the gateway takes. What is left to take is the "
    "share of trio_gateway's time that is above it: at twice the floor's time 50 %. A dash: nothing is left, or there is no "
    "floor. With large messages trio_gateway is faster than the floor. The floor is the library `websockets` as it comes, which "
    "copies a message to mask it and to join it. trio_gateway has its own code for frames, which copies less."
)
TIME_HEAD = ("", "seconds")


def case_head(case: Case) -> Row:
    """Return the head of a case's table."""
    ratio = THRIFTIER if case.unit == "% of a core" else FASTER
    return ("client", "median", "spread", ratio, "CPU µs/op", "peak MB", "threads", "")


def floor_rows(run: Run) -> list[Row]:
    """Return each case that has a floor: what, ours, the floor, their ratio, and what is left to take."""
    rows: list[Row] = []
    for case in CASES.values():
        ours = ours_in(run, case.name)
        if ours is None or case.body is None:
            continue
        time, processor = floor_shares(run, case.name, ours)
        floor = case.floor or run.value(case.name, FLOOR)
        if time is None or floor is None:
            continue
        ratio = times_as_fast(run.value(case.name, ours), floor, higher=case.higher)
        mine = number(run.value(case.name, ours))
        # Nothing is left where ours is no slower: that is no share.
        left = percent(time or None), percent(processor or None)
        rows.append((f"{case.title}, {case.unit}", mine, number(floor), number(ratio, "×"), *left))
    return rows


def time_rows(run: Run) -> list[Row]:
    """Return how long each case and part took, the longest first."""
    taken = {name: run.seconds_of(name) for name in CASES} | {name: part["seconds"] for name, part in run.parts.items()}
    rows = sorted(((name, seconds) for name, seconds in taken.items() if seconds), key=lambda row: -row[1])
    if rows:
        rows.append(("all", sum(taken.values())))
    return [(name, f"{seconds:.0f}") for name, seconds in rows]


def tables_of_parts(run: Run, page: str | None = None) -> list[tuple[str, str, list[Table]]]:
    """Return the title, the words and the tables of each part that found something; of one page, or of all."""
    return [
        (part.title, part.says, part.tables(run.parts[part.name]["found"]))
        for part in PARTS.values()
        if run.parts.get(part.name, {}).get("found") and page in (None, part.page)
    ]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


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


def without_figures(run: Run) -> list[str]:
    """Say of which cases, parts and peers a run has no figures; nothing where it has all."""
    measured = {name for (name, _), cell in run.cells.items() if cell.values}
    named = [f"`{name}`" for name in CASES if name not in measured]
    named += [f"the part `{name}`" for name in PARTS if not run.parts.get(name, {}).get("found")]
    named += [CLIENTS[key].label for key in PEERS if key not in _peers_in(run)]
    return [f"Without figures in this run: {', '.join(named)}."] if named else []


def markdown(run: Run) -> str:
    """Return everything as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    parts = [
        f"Measured on: {machine_line(run)}.",
        f"Versions: {versions}.",
        *without_figures(run),
        "### The goals",
        _table(GOAL_HEAD, goal_rows(run), 9),
        "### In short",
        RATIOS,
        _table(summary_head(run), summary_rows(run)),
        "### What is left to take",
        FLOOR_SAYS,
        _table(FLOOR_HEAD, floor_rows(run)),
    ]
    for title, says, tables in tables_of_parts(run, "benchmarks.md"):
        if tables:
            parts += [f"### {title}", *([says] if says else []), *_titled(tables)]
    parts += ["### Case by case"]
    for case in CASES.values():
        rows = case_rows(run, case)
        if rows:
            parts += [
                f"**{case.title}** (`{case.name}`; {case.unit}, {'more' if case.higher else 'less'} is better)",
                _table(case_head(case), rows),
            ]
    return "\n\n".join(parts) + "\n"


def _titled(tables: Iterable[Table]) -> list[str]:
    return [text for title, head, rows in tables for text in (f"**{title}**", _table(head, rows))]


def values_markdown(run: Run) -> str | None:
    """Return what was measured of values, as Markdown; None where nothing was."""
    for _, says, tables in tables_of_parts(run, "data.md"):
        return "\n\n".join([f"Measured on: {machine_line(run)}.", *_titled(tables), says])
    return None


def write_pages(run: Run, docs: Path, readme: Path) -> None:
    """Put the tables of a run into the documentation: what was measured, and no more."""
    write_between(docs / "benchmarks.md", "results", markdown(run))
    write_between(readme, "benchmarks", short_markdown(run))
    values = values_markdown(run)
    if values is not None:
        write_between(docs / "data.md", "values", values)
    notebooks = run.parts.get("notebooks", {}).get("found")
    if notebooks:
        write_between(docs / "benchmarks.md", "notebooks", notebooks_markdown(notebooks))


def short_markdown(run: Run) -> str:
    """Return the summary alone, for a page that links to the rest."""
    return "\n\n".join(
        [
            _table(summary_head(run), summary_rows(run)),
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
            case_head(case),
            case_rows(run, case),
        )
    for _, _, tables in tables_of_parts(run):
        for title, head, rows in tables:
            show(title, head, rows)
    if isinstance(notebooks := run.parts.get("notebooks", {}).get("found"), str):
        console.print(notebooks, markup=False)
    show("What is left to take of the floor", FLOOR_HEAD, floor_rows(run))
    show("In short", summary_head(run), summary_rows(run))
    show("The goals", GOAL_HEAD, [row for row in goal_rows(run) if row[2] != "–"])
    show("Where the time went", TIME_HEAD, time_rows(run))
    for name, part in run.parts.items():
        if part["problem"]:
            console.print(f"{name}: {part['problem']}", markup=False)
    console.print(machine_line(run))


__all__ = ["Cell", "markdown", "print_run", "short_markdown", "write_between"]
