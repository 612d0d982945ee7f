"""Image scores of good against defective parts, a row a class, with the threshold."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from invad_fast.names import visible

_MOST_CLASSES = 200  # what a picture can show
_MOST_LINES = 4  # of a title
_BINS = 50
# In inches.
_COLUMN, _PLOT, _LINE, _AXIS, _MARGIN = 6.4, 1.0, 0.17, 0.42, 0.6
_LETTERS = 78  # of a title's line

Row = tuple[np.ndarray, np.ndarray, float | None]


def score_distribution(classes: Mapping[str, Row]) -> Any:
    """Image scores of normal against anomalous parts with the threshold (paper, Figure 3).

    Args:
        classes: name → (scores N, anomalous N, threshold). Scores that are no number are left out.

    Returns:
        A matplotlib figure: one row a class, in two or four columns where there are many.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown = dict(islice(classes.items(), _MOST_CLASSES))
    count = max(len(shown), 1)
    columns = 1 if count <= 6 else 2 if count <= 16 else 4
    titles = {name: _lines(name) for name in shown}
    title_height = _LINE * max([len(lines) for lines in titles.values()], default=1)
    row_height = title_height + _PLOT + _AXIS
    width = columns * (_COLUMN + _MARGIN) + 0.2
    height = 0.45 + -(-count // columns) * row_height + 0.2
    figure = Figure(figsize=(width, height))
    for place, (name, (scores, anomalous, threshold)) in enumerate(shown.items()):
        row, column = divmod(place, columns)
        left = _MARGIN + column * (_COLUMN + _MARGIN)
        bottom = height - 0.45 - row * row_height - title_height - _PLOT
        place_in_figure = (left / width, bottom / height, _COLUMN / width, _PLOT / height)
        axes = figure.add_axes(place_in_figure)
        _draw(axes, np.asarray(scores, np.float64), np.asarray(anomalous, bool), threshold)
        text, families = _printable("\n".join(titles[name]))
        axes.text(0, 1.03, text, transform=axes.transAxes, va="bottom", fontsize=9.5,
                  family=families, parse_math=False)  # fmt: skip
    handles = [Patch(color=_GOOD, label="good parts"), Patch(color=_BAD, label="defective parts"),
               Line2D([], [], color="black", linestyle="--", label="threshold")]  # fmt: skip
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, fontsize=9)
    if len(shown) < len(classes):
        figure.text(_MARGIN / width, 1 - 0.2 / height,
                    f"the first {len(shown)} of {len(classes)} classes", va="center")  # fmt: skip
    return figure


_GOOD, _BAD = "#3f7cac", "#d1495b"


def _draw(axes: Any, scores: np.ndarray, anomalous: np.ndarray, threshold: float | None) -> None:
    numbers = np.isfinite(scores)
    ends = [*scores[numbers], *([] if threshold is None else [threshold])]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = max(0.03 * (high - low), 1e-3 * abs(high), 1e-9)
    edges = np.linspace(low - room, high + room, _BINS + 1)
    for kind, colour, alpha in ((~anomalous, _GOOD, 0.8), (anomalous, _BAD, 0.7)):
        counts, _ = np.histogram(scores[kind & numbers], edges)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=alpha)
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1.2)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylabel("parts", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="y", nbins=4, integer=True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _lines(name: str) -> list[str]:
    """The name as the lines of a title; what is beyond the last one is left out."""
    lines, room = [""], _LETTERS
    for sign in visible(name):
        room -= 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        if room < 0:
            if len(lines) == _MOST_LINES:
                return [*lines[:-1], lines[-1] + "…"]
            lines.append("")
            room = _LETTERS
        lines[-1] += sign
    return lines


def _printable(text: str) -> tuple[str, list[str]]:
    """(the text, families of fonts that have its signs); a sign that no font has as its escape."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    families = ["DejaVu Sans"]
    missing = set(text) - {"\n"}
    for name, file in (
        (families[0], findfont(FontProperties(family=families))),
        *((font.name, font.fname) for font in fontManager.ttflist),
    ):
        # The font of last resort has a box for every sign.
        if missing and not name.startswith("Last Resort"):
            found = {sign for sign in missing if sign in _signs(file)}
            missing -= found
            families += [name] if found and name not in families else []
    return "".join(
        sign.encode("unicode_escape").decode() if sign in missing else sign for sign in text
    ), families


@functools.cache
def _signs(font_file: str) -> frozenset[str]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(map(chr, get_font(font_file).get_charmap()))
    except (OSError, RuntimeError):  # a font that matplotlib cannot draw with
        return frozenset()
