"""The chart: for each headline case one small panel of bars, ours in colour. SVG, by matplotlib (extra `bench`)."""

from __future__ import annotations

import textwrap
from pathlib import Path

from .cases import CASES
from .clients.base import load
from .clients.registry import CLIENTS
from .harness import Run
from .report import HEADLINES, PEERS, machine_line, number, ours_in

_MOST = 1 + len(PEERS) + 1
"""Bars of a panel: ours, the peers, the limit."""
OURS, THEIRS, LIMIT = "#0b6e99", "#b8b8b8", "#e3c77a"


def draw(run: Run, path: Path) -> None:
    """Write the chart.

    Args:
        run: what was measured.
        path: the file, whose suffix says which format; SVG looks best.
    """
    mpl = load("matplotlib")
    mpl.use("svg" if path.suffix == ".svg" else "agg")
    # The same run gives the same file.
    mpl.rcParams.update({"svg.hashsalt": "trio-gateway", "svg.fonttype": "path", "font.size": 8})
    plt = load("matplotlib.pyplot")

    panels = [(CASES[name], limits) for name, limits in HEADLINES if ours_in(run, name) is not None]
    if not panels:
        raise ValueError("nothing was measured that the chart shows")
    columns = 3
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(12, 1.7 * rows + 0.5), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (case, limits) in zip(axes.flat, panels, strict=False):
        ours = ours_in(run, case.name)
        assert ours is not None
        shown = [(key, run.value(case.name, key)) for key in (ours, *PEERS, *limits)]
        bars = [(key, value) for key, value in shown if value is not None]
        names = ["trio_gateway" if key == ours else CLIENTS[key].label for key, _ in bars]
        colours = [OURS if key == ours else THEIRS if key in PEERS else LIMIT for key, _ in bars]
        values = [value for _, value in bars]
        axis.set_axis_on()
        axis.barh(names, values, color=colours)
        axis.set_ylim(_MOST - 0.5, -0.5)  # bars of all panels are equally thick
        axis.set_xlim(0, max(values) * 1.22)
        axis.set_xticks([])
        axis.tick_params(length=0)
        for spine in axis.spines.values():
            spine.set_visible(False)
        for index, value in enumerate(values):
            axis.text(value + max(values) * 0.015, index, number(value), va="center")
        title = textwrap.fill(case.title, 36)
        axis.set_title(f"{title}\n{case.unit}, {'more' if case.higher else 'less'} is better", loc="left", fontsize=8)
    figure.text(0.01, 0.003, f"{machine_line(run)}. Yellow: the floor or the limit of the wire.", fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.015, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
