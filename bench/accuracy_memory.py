"""The product's memory on the stand's features, and what was tried beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accuracy_scores import maximum, smoothed
from accuracy_training import BATCH, Parts
from torch import Tensor

from invad_fast.memory import building
from invad_fast.memory.banks import MemoryBanks
from invad_fast.memory.building import HALVES, Candidates, good_statistics, halves_of
from invad_fast.memory.settings import MemorySettings

SIGMA = 4.0


@dataclass(frozen=True)
class Tried:
    """One way to remember: the settings, and how many patches of a class it chooses among.

    As many candidates as patches is a random choice.
    """

    settings: MemorySettings
    candidates: int = building.MOST_CANDIDATES


MEMORIES = {
    "memory": Tried(MemorySettings()),
    "memory, random": Tried(MemorySettings(), 2000),
    "memory, random 6000": Tried(MemorySettings(patches=6000), 6000),
    "memory, 1000": Tried(MemorySettings(patches=1000)),
    "memory, 4000": Tried(MemorySettings(patches=4000)),
    "memory, with stride 4": Tried(MemorySettings(scales=(0, 1, 2))),
    "memory, stride 8 alone": Tried(MemorySettings(scales=(1,))),
    "memory, stride 16 alone": Tried(MemorySettings(scales=(2,))),
}


@dataclass(frozen=True)
class Distances:
    """Of N test parts, in deviations of good training parts: maps N×H×W, scores N."""

    maps: Tensor
    scores: Tensor


@torch.inference_mode()
def distances(test: Parts, training: Parts, tried: Tried, seed: int) -> Distances:
    """Each class by its own bank; each half of the training parts by the other's."""
    names = sorted(set(training.classes))
    owners = [names.index(c) for c in training.classes]
    channels = [f.shape[1] for f in training.features]
    kept, building.MOST_CANDIDATES = building.MOST_CANDIDATES, tried.candidates
    candidates = Candidates(tried.settings, channels, owners, seed)
    for first in range(0, len(owners), BATCH):
        candidates.take([f[first : first + BATCH] for f in training.features])
    building.MOST_CANDIDATES = kept
    by_half = [_maps(candidates.banks(half), training, owners) for half in HALVES]
    half = torch.tensor(halves_of(owners))[:, None, None]
    good = good_statistics(maximum(torch.where(half == 0, by_half[1], by_half[0])).tolist(), owners)
    which = [names.index(c) for c in test.classes]
    mean, deviation = good[:, which, None, None]
    maps = (_maps(candidates.banks(), test, which) - mean) / deviation
    return Distances(maps, maximum(maps))


def _maps(banks: MemoryBanks, parts: Parts, owners: list[int]) -> Tensor:
    found = []
    for first in range(0, len(owners), BATCH):
        batch = [f[first : first + BATCH] for f in parts.features]
        found.append(banks.distances(batch, owners[first : first + BATCH]))
    return smoothed(torch.cat(found), SIGMA)
