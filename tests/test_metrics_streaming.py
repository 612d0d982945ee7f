"""Streaming figures: constant memory, and the exact figure always within the bounds they state."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from invad_fast.metrics import (
    FIGURES,
    AnomalyMetrics,
    anomaly_metrics,
    engines,
    evaluate,
    image_scores,
)
from invad_fast.metrics.bounds import BoundedArray
from invad_fast.metrics.figures import pixel_figures
from invad_fast.metrics.float_keys import keys_of, scores_of
from invad_fast.metrics.region_overlap import aupro
from invad_fast.metrics.streaming.numpy_cells import NumpyCells
from invad_fast.metrics.streaming.ranked_cells import RankedCells

RNG = np.random.default_rng(0)
SHAPE = (6, 60, 50)


def blocks() -> np.ndarray:
    masks = np.zeros(SHAPE, bool)
    masks[1, 3:9, 4:30] = masks[1, 40:44, 10:12] = masks[4, :, 7] = True
    return masks


def one_pixel() -> np.ndarray:
    masks = np.zeros(SHAPE, bool)
    masks[2, 30, 20] = True
    return masks


def around(center: float, width: int) -> np.ndarray:
    """Scores of ``width`` neighbouring floats: hardly any two bits differ."""
    keys = keys_of(np.float32([center]))[0] + RNG.integers(0, width, SHAPE).astype(np.uint32)
    return scores_of(keys).reshape(SHAPE)


def any_float() -> np.ndarray:
    keys = RNG.integers(0x00800000, 0xFF800000, SHAPE, dtype=np.uint32)
    return scores_of(keys).reshape(SHAPE)


# Each tries to make a cell hold much of both kinds, or a figure hang on a few pixels.
ADVERSARIES = {
    "usual": lambda m: RNG.random(SHAPE, np.float32) * (1 + m),
    "ties": lambda m: RNG.integers(0, 4, SHAPE) + np.float32(2) * m,
    "all equal": lambda m: np.full(SHAPE, np.float32(0.3)),
    "all zero, either sign": lambda m: np.where(RNG.random(SHAPE) < 0.5, -0.0, 0.0),
    "subnormal": lambda m: (RNG.random(SHAPE) * (1 + m)).astype(np.float32) * np.float32(1e-41),
    "clustered": lambda m: around(1.0, 900),
    "clustered at the anomalous": lambda m: np.where(m, around(0.7, 50), around(0.7, 5000)),
    "cluster and any float": lambda m: np.where(
        RNG.random(SHAPE) < 0.5, any_float(), around(1, 900)
    ),
    "any float": lambda m: any_float(),
    "huge": lambda m: (RNG.random(SHAPE) * 3e38).astype(np.float32),
    "negative": lambda m: -RNG.random(SHAPE, np.float32) - m,
    "reversed": lambda m: RNG.random(SHAPE, np.float32) * (2 - m),
    "separated": lambda m: RNG.random(SHAPE, np.float32) + 5 * m,
}


@pytest.mark.parametrize("protocol", ["paper", "exact"])
@pytest.mark.parametrize("make_masks", [blocks, one_pixel])
@pytest.mark.parametrize("name", ADVERSARIES)
@pytest.mark.parametrize("capacity", [2, 60, 3000, 1 << 18])
def test_bounds_hold(name, make_masks, protocol, capacity, monkeypatch) -> None:
    """Whatever the cells: so few that everything is in one, or so many that all is exact."""
    monkeypatch.setattr(anomaly_metrics, "CELLS", capacity)
    masks = make_masks()
    maps = np.asarray(ADVERSARIES[name](masks), np.float32)
    metrics = AnomalyMetrics("streaming", protocol)
    for i in range(0, len(maps), 2):
        metrics.update(maps[i : i + 2], masks[i : i + 2])
    exact = evaluate(maps, masks, protocol)
    figures, errors = metrics.compute(), metrics.errors()
    for key in FIGURES:
        assert math.isnan(figures[key]) or 0 <= errors[key] <= 0.5
        if math.isnan(figures[key]):  # not known whether it is defined, or known that it is not
            assert math.isnan(exact[key]) or capacity < 3000, key
        else:
            assert abs(figures[key] - exact[key]) <= errors[key] + 1e-12, key
    if len(np.unique(maps)) <= capacity:
        assert max(e for e in errors.values() if not math.isnan(e)) < 1e-6


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("pooling", [1, 2, 7, 16])
def test_pooled_scores_that_tie(pooling: int, levels: int) -> None:
    """As exact as without pooling: the same window ties wherever in its map it lies."""
    rng = np.random.default_rng(levels)
    masks = np.zeros((60, 24, 24), bool)
    masks[::3, 5:9, 5:9] = True
    maps = np.zeros(masks.shape, np.float32)
    for own in maps:
        y, x = rng.integers(0, 24 - 7, 2)
        own[y : y + 7, x : x + 7] = np.float32(0.1) * rng.integers(1, levels + 1)
    assert len(np.unique(image_scores(maps, pooling))) <= levels
    streaming, exact = (AnomalyMetrics(mode, pooling=pooling) for mode in ("streaming", "exact"))
    for i in range(0, 60, 8):
        for metrics in (streaming, exact):
            metrics.update(maps[i : i + 8], masks[i : i + 8])
    expected = evaluate(maps, masks, pooling=pooling)
    for key in ("image_auroc", "image_ap", "image_f1_max"):
        assert streaming.errors()[key] == 0
        assert streaming.compute()[key] == pytest.approx(exact.compute()[key], abs=1e-12)
        assert exact.compute()[key] == pytest.approx(expected[key], abs=0)


@pytest.mark.parametrize("capacity", [2, 50, 4000, 1 << 18])
def test_engines_agree(capacity: int) -> None:
    """Cell by cell, whatever was merged where: batches, maps larger than a piece, states."""
    native, slow = engines.cells(capacity), NumpyCells(capacity)
    masks = blocks()
    for step in range(5):
        maps = np.where(RNG.random(SHAPE) < 0.5, any_float(), around(1, 900 + 500 * step))
        if step == 3:  # more new scores at a time than are merged at a time
            maps = np.tile(maps, (1, 6, 8)) + RNG.random((6, 360, 400), np.float32)
            masks = np.tile(blocks(), (1, 6, 8))
        for scores in (native, slow):
            scores.add(maps, masks.view(np.uint8))
        if step == 2:
            sent = slow.state()
            for scores in (native, slow):
                scores.add_state(sent)
        masks = blocks()
        expected, state = native.state(), slow.state()
        assert len(expected["last"]) <= capacity and set(state) == set(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(state[key], value, err_msg=key)


def test_orders_agree_until_the_cells_are_full() -> None:
    """Not on batches, order or processes: single scores add up."""
    masks = blocks()
    maps = np.where(RNG.random(SHAPE) < 0.5, any_float(), around(1, 900))
    whole, reverse, first, second = (engines.cells(len(np.unique(maps))) for _ in range(4))
    whole.add(maps, masks.view(np.uint8))
    for i in reversed(range(len(maps))):
        reverse.add(maps[i : i + 1], masks[i : i + 1].view(np.uint8))
        (first, second)[i % 2].add(maps[i : i + 1], masks[i : i + 1].view(np.uint8))
    first.add_state(second.state())
    for scores in (reverse, first):
        for key, value in whole.state().items():
            np.testing.assert_array_equal(scores.state()[key], value, err_msg=key)


def test_a_billion_pixels() -> None:
    """Counts far beyond 32 bits: the same pixels many times over have the same figures."""
    masks = blocks()
    maps = (np.round(RNG.random(SHAPE) * 500) / 500 * (1 + masks)).astype(np.float32)
    scores = engines.cells(1 << 18)
    scores.add(maps, masks.view(np.uint8))
    repeats = 10**11 // maps.size
    state = scores.state()
    for key in ("normal", "anomalous", "weight", "regions"):
        state[key] = state[key] * (repeats if key != "weight" else 10**6)
    state["regions"] = scores.state()["regions"] * 10**6
    many = engines.cells(1 << 18)
    many.add_state(state)
    ranked = RankedCells(many.state())
    assert ranked.normal + ranked.anomalous == repeats * maps.size > 10**9
    exact = evaluate(maps, masks, "exact")
    for key, bounds in pixel_figures(ranked, "exact").items():
        assert abs(bounds.value - exact[key]) <= bounds.error + 1e-7, key
        assert bounds.error <= 1e-4, key


def test_usual_scores_have_small_errors() -> None:
    """More distinct scores than cells, spread over six octaves as anomaly maps are."""
    rng = np.random.default_rng(1)
    metrics, batches = AnomalyMetrics("streaming"), []
    for _ in range(6):
        masks = np.zeros((2, 256, 256), bool)
        masks[1, 50:90, 100:160] = masks[1, 200:203, 7:9] = True
        maps = np.exp(rng.standard_normal(masks.shape) / 2 + masks).astype(np.float32)
        metrics.update(maps, masks)
        batches.append((maps, masks))
    exact = evaluate(*(np.concatenate(parts) for parts in zip(*batches)))
    assert metrics.state()["pixels"]["bits"].any()
    for key, error in metrics.errors().items():
        assert error <= 1e-4, key
        assert abs(metrics.compute()[key] - exact[key]) <= error, key


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is Linux's")
def test_memory_is_constant(tmp_path: Path) -> None:
    """Beside the batch, with 16 million distinct scores, figures included."""
    code = """
