"""Bytes of a request ─> a frame: an image file of any common kind, or a camera's raw frame."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from invad_fast.data.levels import Levels
from invad_fast.errors import InputError
from invad_fast.inspection.pixel_formats import PIXEL_FORMATS


class TooLarge(InputError):
    """An image of more pixels than are taken."""


def read_image(content: bytes, levels: Levels | None, most_pixels: int) -> np.ndarray:
    """uint8 H×W×3, RGB; by its content, as `invad_fast.data.images` reads files.

    Args:
        levels: of images of more than 8 bits.
        most_pixels: known from the header, before anything is decoded.

    Raises:
        InputError: for what is no image, and, as TooLarge, for one of more pixels.
    """
    from invad_fast.data.images import image_size, load_image

    with _as_file(content) as file:
        try:
            height, width = image_size(file)
            if height * width > most_pixels:
                raise TooLarge(
                    f"the image has {width}×{height} pixels, and at most {most_pixels} are taken"
                )
            return load_image(file, None, levels)
        except InputError as error:
            raise type(error)(str(error).replace(str(file), "the image")) from None


def raw_frame(content: bytes, pixel_format: str, width: int, height: int) -> np.ndarray:
    """The frame as `Ticket.frame` takes it; its bytes are read where they are.

    Args:
        pixel_format: a PFNC name.
        width, height: in pixels.

    Raises:
        InputError: for a format that there is not, and where the number of bytes is another.
    """
    found = PIXEL_FORMATS.get(pixel_format)
    if found is None:
        raise InputError(f"no pixel format {pixel_format!r:.60}: give one of PFNC's, as BGR8")
    shape: tuple[int, ...]
    if found.layout == "packed":
        if width * found.bits % 8:
            raise InputError(f"rows of {width} pixels of {pixel_format} are no whole bytes")
        shape = height, width * found.bits // 8
    else:
        channels = {"colours": len(found.order), "yuv": 2}.get(found.layout)
        shape = (height, width) if channels is None else (height, width, channels)
    expected = int(np.prod(shape)) * found.dtype.itemsize
    if len(content) != expected:
        raise InputError(
            f"{width}×{height} pixels of {pixel_format} are {expected} bytes, not {len(content)}"
        )
    return np.frombuffer(content, found.dtype).reshape(shape)


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """A path at which the bytes are read; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("image")
        try:
            with open(file, "wb", closefd=False) as writer:
                writer.write(content)
            yield Path(f"/proc/self/fd/{file}")
        finally:
            os.close(file)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        yield path
