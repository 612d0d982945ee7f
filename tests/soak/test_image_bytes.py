"""Images of every kind with damaged bytes: pixels or one line, soon and in little memory."""

import io
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soak.bounded import Bounded
from soak.damage import damaged
from soak.rounds import Rounds

PIXELS = 3_000_000  # the user's limit; what a damaged size goes beyond is refused
# A pixel in colours and its copies, or a float's; and what a decoder needs for itself.
MEBIBYTES = PIXELS * 16 / 2**20 + 64


def samples() -> dict[str, bytes]:
    """Sound files: format and kind -> content."""
    y, x = np.mgrid[:90, :120]
    grey = ((np.sin(x / 9) + np.cos(y / 7)) * 60 + 128).astype(np.uint8)
    colours = Image.fromarray(np.stack([grey, grey[::-1], grey[:, ::-1]], 2))
    deep = Image.fromarray(grey.astype(np.uint16) * 200)
    veiled = colours.copy()
    veiled.putalpha(Image.fromarray(255 - grey))
    palette, bits = colours.convert("P"), colours.convert("1")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a part"
    kinds = {
        "PNG colours": (colours, "PNG", {"exif": exif}),
        "PNG deep": (deep, "PNG", {}),
        "PNG palette": (palette, "PNG", {"transparency": 3}),
        "PNG veiled": (veiled, "PNG", {}),
        "PNG bits": (bits, "PNG", {}),
        "JPEG": (colours, "JPEG", {"exif": exif, "quality": 70}),
        "JPEG progressive": (colours, "JPEG", {"progressive": True}),
        "JPEG four colours": (colours.convert("CMYK"), "JPEG", {}),
        "TIFF": (colours, "TIFF", {}),
        "TIFF deep": (deep, "TIFF", {}),
        "TIFF deflate": (veiled, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "TIFF LZW": (palette, "TIFF", {"compression": "tiff_lzw"}),
        "TIFF JPEG": (colours, "TIFF", {"compression": "jpeg"}),
        "TIFF fax": (bits, "TIFF", {"compression": "group4"}),
        "BMP": (colours, "BMP", {}),
        "BMP palette": (palette, "BMP", {}),
        "WebP": (colours, "WEBP", {"exif": exif}),
        "WebP lossless": (veiled, "WEBP", {"lossless": True}),
        "GIF": (palette, "GIF", {"save_all": True, "append_images": [palette.rotate(9)]}),
        "PPM": (colours, "PPM", {}),
    }
    made = {}
    for name, (image, kind, options) in kinds.items():
        file = io.BytesIO()
        image.save(file, kind, **options)
        made[name] = file.getvalue()
    return made


def with_sums(png: bytes) -> bytes:
    """A PNG's checksums made right again, as far as its chunks can be told."""
    parts, at = [png[:8]], 8
    while at + 12 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if at + 12 + length > len(png):
            break
        content = png[at + 4 : at + 8 + length]
        parts += [png[at : at + 4], content, struct.pack(">I", zlib.crc32(content))]
        at += 12 + length
    return b"".join(parts) + png[at:]


def read(path: str, size: tuple[int, int] | None, as_mask_of: str | None) -> str:
    from invad_fast.data import Record, load_image, load_mask

    if as_mask_of is not None:
        record = Record(Path(as_mask_of), "a", "test", "cut", True, Path(path))
        mask = load_mask(record, size)
        assert mask.dtype == np.uint8 and mask.ndim == 2 and set(np.unique(mask)) <= {0, 1}
        return "masks"
    pixels = load_image(path, size)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert pixels.size and (size is None or pixels.shape[:2] == size)
    return "pixels"


def read_elsewhere(path: str, size: tuple[int, int] | None, as_mask_of: str | None) -> str:
    """``read`` with a limit that stays: called in the other process alone."""
    os.environ["INVAD_FAST_MAX_PIXELS"] = str(PIXELS)
    return read(path, size, as_mask_of)


@pytest.mark.soak("images with damaged bytes, read as pictures and as masks", weight=4)
def test_damaged_images(rounds: Rounds, bounded: Bounded, tmp_path: Path) -> None:
    sound = samples()
    upright = tmp_path / "upright.png"
    upright.write_bytes(sound["PNG deep"])
    for rng in rounds:
        name = rng.choice(list(sound))
        content = damaged(sound[name], rng)
        if name.startswith("PNG") and rng.random() < 0.8:
            content = with_sums(content)
        file = tmp_path / rng.choice(("x.png", "x.jpg", "x"))
        file.write_bytes(content)
        size = rng.choice((None, (32, 48), (200, 3)))
        mask_of = str(upright) if rng.random() < 0.25 else None
        answer = bounded.call(MEBIBYTES, read_elsewhere, str(file), size, mask_of)
        rounds.came(f"read as {answer.value}" if answer.value else "refused in one line")


def test_samples_are_sound(tmp_path: Path) -> None:
    """Else nothing would be tried; and their checksums are known."""
    for name, content in samples().items():
        (tmp_path / "x").write_bytes(content)
        assert read(str(tmp_path / "x"), (8, 8), None) == "pixels"
        if name.startswith("PNG"):
            assert with_sums(content) == content
    assert damaged(content, random.Random(1)) != content
