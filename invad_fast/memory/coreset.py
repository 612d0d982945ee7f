"""vectors ─ coreset ─> those that stand for all: the farthest from what was chosen, one by one."""

from __future__ import annotations

import torch
from torch import Tensor

PROJECTED = 64
"""Dimensions in which distances are compared: a random projection keeps them."""


def greedy_coreset(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices of ``count`` vectors, or of all: greedy k-center (Sener & Savarese, ICLR 2018).

    The first is drawn; each next one is the farthest from its nearest chosen one. Distances are of
    a Gaussian random projection to 64 dimensions (Johnson & Lindenstrauss), as in PatchCore (Roth
    et al., CVPR 2022).

    Args:
        vectors: M×D, float32.
        generator: of the projection and the first vector, on the CPU.

    Returns:
        int64, on the device of the vectors.
    """
    total, width = vectors.shape
    if total <= count:
        return torch.arange(total, device=vectors.device)
    projection = torch.randn(width, min(PROJECTED, width), generator=generator)
    points = vectors @ projection.to(vectors.device)
    points -= points.mean(0)  # distances are of differences: smaller numbers round less
    squares = points.square().sum(1)
    nearest = torch.full_like(squares, torch.inf)
    chosen = torch.empty(count, dtype=torch.long, device=vectors.device)
    latest = torch.randint(total, (1,), generator=generator).to(vectors.device)
    for index in range(count):
        chosen[index : index + 1] = latest
        point = points[latest][0]
        torch.minimum(nearest, squares - 2 * (points @ point) + point @ point, out=nearest)
        nearest[latest] = -torch.inf  # never twice, equal vectors included
        latest = nearest.argmax(keepdim=True)
    return chosen
