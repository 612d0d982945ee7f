"""Features in deviations of their channels: no channel is heard above the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

FLOOR = 0.1
"""Least deviation of a channel, as a share of the mean one: a dead channel stays dead."""


class Standardization(nn.Module):
    """(feature − mean) / deviation, each channel of each scale by its own over the good parts.

    Loss and map are then of standardised features, and so are reconstructions: method.md §1.

    Args:
        channels: of each scale, finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_Channels(count) for count in channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """N×Cᵢ×Hᵢ×Wᵢ each, of any floating type, which it keeps."""
        return [scale(feature) for scale, feature in zip(self.scales, features)]

    @torch.no_grad()
    def measure(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Takes means and deviations over all images and positions of the batches."""
        sums: list[Tensor] = []
        for batch in batches:
            found = [_sums(feature) for feature in batch]
            sums = [a + b for a, b in zip(sums, found)] if sums else found
        for scale, (count, total, squares) in zip(self.scales, sums):
            assert isinstance(scale, _Channels)
            mean = total / count
            deviation = (squares / count - mean**2).clamp_min(0).sqrt()
            scale.mean.copy_(mean)
            scale.deviation.copy_(deviation.clamp_min(FLOOR * float(deviation.mean()) or 1.0))


class _Channels(nn.Module):
    mean: Tensor
    deviation: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))

    def forward(self, feature: Tensor) -> Tensor:
        factor = self.deviation.reciprocal()
        shift = -self.mean * factor
        factor, shift = (v.to(feature.dtype).view(1, -1, 1, 1) for v in (factor, shift))
        return torch.addcmul(shift, feature, factor)


def _sums(feature: Tensor) -> Tensor:
    """3×C float64: how many values, their sum, and that of their squares."""
    values = feature.transpose(0, 1).flatten(1).double()
    count = torch.full_like(values[:, 0], values.shape[1])
    return torch.stack([count, values.sum(1), values.square().sum(1)])
