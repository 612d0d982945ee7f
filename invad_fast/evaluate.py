"""Evaluation: maps of all test images, SPEC §3's figures by class, pictures and histogram."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from invad_fast.data import (
    Dataset,
    ImageLoader,
    ImageTensors,
    Record,
    build_cache,
    load_image,
    load_mask,
    load_tensor,
    read_dataset,
)
from invad_fast.device import choose_device
from invad_fast.distributed import ALONE, World, join
from invad_fast.errors import InputError
from invad_fast.metrics import FIGURES, AnomalyMetrics, image_scores, mean_figures
from invad_fast.metrics.ranking import f1_threshold, rank
from invad_fast.pictures import panel, score_histogram
from invad_fast.progress import counter, track

if TYPE_CHECKING:
    from invad_fast.method import Predictor


@dataclass
class ClassResult:
    """One class's test set: figures, image scores, labels, threshold, pictures."""

    figures: dict[str, float]
    scores: np.ndarray
    anomalous: np.ndarray
    threshold: float | None
    pictures: list[Path] = field(default_factory=list)


@dataclass
class Evaluation:
    """Results by class, their mean, and where they were written."""

    classes: dict[str, ClassResult]
    mean: dict[str, float]
    folder: Path | None = None

    @property
    def histogram(self) -> Path | None:
        return self.folder / "histogram.png" if self.folder else None


def evaluate_model(
    model: Predictor,
    root: str | Path | Dataset,
    *,
    output: str | Path | None = None,
    classes: Sequence[str] | None = None,
    protocol: str = "paper",
    pooling: int | None = None,
    mode: str | None = None,
    sigma: float = 4.0,
    batch_size: int = 16,
    workers: int = 2,
    device: str = "auto",
    cache: str | Path | None = None,
    cache_gib: float = 20.0,
    pictures: int = 6,
    show_progress: bool = True,
) -> Evaluation:
    """Scores the test images below ``root`` and computes every figure, class by class.

    Under torchrun (see `invad_fast.distributed`) each process scores its share of the images; the
    figures are those of one process, all return them, and the main one alone writes.

    Args:
        output: folder for figures.json, figures.csv, histogram.png and pictures; None for none.
        mode: of the anomaly map; None for the method's own.
        cache: folder that keeps the resized images for the next evaluation, at most
            ``cache_gib`` of them; None for none.
        pictures: anomalous test images drawn of each class, spread over the range of scores.

    The other arguments are those of :func:`invad_fast.data.read_dataset`,
    :func:`invad_fast.metrics.evaluate` and :func:`invad_fast.anomaly_map`.
    """
    dataset = root if isinstance(root, Dataset) else read_dataset(root)
    if classes:
        dataset = dataset.only(classes)
    if not dataset.test:
        raise InputError(f"{dataset.root}: there are no test images to evaluate on")
    folder = None if output is None else Path(output)
    world, place = join(device)
    maps = _Maps(
        model.to(place), place, world, mode, sigma, batch_size, workers, cache, cache_gib,
        show_progress and world.main,
    )  # fmt: skip
    results = {}
    for name in dataset.classes:
        records = [r for r in dataset.test if r.class_name == name]
        if not records:
            continue
        result = _score(maps, name, records, AnomalyMetrics(protocol=protocol, pooling=pooling))
        if result is not None:
            results[name] = result
            if folder is not None:
                result.pictures = _draw(maps, name, records, result, folder, pictures)

    def whole() -> Evaluation:
        mean = mean_figures({name: r.figures for name, r in results.items()})
        evaluation = Evaluation(results, mean, folder)
        if folder is not None:
            _write(evaluation, folder, protocol, pooling)
        return evaluation

    return world.on_main(whole)


