"""The good training parts' features ─> the memory, and what a good part's scores are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from invad_fast.anomaly_map import compare
from invad_fast.data import Record
from invad_fast.feature_predictor import FeaturePredictor
from invad_fast.memory.banks import MemoryBanks
from invad_fast.memory.building import HALVES, Candidates, good_statistics, halves_of
from invad_fast.ops import anomaly_score
from invad_fast.training.feature_rows import ENCODING_BATCH
from invad_fast.training.features import Features


@torch.inference_mode()
def remember_parts(
    model: FeaturePredictor, features: Features, records: Sequence[Record], seed: int
) -> list[MemoryBanks]:
    """Gives the model, in eval mode on the features' device, the memory of all parts.

    Every process of several makes the same one.

    Args:
        features: of the records' images.
        records: of the model's classes, each of which has two or more.
        seed: of the patches that are kept.

    Returns:
        The memories of the even parts of each class and of the odd ones, to score the others by.
    """
    owners = [model.classes.index(record.class_name) for record in records]
    settings = model.config.memory
    candidates = Candidates(settings, model.config.channels, owners, seed)
    for _, batch in _batches(features, len(records)):
        candidates.take(batch)
    halves = [candidates.banks(half) for half in HALVES]
    banks = candidates.banks()
    found = _scores(model, features, owners, halves)
    for made in (*halves, banks):
        made.good = good_statistics(found[0], owners).to(made.vectors)
        if model.reconstructs:
            made.reconstruction = good_statistics(found[1], owners).to(made.vectors)
    model.remember(banks)
    return [half.to("cpu") for half in halves]


def _scores(
    model: FeaturePredictor, features: Features, owners: list[int], halves: Sequence[MemoryBanks]
) -> tuple[list[float], list[float]]:
    """Scores of the parts by the memory of the half that they are not in; by the reconstruction."""
    rule, size, half_of = model.score_rule, model.input_size, halves_of(owners)
    near, reconstructed = [0.0] * len(owners), [0.0] * len(owners)

    def put(into: list[float], indices: Sequence[int], maps: list[Tensor]) -> None:
        for index, score in zip(indices, anomaly_score(maps, size, rule.sigma)[1].tolist()):
            into[index] = score

    for indices, batch in _batches(features, len(owners)):
        for half in HALVES:
            own = [i for i in indices if half_of[i] != half]
            if own:
                given = [f[[i - indices[0] for i in own]] for f in batch]
                put(near, own, [halves[half].distances(given, [owners[i] for i in own])])
        if model.reconstructs:
            taken = model.standardize(batch)
            put(reconstructed, indices, compare(taken, model.reconstruct(taken), rule.mode))
    return near, reconstructed


def _batches(features: Features, count: int) -> Iterator[tuple[list[int], list[Tensor]]]:
    starts = range(0, count, ENCODING_BATCH)
    order = [list(range(first, min(first + ENCODING_BATCH, count))) for first in starts]
    return zip(order, features.batches(order))
