"""Which variants of `bench/accuracy.py` beat another one by more than chance.

    python bench/accuracy_gains.py SHARED [--against fast] [--images 5000] [--rule maximum]

A table row a variant: the gain in mean image AUROC over the seeds that both have, and its standard
error by a paired bootstrap: 2,000 times seeds are drawn anew, and test parts within every class,
good and defective ones apart; the same for both. A change is adopted from two errors on. Scores of
single images are read from runs/accuracy/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accuracy import SCORES
from accuracy_scores import auroc
from accuracy_variants import VARIANTS

from invad_fast.data import read_dataset

DRAWS = 2000


def scores_of(variant: str, images: int, rule: str) -> dict[int, np.ndarray]:
    """seed → scores of all test parts, of runs of this length at their end."""
    found = {}
    for path in SCORES.glob(f"{variant} ? {images} {images}.npz"):
        found[int(path.stem.split()[-3])] = np.load(path)[rule]
    return found


def mean_auroc(scores: np.ndarray, drawn: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Over classes, of the parts with these indices (good, defective)."""
    labels = [np.repeat([False, True], [len(g), len(b)]) for g, b in drawn]
    given = [scores[np.concatenate(pair)] for pair in drawn]
    return float(np.mean([auroc(s, anomalous) for s, anomalous in zip(given, labels)]))


def gain(
    new: dict[int, np.ndarray], old: dict[int, np.ndarray], groups: Sequence[tuple]
) -> tuple[float, float]:
    """(gain, its standard error) in mean image AUROC over the seeds of both."""
    seeds, rng = sorted(new.keys() & old.keys()), np.random.default_rng(0)

    def of(chosen: Sequence[int], drawn: Sequence[tuple]) -> float:
        return float(np.mean([mean_auroc(new[s], drawn) - mean_auroc(old[s], drawn)
                              for s in chosen]))  # fmt: skip

    draws = [
        of(rng.choice(seeds, len(seeds)), [tuple(rng.choice(g, len(g)) for g in p) for p in groups])
        for _ in range(DRAWS)
    ]
    return of(seeds, groups), float(np.std(draws))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--against", choices=VARIANTS, default="fast")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rule", default="maximum")
    given = parser.parse_args()
    test = list(read_dataset(given.shared / "data" / "defects").test)
    classes = np.array([record.class_name for record in test])
    anomalous = np.array([record.anomalous for record in test])
    groups = [
        tuple(np.flatnonzero((classes == name) & (anomalous == kind)) for kind in (False, True))
        for name in sorted(set(classes))
    ]
    old = scores_of(given.against, given.images, given.rule)
    sys.stdout.write(
        f"| against {given.against}, {given.images:,} images | seeds | gain | error |\n"
    )
    sys.stdout.write("|---|---|---|---|\n")
    for name in VARIANTS:
        new = scores_of(name, given.images, given.rule)
        if name != given.against and new.keys() & old.keys():
            found, error = gain(new, old, groups)
            count = len(new.keys() & old.keys())
            sys.stdout.write(f"| {name} | {count} | {100 * found:+.1f} | {100 * error:.1f} |\n")


if __name__ == "__main__":
    main()
