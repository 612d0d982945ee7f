"""What stored numbers stand for: inverted greys, empty alpha, few bits in a wide file."""

import re
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import one_line
from sample_images import COLOURS, RAMP, defect, png, save, tiff

from invad_fast.data import load_image, load_mask
from invad_fast.errors import InputWarning


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero(tmp_path: Path, order: str, packed: bool) -> None:
    path = tmp_path / "x.tif"
    for pixels in (RAMP, RAMP.astype(np.uint16) * 257):
        path.write_bytes(tiff(pixels, False, order, packed=packed))
        assert (load_image(path) == RAMP[..., None]).all()
        path.write_bytes(tiff(pixels, True, order, packed=packed))
        assert (load_image(path) == 255 - RAMP[..., None]).all()
        drawn = np.where(RAMP > 100, np.iinfo(pixels.dtype).max, 0).astype(pixels.dtype)
        path.write_bytes(tiff(drawn.max() - drawn, True, order, packed=packed))
        assert (load_mask(defect(save(tmp_path, COLOURS), path)) == (drawn > 0)).all()


def test_alpha_that_was_never_filled_in(tmp_path: Path) -> None:
    header = struct.pack("<IiiHHIIiiII", 108, 8, 6, 1, 32, 3, 6 * 8 * 4, 2835, 2835, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    pixels = np.dstack([COLOURS[..., ::-1], np.zeros_like(RAMP)])[::-1].tobytes()
    path = tmp_path / "x.bmp"
    path.write_bytes(
        b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + header + masks + pixels
    )
    with pytest.warns(InputWarning, match="alpha is 0 everywhere are read as if they had none"):
        assert (load_image(path) == COLOURS).all()
    hidden = save(tmp_path, np.dstack([COLOURS, np.zeros_like(RAMP)]))
    with pytest.warns(InputWarning, match=f"^{re.escape(str(tmp_path))}: images whose alpha"):
        assert (load_image(hidden) == COLOURS).all()
    veiled = save(tmp_path, np.dstack([RAMP, np.zeros_like(RAMP)]), "la.png")
    with pytest.warns(InputWarning, match="alpha is 0"):
        assert (load_image(veiled) == RAMP[..., None]).all()
    drawn = (RAMP > 100).astype(np.uint8) * 255
    mask = save(tmp_path, np.dstack([drawn] * 3 + [np.zeros_like(drawn)]), "m.png")
    with pytest.warns(InputWarning, match="alpha is 0"):
        assert (load_mask(defect(path, mask)) * 255 == drawn).all()
    empty = save(tmp_path, Image.new("RGBA", (8, 6), (255, 255, 255, 0)), "e.png")
    assert not load_mask(defect(path, empty)).any()  # nothing was drawn


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_few_bits_in_a_16_bit_file(tmp_path: Path, bits: int) -> None:
    top = 2**bits - 1
    values = (RAMP.astype(np.uint32) * top // RAMP.max()).astype(np.uint16)
    path = save(tmp_path, values)
    with pytest.warns(InputWarning, match=f"16 bits use {bits} of them at most") as notes:
        dark = load_image(path)
    assert len(notes) == 1 and (dark == ((values + 128) // 257)[..., None]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = load_image(path, levels=(0, top))
        assert (load_image(save(tmp_path, RAMP, "8.png"), levels=(0, top)) == RAMP[..., None]).all()
        load_image(save(tmp_path, np.zeros((4, 4), np.uint16), "black.png"))
    assert (full == np.rint(values * (255 / top)).astype(np.uint8)[..., None]).all()
    shifted = load_image(path, levels=(top // 4, top // 2))
    assert (shifted[values <= top // 4] == 0).all() and (shifted[values >= top // 2] == 255).all()
    white = tmp_path / "w.tif"
    white.write_bytes(tiff(values, True, "<"))
    assert (load_image(white, levels=(0, top)) == 255 - full).all()
    for levels in ((5, 5), (-1, 7), (0, 65536), (9, 3)):
        one_line("levels must rise", lambda: load_image(path, levels=levels))  # noqa: B023


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "packed TIFF"])
def test_few_bits_in_colours_of_16(tmp_path: Path, image_format: str) -> None:
    values = COLOURS.astype(np.uint16) * 4  # of 10 bits
    path = tmp_path / "x.img"
    if image_format == "PNG":
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        path.write_bytes(png(depth=16, colour=2, rows=rows))
    else:
        path.write_bytes(tiff(values, False, "<", packed=image_format == "packed TIFF"))
    with pytest.warns(InputWarning, match="16 bits use 10 of them"):
        assert load_image(path).max() < 4
    found = load_image(path, levels=(0, 1023))
    assert (found == np.rint(values * (255 / 1023)).astype(np.uint8)).all()
