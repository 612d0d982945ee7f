"""Small images and the bytes of files that PIL does not write."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from invad_fast.data import Record
from invad_fast.data.mask_source import MaskFiles, MaskRuns

RAMP = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8) * 5


COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def save(folder: Path, pixels: np.ndarray | Image.Image, name: str = "x.png", **options) -> Path:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(folder / name, **options)
    return folder / name


def defect(image: Path, mask: Path | MaskFiles | MaskRuns | None) -> Record:
    return Record(image, "a", "test", "cut", True, mask)


def png(*extra: bytes, depth: int = 8, colour: int = 0, rows: bytes | None = None) -> bytes:
    """A PNG of 8 x 6 pixels with ``extra`` chunks before its pixels."""
    rows = rows or b"".join(b"\0" + row.tobytes() for row in RAMP)
    head = struct.pack(">IIBBBBB", 8, 6, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    whole = [png_chunk(*part) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + whole[0] + b"".join(extra) + whole[1] + whole[2]


def png_chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def tiff(
    pixels: np.ndarray,
    white_is_zero: bool,
    order: str,
    *more: tuple[int, ...],
    packed: bool = False,
) -> bytes:
    """A TIFF of grey pixels or colours; ``more`` entries are (tag, type, count, value)."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if packed else data
    data += b"\0" * (len(data) % 2)
    height, width = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    samples = 3 if pixels.ndim == 3 else 1
    depth = (258, 3, 3, 8 + len(data)) if samples == 3 else (258, 3, 1, bits)
    data += struct.pack(f"{order}3H", bits, bits, bits)  # where the depths of the three are
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), depth, (259, 3, 1, 8 if packed else 1),
        (262, 3, 1, 2 if samples == 3 else 0 if white_is_zero else 1), (273, 4, 1, 8),
        (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, len(data) - 6), *more,
    ]  # fmt: skip
    table = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + struct.pack(f"{order}{'Hxx' if kind == 3 and count == 1 else 'I'}", value)
        for tag, kind, count, value in sorted(entries)
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(entries)) + table + bytes(4)
