"""All engines give the same counts and figures; the metrics of batches add up."""

import pickle

import numpy as np
import pytest
import torch

from invad_fast import InputError
from invad_fast.metrics import (
    FIGURES,
    AnomalyMetrics,
    engines,
    evaluate,
    image_scores,
)
from invad_fast.metrics.engines import tensor_scores
from invad_fast.metrics.engines.native_scores import NativeHeldScores, native_module
from invad_fast.metrics.engines.numpy_scores import NumpyScores, pooled_maximum
from invad_fast.metrics.engines.tensor_scores import BorrowedTensors

needs_native = pytest.mark.skipif(
    native_module() is None, reason="invad_fast._scores was not built: no compiler, or no pybind11"
)

CPU = torch.device("cpu")


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Few or many levels, negative ones too, subnormal to huge; few or nearly all anomalous."""
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 5), *rng.integers(1, 40, 2))
    levels, scale = rng.choice([1, 2, 5, 100, 10**6]), rng.choice([1e-40, 1e-3, 1, 1e20])
    maps = np.round(rng.standard_normal(shape) * levels).astype(np.float32) * np.float32(scale)
    masks = rng.random(shape) < rng.choice([0.01, 0.3, 0.9])
    return maps, masks.view(np.uint8)


@needs_native
@pytest.mark.parametrize("seed", range(40))
def test_engines_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # as if there were too many pixels to look at together
        monkeypatch.setattr(tensor_scores, "CHUNK_PIXELS", 100)
        monkeypatch.setattr(tensor_scores, "SORTED_PIXELS", 20)
    maps, masks = random_maps(seed)
    rng = np.random.default_rng(seed)
    boundaries = np.concatenate([rng.choice(maps.ravel(), 5), [0, -1e30, 1e30]])
    boundaries = np.unique(boundaries.astype(np.float32))
    ranks = np.unique(rng.integers(0, (masks == 0).sum(), 4)) if (masks == 0).any() else []
    ranks = np.array(ranks, np.int64)
    expected, held, sent = NumpyScores(), engines.hold(), engines.hold()
    tensors = torch.from_numpy(maps), torch.from_numpy(masks)
    on_device, held_there, sent_there = BorrowedTensors(*tensors), *map(engines.hold, [CPU] * 2)
    expected.add(maps, masks)
    borrowed, maxima, anomalous = engines.borrow(maps, masks)
    assert (maxima == maps.max((1, 2))).all() and (anomalous == masks.any((1, 2))).all()
    assert (on_device.maxima == maxima).all() and (on_device.marked == anomalous).all()
    for i in range(len(maps)):
        held.add(maps[i : i + 1], masks[i : i + 1])
        held_there.add(tensors[0][i : i + 1], tensors[1][i : i + 1])
    sent.add_state(held_there.state())
    sent_there.add_state(held.state())
    want = expected.ranking(boundaries, ranks)
    for scores in (borrowed, held, sent, on_device, held_there, sent_there):
        for name in ("normal", "anomalous", "regions", "low", "high"):
            assert getattr(scores, name) == getattr(expected, name), name
        got = scores.ranking(boundaries, ranks)
        for name in ("auroc", "average_precision", "f1_max", "aupro"):
            value = getattr(want, name).value
            assert getattr(got, name).value == pytest.approx(value, abs=1e-12, nan_ok=True), name
        assert got.f1_score == pytest.approx(want.f1_score, abs=0, nan_ok=True)
        np.testing.assert_array_equal(got.anomalous_above.low, want.anomalous_above.low)
        np.testing.assert_array_equal(got.normal_above.low, want.normal_above.low)
        np.testing.assert_allclose(got.overlap_above.low, want.overlap_above.low, atol=1e-12)
        np.testing.assert_array_equal(got.normal_scores, want.normal_scores)


def test_without_the_native_core(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks = random_maps(3)
    expected = {p: evaluate(maps, masks, p) for p in ("paper", "exact")}
    monkeypatch.setattr(engines, "native_module", lambda: None)
    assert not isinstance(engines.hold(), NativeHeldScores)
    for protocol, figures in expected.items():
        assert evaluate(maps, masks, protocol) == pytest.approx(figures, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("protocol, pooling", [("paper", None), ("exact", 3)])
def test_batches_and_processes_add_up(engine, protocol, pooling, monkeypatch) -> None:
    """Bit for bit, in any order: every sum is of integers."""
    if engine == "numpy":
        monkeypatch.setattr(engines, "native_module", lambda: None)
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((7, 20, 30)).astype(np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[1::2, 3:9, 5:11] = True
    whole = evaluate(maps, masks, protocol, pooling)
    metrics = [AnomalyMetrics("exact", protocol, pooling) for _ in range(3)]
    for own, part in zip(metrics, ([6, 0, 1], [5], [2, 4, 3])):
        for i in part:
            own.update(maps[i : i + 1], masks[i : i + 1])
    first, second, third = metrics
    first.merge(pickle.loads(pickle.dumps(second)))
    first.merge_state(third.state())
    tolerance = 0 if engine == "native" else 1e-12
    assert first.compute() == pytest.approx(whole, abs=tolerance, rel=0)
    assert set(first.errors()) == set(FIGURES) and not any(first.errors().values())
    first.reset()
    first.update(maps, masks)
    assert first.compute() == pytest.approx(whole, abs=tolerance, rel=0)


@needs_native
def test_pooled_maxima() -> None:
    """The averages of all engines, for windows of every width that fits."""
    rng = np.random.default_rng(0)
    for scale in (1e-38, 1.0, 1e30):
        maps = (rng.standard_normal((3, 11, 14)) * scale).astype(np.float32)
        for window in range(1, 12):
            found = native_module().pooled_maxima(maps, window, 2)
            tolerance = {"rtol": 1e-12, "atol": 1e-13 * scale}
            np.testing.assert_allclose(
                found, [pooled_maximum(own, window) for own in maps], **tolerance
            )
            there = tensor_scores.pooled_maxima(torch.from_numpy(maps), window)
            np.testing.assert_allclose(there.numpy(), found, **tolerance)
            scores = image_scores(maps, window)
            np.testing.assert_array_equal(scores, found.astype(np.float32), strict=True)
    np.testing.assert_array_equal(
        image_scores(maps[:, ::2], 3), image_scores(maps[:, ::2].copy(), 3)
    )
    for window, message in ((0, "is no window"), (12, "does not fit")):
        with pytest.raises(InputError, match=message):
            image_scores(maps, window)


def test_what_is_refused_adds_nothing() -> None:
    maps, masks = random_maps(0)
    metrics = AnomalyMetrics()
    metrics.update(maps, masks)
    before = metrics.compute()
    broken = maps.copy()
    broken[-1, -1, -1] = np.inf
    for call, message in (
        (lambda: metrics.update(broken, masks), "scores that are not finite"),
        (lambda: metrics.update(maps, labels=[True] * len(maps)), "with every batch, or with none"),
        (lambda: metrics.merge(AnomalyMetrics(protocol="exact")), "cannot merge metrics"),
        (lambda: AnomalyMetrics("rough"), "no mode 'rough'"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert metrics.compute() == pytest.approx(before, abs=0, nan_ok=True)
