"""good parts ─> scores and descriptors ─> thresholds: what a model is calibrated on."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from invad_fast.checked import unknown_name
from invad_fast.data import Dataset, Record
from invad_fast.distributed import ALONE, World
from invad_fast.errors import InputError, InputWarning
from invad_fast.evaluation.calibrate import calibrate, check_rate
from invad_fast.evaluation.maps import Maps, inference_form
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.prediction import ALL_CLASSES, Predictor, Thresholds, check_class_names


def good_parts(
    predictor: Predictor,
    records: Sequence[Record],
    options: ScoringOptions,
    world: World = ALONE,
    show_progress: bool = True,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What calibration and class prototypes are made of.

    Returns:
        (N scores, N×D descriptors, N class names) of the records that could be read, on every
        process.
    """
    maps = Maps(predictor, options, world, show_progress)
    rows = []
    for batch, found in maps.batches(records, "calibrate"):
        scores = torch.as_tensor(found.score).double().cpu()[:, None]
        descriptors = torch.as_tensor(found.descriptor).double().cpu()
        indices = torch.tensor(batch.indices, dtype=torch.float64)[:, None]
        rows.append(torch.cat([indices, scores, descriptors], 1).numpy())
    maps.settle(records)
    gathered = [part for part in world.gather(np.concatenate(rows) if rows else None)
                if part is not None]  # fmt: skip
    if not gathered:
        raise InputError(f"none of the {len(records)} good parts can be read")
    table = np.concatenate(gathered)
    table = table[table[:, 0].argsort(kind="stable")]
    names = [records[int(i)].class_name for i in table[:, 0]]
    skipped = sum(world.gather(len(maps.unreadable)))
    if skipped and world.main:
        warnings.warn(
            f"{skipped} images could not be read and were left out", InputWarning, stacklevel=2
        )
    return table[:, 1], table[:, 2:], names


def calibrate_model(
    model: Any,
    dataset: Dataset,
    false_alarm_rate: float,
    options: ScoringOptions,
    show_progress: bool = True,
) -> Thresholds:
    """Sets thresholds of ``model`` from the good test parts of ``dataset``, and returns them.

    The form, precision and rule that score them are stored with the thresholds. Classes that are
    not in the data set keep theirs, and so does the threshold for any class unless all are there.

    Raises:
        InputError: where there is no good part, a class that the model does not know, or where
            thresholds of two score rules would stand side by side.
    """
    check_rate(false_alarm_rate)
    check_class_names(dataset.classes, f"{dataset.root}: ")
    records = _known(model.classes, [r for r in dataset.test if not r.anomalous], dataset)
    form = inference_form(model, options)
    scores, _, names = good_parts(form, records, options, show_progress=show_progress)
    fresh = calibrate(scores, names, false_alarm_rate, options.rule(form.score_rule))
    if set(model.classes) - set(names):
        del fresh[ALL_CLASSES]
    model.thresholds = model.thresholds.updated(fresh)
    return fresh


def _known(classes: Sequence[str], records: list[Record], dataset: Dataset) -> list[Record]:
    """The records under the model's names of their classes."""
    if not records:
        raise InputError(
            f"{dataset.root}: no good parts among the test images to calibrate on: put some that "
            "the model was not trained on into test/good"
        )
    names = sorted({r.class_name for r in records})
    strange = [name for name in names if name not in classes]
    if not strange or not classes:
        return records
    if len(classes) == len(names) == 1:  # a class on its own is called after its folder
        warnings.warn(
            f"the good parts of {names[0]!r} are taken for the model's only class, {classes[0]!r}",
            InputWarning,
            stacklevel=3,
        )
        return [dataclasses.replace(r, class_name=classes[0]) for r in records]
    raise InputError(
        f"{dataset.root}: the model was not trained on all of its classes: "
        + unknown_name("class", strange[0], classes)
    )
