"""Which way to train, and which score, finds more: trainings of InvAD-lite on real parts.

    taskset -c 1 python bench/accuracy.py SHARED [--variants NAME ...] [--seeds 0 1 2]
        [--images 2500 5000]

One model for cookie, juice_bottle and tire at 128×128, ResNet-18, batch 16, bf16, one thread.
Features are encoded once. `accuracy_variants.py` has the table of variants; every run scores its
maps by several rules. Rows go to bench/accuracy.csv; a run that is there is not made again. The
scores of single images go to runs/accuracy/, for a paired bootstrap. Training pauses while the file
that INVAD_FAST_QUIET names exists (runs/QUIET).
"""

from __future__ import annotations

import argparse
import csv
import datetime
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accuracy_memory import MEMORIES, Distances, distances
from accuracy_scores import FIGURES, figures, maps_of, maximum, rules
from accuracy_training import Parts, encode, train
from accuracy_variants import VARIANTS
from torch import Tensor

from invad_fast.allocator import keep_freed_memory
from invad_fast.data import read_dataset

ROOT = Path(__file__).resolve().parents[1]
TABLE, SCORES = ROOT / "bench" / "accuracy.csv", ROOT / "runs" / "accuracy"
COLUMNS = ("variant", "seed", "length", "images", "seconds", "score", "class", *FIGURES, "date")


def rows() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add(run: tuple, score: str, found: dict[str, dict[str, float]]) -> None:
    """Appends a line a class, whole."""
    new = not TABLE.exists()
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        for name, own in found.items():
            values = [f"{own[figure]:.5f}" for figure in FIGURES]
            writer.writerow([*run, score, name, *values, date])


def scored(
    test: Parts, training: Parts, maps: tuple[Tensor, Tensor], near: Distances
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(rule, maps, scores) of a model's maps of test and training parts, then joined ones."""
    found = rules(maps[0], test, maps[1], training)
    for rule, (own, scores) in found.items():
        yield rule, own, scores
    # Both in deviations of good parts: for InvAD's maximum those of the training parts.
    known = rules(maps[1], training, maps[1], training)
    for rule in ("maximum", "standardised maximum", "standardised top share"):
        own, scores = (values.clone() for values in found[rule])
        for name in set(training.classes):
            mine, theirs = ([c == name for c in p.classes] for p in (test, training))
            good = known[rule][1][theirs]
            for values in (own, scores):
                values[mine] = (values[mine] - good.mean()) / good.std()
        yield f"joined scores, {rule}", found[rule][0], scores + near.scores
        if "share" not in rule:
            both = own + near.maps
            yield f"joined maps, {rule}", both, maximum(both)


def run(name: str, seed: int, checkpoints: list[int], test: Parts, training: Parts, near) -> None:
    for model in train(VARIANTS[name], training, seed, checkpoints):
        maps = maps_of(model.network, test), maps_of(model.network, training)
        images = min(checkpoints, key=lambda c: abs(c - model.images))
        key = (name, seed, checkpoints[-1], images, f"{model.seconds:.0f}")
        kept = {}
        for rule, own, scores in scored(test, training, maps, near):
            found = figures(own, scores, test)
            add(key, rule, found)
            kept[rule] = scores.numpy()
            mean = " ".join(f"{np.mean([c[f] for c in found.values()]):.4f}" for f in FIGURES)
            sys.stdout.write(f"{name} {seed} {images} {model.seconds:.0f} s {rule}: {mean}\n")
        sys.stdout.flush()
        np.savez_compressed(SCORES / f"{name} {seed} {checkpoints[-1]} {images}.npz", **kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", nargs="+", type=int, default=[2500, 5000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    SCORES.mkdir(parents=True, exist_ok=True)
    weights = arguments.shared / "weights" / "resnet18.safetensors"
    training, test = encode(read_dataset(arguments.shared / "data" / "defects"), weights)
    done = {(r["variant"], r["seed"], r["length"], r["images"]) for r in rows()}
    for seed in arguments.seeds:
        for name, settings in MEMORIES.items():
            if (name, str(seed), "0", "0") not in done:
                started = time.monotonic()
                found = distances(test, training, settings, seed)
                key = (name, seed, 0, 0, f"{time.monotonic() - started:.0f}")
                add(key, "maximum", figures(found.maps, found.scores, test))
        near = distances(test, training, MEMORIES["memory"], seed)
        for name in arguments.variants:
            last = str(arguments.images[-1])
            if (name, str(seed), last, last) not in done:
                run(name, seed, arguments.images, test, training, near)


if __name__ == "__main__":
    main()
