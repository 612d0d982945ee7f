"""Metrics in any batches, merged in any order: exact as at once, streaming within its bounds."""

import math
import pickle
import random

import numpy as np
import pytest

from invad_fast.metrics import FIGURES, AnomalyMetrics, anomaly_metrics, evaluate
from invad_fast.metrics.float_keys import keys_of, scores_of
from soak.rounds import Rounds


def drawn_masks(rng: random.Random, shape: tuple[int, int, int]) -> np.ndarray:
    count, height, width = shape
    masks = np.zeros(shape, bool)
    for _ in range(rng.choice((0, 1, 2, 3 * count))):
        y, x = rng.randrange(height), rng.randrange(width)
        tall, wide = rng.choice((1, 3, height)), rng.choice((1, 5, width))
        masks[rng.randrange(count), y : y + tall, x : x + wide] = True
    return masks if rng.random() < 0.95 else ~masks


def drawn_maps(rng: random.Random, masks: np.ndarray) -> np.ndarray:
    """Usual scores, ties, neighbouring floats, any floats."""
    own = np.random.default_rng(rng.randrange(2**32))
    kind, shape = rng.randrange(6), masks.shape
    if kind == 0:
        maps = own.random(shape) * (1 + masks)
    elif kind == 1:
        maps = own.integers(0, rng.choice((1, 2, 5, 300)), shape) + 2 * masks
    elif kind == 2:
        first = keys_of(np.float32([rng.choice((1e-40, 0.3, 1.0, -7.0, 1e30))]))[0]
        maps = scores_of(first + own.integers(0, 900, shape).astype(np.uint32))
    elif kind == 3:
        maps = scores_of(own.integers(0x00800000, 0xFF800000, shape, dtype=np.uint32))
    elif kind == 4:
        maps = np.exp(own.standard_normal(shape) + masks)
    else:
        maps = np.where(own.random(shape) < 0.5, -0.0, 0.0) - own.integers(0, 2, shape) * masks
    return np.asarray(maps, np.float32).reshape(shape)


def spread(
    rng: random.Random, made: list[AnomalyMetrics], maps: np.ndarray, masks: np.ndarray
) -> AnomalyMetrics:
    """The maps in batches of any size, among all of ``made``; these merged in any order."""
    at, order = 0, np.random.default_rng(rng.randrange(2**32)).permutation(len(maps))
    maps, masks = maps[order], masks[order]
    while at < len(maps):
        size = rng.randint(1, 4)
        rng.choice(made).update(maps[at : at + size], masks[at : at + size])
        at += size
    while len(made) > 1:
        one = made.pop(rng.randrange(len(made)))
        into = rng.choice(made)
        way = rng.randrange(3)
        if way == 0:
            into.merge(one)
        elif way == 1:
            into.merge_state(pickle.loads(pickle.dumps(one.state())))
        else:
            into.merge(pickle.loads(pickle.dumps(one)))
    return made[0]


@pytest.mark.soak(
    "metrics in random batches, merged in random orders, beside all at once", weight=3
)
def test_batches_and_merges(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    for rng in rounds:
        monkeypatch.setattr(anomaly_metrics, "CELLS", rng.choice((2, 40, 3000, 1 << 18)))
        shape = (rng.randint(1, 12), rng.randint(2, 40), rng.randint(2, 40))
        protocol, pooling = rng.choice(("paper", "exact")), rng.choice((None, None, 1, 2))
        masks = drawn_masks(rng, shape)
        maps = drawn_maps(rng, masks)
        at_once = evaluate(maps, masks, protocol, pooling=pooling)
        parts = rng.randint(1, 5)
        exact, streaming = (
            spread(rng, [AnomalyMetrics(mode, protocol, pooling) for _ in range(parts)],
                   maps, masks)
            for mode in ("exact", "streaming")
        )  # fmt: skip
        figures, close, errors = exact.compute(), streaming.compute(), streaming.errors()
        for key in FIGURES:
            assert figures[key] == pytest.approx(at_once[key], abs=1e-12, nan_ok=True), key
            if not math.isnan(close[key]):
                assert 0 <= errors[key] <= 0.5, key
                assert abs(close[key] - at_once[key]) <= errors[key] + 1e-12, key
        known = sum(not math.isnan(close[key]) for key in FIGURES)
        rounds.came("figures equal", len(FIGURES))
        rounds.came("streaming figures within their bounds", known)
