"""What training lowers: how far reconstructions are from the features (method.md §1 "Training")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

EASY_WEIGHT = 0.1
"""How much an easy point's gradient counts."""

MOST_EASY, RAMP = 0.9, 0.3
"""The share of points that are easy in the end, and the share of a training until it is reached."""


def squared_error(features: Sequence[Tensor], reconstructions: Sequence[Tensor]) -> Tensor:
    """Σᵢ mean((fᵢ − rᵢ)²), in float32 (paper §3.4)."""
    errors = [F.mse_loss(r.float(), f.float()) for f, r in zip(features, reconstructions)]
    return torch.stack(errors).sum()


def hard_cosine(
    features: Sequence[Tensor], reconstructions: Sequence[Tensor], progress: float = 1.0
) -> Tensor:
    """Σᵢ mean(1 − cosine(fᵢ, rᵢ) over the channels), where easy points' gradients count a tenth.

    Easy are the points of a batch and scale whose distance is below a quantile, which grows from 0
    to 0.9 over the first 30 % of a training: most of a good part is soon learnt, and what is left
    is then not drowned in it ("Dinomaly", arXiv 2405.14325, §3.4). The value is the plain mean.

    Args:
        progress: how much of the training is done, 0 to 1.
    """
    easy = MOST_EASY * min(progress / RAMP, 1.0)
    return torch.stack(
        [_hard_cosine(f.float(), r.float(), easy) for f, r in zip(features, reconstructions)]
    ).sum()


def _hard_cosine(feature: Tensor, reconstruction: Tensor, easy: float) -> Tensor:
    distance = 1 - F.cosine_similarity(feature, reconstruction, dim=1)
    held = distance.detach()
    # Of the sorted distances: torch.quantile takes no more than 16 million numbers.
    flat = held.flatten()
    limit = flat.kthvalue(max(round(easy * flat.numel()), 1)).values
    weight = torch.where(held < limit, EASY_WEIGHT, 1.0)
    return (held + weight * (distance - held)).mean()
