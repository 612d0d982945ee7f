"""Results of runs → lines of the table: means over classes, data sets and seeds, and deviations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from invad_fast.benchmark.configuration import BenchmarkConfig, ModelSettings
from invad_fast.benchmark.plan import SCHEDULED
from invad_fast.benchmark.published import published_columns, published_figures
from invad_fast.benchmark.run import RunResult
from invad_fast.metrics import FIGURES, mean_figures

Figures = dict[str, float]


@dataclass(frozen=True)
class Line:
    """One line: figures of a model on a class, or on the mean over classes and data sets.

    Attributes:
        label: "mean", or the class (behind its data set's name where there are several).
        mean: figure → mean over the seeds, a fraction of one; not a number where undefined.
        deviation: figure → sample standard deviation over the seeds; not a number for one seed.
        seeds: how many.
    """

    label: str
    mean: Figures
    deviation: Figures
    seeds: int


@dataclass(frozen=True)
class ModelResults:
    """All lines of one model, the mean first, and what was published of its method."""

    settings: ModelSettings
    mean: Line
    classes: tuple[Line, ...]
    published: Figures | None
    facts: dict[str, Any]

    @property
    def difference(self) -> Figures | None:
        """Ours less the published figure, as a fraction of one."""
        if self.published is None:
            return None
        return {k: self.mean.mean[k] - self.published[k] for k in published_columns()}


def summarize(config: BenchmarkConfig, results: Sequence[RunResult]) -> list[ModelResults]:
    """The models' lines in the configuration's order.

    A model's figures are the mean over the classes of a data set, then over the data sets, as
    COCO-AD's are over its four splits. A seed counts once all its runs are there.
    """
    return [
        _model_results(config, settings, [r for r in results if r.run.model == settings])
        for settings in config.models
        if any(r.run.model == settings for r in results)
    ]


def _model_results(
    config: BenchmarkConfig, settings: ModelSettings, results: list[RunResult]
) -> ModelResults:
    rows: dict[int, dict[str, dict[str, Figures]]] = {}  # seed → data set → class → figures
    for result in results:
        sets = rows.setdefault(result.run.seed, {})
        sets.setdefault(result.run.data_name, {}).update(result.figures)
    most = max(_count(sets) for sets in rows.values())
    complete = [sets for sets in rows.values() if _count(sets) == most]
    mean = [mean_figures({name: mean_figures(c) for name, c in s.items()}) for s in complete]
    classes = []
    for name, of_set in complete[0].items():
        for class_name in of_set:
            label = class_name if len(config.data) == 1 else f"{name}: {class_name}"
            classes.append(_line(label, [sets[name][class_name] for sets in complete]))
    return ModelResults(
        settings,
        _line("mean", mean),
        tuple(classes),
        published_figures(config.published, settings.method),
        _facts(results),
    )


def _count(sets: dict[str, dict[str, Figures]]) -> int:
    return sum(len(classes) for classes in sets.values())


def _line(label: str, seeds: list[Figures]) -> Line:
    mean, deviation = {}, {}
    for key in FIGURES:
        values = np.array([figures[key] for figures in seeds])
        mean[key] = float(values.mean())
        deviation[key] = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Line(label, mean, deviation, len(seeds))


def _facts(results: list[RunResult]) -> dict[str, Any]:
    """What the figures cost: of all runs together, but for the training's settings."""
    run = results[0].run
    trained = [r.training for r in results if r.training]
    facts: dict[str, Any] = {
        "encoder": run.model.encoder or "the method's own",
        "size": run.model.size,
        "models": len(results),
        "device": results[0].device,
    }
    if not trained:
        return facts | {"checkpoint": run.model.checkpoint}
    options = run.training
    return facts | {name: getattr(options, name) for name in (*SCHEDULED, "precision")} | {
        "images_seen": sum(t["images"] for t in trained),
        "training_seconds": sum(t["seconds"] for t in trained),
        "resumed": any(t["resumed"] for t in trained),
    }  # fmt: skip
