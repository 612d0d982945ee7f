"""features ─ patches ─> one vector a position, of several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_SHARE = 3 / 16  # of the grid's shorter side: 3 positions of 16, 5 of 32


def patch_vectors(features: Sequence[Tensor], scales: Sequence[int]) -> Tensor:
    """Each position's neighbourhood: the mean of k×k positions of every scale, joined.

    k is the odd number at or below 3/16 of the first scale's shorter side. Beyond the border are
    zeros, so that vectors at the border are short and their distances count less. Coarser scales
    are resized bilinearly to the grid of the first one. See method.md §9.

    Args:
        features: N×Cᵢ×Hᵢ×Wᵢ, finest first.
        scales: indices of those that are joined.

    Returns:
        N×H×W×ΣCᵢ, float32; H×W is the first one's grid.
    """
    chosen = [features[i].float() for i in scales]
    size = chosen[0].shape[2:]
    width = neighbourhood(min(size))
    means = [F.avg_pool2d(f, width, 1, width // 2) for f in chosen]
    joined = [
        m if m.shape[2:] == size else F.interpolate(m, size=size, mode="bilinear") for m in means
    ]
    return torch.cat(joined, 1).permute(0, 2, 3, 1).contiguous()


def neighbourhood(side: int) -> int:
    """Positions along one side of a neighbourhood, on a grid of that shorter side; odd."""
    return max((int(_SHARE * side) - 1) // 2 * 2 + 1, 1)
