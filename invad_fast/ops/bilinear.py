"""Where bilinear resizing with align_corners=True reads: ``csrc/bilinear.h`` is the same."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=64)
def taps(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two neighbours of each of ``target`` positions on a side of ``source`` samples.

    Position i lies at i·(source − 1)/(target − 1), computed in whole numbers.

    Returns:
        first, second: indices, int64; second is first again at the end of the side.
        fraction: of the way from first to second, float64 in [0, 1).
    """
    position = torch.arange(target) * (source - 1)
    steps = max(target - 1, 1)
    first = position // steps
    return first, (first + 1).clamp_max(source - 1), (position % steps).double() / steps