import re, numpy as np
from invad_fast.metrics import AnomalyMetrics
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
rng = np.random.default_rng(0)
maps, masks = np.empty((4, 256, 256), np.float32), np.zeros((4, 256, 256), bool)
masks[0, 9:99, 9:99] = True
def batch():
    rng.random(out=maps, dtype=np.float32)
    maps[:] += masks
small = AnomalyMetrics("streaming")
batch(); small.update(maps[:1, :8, :8], masks[:1, :8, :8]); small.errors(); del small
before, metrics = peak(), AnomalyMetrics("streaming")
for _ in range(64):
    batch()
    metrics.update(maps, masks)
metrics.errors()
print(peak() - before)
"""
    # Not from here: python would import a checkout's sources, without the compiled core.
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert float(done.stdout) < 64


def test_a_figure_that_may_be_none_is_none() -> None:
    """Both rates may be 0.15: then nothing can be rescaled by their range."""
    rates = BoundedArray(np.array([0.2, 0.1]), np.array([0.2, 0.15]))
    overlap = BoundedArray(np.array([0.5, 0.2]), np.array([0.5, 0.2]))
    assert np.isfinite(aupro(overlap, rates).low)
    either = BoundedArray(np.array([0.1, 0.1]), np.array([0.2, 0.15]))
    assert np.isnan(aupro(overlap, either).low)
