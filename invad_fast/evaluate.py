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
    load_image,
    load_mask,
    read_dataset,
)
from invad_fast.device import choose_device
from invad_fast.errors import InputError
from invad_fast.metrics import FIGURES, evaluate, image_scores, mean_figures
from invad_fast.metrics.ranking import f1_threshold, rank
from invad_fast.pictures import panel, score_histogram
from invad_fast.progress import track

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
    pictures: int = 6,
    show_progress: bool = True,
) -> Evaluation:
    """Scores the test images below ``root`` and computes every figure, class by class.

    Args:
        output: folder for figures.json, figures.csv, histogram.png and pictures; None for none.
        mode: of the anomaly map; None for the method's own.
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
    chosen = choose_device(device)
    model = model.to(chosen)
    results = {}
    for name in dataset.classes:
        records = [r for r in dataset.test if r.class_name == name]
        if not records:
            continue
        maps = np.concatenate(
            list(
                _maps(model, records, chosen, mode, sigma, batch_size, workers, name, show_progress)
            )
        )
        results[name] = _class_result(model, name, records, maps, protocol, pooling)
        if folder is not None:
            results[name].pictures = _draw(model, name, records, maps, folder, pictures)
    result = Evaluation(results, mean_figures({n: r.figures for n, r in results.items()}), folder)
    if folder is not None:
        _write(result, folder, protocol, pooling)
    return result


def _maps(
    model, records, device, mode, sigma, batch_size, workers, name, show
) -> Iterator[np.ndarray]:
    images = ImageTensors(records, model.config.input_size)
    loader = ImageLoader(images, batch_size=batch_size, num_workers=workers)
    for batch, _ in track(loader, len(loader), name, show):
        yield model.predict(batch.to(device), mode=mode, sigma=sigma).map.cpu().numpy()


def _class_result(model, name, records, maps, protocol, pooling) -> ClassResult:
    labels = np.array([r.anomalous for r in records])
    masks = None
    if any(r.mask is not None for r in records):
        masks = np.stack([load_mask(r, model.config.input_size) for r in records])
    figures = evaluate(maps, masks, protocol, pooling, labels)
    scores = image_scores(maps, pooling)
    threshold = model.threshold(name)
    if threshold is None and labels.any() and not labels.all():
        threshold = f1_threshold(rank(scores, labels))
    return ClassResult(figures, scores, labels, threshold)


def picture_scale(model: Predictor) -> float:
    """The score drawn in the brightest colour: the same for every picture of a model."""
    threshold = model.threshold()
    return 1.0 if threshold is None else 2 * threshold


def _draw(
    model: Predictor, name: str, records: list[Record], maps: np.ndarray, folder: Path, count: int
) -> list[Path]:
    """Pictures of anomalous images from the lowest score to the highest."""
    anomalous = sorted(
        (i for i, r in enumerate(records) if r.anomalous), key=lambda i: maps[i].max()
    )
    size, scale = model.config.input_size, picture_scale(model)
    picked = np.unique(np.linspace(0, len(anomalous) - 1, min(count, len(anomalous))).round())
    paths = []
    for position in picked.astype(int):
        record = records[anomalous[position]]
        mask = None if record.mask is None else load_mask(record, size)
        picture = panel(
            load_image(record.image, size),
            maps[anomalous[position]],
            scale,
            mask,
            model.threshold(name),
        )
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
    model = model.to(chosen)
    maps = _maps(model, records, chosen, None, 4.0, 16, 2, "calibrate", show_progress)
    return torch.cat([torch.from_numpy(image_scores(m)) for m in maps])
