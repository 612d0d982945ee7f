"""What must hold for any maps (hypothesis), per-image recall, kinds of input."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from invad_fast import InputError
from invad_fast.metrics import FIGURES, AnomalyMetrics, evaluate, per_image_recall

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")
arrays = pytest.importorskip("hypothesis.extra.numpy").arrays

FLOATS = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@st.composite
def pixels(draw) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)))
    maps = draw(arrays(np.float32, shape, elements=FLOATS))
    return maps, draw(arrays(np.bool_, shape))


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(pixels())
def test_exact_against_sorting(sample) -> None:
    maps, masks = sample
    figures = evaluate(maps, masks, "exact")
    flat, truth = maps.ravel().astype(np.float64), masks.ravel()
    if not truth.any() or truth.all():
        assert math.isnan(figures["pixel_auroc"]) and math.isnan(figures["aupro"])
        return
    assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-9)
    assert figures["pixel_ap"] == pytest.approx(average_precision_score(truth, flat), abs=1e-9)
    best = 0.0
    for threshold in np.unique(flat):
        called = flat >= threshold
        best = max(best, 2 * (called & truth).sum() / (called.sum() + truth.sum()))
    assert figures["pixel_f1_max"] == pytest.approx(best, abs=1e-9)


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(pixels(), st.sampled_from(["exact", "streaming"]))
def test_order_and_monotone_scores_change_nothing(sample, mode: str) -> None:
    """Doubling floats keeps their ranks; batches may come in any order."""
    maps, masks = sample
    hypothesis.assume(np.abs(maps).max() < 1e38)
    hypothesis.assume(np.abs(maps[maps != 0]).min(initial=1) > 1e-30)
    first, second = AnomalyMetrics(mode, "exact"), AnomalyMetrics(mode, "exact")
    first.update(maps, masks)
    for i in reversed(range(len(maps))):
        second.update(2 * maps[i : i + 1], masks[i : i + 1])
    ranks = [key for key in FIGURES if key not in ("mf1", "macc", "miou", "mad_threshold", "mad")]
    ours, theirs = first.compute(), second.compute()
    for key in ranks:
        assert ours[key] == pytest.approx(theirs[key], abs=1e-12, nan_ok=True), key


def test_per_image_recall() -> None:
    """Against its definition, a rate at a time."""
    rng = np.random.default_rng(0)
    maps = rng.random((6, 50, 50)).astype(np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[0, 3:9, 3:9] = masks[3, 20:40, :7] = masks[4, 0, 0] = True
    maps[0] += 0.4 * masks[0]
    maps[4, 0, 0] = 2
    recall = per_image_recall(maps, masks, 1e-3, 1e-1)
    assert np.isnan(recall[[1, 2, 5]]).all() and recall[4] == 1
    normal = np.sort(maps[[1, 2, 5]].ravel())[::-1]
    for i in (0, 3):
        expected = []
        for rate in np.geomspace(1e-3, 1e-1, 2000):
            threshold = normal[int(rate * len(normal))]
            expected.append((maps[i][masks[i]] > threshold).mean())
        assert recall[i] == pytest.approx(np.mean(expected), abs=5e-3)
    with pytest.raises(InputError, match="no normal image"):
        per_image_recall(maps[3:5], masks[3:5])
    with pytest.raises(InputError, match="must rise"):
        per_image_recall(maps, masks, 0.1, 0.01)


@pytest.mark.parametrize("masks", [np.uint8(255), np.float32(0.5), True, np.int64(-3)])
def test_kinds_of_input(masks) -> None:
    """Masks of any type, maps of any float type, tensors; dense or not."""
    rng = np.random.default_rng(0)
    maps = (rng.integers(0, 8, (4, 9, 12)) / 8).astype(np.float32)
    marked = np.zeros(maps.shape, type(masks))
    marked[1, 2:4, 5:8] = marked[2, :, 0] = masks
    expected = evaluate(maps, marked != 0)
    for given in (
        maps.astype(np.float64),
        maps.astype(np.float16),
        np.asfortranarray(maps),
        torch.from_numpy(maps).bfloat16(),
        torch.from_numpy(maps).requires_grad_(),
        maps.tolist(),
    ):
        assert evaluate(given, marked) == expected
    with pytest.raises(InputError, match="numbers"):
        evaluate(maps.astype(str), marked)
    with pytest.raises(InputError, match="not numbers"):
        evaluate(maps, np.where(marked != 0, np.nan, 0))
    with pytest.raises(InputError, match="not finite"):
        evaluate(np.where(marked != 0, 1e300, 0), marked)
