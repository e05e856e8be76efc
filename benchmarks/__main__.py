"""The command: `python -m benchmarks --help`."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import click

from . import environments, harness, progress, report
from . import parts as beside
from .cases import CASES, Case
from .clients.registry import CLIENTS, Entry

DOCS = environments.ROOT / "docs"
OUTPUT = DOCS / "benchmarks"


def _available(wanted: list[Entry], *, build: bool) -> list[Entry]:
    """Return those that can be run here, and tell of the others; make environments if asked to."""
    found = []
    for entry in wanted:
        why = None
        if build and environments.python_of(entry.environment) is None:
            click.echo(f"making the environment {entry.environment} …")
            environments.make(entry.environment)
        if environments.python_of(entry.environment) is None:
            why = f"its environment {entry.environment} is not there"
        elif entry.is_ours:
            why = entry.load().missing(**entry.options)
        if why is None:
            found.append(entry)
        else:
            click.echo(f"without {entry.label}: {why}")
    return found


def _last_run(*, whole: bool) -> harness.Run | None:
    """Return the full run that the documentation shows, which says how long another takes; None for one of another kind."""
    kept = OUTPUT / "results.json"
    return harness.Run.from_json(kept.read_text()) if whole and kept.exists() else None


def _run_parts(run: harness.Run, wanted: list[beside.Part], *, quick: bool) -> None:
    """Run scripts one after the other, and put what they found into the run. Ctrl-C ends the one that runs, and all after it."""
    for index, part in enumerate(wanted):
        left = progress.shown(sum(each.seconds[quick] for each in wanted[index:]))
        click.echo(f"{left:>16}  {part.title} (bench_{part.name}.py) …")
        try:
            found, problem, seconds = beside.run(part, quick=quick)
        except KeyboardInterrupt:
            click.echo("interrupted: here is what there is")
            run.interrupted = True
            return
        run.parts[part.name] = {"found": found, "problem": problem, "seconds": seconds}
        click.echo(f"{'':16}  {problem or f'took {seconds:.0f} s'}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Smaller sizes and one repetition: some minutes, for a look while you work.")
@click.option(
    "--case", "cases", multiple=True, metavar="WORD", help="Only cases and parts with this word in their name. Repeatable."
)
@click.option("--client", "clients", multiple=True, metavar="WORD", help="Only clients with this word in their name. Repeatable.")
@click.option(
    "--repetitions",
    type=click.IntRange(1),
    help=f"How often each client runs each case.  [default: {harness.REPETITIONS}, quick: 1]",
)
@click.option("--limit", type=click.FloatRange(1), default=300.0, show_default=True, help="Seconds for one process.")
@click.option("--make/--no-make", "build", default=True, help="Make the peers' environments where they are not there (pip).")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write results.json, results.md and chart.svg there.  [default: into the docs for a whole full run, else nowhere]",
)
@click.option(
    "--report",
    "reported",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure nothing: show this results.json.",
)
@click.option("--list", "listing", is_flag=True, help="Show the names of cases and clients.")
def main(
    *,
    quick: bool,
    cases: tuple[str, ...],
    clients: tuple[str, ...],
    repetitions: int | None,
    limit: float,
    build: bool,
    output: Path | None,
    reported: Path | None,
    listing: bool,
) -> None:
    """Measure trio_gateway beside its peers, and beside the limits of the wire.

    Each client runs each case in a fresh process, pinned to one core; the servers are pinned to another. The clients of a case
    follow each other at once, in a new order each time, so that ratios within one run mean something even where times do not.

    Peers are installed from PyPI into environments of their own under .nox/bench-peers, once. Everything is over loopback.

    After the cases come the parts: values, pools, the proxy, the faces and notebooks, each measured by a script of its own.

    A full run is laid out for half an hour on two cores. Its tables go to the docs and the README, its data and chart to
    docs/benchmarks/. With --output docs/benchmarks any run does that.

    Ctrl-C ends a run early: it reports what there is, leaves the parts out, and leaves the docs as they are. For example:

    \b
      python -m benchmarks --quick
      python -m benchmarks --case flood --case latency --client ours --client picows --repetitions 3
      python -m benchmarks --report docs/benchmarks/results.json
    """  # noqa: D301 - click reads the character itself
    if listing:
        for case in CASES.values():
            click.echo(f"{case.name:19} {case.title} ({case.unit})")
        for part in beside.PARTS.values():
            click.echo(f"{part.name:19} {part.title} (bench_{part.name}.py)")
        click.echo()
        for entry in CLIENTS.values():
            click.echo(f"{entry.key:26} {entry.label} (environment {entry.environment})")
        return
    whole = not (quick or cases or clients)
    if reported is not None:
        run = harness.Run.from_json(reported.read_text())
        whole = False  # it may be anybody's
    else:
        try:
            wanted, wanted_clients = harness.choose(cases, {**CASES, **beside.PARTS}), harness.choose(clients, CLIENTS)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        wanted_cases = [each for each in wanted if isinstance(each, Case)]
        wanted_parts = [each for each in wanted if isinstance(each, beside.Part)] if cases or not clients else []
        if build:
            environments.make("server")
        entries = _available(wanted_clients, build=build)
        run = harness.measure(
            wanted_cases,
            entries,
            mode="quick" if quick else "full",
            repetitions=repetitions or (1 if quick else harness.REPETITIONS),
            limit=limit,
            tell=click.echo,
            last=_last_run(whole=whole),
            afterwards=sum(part.seconds[quick] for part in wanted_parts),
        )
        if not run.interrupted:
            _run_parts(run, wanted_parts, quick=quick)
    report.print_run(run)
    folder = output.resolve() if output else OUTPUT if whole else None
    if folder is None:
        return
    if folder == OUTPUT and run.interrupted:
        click.echo("the documentation stays as it was: the run was interrupted")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(run.to_json())
    if folder == OUTPUT:
        report.write_pages(run, DOCS, environments.ROOT / "README.md")
    else:
        (folder / "results.md").write_text(report.markdown(run))
    if find_spec("matplotlib") is None:
        click.echo("no chart: matplotlib is not installed (extra bench)", err=True)
        sys.exit(1)
    from .chart import draw

    try:
        draw(run, folder / "chart.svg")
    except ValueError as error:  # parts alone have none
        click.echo(f"no chart: {error}", err=True)
    click.echo(f"written to {folder}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
