"""Images as the model takes them, one by one or in batches from worker processes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from invad_fast.data.images import Size, load_image
from invad_fast.data.record import Record
from invad_fast.data.resized_cache import ResizedCache
from invad_fast.errors import InputError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_MEAN, _STD = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))


def normalize(pixels: np.ndarray) -> Tensor:
    """uint8 H x W x 3, RGB -> float32 3 x H x W with ImageNet's mean and deviation taken out."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return planes.to(torch.float32).div_(255).sub_(_MEAN).div_(_STD)


def load_tensor(path: str | Path, size: Size) -> Tensor:
    """The image at ``path``, resized straight to ``size``, as the model takes it: 3 x H x W."""
    return normalize(load_image(path, size))


class ImageTensors(TorchDataset[tuple[Tensor, int]]):
    """The images of ``records``, resized straight to ``size`` = (height, width), no augmentation.

    Item i is (float32 3 x H x W normalised by `normalize`, i). With a ``cache`` built from the
    same images and size nothing is decoded. A file that cannot be read raises `InputError`; in
    the workers of a plain DataLoader torch wraps its own lines around that one, so use
    `ImageLoader`.

    The paths are kept in one array of bytes: thousands of Python objects shared with worker
    processes would be copied bit by bit as their reference counts change.
    """

    def __init__(
        self, records: Iterable[Record], size: Size, cache: ResizedCache | None = None
    ) -> None:
        names = [str(record.image).encode("utf-8", "surrogateescape") for record in records]
        self.size = size
        self._names = np.frombuffer(b"".join(names), np.uint8)
        self._ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        if cache is not None and (cache.size != size or len(cache) != len(names)):
            raise ValueError("the cache was built from other images or for another size")
        self._cache = cache

    def __len__(self) -> int:
        return len(self._ends)

    def path(self, index: int) -> Path:
        """The file of item ``index``."""
        begin = self._ends[index - 1] if index else 0
        name = self._names[begin : self._ends[index]].tobytes()
        return Path(name.decode("utf-8", "surrogateescape"))

    def pixels(self, index: int) -> np.ndarray:
        """uint8 H x W x 3 of item ``index``, before normalisation."""
        cached = self._cache.get(index) if self._cache is not None else None
        return load_image(self.path(index), self.size) if cached is None else cached

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return normalize(self.pixels(index)), index


class _Unreadable:
    """Takes the line of an `InputError` from a worker to the process that asked."""

    def __init__(self, line: str) -> None:
        self.line = line


class _Reporting(TorchDataset[Any]):
    def __init__(self, images: ImageTensors) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | _Unreadable:
        try:
            return self.images[index]
        except InputError as error:
            return _Unreadable(str(error))


def _collate(items: list[Any]) -> Any:
    fault = next((item for item in items if isinstance(item, _Unreadable)), None)
    return default_collate(items) if fault is None else fault


class ImageLoader(DataLoader[Any]):
    """A DataLoader over `ImageTensors`: batches of (float32 N x 3 x H x W, int64 N indices).

    Takes DataLoader's own arguments. An unreadable image raises the same one-line `InputError`
    with worker processes as without.
    """

    def __init__(self, images: ImageTensors, **options: Any) -> None:
        super().__init__(_Reporting(images), collate_fn=_collate, **options)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, _Unreadable):
                raise InputError(batch.line)
            images, indices = batch
            yield images, indices
