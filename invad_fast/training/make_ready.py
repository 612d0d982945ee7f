"""A trained model ─> class prototypes and provisional thresholds, of its training parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from invad_fast.class_prototypes import class_prototypes
from invad_fast.data import Record
from invad_fast.distributed import World
from invad_fast.evaluation.calibrate import calibrate
from invad_fast.evaluation.good_parts import GoodParts, good_parts
from invad_fast.evaluation.maps import inference_form
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.feature_predictor import FeaturePredictor
from invad_fast.memory.banks import MemoryBanks
from invad_fast.memory.building import halves_of
from invad_fast.prediction import ScoreRule, Thresholds
from invad_fast.seen_parts import SeenParts
from invad_fast.training.options import TrainingOptions


def make_ready(
    model: FeaturePredictor,
    records: Sequence[Record],
    options: TrainingOptions,
    world: World,
    device: torch.device,
    resized: bool,
    show_progress: bool,
    halves: Sequence[MemoryBanks] | None = None,
) -> None:
    """Class prototypes and provisional thresholds, of the training parts.

    Args:
        resized: whether training has kept the resized images in the cache folder. Where it has
            kept the features they are decoded once more: a second cache would cost more.
        halves: the memory of each half of the parts, see `invad_fast.memory.building`: a part is
            compared with the half that it is not in, for it would find itself.
    """
    model.thresholds = Thresholds()  # a former training's belong to other weights
    scoring = ScoringOptions(
        workers=options.workers, cache=options.cache if resized else None,
        cache_gib=options.cache_gib, levels=options.levels,
    )  # fmt: skip

    def scored(of: Sequence[Record]) -> tuple[GoodParts, ScoreRule]:
        form = inference_form(model, scoring, str(device))
        return good_parts(form, of, scoring, world, show_progress), form.score_rule

    if halves is None:
        found, rule = scored(records)
    else:
        own, whole = halves_of([model.classes.index(r.class_name) for r in records]), model.memory
        parts = []
        for half, banks in enumerate(halves):
            model.memory = banks
            part, rule = scored([r for r, h in zip(records, own) if h != half])
            parts.append(part)
        model.memory, found = whole, GoodParts.together(parts)
    model.prototypes = class_prototypes(found.descriptors, found.class_names)
    model.seen = SeenParts(training=np.unique(found.hashes))
    model.thresholds = calibrate(
        found.scores,
        found.class_names,
        options.false_alarm_rate,
        scoring.rule(rule),
        source="training parts",
    )
