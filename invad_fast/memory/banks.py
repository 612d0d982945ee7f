"""vectors, bank ─> distances to the nearest neighbours, in deviations of good parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invad_fast.memory.patches import patch_vectors
from invad_fast.memory.settings import MemorySettings

_BLOCK = 2**24  # distances at once: 64 MiB


class MemoryBanks(nn.Module):
    """A bank of good patches for each class, and what good parts' scores are.

    Args:
        settings: whose ``counts`` are the banks' sizes.
        channels: of every feature scale, finest first.

    Attributes:
        vectors: Σcounts×D, the classes' banks one after another.
        good: 2×K, mean and deviation of the scores of good parts that are not in the bank.
        reconstruction: 2×K, the same of the reconstruction's map, where it is joined.
    """

    vectors: Tensor
    good: Tensor
    reconstruction: Tensor

    def __init__(self, settings: MemorySettings, channels: Sequence[int]) -> None:
        super().__init__()
        self.scales = settings.scales_of(len(channels))
        self.counts, self.weight = settings.counts, settings.weight
        width, classes = sum(channels[i] for i in self.scales), len(self.counts)
        self.register_buffer("vectors", torch.zeros(sum(self.counts), width))
        for name in ("good", "reconstruction"):
            self.register_buffer(name, torch.stack([torch.zeros(classes), torch.ones(classes)]))

    def distances(self, features: Sequence[Tensor], classes: Sequence[int]) -> Tensor:
        """To the nearest patch of the class's bank, at every position.

        Args:
            features: the encoder's, N×Cᵢ×Hᵢ×Wᵢ, finest first.
            classes: N indices.

        Returns:
            N×H×W on the grid of the finest joined scale, float32.
        """
        vectors = patch_vectors(features, self.scales)
        found = vectors.new_empty(vectors.shape[:3])
        banks = self.vectors.split(list(self.counts))
        for k in sorted(set(classes)):
            own = [i for i, other in enumerate(classes) if other == k]
            given = vectors if len(own) == len(vectors) else vectors[own]
            found[own] = nearest_distances(given.flatten(0, 2), banks[k]).view(-1, *found.shape[1:])
        return found

    def maps(
        self, features: Sequence[Tensor], classes: Sequence[int], compared: Sequence[Tensor] = ()
    ) -> list[Tensor]:
        """Maps whose mean, once they are resized, is the anomaly map in deviations of good parts.

        Args:
            features, classes: see :meth:`distances`.
            compared: a reconstruction's maps N×Hᵢ×Wᵢ, if the memory is joined to any: their mean
                in its own deviations is added.
        """
        which = torch.as_tensor(classes, device=self.good.device)
        distances = _in_deviations(self.distances(features, classes), self.good[:, which])
        if not compared:
            return [distances]
        count, own = len(compared), self.reconstruction[:, which]
        # The mean of all is to be the compared ones' mean plus the weighted distances.
        share = (count + 1) / count
        made = [share * _in_deviations(m.float(), own) for m in compared]
        return [*made, (count + 1) * self.weight * distances]


def nearest_distances(vectors: Tensor, bank: Tensor) -> Tensor:
    """N×D, M×D → N Euclidean distances to the nearest of the bank, by matrix products."""
    # Both around the bank's centre: smaller squares round less when they are subtracted.
    centre = bank.mean(0)
    bank = bank - centre
    squares = bank.square().sum(1)
    rows = max(_BLOCK // len(bank), 1)
    found = []
    for block in vectors.split(rows):
        block = block - centre
        nearest = torch.addmm(squares, block, bank.T, alpha=-2).amin(1)
        found.append(nearest.add_(block.square().sum(1)).clamp_min_(0).sqrt_())
    return torch.cat(found)


def _in_deviations(maps: Tensor, of: Tensor) -> Tensor:
    mean, deviation = (v.view(-1, 1, 1) for v in of)
    return (maps - mean) / deviation
