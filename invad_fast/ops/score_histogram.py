"""score_histogram: pixels counted between any number of thresholds, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from invad_fast.ops.arguments import Arguments
from invad_fast.ops.dispatch import define

# A pixel's weight is rounded to units of 2⁻³⁸: integers add up the same in any order.
UNIT = 1 << 38


def score_histogram(scores: Tensor, areas: Tensor, boundaries: Tensor) -> tuple[Tensor, Tensor]:
    """Normal, anomalous and region-weighted pixels between sorted boundaries.

    Bin k holds the scores in (boundaries[k−1], boundaries[k]]: those above a boundary are all bins
    after its own, so threshold figures, ROC, AP and PRO are sums over bins from the right, and
    the cost does not grow with the number of thresholds.

    Args:
        scores: any shape, of any float type; compared in float32. NaN is above all.
        areas: int32, shaped like scores: how many pixels the pixel's own region has, 0 where it is
            normal (from :func:`connected_regions`; a 0/1 mask makes each pixel its own region).
        boundaries: K, float32, rising.

    Returns:
        (counts 2×(K+1) int64: normal, anomalous; overlap K+1 float64: Σ 1/area of the anomalous
        ones, each rounded to 2⁻³⁸)

    Raises:
        RuntimeError: where types, shapes or devices disagree. Whether the boundaries rise is not
            checked.
    """
    return _op(scores, areas, boundaries)


def _check(scores: Tensor, areas: Tensor, boundaries: Tensor) -> None:
    of = Arguments("score_histogram")
    of.is_float("scores", scores)
    of.type("areas", areas, torch.int32)
    of.size("areas", areas, scores.shape)
    of.device("areas", areas, scores)
    of.type("boundaries", boundaries, torch.float32)
    of.require(
        boundaries.dim() == 1, lambda: f"boundaries must be one row, not {tuple(boundaries.shape)}"
    )
    of.device("boundaries", boundaries, scores)


def _reference(scores: Tensor, areas: Tensor, boundaries: Tensor) -> tuple[Tensor, Tensor]:
    bins = torch.searchsorted(boundaries.contiguous(), scores.float().flatten().contiguous())
    own = areas.reshape(-1).long()
    anomalous = own > 0
    weights = torch.where(anomalous, (UNIT + own // 2) // own.clamp(min=1), 0)
    sums = torch.zeros(3, len(boundaries) + 1, dtype=torch.int64, device=scores.device)
    for total, values in zip(sums, (~anomalous, anomalous, weights)):
        total.scatter_add_(0, bins, values.long())
    return sums[:2].clone(), sums[2].double() / UNIT


def _fake(scores: Tensor, areas: Tensor, boundaries: Tensor) -> tuple[Tensor, Tensor]:
    bins = boundaries.shape[0] + 1
    return (
        scores.new_empty((2, bins), dtype=torch.int64),
        scores.new_empty(bins, dtype=torch.float64),
    )


_op = define(
    "score_histogram(Tensor scores, Tensor areas, Tensor boundaries) -> (Tensor, Tensor)",
    _check,
    _reference,
    _fake,
)
