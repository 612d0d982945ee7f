"""Prediction: score, verdict, map and overlay of single images, as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from invad_fast.data import load_image
from invad_fast.data.listing import image_files
from invad_fast.data.tensors import normalize
from invad_fast.device import choose_device
from invad_fast.errors import InputError
from invad_fast.evaluate import picture_scale
from invad_fast.pictures import FOUND_COLOUR, colour_map, contour, overlay

if TYPE_CHECKING:
    from invad_fast.method import Predictor


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files given, and the images directly in the folders given."""
    found: list[Path] = []
    for path in paths:
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
    model: Predictor,
    images: Sequence[Path],
    *,
    output: Path | None = None,
    class_name: str | None = None,
    threshold: float | None = None,
    device: str = "auto",
) -> Iterator[dict[str, Any]]:
    """For each image its score and verdict, and, with ``output``, the files drawn of it.

    Args:
        class_name: the product, where the model has a threshold for each.
        threshold: instead of the model's own.

    Yields:
        ``image``, ``score``, ``threshold``, ``anomalous`` (None without a threshold), and with
        ``output`` also ``map`` and ``overlay``.
    """
    if class_name is not None and class_name not in model.classes:
        known = ", ".join(model.classes) or "none"
        raise InputError(f"the model does not know the class {class_name!r}; it knows {known}")
    chosen = choose_device(device)
    model = model.to(chosen)
    limit = model.threshold(class_name) if threshold is None else threshold
    used: set[str] = set()
    for path in images:
        pixels = load_image(path, model.config.input_size)
        prediction = model.predict(normalize(pixels)[None].to(chosen))
        score = prediction.score.item()
        row: dict[str, Any] = {
            "image": str(path),
            "score": score,
            "threshold": limit,
            "anomalous": None if limit is None else score > limit,
        }
        if output is not None:
            row |= _draw(pixels, prediction.map[0], picture_scale(model), limit, output, path, used)
        yield row


def _draw(
    pixels, scores: torch.Tensor, scale: float, limit: float | None, folder: Path, path: Path, used
) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    stem, count = path.stem, 1
    while stem in used:  # images of one name from several folders
        count += 1
        stem = f"{path.stem}-{count}"
    used.add(stem)
    array = scores.cpu().numpy()
    over = overlay(pixels, array, scale)
    if limit is not None:
        over = contour(over, array > limit, FOUND_COLOUR)
    files = {"map": folder / f"{stem}_map.png", "overlay": folder / f"{stem}_overlay.png"}
    Image.fromarray(colour_map(array, scale)).save(files["map"])
    Image.fromarray(over).save(files["overlay"])
    return {name: str(file) for name, file in files.items()}
