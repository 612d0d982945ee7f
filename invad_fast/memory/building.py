"""Good parts' features ─> banks: of all parts, and of each half, which tell of the other half."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from invad_fast.errors import InputError
from invad_fast.memory.banks import MemoryBanks
from invad_fast.memory.coreset import greedy_coreset
from invad_fast.memory.patches import patch_vectors
from invad_fast.memory.settings import MemorySettings

MOST_CANDIDATES = 30_000
"""Patches of a class that a coreset is chosen of: each part gives as many, drawn at random."""

LEAST_PARTS = 2
"""Good parts of a class: each half is scored by the other's bank."""

HALVES = (0, 1)
_LEAST_SHARE = 0.01  # of the mean score: parts that are all alike have no deviation


class Candidates:
    """Gathers patches part by part, in bounded memory.

    Args:
        owners: the class index of each part, in the order in which features come.
        seed: of the patches that are drawn.
    """

    def __init__(
        self, settings: MemorySettings, channels: Sequence[int], owners: Sequence[int], seed: int
    ) -> None:
        self.settings, self.channels, self.owners = settings, tuple(channels), list(owners)
        self.parts = [self.owners.count(k) for k in range(max(owners) + 1)]
        self.half = halves_of(owners)
        self.generator = torch.Generator().manual_seed(seed)
        self.patches: list[list[tuple[int, Tensor]]] = [[] for _ in self.parts]
        self.taken = 0

    def take(self, features: Sequence[Tensor]) -> None:
        """The next parts' features N×Cᵢ×Hᵢ×Wᵢ, finest first."""
        vectors = patch_vectors(features, self.settings.scales_of(len(features))).flatten(1, 2)
        for own in vectors:
            k, half = self.owners[self.taken], self.half[self.taken]
            count = math.ceil(MOST_CANDIDATES / self.parts[k])
            drawn = torch.randperm(len(own), generator=self.generator)[:count]
            self.patches[k].append((half, own[drawn.to(own.device)]))
            self.taken += 1

    def banks(self, half: int | None = None) -> MemoryBanks:
        """Banks of the parts of one half, or of all."""
        chosen = []
        for k, patches in enumerate(self.patches):
            own = torch.cat([p for h, p in patches if half in (None, h)])
            # A generator of its own: a class's bank does not depend on the others.
            generator = torch.Generator().manual_seed(self.generator.initial_seed() + k)
            chosen.append(own[greedy_coreset(own, self.settings.patches, generator)])
        counts = tuple(len(bank) for bank in chosen)
        made = MemoryBanks(dataclasses.replace(self.settings, counts=counts), self.channels)  # type: ignore[type-var]
        made.vectors = torch.cat(chosen)
        return made.to(made.vectors.device)


def halves_of(owners: Sequence[int]) -> list[int]:
    """Which half each part belongs to: every other one of its class."""
    seen: dict[int, int] = {}
    found = []
    for k in owners:
        found.append(seen.get(k, 0) % 2)
        seen[k] = seen.get(k, 0) + 1
    return found


def check_parts(class_names: Sequence[str]) -> None:
    """InputError for a class with too few parts to say what a good part's distance is.

    Args:
        class_names: of every part.
    """
    for name, count in sorted(Counter(class_names).items()):
        if count < LEAST_PARTS:
            raise InputError(
                f"class {name!r} has {count} good training part: a memory needs at least "
                f"{LEAST_PARTS}, one half to say what the other's distances are"
            )


def good_statistics(scores: Iterable[float], owners: Sequence[int]) -> Tensor:
    """2×K: mean and deviation of the scores of each class's parts; a deviation above 0."""
    values, whose = torch.tensor(list(scores), dtype=torch.float64), torch.tensor(owners)
    found = []
    for k in range(max(owners) + 1):
        own = values[whose == k]
        mean = own.mean()
        least = _LEAST_SHARE * mean.abs().item() or 1.0
        found.append(torch.stack([mean, own.std(correction=0).clamp_min(least)]))
    return torch.stack(found, 1).float()
