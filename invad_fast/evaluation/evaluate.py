"""Evaluation: maps of all test images, method.md §3's figures by class, verdicts and pictures."""

from __future__ import annotations

import io
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from invad_fast.data import Dataset, Record, read_dataset
from invad_fast.data.content_hash import content_hashes
from invad_fast.distributed import join
from invad_fast.errors import InputError, InputWarning
from invad_fast.evaluation.drawing import draw_distribution, draw_pictures
from invad_fast.evaluation.maps import Maps, inference_form
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.evaluation.output_folder import (
    FIGURES_FILE,
    PICTURES,
    earlier_pictures,
    remove_pictures,
    take_folder,
)
from invad_fast.evaluation.results import VERDICTS, ClassResult, Evaluation
from invad_fast.files import write_whole
from invad_fast.metrics import FIGURES, AnomalyMetrics, mean_figures
from invad_fast.metrics.image_scores import image_figures
from invad_fast.metrics.ranking import f1_threshold, rank
from invad_fast.names import csv_writer, mean_label
from invad_fast.prediction import ScoreRule, Thresholds


def evaluate_model(
    model: Any,
    root: str | Path | Dataset,
    *,
    output: str | Path | None = None,
    classes: Sequence[str] | None = None,
    protocol: str = "paper",
    pictures: int = 6,
    show_progress: bool = True,
    options: ScoringOptions | None = None,
    **given: Any,
) -> Evaluation:
    """Scores the test images below ``root`` and computes every figure, class by class.

    Under torchrun (see `invad_fast.distributed`) each process scores its share of the images; the
    figures are those of one process, all return them, and the main one alone writes.

    Args:
        model: a Predictor, or a trained model: then its inference form is made.
        root: a data set of any layout that `invad_fast.data.read_dataset` takes, or one read.
        output: folder for figures.json, figures.csv, images.csv (a row an image), histogram.png
            and pictures; None for none.
        classes: only these.
        protocol: "paper" or "exact", see :func:`invad_fast.metrics.evaluate`.
        pictures: at most so many of each class: misses and false alarms first, then other
            defects, spread over the range of scores.
        options: how images are scored; or fields of :class:`ScoringOptions` by name.

    Raises:
        InputError: where there is nothing to score, images cannot be read or have no number for
            a score, or the folder holds files of the same names that no evaluation wrote.
    """
    scoring = options or ScoringOptions(**given)
    if pictures < 0:
        raise InputError(f"pictures: must be at least 0, not {pictures}")
    dataset = root if isinstance(root, Dataset) else read_dataset(root)
    if classes:
        dataset = dataset.only(classes)
    if not dataset.test:
        raise InputError(f"{dataset.root}: there are no test images to evaluate on")
    world, device = join(scoring.device)
    folder = None if output is None else Path(output)
    if folder is not None:  # before hours are spent
        dataset.refuse_inside(folder, "--output")
        world.on_main(lambda: take_folder(folder))
    if scoring.cache is not None:
        dataset.refuse_inside(scoring.cache, "--cache")
    predictor = inference_form(model, scoring, str(device))
    maps = Maps(predictor, scoring, world, show_progress and world.main)
    why_none = predictor.thresholds.why_none(maps.rule)
    if why_none is not None and predictor.thresholds and world.main:
        warnings.warn(
            f"{why_none}; verdicts are drawn at each class's best F1", InputWarning, stacklevel=2
        )
    results = {}
    rest = list(dataset.test)
    for name in dataset.classes:
        records = [r for r in dataset.test if r.class_name == name]
        rest = [r for r in rest if r.class_name != name]
        metrics = AnomalyMetrics(protocol=protocol, pooling=maps.rule.pooling)
        result = _score(maps, name, records, rest, metrics) if records else None
        if result is not None:
            results[name] = result
    unreadable = sum(world.gather(len(maps.unreadable)))

    def whole() -> Evaluation:
        if not results:
            raise InputError(f"{dataset.root}: none of the {unreadable} images can be read")
        mean = mean_figures({name: r.figures for name, r in results.items()})
        evaluation = Evaluation(results, mean, maps.rule, folder, unreadable)
        if folder is not None:
            # One that is killed meanwhile leaves the earlier result with as many pictures.
            earlier = earlier_pictures(folder)
            draw_pictures(maps, evaluation, pictures, earlier)
            drawn = {Path(os.path.realpath(p)) for r in results.values() for p in r.pictures}
            remove_pictures(folder, earlier - drawn)
            _write(evaluation, folder, protocol)
            draw_distribution(evaluation)
        return evaluation

    return world.on_main(whole)


