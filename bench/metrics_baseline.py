"""The straightforward evaluation of method.md §3, a threshold at a time, and maps to evaluate."""

import numpy as np
from scipy import ndimage

SIDE = 256


def smooth_maps(count: int, anomalous: float = 0.5, defects: int = 3) -> tuple:
    """Maps as a Gaussian filter of sigma 4 leaves them, and masks; about 3 % of pixels anomalous.

    Args:
        count: N.
        anomalous: share of maps with defects, ``defects`` of them each.

    Returns:
        (N×256×256 float32, N×256×256 bool)
    """
    rng = np.random.default_rng(0)
    fields = [ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 4) for _ in range(32)]
    base = np.stack([field / field.std() for field in fields]).astype(np.float32)
    maps, masks = np.empty((count, SIDE, SIDE), np.float32), np.zeros((count, SIDE, SIDE), bool)
    for i in range(count):
        # each map from two fields, shifted: no two pixels of two maps have the same history
        first = np.roll(base[i % 32], rng.integers(0, SIDE, 2), (0, 1))
        second = np.roll(base[rng.integers(32)], rng.integers(0, SIDE, 2), (0, 1))
        level = first + np.float32(rng.random()) * second
        if rng.random() < anomalous:
            for _ in range(defects):
                y, x = rng.integers(0, SIDE - 48, 2)
                h, w = rng.integers(8, 48, 2)
                masks[i, y : y + h, x : x + w] = True
                level[y : y + h, x : x + w] += 1.2
        maps[i] = 0.1 * np.exp(0.4 * level)
    return maps, masks


def straightforward(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Eleven figures with scikit-learn, and NumPy where it has none."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    scores, labels = maps.max((1, 2)), masks.any((1, 2))
    flat, truth = maps.ravel(), masks.ravel()
    precision, recall, _ = precision_recall_curve(labels, scores)
    figures = {
        "image_auroc": roc_auc_score(labels, scores),
        "image_ap": average_precision_score(labels, scores),
        "image_f1_max": (2 * precision * recall / (precision + recall + 1e-8)).max(),
        "pixel_auroc": roc_auc_score(truth, flat),
        "pixel_ap": average_precision_score(truth, flat),
    }
    normalized = (maps - maps.min()) / (maps.max() - maps.min())
    at = {
        "range": [_at(normalized, masks, t) for t in np.arange(0.2, 0.801, 0.1)],
        "sweep": [_at(normalized, masks, t) for t in np.arange(0, 1.001, 0.05)],
    }
    for i, name in enumerate(("mf1", "macc", "miou")):
        figures[name] = np.mean([values[i] for values in at["range"]])
    figures["pixel_f1_max"] = max(values[0] for values in at["sweep"])
    figures["iou_max"] = max(values[2] for values in at["sweep"])
    return figures | {"aupro": _aupro(maps, masks)}


def _at(scores: np.ndarray, masks: np.ndarray, threshold: float) -> tuple[float, float, float]:
    called = scores.astype(np.float64) > threshold
    tp, fp, fn = (called & masks).sum(), (called & ~masks).sum(), (~called & masks).sum()
    precision, recall = tp / (tp + fp + 1e-8), tp / (tp + fn + 1e-8)
    f1 = 2 * precision * recall / (precision + recall + 1e-8)
    return f1, recall, tp / (tp + fp + fn + 1e-8)


def _aupro(maps: np.ndarray, masks: np.ndarray) -> float:
    low, high = maps.min(), maps.max()
    labels = [ndimage.label(mask, np.ones((3, 3))) for mask in masks]
    rates, overlaps = [], []
    for threshold in np.arange(low, high, (high - low) / 100):
        called = maps > threshold
        rates.append((called & ~masks).sum() / (~masks).sum())
        found = [
            ndimage.mean(own, label, np.arange(1, regions + 1))
            for own, (label, regions) in zip(called, labels)
            if regions
        ]
        overlaps.append(np.concatenate(found).mean())
    rates, overlaps = np.array(rates), np.array(overlaps)
    kept = rates < 0.3
    rates, overlaps = rates[kept], overlaps[kept]
    rates = (rates - rates.min()) / (rates.max() - rates.min())
    return abs(np.trapezoid(overlaps, rates))
