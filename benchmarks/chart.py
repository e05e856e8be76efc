"""The chart: for each of a few cases, how many times as fast ours is as each peer, on one scale. By matplotlib (extra `bench`).

It is read at the width of a page, 830 pixels, so it has few cases, and its letters are as large as the text around it.
"""

from __future__ import annotations

from pathlib import Path

from .cases import CASES
from .clients.base import load
from .clients.registry import CLIENTS
from .goals import advantage
from .harness import Run
from .parts import number
from .report import HEADLINES, PEERS, machine_line, ours_in

SHOWN = ("latency-real", "latency", "flood", "big-text-50", "send-text-10", "fan-out", "start-up-real", "gets", "import")
"""The cases: of each headline's kind one. `idle` is none of them: who waits is not fast."""
LABELS = {
    "jupyter-server": ("jupyter_server.gateway", "s", "#c05621"),
    "jupyter-server-wsaccel": ("jupyter_server.gateway with wsaccel", "D", "#805ad5"),
    "jupyter-kernel-client": ("jupyter-kernel-client", "^", "#2f855a"),
    "agent-jupyter-toolkit": ("agent-jupyter-toolkit", "v", "#b7791f"),
    "": ("no gateway, or the bare wire", "o", "#a0a0a0"),
}
"""The peers, their marks and colours; last what no client of a gateway can reach."""
OURS = "#0b6e99"


def draw(run: Run, path: Path) -> None:
    """Write the chart.

    Args:
        run: what was measured.
        path: the file, whose suffix says which format; SVG looks best.

    Raises:
        ValueError: nothing was measured that the chart shows.
    """
    mpl = load("matplotlib")
    mpl.use("svg" if path.suffix == ".svg" else "agg")
    # The same run gives the same file.
    mpl.rcParams.update({"svg.hashsalt": "trio-gateway", "svg.fonttype": "path", "font.size": 11})
    plt = load("matplotlib.pyplot")

    limits = dict(HEADLINES)
    cases = [CASES[name] for name in SHOWN if ours_in(run, name) is not None]
    if not cases:
        raise ValueError("nothing was measured that the chart shows")
    figure, axis = plt.subplots(figsize=(8.8, 0.47 * len(cases) + 1.5))
    seen: set[str] = set()
    for row, case in enumerate(cases):
        ours = ours_in(run, case.name)
        assert ours is not None
        for key in (*PEERS, *limits[case.name]):
            ratio = advantage(run, case.name, ours, key) if key in CLIENTS else None
            if ratio is None or not ratio > 0:
                continue
            label, mark, colour = LABELS[key if key in PEERS else ""]
            axis.plot([ratio], [row], mark, color=colour, markersize=9, label=None if label in seen else label, zorder=3)
            seen.add(label)
    axis.axvline(1, color=OURS, linewidth=2.5, zorder=2)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.03), max(high, 1000))
    axis.set_yticks(range(len(cases)), [case.title for case in cases])
    axis.set_ylim(len(cases) - 0.4, -0.6)
    axis.xaxis.set_major_formatter(lambda value, _: f"{number(value)} ×")
    axis.tick_params(which="both", length=0)
    axis.grid(color="#e6e6e6")
    axis.set_axisbelow(True)
    for spine in axis.spines.values():
        spine.set_visible(False)
    left, right = axis.get_xlim()
    axis.axvspan(left, 1, color="#f7f3ee", zorder=0)
    axis.set_title("← trio_gateway is slower", loc="left", fontsize=10, color="#666666")
    axis.set_title("trio_gateway is so many times as fast →", loc="right", fontsize=11, color=OURS)
    axis.set_xlim(left, right)
    figure.legend(loc="lower center", ncols=2, frameon=False, fontsize=10, bbox_to_anchor=(0.5, 0.035))
    figure.text(0.01, 0.008, machine_line(run), fontsize=8, color="#666666")
    figure.tight_layout(rect=(0, 0.15, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