def _score(
    maps: Maps, name: str, records: list[Record], rest: list[Record], metrics: AnomalyMetrics
) -> ClassResult | None:
    """One class's result, pictures apart, on the main process; None on the others.

    None too where the options skip all of its images.
    """
    world = maps.world
    has_masks = any(r.mask is not None for r in records)
    own: list[tuple[int, float]] = []
    broken: list[int] = []
    for batch, found in maps.batches(records, name, has_masks):
        given = found.score.tolist()
        if not all(map(math.isfinite, given)):
            broken += [i for i, s in zip(batch.indices, given) if not math.isfinite(s)]
            continue  # there are no figures: the others only tell how many there are
        labels = np.array([records[i].anomalous for i in batch.indices])
        metrics.update(found.map, batch.masks, labels)
        own += zip(batch.indices, given)
    maps.settle(records, rest)
    broken = sorted(i for part in world.gather(broken) for i in part)
    if broken:
        raise InputError(
            f"class {name!r}: {len(broken)} of {len(records)} images have a score that is not a "
            f"number, the first {records[broken[0]].image}: the model is damaged, or its "
            "precision overflows"
        )
    scored = sorted(pair for part in world.gather(own) for pair in part)
    if world.size > 1:  # a state is a copy of all pixels
        states = world.gather_on_main({} if world.main else metrics.state())
        for state in states[1:]:
            metrics.merge_state(state)
    if not world.main:
        return None
    if not scored:  # else it was refused
        warnings.warn(
            f"class {name!r}: none of its {len(records)} images can be read, it is left out",
            InputWarning,
            stacklevel=3,
        )
        return None
    kept = [records[i] for i, _ in scored]
    scores = np.array([score for _, score in scored])
    labels = np.array([r.anomalous for r in kept])
    figures = metrics.compute()
    if not maps.rule.takes_maximum:  # images rank by what decides them
        ranked = image_figures(scores, labels)
        figures |= {figure: bounds.value for figure, bounds in ranked.items()}
    result = ClassResult(figures, scores, labels, kept, None, "none")
    _set_threshold(result, maps.predictor.thresholds, name, maps.rule)
    _mark_calibrated(result, maps.predictor, maps.options.workers)
    return result


def _set_threshold(result: ClassResult, thresholds: Thresholds, name: str, rule: ScoreRule) -> None:
    """The threshold of a class's verdicts: the model's, else the one of the best F1."""
    own, key = thresholds.of(name, rule), thresholds.name_for(name)
    labels, scores = result.anomalous, result.scores
    if own is not None and key is not None:
        origin = thresholds.origins[key]
        whose = "" if key == name else "of all classes together, "
        result.threshold, result.origin = own, whose + str(origin)
        result.provisional, result.parts = origin.provisional, origin.parts
    elif labels.any() and not labels.all():
        result.threshold = f1_threshold(rank(scores, labels))
        result.origin = "best F1 on this test set, which a line does not have"
        result.provisional = True


def _mark_calibrated(result: ClassResult, predictor: Any, workers: int) -> None:
    """Says where test parts have set the threshold that they are judged by."""
    seen = getattr(predictor, "seen", None)
    if seen is None or not len(seen.calibration):
        return
    good = [r.image for r in result.records if not r.anomalous]
    result.set_here = int(seen.calibrated_on(content_hashes(good, workers)).sum())
    if result.set_here:
        result.origin += (
            f"; {result.set_here} of these very test parts set it: their false alarms say nothing "
            "of new parts"
        )


def _write(result: Evaluation, folder: Path, protocol: str) -> None:
    verdicts = {
        name: {
            "threshold": r.threshold,
            "threshold_origin": r.origin,
            "provisional": r.provisional,
            "set_on_these_parts": r.set_here,
            "missed": r.missed,
            "defective": r.defective,
            "false_alarms": r.false_alarms,
            "good": r.good,
        }
        for name, r in result.classes.items()
    }
    described = {
        "protocol": protocol,
        "score_rule": dict(vars(result.rule)),
        # A class may be called "mean": the mean has a place of its own.
        "figures": {name: _defined(r.figures) for name, r in result.classes.items()},
        "mean": _defined(result.mean),
        "verdicts": verdicts,
        "unreadable": result.unreadable,
        PICTURES: [
            path.relative_to(folder).as_posix()
            for r in result.classes.values()
            for path in r.pictures
        ],
    }
    write_whole(folder / FIGURES_FILE, json.dumps(described, indent=2) + "\n")
    figures = {name: r.figures for name, r in result.classes.items()}
    write_whole(folder / "figures.csv", figures_csv(figures, result.mean))
    write_whole(folder / "images.csv", images_csv(result.classes))


def _defined(figures: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no not-a-number: an undefined figure is null there and empty in the CSV."""
    return {k: None if math.isnan(v) else v for k, v in figures.items()}


def figures_csv(figures: Mapping[str, Mapping[str, float]], mean: Mapping[str, float]) -> str:
    """A row a class, and the mean: ``kind`` tells it from a class of that name."""
    text = io.StringIO()
    write = csv_writer(text)
    write(["class", *FIGURES, "kind"])
    rows = [*((n, f, "class") for n, f in figures.items()), (mean_label(figures), mean, "mean")]
    for name, row, kind in rows:
        defined = _defined(row)
        write([name, *(defined[k] for k in FIGURES), kind])
    return text.getvalue()


def images_csv(classes: Mapping[str, ClassResult]) -> str:
    """A row an image, class by class: its score, the verdict, and what that is worth."""
    text = io.StringIO()
    write = csv_writer(text)
    write(["class", "file", "defect", "score", "threshold", "verdict", "outcome"])
    for name, result in classes.items():
        for record, score, outcome in zip(result.records, result.scores, result.outcomes):
            write([name, str(record.image), record.defect, float(score), result.threshold,
                   VERDICTS[outcome].value, outcome])  # fmt: skip
    return text.getvalue()
