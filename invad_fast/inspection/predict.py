"""images ─> verdicts: one row an image, by the one result schema (``result.schema.json``)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from invad_fast.checked import unknown_name
from invad_fast.data import ImageLoader, ImageTensors, load_image
from invad_fast.data.image_file import upright_size
from invad_fast.data.layouts.listing import image_files
from invad_fast.data.levels import Levels
from invad_fast.data.preparation import preparation_of
from invad_fast.data.size import Size
from invad_fast.data.tensors import ImageBatch
from invad_fast.errors import InputError
from invad_fast.evaluation.maps import inference_form
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.files import make_folder, written_whole
from invad_fast.inspection.regions import regions_above
from invad_fast.names import FileNames
from invad_fast.pictures import colour_map, overlay, picture_scale
from invad_fast.prediction import (
    ALL_CLASSES,
    AUTO,
    IS_ANOMALOUS,
    Predictor,
    ScoreRule,
    Verdict,
    finite_threshold,
    judge,
    shown_class,
)


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """The files given, and the images directly in the folders given.

    Raises:
        InputError: where a path is neither, or a folder has no image.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = image_files(path)
            if not inside:
                raise InputError(f"{path}: no images directly in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"no image {path}: give image files or folders of them")
    return found


def predict_files(
    model: Any,
    images: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    class_name: str | None = AUTO,
    threshold: float | None = None,
    options: ScoringOptions | None = None,
    **given: Any,
) -> Iterator[dict[str, Any]]:
    """For each image its verdict, and, with ``output``, the files drawn of it.

    An image that cannot be read, or whose score is no number, gets a row without a score; the
    others are judged all the same.

    Args:
        model: a Predictor, or a trained model: then its inference form is made.
        output: folder for the pictures; no file that is there is overwritten.
        class_name: the product; "auto" lets the model tell, None takes the threshold for any.
        threshold: instead of the model's own.
        options: how images are scored; or fields of :class:`ScoringOptions` by name.

    Yields:
        Rows in the order of the images, see ``invad_fast/result.schema.json``.

    Raises:
        InputError: before any row, for options or folders that do not fit.
    """
    scoring = options or ScoringOptions(**given)
    files = [Path(image) for image in images]
    folder = None if output is None else _output_folder(Path(output), files)
    predictor = inference_form(model, scoring)
    _check_class(predictor, class_name, threshold)
    if threshold is not None:
        whose = None if class_name == AUTO else class_name
        threshold = finite_threshold(threshold, shown_class(whose or ALL_CLASSES))
    return _Judge(predictor, scoring, class_name, threshold, folder).rows(files)


def _check_class(predictor: Predictor, class_name: str | None, threshold: float | None) -> None:
    if class_name in (None, AUTO):
        asked = class_name == AUTO and threshold is None and len(predictor.classes) > 1
        differ = any(name in predictor.thresholds for name in predictor.classes)
        if asked and differ and not predictor.tells_classes:
            raise InputError(
                "this model file was made before models could tell their classes apart: name the "
                f"product (--class {predictor.classes[0]!r}, say), or train it anew"
            )
        return
    if class_name not in predictor.classes:
        raise InputError("the model knows " + unknown_name("class", class_name, predictor.classes))


def _output_folder(folder: Path, files: Sequence[Path]) -> Path:
    inputs = {file.resolve().parent for file in files}
    if folder.resolve() in inputs:
        raise InputError(
            f"{folder} holds the images themselves: their maps would be taken for parts the next "
            "time; choose another --output"
        )
    make_folder(folder)
    return folder


@dataclass(frozen=True)
class _Judge:
    """Makes rows of images, one after another.

    Attributes:
        threshold: instead of the model's own; None for these.
        folder: for the pictures; None for none.
        names: of the files that the folder holds.
    """

    predictor: Predictor
    options: ScoringOptions
    class_name: str | None
    threshold: float | None
    folder: Path | None
    names: FileNames = field(default_factory=FileNames)

    def rows(self, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """A row a file, in order."""
        if self.folder is not None:
            for file in self.folder.iterdir():
                self.names.of(file.stem.removesuffix("_map").removesuffix("_overlay"))
        images = ImageTensors(
            files, self.predictor.input_size, levels=self.levels,
            preparation=preparation_of(self.predictor),
        )  # fmt: skip
        for batch in ImageLoader(images, self.options.batch_size, self.options.workers, "collect"):
            rows = {
                bad.index: self._unreadable(files[bad.index], bad.line) for bad in batch.unreadable
            }
            if batch.indices:
                rows |= self._judged(files, batch)
            yield from (rows[index] for index in sorted(rows))

    @property
    def rule(self) -> ScoreRule:
        return self.options.rule(self.predictor.score_rule)

    @property
    def levels(self) -> Levels | None:
        return self.rule.levels

    def _judged(self, files: Sequence[Path], batch: ImageBatch) -> dict[int, dict[str, Any]]:
        started = time.perf_counter()
        changes = self.options.changes()
        found = self.predictor.predict(batch.images, self.class_name, **changes)
        scores = found.score.tolist()  # a GPU has finished
        spent = round(1e3 * (time.perf_counter() - started), 3)
        maps = torch.as_tensor(found.map).float().cpu().numpy()
        rows = {}
        for place, index in enumerate(batch.indices):
            given = self.threshold is not None
            limit = self.threshold if given else found.thresholds[place]
            name = found.class_names[place]
            if found.unknown and found.unknown[place]:
                limit = None  # whoever gives a threshold gives it for the products there are
            verdict, reason = judge(scores[place], limit, found.why_no_threshold(place))
            rows[index] = self._row(files[index], name, verdict, reason)
            if not math.isfinite(scores[place]):
                continue
            try:  # what is drawn and measured in the photo's own size
                size = upright_size(files[index])
                photo = None if self.folder is None else load_image(files[index], None, self.levels)
            except InputError as error:  # it is gone since it was judged
                rows[index] = self._unreadable(files[index], str(error))
                continue
            rows[index] |= {
                "score": scores[place],
                "threshold": limit,
                "provisional": not given and self._provisional(name, limit),
                # As on a line: a part that passes has none, though pixels of a pooled map exceed.
                "regions": self._regions(maps[place], limit, size)
                if limit is not None and verdict is Verdict.REJECT
                else [],
                "latency_ms": spent,
            }
            if photo is not None:
                rows[index] |= self._draw(photo, maps[place], rows[index])
        return rows

    def _regions(self, scores: np.ndarray, limit: float, size: Size) -> list[dict[str, Any]]:
        return regions_above(scores, limit, size, self.rule)

    def _provisional(self, class_name: str | None, limit: float | None) -> bool:
        return limit is not None and self.predictor.thresholds.provisional(class_name)

    def _unreadable(self, file: Path, line: str) -> dict[str, Any]:
        return self._row(file, None, Verdict.NOT_INSPECTED, f"damaged frame: {line}")

    def _row(
        self, file: Path, class_name: str | None, verdict: Verdict, reason: str | None
    ) -> dict[str, Any]:
        """What every row has; without a score it stays at that."""
        return {
            "part_id": file.stem,
            "image": str(file),
            "class_name": class_name,
            "verdict": verdict.value,
            "reason": reason,
            "anomalous": IS_ANOMALOUS[verdict],
            "model": self.predictor.digest,
        }

    def _draw(self, photo: np.ndarray, scores: np.ndarray, row: dict[str, Any]) -> dict[str, str]:
        """The map, and the map over the photo, in the photo's own size."""
        assert self.folder is not None  # else there was nothing to draw
        scale, limit = picture_scale(self.predictor), row["threshold"]
        pictures = {
            "map": Image.fromarray(colour_map(scores, scale)),
            "overlay": overlay(
                photo, scores, scale, limit, row["verdict"], row["score"], self.rule
            ),
        }
        stem = self.names.of(row["part_id"])
        paths = {kind: self.folder / f"{stem}_{kind}.png" for kind in pictures}
        for kind, picture in pictures.items():
            with written_whole(paths[kind]) as partial:
                picture.save(partial, format="PNG")
        return {kind: str(path) for kind, path in paths.items()}
