"""A production line that was never built: images of good and defective parts, with exact masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from invad_fast.data.production_line.defects import DEFECTS, SMALLEST, changed
from invad_fast.data.production_line.paint import Canvas, eight_bits, fill, photograph
from invad_fast.data.production_line.products import PRODUCTS
from invad_fast.errors import InputError
from invad_fast.files import make_folder, written_whole

__all__ = ["DEFECTS", "PRODUCTS", "make_production_line", "photograph_part"]


def photograph_part(
    product: str, defect: str | None, size: int, seed: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """One part: (image size×size×3 uint8, mask size×size bool).

    The good twin of a defective part has the same seed: they differ inside the mask only.
    """
    part_seed, camera_seed, defect_seed = np.random.SeedSequence(seed).spawn(3)
    canvas = Canvas(size)
    part = PRODUCTS[product](canvas, np.random.default_rng(part_seed))
    good = photograph(part.image, np.random.default_rng(camera_seed))
    if defect is None:
        return eight_bits(good), np.zeros((size, size), bool)
    make = {f.__name__: f for f in DEFECTS[product]}[defect]
    defect_rng = np.random.default_rng(defect_seed)
    mask = np.zeros((size, size), bool)
    while mask.mean() < SMALLEST:
        spoilt = make(part, canvas, defect_rng)
        if part.body is not None:
            spoilt = fill(part.image, part.body, spoilt)
        bad = photograph(spoilt, np.random.default_rng(camera_seed))
        mask = changed(good, bad)
    return eight_bits(np.where(mask[..., None], bad, good)), mask


def make_production_line(
    root: Path,
    size: int = 128,
    train: int = 60,
    test_good: int = 20,
    defects: int = 8,
    seed: int = 0,
) -> None:
    """Writes the set in MVTec's layout; the same seed gives the same images.

    Args:
        root: a folder that is empty or not there yet.
        size: side of the square images.
        train: good parts of each product to train on.
        test_good, defects: good parts of each product, and parts of each defect type, to test on.
    """
    make_folder(root)
    if any(root.iterdir()):
        raise InputError(f"{root} is not empty: choose a folder that is not there yet")
    for product_index, product in enumerate(PRODUCTS):
        kinds = [("train", "good", train), ("test", "good", test_good)]
        kinds += [("test", d.__name__, defects) for d in DEFECTS[product]]
        for kind_index, (split, defect, count) in enumerate(kinds):
            for index in range(count):
                chosen = None if defect == "good" else defect
                part_seed = (seed, product_index, kind_index, index)
                image, mask = photograph_part(product, chosen, size, part_seed)
                stem = f"{index:03d}"
                _write(root / product / split / defect / f"{stem}.png", image)
                if chosen is not None:
                    truth = root / product / "ground_truth" / defect / f"{stem}_mask.png"
                    _write(truth, mask.astype(np.uint8) * 255)


def _write(path: Path, pixels: np.ndarray) -> None:
    make_folder(path.parent)
    with written_whole(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")
