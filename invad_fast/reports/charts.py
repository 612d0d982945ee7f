"""The reports' drawings, as SVG that stands in the page itself; they can be told in black too."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = {"PASS": "#5b9a68", "REJECT": "#b3261e", "NOT_INSPECTED": "#c9932b", "open": "#8a8a8a"}
_HATCHES = {"PASS": "", "REJECT": "////", "NOT_INSPECTED": "||||", "open": "xx"}
_MARKS = "os^vDP*Xh<>d"
_MOST = 40  # hours whose names there is room for


def stacked_bars(
    names: Sequence[str], counts: Mapping[str, Sequence[int]], words: Mapping[str, str]
) -> str:
    """A bar for each name, of the verdicts' counts one over another."""
    figure, axes = _axes()
    floor = [0] * len(names)
    for verdict, values in counts.items():
        if any(values):
            axes.bar(
                range(len(names)), values, bottom=floor, color=COLOURS[verdict],
                hatch=_HATCHES[verdict], edgecolor="white", linewidth=0.3, label=words[verdict],
            )  # fmt: skip
            floor = [a + b for a, b in zip(floor, values)]
    return _finished(figure, axes, names)


def lines(
    names: Sequence[str], values: Mapping[str, Sequence[float]], limit: float | None = None
) -> str:
    """A line for each key; NaN leaves a gap. ``limit`` is dashed."""
    figure, axes = _axes()
    for number, (key, own) in enumerate(values.items()):
        mark = _MARKS[number % len(_MARKS)]
        axes.plot(range(len(names)), own, marker=mark, markersize=3.5, linewidth=1, label=key)
    if limit is not None:
        axes.axhline(limit, color="#b3261e", linestyle="--", linewidth=1)
    return _finished(figure, axes, names)


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure((9, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _finished(figure: Any, axes: Any, names: Sequence[str]) -> str:
    from matplotlib import rc_context

    step = max(1, -(-len(names) // _MOST))
    axes.set_xticks(
        range(0, len(names), step), names[::step], rotation=60 if len(names) > 12 else 0
    )
    axes.set_xlim(-0.6, len(names) - 0.4)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, ncols=6, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    text = io.StringIO()
    # Text stays text, and the same figures are the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "invad_fast"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
