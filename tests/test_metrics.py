"""The figures: the reference's golden numbers, scikit-learn, brute force, and the edges."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from invad_fast import InputError
from invad_fast.benchmark.published import published_figures
from invad_fast.metrics import FIGURES, evaluate
from invad_fast.metrics.bounds import Bounds
from invad_fast.metrics.figures import complete

THEIR_NAMES = {
    "image_auroc": "mAUROC_sp_max",
    "image_ap": "mAP_sp_max",
    "image_f1_max": "mF1_max_sp_max",
    "aupro": "mAUPRO_px",
    "pixel_auroc": "mAUROC_px",
    "pixel_ap": "mAP_px",
    "pixel_f1_max": "mF1_max_px",
    "mf1": "mF1_px_0.2_0.8_0.1",
    "macc": "mAcc_px_0.2_0.8_0.1",
    "miou": "mIoU_px_0.2_0.8_0.1",
    "iou_max": "mIoU_max_px",
}


@pytest.mark.parametrize("pooling", [None, 16])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_golden_figures(name: str, pooling: int | None, shared: Path) -> None:
    data = np.load(shared / "golden" / "metrics.npz")
    expected = json.loads((shared / "golden" / "metrics.json").read_text())
    expected = expected[f"{name}.pool{pooling or 0}"]
    own = data["classes"] == name
    figures = evaluate(data["maps"][own], data["masks"][own], pooling=pooling)
    for ours, theirs in THEIR_NAMES.items():
        assert figures[ours] == pytest.approx(expected[theirs], abs=1e-6), ours


@pytest.mark.parametrize("method", ["invad", "invad-lite"])
@pytest.mark.parametrize("data_set", ["mvtec_ad", "visa", "coco_ad"])
def test_mad_is_the_papers(data_set: str, method: str) -> None:
    """Of the paper's own figures, which are rounded to a tenth of a percent."""
    published = published_figures(data_set, method)
    assert published is not None
    found = complete({name: Bounds(value, value) for name, value in published.items()})
    assert found["mad"].value == pytest.approx(published["mad"], abs=1e-3)


@pytest.fixture(params=[3, 1000])
def tied(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Maps of few or many levels, so that scores tie heavily or hardly at all."""
    rng = np.random.default_rng(request.param)
    masks = np.zeros((6, 24, 24), bool)
    masks[1, 3:9, 4:8] = masks[1, 15:20, 15:17] = masks[4, 10:14, 2:22] = True
    levels = rng.random(masks.shape) + 0.6 * masks
    return np.round(levels * request.param).astype(np.float32), masks


def test_ranking_figures_against_scikit_learn(tied) -> None:
    maps, masks = tied
    figures = evaluate(maps, masks, protocol="exact")
    flat, truth = maps.ravel(), masks.ravel()
    assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-12)
    assert figures["pixel_ap"] == pytest.approx(average_precision_score(truth, flat), abs=1e-12)
    precision, recall, _ = precision_recall_curve(truth, flat)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-30)
    assert figures["pixel_f1_max"] == pytest.approx(f1.max(), abs=1e-12)
    assert figures["iou_max"] == pytest.approx(f1.max() / (2 - f1.max()), abs=1e-12)


def test_exact_aupro_against_every_threshold(tied) -> None:
    maps, masks = tied
    regions = [(1, np.s_[3:9, 4:8]), (1, np.s_[15:20, 15:17]), (4, np.s_[10:14, 2:22])]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        called = maps >= threshold
        overlap = np.mean([called[i][where].mean() for i, where in regions])
        points.append((called[~masks].mean(), overlap))
    # Where FPR repeats, the area has no width, but the curve continues from the last point.
    area = 0.0
    for (f0, o0), (f1, o1) in zip(points, points[1:]):
        if f0 < 0.3 and f1 > f0:
            end = min(f1, 0.3)
            area += (end - f0) * (o0 + (o0 + (o1 - o0) * (end - f0) / (f1 - f0))) / 2
    assert evaluate(maps, masks, protocol="exact")["aupro"] == pytest.approx(area / 0.3, abs=1e-9)


def test_undefined_figures_are_not_numbers(tied) -> None:
    maps, masks = tied
    normal = evaluate(maps[:1], masks[:1])
    assert all(math.isnan(normal[key]) for key in FIGURES)
    no_masks = evaluate(maps, None, labels=masks.any((1, 2)))
    assert no_masks["image_auroc"] == evaluate(maps, masks)["image_auroc"]
    assert math.isnan(no_masks["aupro"]) and math.isnan(no_masks["mad"])
    assert evaluate(np.zeros_like(maps), masks)["pixel_auroc"] == 0.5


def test_classes_and_their_mean(tied) -> None:
    maps, masks = tied
    result = evaluate(maps, masks, classes=["a", "a", "b", "b", "b", "c"])
    assert set(result["classes"]) == {"a", "b", "c"}
    assert result["classes"]["b"] == evaluate(maps[2:5], masks[2:5])
    both = [result["classes"][name]["pixel_ap"] for name in "ab"]
    assert result["mean"]["pixel_ap"] == pytest.approx(np.mean(both))  # c has no anomaly


def test_bad_input_is_one_line(tied) -> None:
    maps, masks = tied
    broken = maps.copy()
    broken[3, 0, 0] = np.nan
    for call, message in (
        (lambda: evaluate(broken, masks), "map 3 has scores that are not finite"),
        (lambda: evaluate(maps, masks[:, :5]), "masks .* do not fit maps"),
        (lambda: evaluate(maps, None), "labels are needed"),
        (lambda: evaluate(maps, masks, protocol="best"), "no protocol 'best'"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
