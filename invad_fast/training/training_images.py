"""Which images a run trains on: those that can be read, and on resuming the same as before."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from invad_fast.data import Dataset, ImageTensors, Record, find_unreadable
from invad_fast.data.size import Size
from invad_fast.distributed import World
from invad_fast.errors import InputError, InputWarning
from invad_fast.names import visible
from invad_fast.progress import counter
from invad_fast.training.image_list import ImageList, path_below
from invad_fast.training.options import TrainingOptions
from invad_fast.training.run_description import GO_ON
from invad_fast.training.run_folder import Checkpoint, RunFolder


def readable(
    dataset: Dataset, size: Size, options: TrainingOptions, world: World
) -> tuple[Record, ...]:
    """The training images that can be read; how many are left out is said.

    Raises:
        InputError: where a class has none left.
    """
    records = dataset.train
    own = list(world.own(range(len(records))))
    images = ImageTensors([records[i] for i in own], size, levels=options.levels)
    found = world.gather([own[image.index] for image in find_unreadable(images, options.workers)])
    damaged = {index for part in found for index in part}
    kept = tuple(record for i, record in enumerate(records) if i not in damaged)
    lost = sorted(set(dataset.classes) - {record.class_name for record in kept})
    if lost:
        raise InputError(f"{dataset.root}: no training image of class {lost[0]!r} can be read")
    if damaged and world.main:
        warnings.warn(
            f"{len(damaged)} of {len(records)} training images cannot be read and are left out, "
            f"the first {visible(str(records[min(damaged)].image))}",
            InputWarning,
            stacklevel=2,
        )
    return kept


def take_images(
    folder: RunFolder,
    checkpoint: Checkpoint | None,
    described: dict[str, Any],
    dataset: Dataset,
    records: Sequence[Record],
    options: TrainingOptions,
    show_progress: bool,
) -> dict[str, Any]:
    """The run's description with its images; written down, and on resuming compared.

    Args:
        described: the rest of the description.
        records: those of the data set's training images that are trained on.

    Raises:
        InputError: where the run was begun on other images, saying which differ.
    """
    earlier = folder.read_images()
    with counter("read", show_progress) as progress:
        images = ImageList.of(records, dataset.root, earlier, options.workers, progress)
    left_out = sorted(set(dataset.train) - set(records), key=lambda r: str(r.image))
    data: dict[str, Any] = {
        "images": len(images.images),
        "digest": images.digest,
        "classes": list(dataset.classes),
        "left_out": [path_below(record.image, dataset.root) for record in left_out],
    }
    if checkpoint is not None:
        before = checkpoint.run.get("data") or {}
        if before.get("digest") != images.digest:
            known = earlier.digest == before.get("digest")
            how = f"{earlier.difference(images)}; " if known else ""
            raise InputError(
                f"{folder.path} was trained on other images: {how}data {before.get('digest')}, "
                f"not {images.digest}: {GO_ON}"
            )
        data["classes"] = _class_names(folder.path, before.get("classes", []), data["classes"])
    described = described | {"data": data}
    if checkpoint is None or described != checkpoint.run:
        folder.write_config(described)
    if images != earlier:
        folder.write_images(images)
    return described


def _class_names(path: Path, before: list[str], now: list[str]) -> list[str]:
    if before == now:
        return now
    if len(before) == len(now) == 1:  # a class on its own is called after its folder
        warnings.warn(
            f"the class keeps the name {before[0]!r} that it has in {path}, though the data set "
            f"calls it {now[0]!r} now",
            InputWarning,
            stacklevel=3,
        )
        return before
    raise InputError(
        f"{path} was trained with the classes {', '.join(map(visible, before))}, not "
        f"{', '.join(map(visible, now))}: {GO_ON}"
    )
