"""How long the drift watch is quiet, and how soon it tells a shift: the tables of docs/drift.md.

    python bench/drift.py [RUNS]

RUNS lines (1,000), each with a reference of its own of as few parts as are in use, and 400,000
parts in which nothing changes: a run without an alarm counts as so many, and the mean is a lower
bound. Then shifts of half, one and two deviations, and reject rates that double and more.
"""

from __future__ import annotations

import sys

import numpy as np

from invad_fast.inspection.drift.charts import LEAST_REFERENCE
from invad_fast.inspection.drift.run_lengths import run_length
from invad_fast.inspection.recipe import Drift

PARTS = 400_000


def quiet(runs: int, parts: int) -> None:
    """Prints the in-control run lengths for references of several sizes."""
    print("| reference, parts | runs | mean at least | tenth | median | without an alarm |")
    print("|---|---|---|---|---|---|")
    for reference in (LEAST_REFERENCE, Drift().reference):
        rng = np.random.default_rng(reference)
        found = np.array([run_length(rng, reference, parts) for _ in range(runs)])
        tenth, median = (int(np.quantile(found, share)) for share in (0.1, 0.5))
        whole = (found == parts).mean()
        print(
            f"| {reference} | {runs:,} | {found.mean():,.0f} | {tenth:,} | {median:,} | "
            f"{100 * whole:.0f} % |",
            flush=True,
        )


def delays(runs: int) -> None:
    """Prints parts from the shift to the alarm, where none came before it."""
    print("| what moves | by | told within (median) | 95 % within |\n|---|---|---|---|")
    after, most = 1000, 60_000

    def row(what: str, by: str, **given: float) -> None:
        rng = np.random.default_rng(1)
        found = [
            run_length(rng, LEAST_REFERENCE, most, after=after, **given)  # type: ignore[arg-type]
            for _ in range(runs)
        ]
        late = np.array([length - after for length in found if length > after])
        told = (f"{np.quantile(late, share):,.0f}" for share in (0.5, 0.95))
        print(f"| {what} | {by} | {' | '.join(told)} |", flush=True)

    for shift in (0.5, 0.75, 1.0, 2.0, 4.0):
        row("score, brightness or sharpness", f"{shift:g} deviations", shift=shift)
    for rate in (0.04, 0.06, 0.1, 0.2):
        row("reject rate", f"2 % to {100 * rate:g} %", new_reject_rate=rate)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    delays(min(runs, 300))
    quiet(runs, PARTS)


if __name__ == "__main__":
    main()
