"""Images as the model takes them, one by one or in batches that threads decode ahead.

Threads, not processes: PIL and NumPy decode, resize and normalise without the interpreter's lock.
Two threads measured 637 small images a second and 31.8 of five megapixels, two processes 501 and
24.2 (2 cores). Nothing is pickled, nothing starts up, and a plain script needs no main guard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from invad_fast.data.cache.resized_cache import ResizedCache
from invad_fast.data.images import load_image, load_mask
from invad_fast.data.levels import Levels
from invad_fast.data.preparation import IMAGENET, Preparation
from invad_fast.data.record import Record
from invad_fast.data.size import Size
from invad_fast.errors import InputError

BATCHES_AHEAD = 2  # decoded, or being decoded, while one is worked on


def normalize(pixels: np.ndarray, preparation: Preparation = IMAGENET) -> Tensor:
    """uint8 H x W x 3, RGB -> float32 3 x H x W with the mean and deviation taken out."""
    planes = np.empty((3, *pixels.shape[:2]), np.float32)
    _normalize_into(planes, pixels, preparation)
    return torch.from_numpy(planes)


def _normalize_into(planes: np.ndarray, pixels: np.ndarray, preparation: Preparation) -> None:
    # In NumPy: torch would start a team of threads of its own in each thread that decodes.
    np.copyto(planes, pixels.transpose(2, 0, 1))
    planes /= np.float32(255)
    planes -= np.array(preparation.mean, np.float32).reshape(3, 1, 1)
    planes /= np.array(preparation.deviation, np.float32).reshape(3, 1, 1)


def load_tensor(
    path: str | Path,
    size: Size,
    levels: Levels | None = None,
    preparation: Preparation = IMAGENET,
) -> Tensor:
    """The image at ``path``, resized straight to ``size``, as the model takes it: 3 x H x W.

    A model says what it takes: ``preparation=model.preparation``.
    """
    return normalize(load_image(path, size, levels, preparation.interpolation), preparation)


class ImageTensors:
    """Images resized straight to ``size`` = (height, width), no augmentation.

    Item i is (float32 3 x H x W normalised by `normalize`, i); an unreadable file raises
    `InputError`. `ImageLoader` makes batches of them.

    Args:
        images: records, or the paths of image files.
        cache: built from the same images and size: nothing is decoded then.
        with_masks: let `ImageLoader` decode the records' masks too.
        levels: see `load_image`.
        preparation: the resizer, mean and deviation of the model.
    """

    def __init__(
        self,
        images: Iterable[Record | str | Path],
        size: Size,
        cache: ResizedCache | None = None,
        *,
        with_masks: bool = False,
        levels: Levels | None = None,
        preparation: Preparation = IMAGENET,
    ) -> None:
        self.preparation = preparation
        self._images = [i if isinstance(i, Record) else Path(i) for i in images]
        self.size = size
        self.with_masks = with_masks
        self._levels = levels
        if with_masks and not all(isinstance(image, Record) for image in self._images):
            raise ValueError("a plain path has no mask: give records")
        if cache is not None and (cache.size != size or len(cache) != len(self._images)):
            raise ValueError("the cache was built from other images or for another size")
        if cache is not None and cache.interpolation != preparation.interpolation:
            raise ValueError("the cache was built by another resizer")
        self._cache = cache

    def __len__(self) -> int:
        return len(self._images)

    def path(self, index: int) -> Path:
        """The file of item ``index``."""
        image = self._images[index]
        return image.image if isinstance(image, Record) else image

    def pixels(self, index: int) -> np.ndarray:
        """uint8 H x W x 3 of item ``index``, before normalisation."""
        cached = self._cache.get(index) if self._cache is not None else None
        if cached is not None:
            return cached
        kind = self.preparation.interpolation
        return load_image(self.path(index), self.size, self._levels, kind)

    def mask(self, index: int) -> np.ndarray:
        """uint8 H x W of 0 and 1: the mask of item ``index``, see `load_mask`."""
        record = self._images[index]
        assert isinstance(record, Record)
        return load_mask(record, self.size)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return normalize(self.pixels(index), self.preparation), index


@dataclass(frozen=True)
class Unreadable:
    """An image, or a mask of it, that cannot be read: its item, its file, the line to show."""

    index: int
    path: Path
    line: str


def unreadable_error(images: Sequence[Unreadable], total: int) -> InputError:
    """One line that names every file that cannot be read, of ``total`` images."""
    reasons = "; ".join(image.line for image in images)
    return InputError(f"{len(images)} of {total} images cannot be read: {reasons}", whole=True)


def find_unreadable(images: ImageTensors, workers: int = 2) -> list[Unreadable]:
    """All of ``images`` that cannot be read, found by decoding each of them once."""
    loader = ImageLoader(images, 16, workers, damaged="collect")
    for _ in loader:
        pass
    return loader.unreadable


@dataclass(frozen=True)
class ImageBatch:
    """The images of a batch that could be read, and those that could not.

    Attributes:
        indices: of the N images read, in the batch's order.
        images: float32 N x 3 x H x W, normalised.
        pixels: uint8 N x H x W x 3, RGB.
        masks: uint8 N x H x W of 0 and 1, where they were asked for.
        unreadable: the others, in the batch's order. N may be 0.
    """

    indices: list[int]
    images: Tensor
    pixels: np.ndarray
    masks: np.ndarray | None
    unreadable: tuple[Unreadable, ...]


class ImageLoader:
    """Batches of `ImageTensors`, decoded ahead of who works on them.

    Args:
        batches: lists of indices, taken one by one as they are needed; or a number: all images in
            their order, so many a batch.
        workers: threads that decode; 0 decodes in the caller's own thread, nothing ahead.
        damaged: "raise" stops at the first unreadable image with its one-line `InputError`;
            "collect" leaves such images out and lists them, in the batch and in ``unreadable``.
    """

    def __init__(
        self,
        images: ImageTensors,
        batches: Iterable[Sequence[int]] | int,
        workers: int = 2,
        damaged: Literal["raise", "collect"] = "raise",
    ) -> None:
        if workers < 0:
            raise InputError(f"workers must be 0 or more threads that decode, not {workers}")
        if damaged not in ("raise", "collect"):
            raise ValueError(f"damaged is 'raise' or 'collect', not {damaged!r}")
        if isinstance(batches, int):
            if batches < 1:
                raise InputError(f"a batch must have 1 image or more, not {batches}")
            everything = range(len(images))
            batches = [everything[i : i + batches] for i in range(0, len(images), batches)]
        self.images, self.batches, self.workers, self.damaged = images, batches, workers, damaged
        self.unreadable: list[Unreadable] = []

    def __iter__(self) -> Iterator[ImageBatch]:
        self.unreadable = []
        if not self.workers:
            for indices in self.batches:
                yield self._finished(_Batch(self.images, indices, None))
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        try:
            begun: deque[_Batch] = deque()
            for indices in self.batches:
                begun.append(_Batch(self.images, indices, pool))
                if len(begun) > BATCHES_AHEAD and not self._idle(begun):
                    yield self._finished(begun.popleft())
            while begun:
                yield self._finished(begun.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _idle(self, begun: Iterable[_Batch]) -> bool:
        """Whether small batches leave threads without work."""
        return sum(len(batch.indices) for batch in begun) < 2 * self.workers

    def _finished(self, batch: _Batch) -> ImageBatch:
        finished = batch.finish()
        if finished.unreadable and self.damaged == "raise":
            raise InputError(finished.unreadable[0].line)
        self.unreadable += finished.unreadable
        return finished


class _Batch:
    """Room for a batch's arrays, which threads fill image by image."""

    def __init__(
        self, images: ImageTensors, indices: Sequence[int], pool: ThreadPoolExecutor | None
    ) -> None:
        self.source, self.indices = images, [int(index) for index in indices]
        shape = (len(self.indices), *images.size)
        self.pixels = np.empty((*shape, 3), np.uint8)
        self.images = torch.empty(shape[0], 3, *images.size)
        self.masks = np.empty(shape, np.uint8) if images.with_masks else None
        self.filling: list[Future[Unreadable | None]] = []
        self.faults: list[Unreadable | None] = []
        rows = range(len(self.indices))
        if pool is None:
            self.faults = [self._fill(row) for row in rows]
        else:
            self.filling = [pool.submit(self._fill, row) for row in rows]

    def _fill(self, row: int) -> Unreadable | None:
        index = self.indices[row]
        try:
            self.pixels[row] = self.source.pixels(index)
            planes = self.images.numpy()[row]
            _normalize_into(planes, self.pixels[row], self.source.preparation)
            if self.masks is not None:
                self.masks[row] = self.source.mask(index)
        except InputError as error:
            return Unreadable(index, self.source.path(index), str(error))
        return None

    def finish(self) -> ImageBatch:
        """Waits for the images; leaves those out that could not be read."""
        faults = self.faults or [filled.result() for filled in self.filling]
        unreadable = tuple(fault for fault in faults if fault is not None)
        if not unreadable:
            return ImageBatch(self.indices, self.images, self.pixels, self.masks, ())
        read = [row for row, fault in enumerate(faults) if fault is None]
        return ImageBatch(
            [self.indices[row] for row in read],
            self.images[read],
            self.pixels[read],
            None if self.masks is None else self.masks[read],
            unreadable,
        )
