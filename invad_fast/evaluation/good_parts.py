"""good parts ─> scores and descriptors ─> thresholds: what a model is calibrated on."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from invad_fast.checked import unknown_name
from invad_fast.data import Dataset, Record
from invad_fast.data.content_hash import content_hashes
from invad_fast.data.preparation import Preparation, preparation_of
from invad_fast.device import choose_device, has_unit
from invad_fast.distributed import ALONE, World
from invad_fast.errors import InputError, InputWarning
from invad_fast.evaluation.calibrate import Source, calibrate
from invad_fast.evaluation.conformal import check_rate
from invad_fast.evaluation.maps import Maps, inference_form
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.evaluation.precision import FASTER, disagreement
from invad_fast.evaluation.unknown_products import distance_limits
from invad_fast.frame_figures import FIGURES, LEAST_PICTURES, frame_figures, learn_limits
from invad_fast.prediction import ALL_CLASSES, AUTO, Predictor, Thresholds, check_class_names
from invad_fast.seen_parts import SeenParts


@dataclass(frozen=True)
class GoodParts:
    """What calibration and class prototypes are made of: of N pictures that could be read.

    Attributes:
        records: N.
        scores: N.
        descriptors: N×D.
        hashes: N, of their files' contents.
        figures: N×5, see `invad_fast.frame_figures`.
    """

    records: list[Record]
    scores: np.ndarray
    descriptors: np.ndarray
    hashes: np.ndarray
    figures: np.ndarray

    @property
    def class_names(self) -> list[str]:
        """N."""
        return [record.class_name for record in self.records]

    @classmethod
    def together(cls, parts: Sequence[GoodParts]) -> GoodParts:
        """All of them, one after another."""
        records = [record for part in parts for record in part.records]
        names = ("scores", "descriptors", "hashes", "figures")
        columns = ([getattr(part, name) for part in parts] for name in names)
        return cls(records, *(np.concatenate(column) for column in columns))

    def kept(self, which: np.ndarray) -> GoodParts:
        """Those of the pictures."""
        records = [record for record, keep in zip(self.records, which) if keep]
        return GoodParts(
            records, self.scores[which], self.descriptors[which], self.hashes[which],
            self.figures[which],
        )  # fmt: skip


def good_parts(
    predictor: Predictor,
    records: Sequence[Record],
    options: ScoringOptions,
    world: World = ALONE,
    show_progress: bool = True,
) -> GoodParts:
    """Scores the records; the same on every process."""
    maps = Maps(predictor, options, world, show_progress)
    preparation = preparation_of(predictor)
    rows, hashed = [], []
    for batch, found in maps.batches(records, "calibrate"):
        scores = torch.as_tensor(found.score).double().cpu()[:, None]
        descriptors = torch.as_tensor(found.descriptor).double().cpu()
        indices = torch.tensor(batch.indices, dtype=torch.float64)[:, None]
        figures = torch.from_numpy(_figures(batch.images.numpy(), preparation))
        rows.append(torch.cat([indices, scores, figures, descriptors], 1).numpy())
        # They have just been read: the system still has them.
        hashed.append(content_hashes([records[i].image for i in batch.indices], options.workers))
    maps.settle(records)
    mine = (np.concatenate(rows), np.concatenate(hashed)) if rows else None
    gathered = [part for part in world.gather(mine) if part is not None]
    if not gathered:
        raise InputError(f"none of the {len(records)} good parts can be read")
    table = np.concatenate([part for part, _ in gathered])
    hashes = np.concatenate([part for _, part in gathered])
    order = table[:, 0].argsort(kind="stable")
    table, hashes = table[order], hashes[order]
    skipped = sum(world.gather(len(maps.unreadable)))
    if skipped and world.main:
        warnings.warn(
            f"{skipped} images could not be read and were left out", InputWarning, stacklevel=2
        )
    kept = [records[int(i)] for i in table[:, 0]]
    first = 2 + len(FIGURES)
    return GoodParts(kept, table[:, 1], table[:, first:], hashes, table[:, 2:first])


def _figures(images: np.ndarray, preparation: Preparation) -> np.ndarray:
    """N×5 of images float32 N×3×H×W: of the 8-bit pixels that they were made of."""
    mean, deviation = (
        np.array(each, np.float32).reshape(3, 1, 1)
        for each in (preparation.mean, preparation.deviation)
    )
    found = np.empty((len(images), len(FIGURES)))
    for row, image in zip(found, images):
        pixels = np.rint((image * deviation + mean) * 255).astype(np.uint8)
        row[:] = frame_figures(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return found


def calibrate_model(
    model: Any,
    dataset: Dataset,
    false_alarm_rate: float,
    options: ScoringOptions,
    show_progress: bool = True,
    *,
    bound: bool = False,
    extrapolate: bool = False,
    part: str | None = None,
    unknown_products: bool = True,
    unknown_product_rate: float | None = None,
) -> Thresholds:
    """Sets thresholds of ``model`` from good parts of ``dataset`` that it was not trained on.

    They are those of ``<class>/validation/good``; only where there are none those of the test
    set, whose figures at these thresholds are marked from then on. The form, precision and rule
    that score them are stored with the thresholds, and so is what their pictures are like
    (`invad_fast.frame_figures`). Classes that are not in the data set keep theirs, and so does the
    threshold for any class unless all are there.

    Where the options leave the precision to it ("auto"), it is the fastest that the device has a
    unit for and that judges these parts as fp32 does (`invad_fast.evaluation.precision`); that of
    the thresholds that stay, where some do.

    Args:
        bound, extrapolate: see :func:`invad_fast.evaluation.calibrate.calibrate`.
        part: a regular expression whose first group in a file's name, without its suffix, names
            the part: several pictures of one part are one, its worst. None: each is a part.
        unknown_products: set limits of the distance to a class too, beyond which a part is of
            none: ``model.prototypes.limits``; False takes those away that there are.
        unknown_product_rate: that a good part may be turned away with by them; None for 1 % where
            the parts are enough, and no limit where they are not, which is told.

    Raises:
        InputError: where there is no good part, or too few; where the model was trained on one; for
            a class that the model does not know; or where thresholds of two score rules would
            stand side by side.
    """
    check_rate(false_alarm_rate)
    check_class_names(dataset.classes, f"{dataset.root}: ")
    pattern = _pattern(part)
    source, held_out = _held_out(dataset)
    records = _known(model.classes, held_out, dataset)
    staying = set(model.thresholds) - {*(r.class_name for r in records), ALL_CLASSES}
    resolves = options.precision == AUTO and not staying  # whose precision is settled
    asked = dataclasses.replace(options, precision="fp32") if resolves else options
    form = inference_form(model, asked)
    found = good_parts(form, records, options, show_progress=show_progress)
    seen: SeenParts = model.seen
    trained = seen.trained_on(found.hashes)
    if trained.any():
        raise InputError(
            f"{dataset.root}: the model was trained on {trained.sum()} of the {len(trained)} good "
            f"parts, as {found.records[int(trained.argmax())].image}: calibrate on others"
        )
    if not len(seen.training):
        warnings.warn(
            "the model does not say what it was trained on: that these parts are others is not "
            "checked",
            InputWarning,
            stacklevel=2,
        )
    found = _each_once(found)
    names = found.class_names
    parts = None if pattern is None else [_part_of(r, pattern) for r in found.records]

    def thresholds(scored: GoodParts, form: Predictor) -> Thresholds:
        return calibrate(
            scored.scores, names, false_alarm_rate, options.rule(form.score_rule), source,
            bound=bound, extrapolate=extrapolate, parts=parts, digests=_digests(scored),
        )  # fmt: skip

    fresh = thresholds(found, form)
    if resolves and (faster := _faster_form(model, options)) is not None:
        scored = good_parts(faster, found.records, options, show_progress=show_progress)
        if np.isfinite(scored.scores).all():
            limits = thresholds(scored, faster)
            why = disagreement(found.scores, fresh, scored.scores, limits, names)
        else:
            why = "it overflows"
        if why is None:
            found, fresh = scored, limits
        else:
            warnings.warn(f"precision fp32, not {FASTER}: {why}", InputWarning, stacklevel=2)
    limits = Thresholds()
    if unknown_products:
        limits = _limits(model, found, source, unknown_product_rate, bound, parts)
    if set(model.classes) - set(names):
        del fresh[ALL_CLASSES]
    if model.prototypes is not None:
        others = {n: v for n, v in model.prototypes.limits.items() if n not in names}
        old = Thresholds(others, None, model.prototypes.limits.origins)
        held = old.updated(limits) if unknown_products else Thresholds()
        model.prototypes = model.prototypes.limited(held)
    model.thresholds = model.thresholds.updated(fresh)
    owners = np.array(names, dtype=object)
    for name in sorted(set(names)):
        own = found.figures[owners == name]
        model.frame_limits.pop(name, None)
        if len(own) >= LEAST_PICTURES:  # fewer say too little of the next
            model.frame_limits[name] = learn_limits(own)
    kept = seen.calibration if set(model.thresholds) - set(fresh) else found.hashes[:0]
    model.seen = SeenParts(seen.training, np.union1d(kept, found.hashes))
    return fresh


def _faster_form(model: Any, options: ScoringOptions) -> Predictor | None:
    """The model in the precision that is faster on the device; None where there is none."""
    if not hasattr(model, "for_inference") or not has_unit(choose_device(options.device), FASTER):
        return None
    try:
        return inference_form(model, dataclasses.replace(options, precision=FASTER))
    except InputError:  # the method has none
        return None


def _limits(
    model: Any,
    found: GoodParts,
    source: Source,
    rate: float | None,
    bound: bool,
    parts: Sequence[str] | None,
) -> Thresholds:
    """Limits of the distance to each class; told where there are none, and why."""
    if model.prototypes is None:
        if rate is not None:
            raise InputError(
                "the model has no class prototypes (it was made before models had them): train it "
                "anew, or leave --unknown-product-rate out"
            )
        return Thresholds()
    names = found.class_names
    distances = np.array(model.prototypes.distances_to(found.descriptors, names), np.float64)
    limits, lacking = distance_limits(
        distances, names, rate, source, bound=bound, parts=parts, digests=_digests(found)
    )
    if lacking:
        needed = max(lacking.values())
        warnings.warn(
            f"unknown products are not told for {', '.join(sorted(lacking))}: that takes {needed} "
            "good parts of each, or another --unknown-product-rate (0: the lowest that they allow)",
            InputWarning,
            stacklevel=3,
        )
    return limits


def _held_out(dataset: Dataset) -> tuple[Source, list[Record]]:
    validation = [record for record in dataset.validation if not record.anomalous]
    if validation:
        return "held-out parts", validation
    return "test parts", [record for record in dataset.test if not record.anomalous]


def _each_once(found: GoodParts) -> GoodParts:
    """Without second copies of a picture: they are no second parts."""
    _, first = np.unique(found.hashes, return_index=True)
    which = np.zeros(len(found.hashes), bool)
    which[first] = True
    copies = int((~which).sum())
    if copies:
        warnings.warn(
            f"{copies} pictures are copies of others and count once", InputWarning, stacklevel=3
        )
    return found.kept(which)


def _digests(found: GoodParts) -> dict[str, str]:
    """Class name, and "*" → a hash of the pictures."""
    owners = np.array(found.class_names, dtype=object)
    groups = {name: found.hashes[owners == name] for name in set(owners)}
    groups[ALL_CLASSES] = found.hashes
    return {
        name: blake2b(np.sort(hashes).tobytes(), digest_size=16).hexdigest()
        for name, hashes in groups.items()
    }


def _pattern(part: str | None) -> re.Pattern[str] | None:
    if part is None:
        return None
    try:
        pattern = re.compile(part)
    except re.error as error:
        raise InputError(f"--part {part!r} is no regular expression: {error}") from None
    if not pattern.groups:
        raise InputError(f"--part {part!r} has no group: put the part's name in brackets, (…)")
    return pattern


def _part_of(record: Record, pattern: re.Pattern[str]) -> str:
    found = pattern.search(record.image.stem)
    if found is None or found[1] is None:
        raise InputError(f"{record.image}: --part {pattern.pattern!r} is not in its name")
    return found[1]


def _known(classes: Sequence[str], records: list[Record], dataset: Dataset) -> list[Record]:
    """The records under the model's names of their classes."""
    if not records:
        raise InputError(
            f"{dataset.root}: no good parts to calibrate on: put some that the model was not "
            "trained on into validation/good"
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
