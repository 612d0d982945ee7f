"""Annotation files of COCO 2017's size, made of random polygons: 860,001 annotations, 450 MB.

The classes are laid out so that the four splits of COCO-AD come to exactly the published counts.
"""

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import TextIO

import numpy as np

from invad_fast.data.coco_ad import FULL, PUBLISHED_TEST, PUBLISHED_TRAIN

TRAIN_ANNOTATED = 117_266
TRAIN_ANNOTATIONS = 860_001
VAL_ANNOTATIONS = 36_781
HEIGHT, WIDTH = 480, 640


def write_full_size_coco(root: Path, seed: int = 0) -> None:
    """Writes ``root/annotations/instances_{train,val}2017.json``; there are no images."""
    rng = np.random.default_rng(seed)
    (root / "annotations").mkdir(parents=True)
    # split k trains on the images without a class of group k: the others hold one
    holding = [TRAIN_ANNOTATED - count for count in PUBLISHED_TRAIN]
    train_groups: list[list[int]] = [[] for _ in range(TRAIN_ANNOTATED)]
    position = 0
    for group, count in enumerate(holding):
        for _ in range(count):
            train_groups[position % TRAIN_ANNOTATED].append(group)
            position += 1
    val_groups = [[int(g)] for g in rng.integers(0, 4, PUBLISHED_TEST)]
    for name, total, groups, annotations in (
        ("train2017", FULL[0], train_groups, TRAIN_ANNOTATIONS),
        ("val2017", FULL[1], val_groups, VAL_ANNOTATIONS),
    ):
        with open(root / "annotations" / f"instances_{name}.json", "w") as file:
            _write(file, rng, total, groups, annotations)


def _write(
    file: TextIO, rng: np.random.Generator, total: int, groups: list[list[int]], annotations: int
) -> None:
    images = [
        {"id": i, "file_name": f"{i:012}.jpg", "height": HEIGHT, "width": WIDTH, "license": 1,
         "coco_url": f"made up, as long as a real address of {i:012}", "date_captured": "none"}
        for i in range(total)
    ]  # fmt: skip
    categories = [{"id": i + 1, "name": f"class {i}", "supercategory": "any"} for i in range(80)]
    file.write(f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}, ')
    file.write('"annotations": [')
    shapes = cycle(_shapes(rng))
    separator = ""
    for number, (image, group) in enumerate(_places(groups, annotations)):
        category = 20 * group + 1 + number % 20
        file.write(
            f'{separator}{{{next(shapes)}, "image_id": {image}, "category_id": {category}, '
            f'"id": {number}, "area": 1024.5, "bbox": [1.5, 2.5, 3.5, 4.5]}}'
        )
        separator = ", "
    file.write("]}")


def _places(groups: list[list[int]], annotations: int) -> Iterator[tuple[int, int]]:
    """(image, group) of every annotation: each image's groups once, then round and round."""
    left = annotations
    turn = 0
    while left:
        for image, own in enumerate(groups):
            for group in own if turn == 0 else own[:1]:
                yield image, group
                left -= 1
                if not left:
                    return
        turn += 1


def _shapes(rng: np.random.Generator) -> list[str]:
    """Blobs of 12 to 37 corners, one in a hundred a crowd in uncompressed run lengths."""
    shapes = []
    for _ in range(1000):
        corners = int(rng.integers(12, 38))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(10, 100) * rng.uniform(0.7, 1.3, corners)
        x = rng.uniform(0, WIDTH) + radius * np.cos(angle)
        y = rng.uniform(0, HEIGHT) + radius * np.sin(angle)
        polygon = np.stack([x, y], 1).round(2).ravel().tolist()
        shapes.append(f'"segmentation": [{json.dumps(polygon)}], "iscrowd": 0')
    for _ in range(10):
        ends = np.sort(rng.choice(HEIGHT * WIDTH, 200, replace=False))
        counts = np.diff(ends, prepend=0, append=HEIGHT * WIDTH).tolist()
        runs = {"counts": counts, "size": [HEIGHT, WIDTH]}
        shapes.append(f'"segmentation": {json.dumps(runs)}, "iscrowd": 1')
    return shapes