@dataclass(frozen=True)
class _Maps:
    """Makes the maps of records with one model, this process's share of them."""

    model: Predictor
    device: torch.device
    world: World
    mode: str | None = None
    sigma: float = 4.0
    batch_size: int = 16
    workers: int = 2
    cache: str | Path | None = None
    cache_gib: float = 20.0
    show: bool = False

    def batches(
        self, records: Sequence[Record], what: str
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """(indices of records, their maps n×H×W) until this process's share is through."""
        size = self.model.config.input_size
        kept = None
        if self.cache is not None:
            with counter(f"{what}: decode", self.show) as progress:
                bound = int(self.cache_gib * 2**30)
                kept = build_cache(records, size, self.cache, bound, progress, world=self.world)
        own = list(self.world.own(range(len(records))))
        order = [own[i : i + self.batch_size] for i in range(0, len(own), self.batch_size)]
        images = ImageTensors(records, size, kept)
        loader = ImageLoader(images, batch_sampler=order, num_workers=self.workers)
        for batch, indices in track(loader, len(order), what, self.show):
            yield indices.tolist(), self.of(batch)

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """Images N×3×H×W → maps N×H×W, on the model's device."""
        found = self.model.predict(images.to(self.device), mode=self.mode, sigma=self.sigma)
        return found.map.float()


def _score(
    maps: _Maps, name: str, records: list[Record], metrics: AnomalyMetrics
) -> ClassResult | None:
    """One class's result, pictures apart, on the main process; None on the others."""
    world, size = maps.world, maps.model.config.input_size
    has_masks = any(r.mask is not None for r in records)
    own_scores = [np.empty(0)]
    for indices, found in maps.batches(records, name):
        batch = [records[i] for i in indices]
        masks = np.stack([load_mask(r, size) for r in batch]) if has_masks else None
        metrics.update(found, masks, np.array([r.anomalous for r in batch]))
        own_scores.append(image_scores(found, metrics.pooling))
    scores = world.interleave(torch.from_numpy(np.concatenate(own_scores)), len(records)).numpy()
    if world.size > 1:  # a state is a copy of all pixels
        states = world.gather_on_main({} if world.main else metrics.state())
        for state in states[1:]:
            metrics.merge_state(state)
    if not world.main:
        return None
    labels = np.array([r.anomalous for r in records])
    threshold = maps.model.threshold(name)
    if threshold is None and labels.any() and not labels.all():
        threshold = f1_threshold(rank(scores, labels))
    return ClassResult(metrics.compute(), scores, labels, threshold)


def picture_scale(model: Predictor) -> float:
    """The score drawn in the brightest colour: the same for every picture of a model."""
    threshold = model.threshold()
    return 1.0 if threshold is None else 2 * threshold


def _draw(
    maps: _Maps, name: str, records: list[Record], result: ClassResult, folder: Path, count: int
) -> list[Path]:
    """Pictures of anomalous images from the lowest score to the highest."""
    anomalous = sorted(np.flatnonzero(result.anomalous), key=lambda i: result.scores[i])
    model, size = maps.model, maps.model.config.input_size
    picked = np.unique(np.linspace(0, len(anomalous) - 1, min(count, len(anomalous))).round())
    paths = []
    for position in picked.astype(int):
        record = records[anomalous[position]]
        mask = None if record.mask is None else load_mask(record, size)
        found = maps.of(load_tensor(record.image, size)[None])[0].cpu().numpy()
        pixels = load_image(record.image, size)
        picture = panel(pixels, found, picture_scale(model), mask, model.threshold(name))
        path = folder / "pictures" / name / f"{record.defect}_{record.image.stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        paths.append(path)
    return paths


def _write(result: Evaluation, folder: Path, protocol: str, pooling: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = {**{name: r.figures for name, r in result.classes.items()}, "mean": result.mean}
    # JSON has no not-a-number: an undefined figure is null there and empty in the CSV.
    defined = {
        name: {k: None if math.isnan(v) else v for k, v in row.items()}
        for name, row in rows.items()
    }
    described = {"protocol": protocol, "pooling": pooling, "figures": defined}
    (folder / "figures.json").write_text(json.dumps(described, indent=2) + "\n")
    with open(folder / "figures.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", *FIGURES])
        for name, row in defined.items():
            writer.writerow([name, *("" if row[k] is None else row[k] for k in FIGURES)])
    histogram = {n: (r.scores, r.anomalous, r.threshold) for n, r in result.classes.items()}
    score_histogram(histogram).savefig(folder / "histogram.png", dpi=110)


def good_scores(
    model: Predictor, records: Sequence[Record], device: str = "auto", show_progress: bool = True
) -> torch.Tensor:
    """Image scores of good parts, for `invad_fast.calibrate.calibrate`: N."""
    chosen = choose_device(device)
    maps = _Maps(model.to(chosen), chosen, ALONE, show=show_progress)
    found = [image_scores(m) for _, m in maps.batches(records, "calibrate")]
    return torch.from_numpy(np.concatenate(found))
