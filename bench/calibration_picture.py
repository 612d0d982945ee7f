"""Draws docs/calibration.png: what a calibration promises, and what happens.

    python bench/calibration_picture.py SHARED

Left: 2,000 calibrations each on n simulated scores, at three rates: the mean of the true rates of
false alarms and their 95 % quantile, on the lines of both promises. Right: juice_bottle's good test
parts (of the folder of sample images), halved at random 5,000 times: one half calibrates at 10 %,
of the other so many are rejected, beside the beta-binomial distribution.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from invad_fast.data import load_tensor
from invad_fast.demo import demo_encoder_weights
from invad_fast.encoder import Encoder
from invad_fast.evaluation.conformal import bound_rate, expected_rate, parts_needed, rank

DRAWS, SPLITS, SIZE = 2000, 5000, (128, 128)
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "calibration.png"


def draw_simulation(axes, rng: np.random.Generator) -> None:
    """True rates of calibrations on uniform scores: 1 − the k-th smallest."""
    for colour, rate in zip(("tab:blue", "tab:orange", "tab:green"), (0.01, 0.05, 0.1)):
        least = parts_needed(rate) or 1
        counts = np.unique(np.geomspace(least, 3000, 14).astype(int))
        ranks = [rank(int(n), rate) or 0 for n in counts]
        true = [1 - np.sort(rng.random((DRAWS, n)))[:, k - 1] for n, k in zip(counts, ranks)]
        promised = [expected_rate(int(n), k) for n, k in zip(counts, ranks)]
        bounds = [bound_rate(int(n), k) for n, k in zip(counts, ranks)]
        axes.plot(counts, promised, color=colour, label=f"asked for {rate:.0%}: expected")
        axes.plot(counts, bounds, color=colour, linestyle="--", label="95 % of calibrations below")
        axes.plot(counts, [t.mean() for t in true], "o", color=colour, markersize=4)
        axes.plot(counts, [np.quantile(t, 0.95) for t in true], "s", color=colour, markersize=4)
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="good parts to calibrate on", ylabel="false-alarm rate")
    axes.set_title("lines: promised; dots: 2,000 calibrations each")
    axes.legend(fontsize=7)


def draw_bottles(axes, folder: Path, rng: np.random.Generator) -> None:
    """Rejected parts of one half, where the other set the threshold."""
    encoder = Encoder("resnet10t", (1, 2, 3), SIZE, demo_encoder_weights()).eval()
    known = _features(encoder, sorted((folder / "train/good").iterdir())[:100])
    tested = _features(encoder, sorted((folder / "test/good").iterdir()))
    scores = (tested[:, None] - known).norm(dim=2).min(1).values.numpy()
    half = len(scores) // 2
    k = rank(half, 0.1) or half
    orders = np.argsort(rng.random((SPLITS, len(scores))), 1)
    limits = np.sort(scores[orders[:, :half]], 1)[:, k - 1]
    rejected = (scores[orders[:, half:]] > limits[:, None]).sum(1)
    exact = stats.betabinom(len(scores) - half, half + 1 - k, k)
    most = np.arange(13)
    axes.bar(most, [(rejected == m).mean() for m in most], color="tab:blue", label="measured")
    axes.plot(most, exact.pmf(most), "o", color="black", label="beta-binomial")
    axes.set(xlabel=f"of {len(scores) - half} other good bottles rejected")
    axes.set(ylabel="share of splits", title=f"real parts: {half} bottles calibrate at 10 %")
    axes.legend(fontsize=7)
    print(f"bottles: mean {rejected.mean():.3f} rejected, promised {exact.mean():.3f}")


def _features(encoder: Encoder, files: list[Path]) -> torch.Tensor:
    batch = torch.stack([load_tensor(file, SIZE) for file in files])
    with torch.inference_mode():
        return torch.cat([f.mean((2, 3)) for f in encoder(batch)], 1)


def main() -> None:
    figure = Figure((10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rng = np.random.default_rng(0)
    draw_simulation(left, rng)
    draw_bottles(right, Path(sys.argv[1]) / "data/defects/juice_bottle", rng)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
