"""images ─> verdicts: one row an image, by the one result schema (``result.schema.json``)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from invad_fast.checked import unknown_name
from invad_fast.data import ImageLoader, ImageTensors, load_image
from invad_fast.data.image_file import stored_size
from invad_fast.data.layouts.listing import image_files
from invad_fast.data.tensors import Unreadable
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
    Prediction,
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
    return _rows(predictor, files, folder, class_name, threshold, scoring)


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


def _rows(
    predictor: Predictor,
    files: Sequence[Path],
    folder: Path | None,
    class_name: str | None,
    threshold: float | None,
    options: ScoringOptions,
) -> Iterator[dict[str, Any]]:
    images = ImageTensors(files, predictor.input_size, levels=options.levels)
    names = FileNames()
    if folder is not None:
        for file in folder.iterdir():
            names.of(file.stem.removesuffix("_map").removesuffix("_overlay"))
    rule = options.rule(predictor.score_rule)
    for batch in ImageLoader(images, options.batch_size, options.workers, "collect"):
        started = time.perf_counter()
        found = None
        if batch.indices:
            found = predictor.predict(batch.images, class_name, **options.changes())
            found.score.tolist()  # a GPU has finished
        spent = 1e3 * (time.perf_counter() - started)
        rows = [(bad.index, _unreadable_row(files[bad.index], bad, predictor.digest))
                for bad in batch.unreadable]  # fmt: skip
        for place, index in enumerate(batch.indices):
            assert found is not None
            row = _row(files[index], found, place, threshold, rule, predictor, spent, options)
            if folder is not None and "score" in row:
                scores = torch.as_tensor(found.map)[place].float().cpu().numpy()
                row |= _draw(files[index], scores, row, folder, names, predictor, options)
            rows.append((index, row))
        yield from (row for _, row in sorted(rows, key=lambda pair: pair[0]))


def _unreadable_row(file: Path, bad: Unreadable, digest: str) -> dict[str, Any]:
    return {
        "part_id": file.stem,
        "image": str(file),
        "class_name": None,
        "verdict": Verdict.NOT_INSPECTED.value,
        "reason": f"damaged frame: {bad.line}",
        "anomalous": None,
        "model": digest,
    }


def _row(
    file: Path,
    found: Prediction,
    place: int,
    given: float | None,
    rule: ScoreRule,
    predictor: Predictor,
    latency: float,
    options: ScoringOptions,
) -> dict[str, Any]:
    score, class_name = float(found.score[place]), found.class_names[place]
    limit = found.thresholds[place] if given is None else given
    verdict, reason = judge(score, limit, found.why_none)
    answers = {Verdict.PASS: False, Verdict.REJECT: True}
    row: dict[str, Any] = {
        "part_id": file.stem,
        "image": str(file),
        "class_name": class_name,
        "verdict": verdict.value,
        "reason": reason,
        "anomalous": answers.get(verdict),
        "model": predictor.digest,
    }
    if not np.isfinite(score):
        return row
    row |= {"score": score, "threshold": limit, "provisional": False, "regions": []}
    if given is None and limit is not None:
        key = predictor.thresholds.name_for(class_name)
        row["provisional"] = key is not None and predictor.thresholds.origins[key].provisional
    if limit is not None:
        scores = torch.as_tensor(found.map)[place].float().cpu().numpy()
        (height, width), orientation = stored_size(file)
        upright = (width, height) if orientation >= 5 else (height, width)
        row["regions"] = regions_above(scores, limit, upright)
    return row | {"latency_ms": round(latency, 3)}


def _draw(
    file: Path,
    scores: np.ndarray,
    row: dict[str, Any],
    folder: Path,
    names: FileNames,
    predictor: Predictor,
    options: ScoringOptions,
) -> dict[str, str]:
    """The map, and the map over the photo, in the photo's own size."""
    stem, scale = names.of(file.stem), picture_scale(predictor)
    photo = load_image(file, levels=options.levels)
    pictures = {
        "map": Image.fromarray(colour_map(scores, scale)),
        "overlay": overlay(photo, scores, scale, row["threshold"], row["verdict"], row["score"]),
    }
    paths = {kind: folder / f"{stem}_{kind}.png" for kind in pictures}
    for kind, picture in pictures.items():
        with written_whole(paths[kind]) as partial:
            picture.save(partial, format="PNG")
    return {kind: str(path) for kind, path in paths.items()}
