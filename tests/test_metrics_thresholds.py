"""One rule decides: score > threshold. What a threshold calls is what was counted for it."""

import math

import numpy as np
import pytest

from invad_fast.metrics import AnomalyMetrics, engines, image_scores
from invad_fast.metrics.ranking import f1_max, f1_threshold, rank

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")
arrays = pytest.importorskip("hypothesis.extra.numpy").arrays


def floats(width: int) -> st.SearchStrategy[float]:
    """Ties, neighbouring numbers, subnormal ones, the ends of the range, any."""
    kind = np.float32 if width == 32 else np.float64
    limits = np.finfo(kind)
    return st.one_of(
        st.integers(-2, 2).map(float),
        st.integers(0, 4).map(lambda i: float(1 + kind(i) * limits.eps)),
        st.integers(-3, 3).map(lambda i: float(kind(i) * limits.smallest_subnormal)),
        st.sampled_from([float(limits.max), float(limits.min), 0.0, -0.0]),
        st.floats(width=width, allow_nan=False, allow_infinity=False),
    )


def f1(called: np.ndarray, anomalous: np.ndarray) -> float:
    return 2 * (called & anomalous).sum() / (called.sum() + anomalous.sum())


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.data(), st.sampled_from([32, 64]), st.integers(1, 12))
def test_image_threshold(data, width: int, count: int) -> None:
    """Exactly the best F1, also after the threshold was kept as the type of the scores."""
    kind = np.float32 if width == 32 else np.float64
    scores = data.draw(arrays(kind, count, elements=floats(width)))
    anomalous = data.draw(arrays(np.bool_, count))
    ranking = rank(scores, anomalous)
    threshold = f1_threshold(ranking)
    if not anomalous.any() or anomalous.all():
        assert math.isnan(threshold)
        return
    assert float(kind(threshold)) == threshold
    assert f1(scores > threshold, anomalous) == f1_max(ranking)
    assert f1(scores > kind(threshold), anomalous) == f1_max(ranking)
    best = max(f1(scores >= score, anomalous) for score in scores)
    assert f1_max(ranking) == best


def test_image_threshold_leaves_room() -> None:
    """Half-way to the next score: one that is computed again, in another way, stays on its side."""
    scores = np.float32([0.1, 0.2, 0.6, 0.9])
    assert f1_threshold(rank(scores, scores > 0.5)) == pytest.approx(0.4)
    assert f1_threshold(rank(scores, scores > 0.7)) == pytest.approx(0.75)


@pytest.mark.parametrize("mode, engine", [("exact", "own"), ("exact", "numpy"), ("streaming", "")])
@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.data(), st.floats(0, 1))
def test_pixel_thresholds(mode: str, engine: str, data, rate: float) -> None:
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)))
    maps = data.draw(arrays(np.float32, shape, elements=floats(32)))
    masks = data.draw(arrays(np.bool_, shape))
    with pytest.MonkeyPatch.context() as patch:
        if engine == "numpy":
            patch.setattr(engines, "native_module", lambda: None)
        metrics = AnomalyMetrics(mode, "exact")
        metrics.update(maps, masks)
        threshold, best = metrics.pixel_threshold(rate), metrics.pixel_threshold()
        figure = metrics.compute()["pixel_f1_max"]
    normal = maps[~masks]
    if not len(normal):
        assert math.isnan(threshold)
        return
    assert (normal > threshold).mean() <= rate
    if rate == 1:
        assert (maps > threshold).all()
    else:
        with np.errstate(over="ignore"):
            lower = np.nextafter(np.float32(threshold), np.float32(-np.inf))
        assert (normal > lower).mean() > rate
    if masks.any():
        assert f1(maps > best, masks) == pytest.approx(figure, abs=1e-15)


@pytest.mark.parametrize("rate, count", [(0.29, 29), (0.57, 57), (0.58, 58), (0.07, 7)])
def test_a_rate_that_is_no_binary_fraction(rate: float, count: int) -> None:
    """0.29 × 100 is 28.999…, and 29 of 100 are allowed."""
    maps = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    metrics = AnomalyMetrics()
    metrics.update(maps, np.zeros_like(maps))
    assert (maps > metrics.pixel_threshold(rate)).sum() == count


@pytest.mark.parametrize("pooling", [None, 3])
def test_scores_of_images_are_those_of_their_threshold(pooling: int | None) -> None:
    """Float32, so that one that is kept as float32 somewhere is judged as it was counted."""
    maps = np.random.default_rng(0).random((40, 12, 12), np.float32)
    scores = image_scores(maps, pooling)
    anomalous = np.arange(40) % 3 == 0
    ranking = rank(scores, anomalous)
    threshold = f1_threshold(ranking)
    for kept in (scores, scores.astype(np.float64), np.array(scores.tolist())):
        assert f1(kept > threshold, anomalous) == f1_max(ranking)
