"""Resized images kept on disk (see `mapped_rows`): later epochs and runs are free of decoding."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from invad_fast.data.cache.mapped_rows import MappedRows, Progress, RowWriter, keep_rows
from invad_fast.data.images import decoding, load_image
from invad_fast.data.levels import Levels
from invad_fast.data.preparation import Interpolation
from invad_fast.data.record import Record
from invad_fast.data.size import Size
from invad_fast.distributed import ALONE, World
from invad_fast.errors import InputError


class ResizedCache:
    """The resized images of one list of records, in its order; made by `build_cache`.

    May hold fewer images than the list, the first ``cached`` ones (the bound on its bytes) but
    for unreadable ones: `get` is None for the others.
    """

    def __init__(
        self, rows: MappedRows, size: Size, interpolation: Interpolation = "bilinear"
    ) -> None:
        self.size, self.interpolation = size, interpolation
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def file(self) -> Path:
        return self._rows.file

    @property
    def cached(self) -> int:
        return self._rows.kept

    def get(self, index: int) -> np.ndarray | None:
        """uint8 H x W x 3 of image ``index``, read-only; None where it is not in the cache."""
        if not 0 <= index < self.cached or index in self._rows.missing:
            return None
        pixels: Any = self._rows.rows[index].reshape(*self.size, 3)
        return pixels


def build_cache(
    records: Iterable[Record],
    size: Size,
    folder: str | Path,
    max_bytes: int = 20 * 2**30,
    progress: Progress | None = None,
    workers: int | None = None,
    verify: bool = False,
    world: World = ALONE,
    levels: Levels | None = None,
    damaged: Literal["raise", "collect"] = "raise",
    interpolation: Interpolation = "bilinear",
) -> ResizedCache:
    """The cache of these images in ``folder``, made or brought up to date as needed.

    ``workers`` threads decode what is new or changed; see `keep_rows` for what counts as that,
    for ``max_bytes`` and ``verify``, `load_image` for ``levels`` and ``interpolation``. Images
    that cannot be read raise one `InputError` that names them all; with ``damaged="collect"`` they
    are not cached, for `ImageLoader` to find. Also raises what `keep_rows` does.
    """
    paths = [os.path.abspath(record.image) for record in records]
    threads = workers or max(1, (os.cpu_count() or 1) // world.local_size)

    def decode(indices: list[int], writer: RowWriter) -> None:
        def fill(index: int) -> str | None:
            try:
                writer.opening(index)
                writer.store(index, load_image(paths[index], size, levels, interpolation))
            except InputError as error:
                if damaged == "raise":
                    return str(error)
                writer.miss(index)
            return None

        with ThreadPoolExecutor(threads) as pool:
            try:
                faults = [line for line in pool.map(fill, indices) if line is not None]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if faults:
            reasons = "; ".join(faults)
            raise InputError(f"{len(faults)} of {len(paths)} images cannot be read: {reasons}")

    name = f"resized-{size[0]}x{size[1]} by {decoding(levels, interpolation)}"
    row_bytes = size[0] * size[1] * 3
    rows = keep_rows(
        Path(folder), name, paths, row_bytes, decode,
        max_bytes=max_bytes, progress=progress, verify=verify, world=world,
    )  # fmt: skip
    return ResizedCache(rows, size, interpolation)
