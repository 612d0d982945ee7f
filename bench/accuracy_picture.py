"""Draws docs/accuracy.png of bench/accuracy.csv: accuracy against images seen.

python bench/accuracy_picture.py
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from accuracy import rows
from matplotlib.figure import Figure

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "accuracy.png"
MEMORY = ("memory", "maximum")
CURVES = {  # (variant, rule) → how it is drawn
    ("fast", "maximum"): ("fast", "tab:blue", "-"),
    ("fast", "joined maps, maximum"): ("fast, joined with the memory", "tab:blue", ":"),
    ("paper", "maximum"): ("paper", "tab:orange", "-"),
}
PANELS = (("image_auroc", "cookie"), ("image_auroc", "juice_bottle"), ("image_auroc", "tire"),
          ("image_auroc", None), ("pixel_auroc", None), ("aupro", None))  # fmt: skip
TITLES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AU-PRO"}


def points(figure: str, name: str | None) -> dict[tuple[str, str], dict[int, list[float]]]:
    """(variant, rule) → images seen → a value a seed, of the class or the mean of all, percent."""
    runs: dict[tuple, list[float]] = defaultdict(list)
    for row in rows():
        if name in (None, row["class"]):
            key = row["variant"], row["score"], int(row["images"]), row["length"], row["seed"]
            runs[key].append(100 * float(row[figure]))
    found: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (variant, rule, images, *_), values in runs.items():
        found[variant, rule][images].append(float(np.mean(values)))
    return found


def draw(axes, figure: str, name: str | None) -> None:
    found = points(figure, name)
    for key, (label, colour, line) in CURVES.items():
        curve = sorted(found[key].items())
        axes.plot([x for x, _ in curve], [np.mean(y) for _, y in curve], color=colour,
                  linestyle=line, label=label)  # fmt: skip
        for x, values in curve:
            axes.plot([x] * len(values), values, ".", color=colour, alpha=0.6)
    level = np.mean(found[MEMORY][0])
    axes.axhline(level, color="0.4", linestyle="--", label="memory alone")
    axes.set_xscale("log")
    ticks = (2500, 5000, 10000, 20000)
    axes.set_xticks(ticks, [f"{t:,}" for t in ticks])
    axes.minorticks_off()
    axes.set_title(f"{name or 'mean of the classes'}: {TITLES[figure]}", fontsize=10)
    axes.grid(alpha=0.3)


def main() -> None:
    picture = Figure((11, 6.4), layout="constrained")
    grid = picture.subplots(2, 3)
    for axes, (figure, name) in zip(grid.flat, PANELS):
        draw(axes, figure, name)
    picture.supxlabel("images seen in training (a dot a seed)", fontsize=10)
    picture.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4,
                   fontsize=9, frameon=False)  # fmt: skip
    picture.savefig(PICTURE, dpi=100)


if __name__ == "__main__":
    main()
