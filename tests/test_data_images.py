"""Images and masks of every pixel format come out upright, 8-bit, RGB; damaged ones are named."""

import io
from collections.abc import Callable
from pathlib import Path

import layouts
import numpy as np
import pytest
from PIL import Image, ImageOps

from invad_fast import InputError
from invad_fast.data import Record, load_image, load_mask
from invad_fast.data.mask_source import MaskFiles, MaskRuns

RAMP = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8) * 5
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def save(folder: Path, pixels: np.ndarray | Image.Image, name: str = "x.png", **options) -> Path:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(folder / name, **options)
    return folder / name


def defect(image: Path, mask: Path | MaskFiles | MaskRuns | None) -> Record:
    return Record(image, "a", "test", "cut", True, mask)


def one_line(match: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_colours_are_kept(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    pixels = load_image(save(tmp_path, COLOURS, f"x.{suffix}", **options))
    assert pixels.dtype == np.uint8 and pixels.flags.writeable
    assert (pixels == COLOURS).all()


def test_resizing_is_pils_bilinear_to_height_and_width(tmp_path: Path) -> None:
    path = save(tmp_path, COLOURS)
    expected = Image.fromarray(COLOURS).resize((5, 3), Image.Resampling.BILINEAR)
    assert (load_image(path, (3, 5)) == np.asarray(expected)).all()
    assert load_image(str(path), (6, 8)).shape == (6, 8, 3)


def test_grey_and_palettes_and_bits(tmp_path: Path) -> None:
    grey = np.repeat(RAMP[..., None], 3, axis=2)
    assert (load_image(save(tmp_path, RAMP)) == grey).all()
    palette = Image.fromarray(RAMP).convert("P")
    assert (load_image(save(tmp_path, palette)) == grey).all()
    bits = Image.fromarray(RAMP > 100)
    assert (load_image(save(tmp_path, bits)) == 255 * (grey > 100)).all()
    cmyk = Image.fromarray(COLOURS).convert("CMYK")
    assert (load_image(save(tmp_path, cmyk, "x.tif")) == COLOURS).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_by_their_full_range(tmp_path: Path, suffix: str) -> None:
    deep = RAMP.astype(np.uint16) * 257 + 100  # 100 of 65535 rounds away
    pixels = load_image(save(tmp_path, deep, f"x.{suffix}"))
    assert (pixels == RAMP[..., None]).all()
    big_endian = Image.frombytes("I;16B", (8, 6), deep.astype(">u2").tobytes())
    assert (load_image(save(tmp_path, big_endian, "y.tif")) == RAMP[..., None]).all()
    white = np.full((2, 2), 65535, np.uint16)
    assert (load_image(save(tmp_path, white, f"w.{suffix}")) == 255).all()


def test_transparency_is_composited_over_white(tmp_path: Path) -> None:
    alpha = np.zeros((6, 8), np.uint8)
    alpha[:3] = 255
    for pixels, expected in (
        (np.dstack([COLOURS, alpha]), COLOURS),
        (np.dstack([RAMP, alpha]), RAMP[..., None]),
    ):
        shown = load_image(save(tmp_path, pixels))
        assert (shown[:3] == expected[:3]).all() and (shown[3:] == 255).all()
    palette = Image.fromarray(RAMP).convert("P")
    shown = load_image(save(tmp_path, palette, transparency=5))  # the index of RAMP's second pixel
    assert (shown[0, 1] == 255).all() and (shown[0, 2] == 10).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_turns_the_image_and_its_mask(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, COLOURS, "turned.png", exif=exif)
    shown = load_image(path)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert (shown == np.asarray(upright)).all()
    assert shown.shape == ((8, 6, 3) if orientation > 4 else (6, 8, 3))
    # drawn on the picture as a viewer shows it
    drawn = (shown[..., 0] > 100).astype(np.uint8)
    assert (load_mask(defect(path, save(tmp_path, drawn * 255, "m.png"))) == drawn).all()
    # drawn on the pixels as they are stored: only its size can tell
    if orientation > 4:
        stored = save(tmp_path, (RAMP > 100).astype(np.uint8) * 255, "n.png")
        assert (load_mask(defect(path, stored)) == drawn).all()
    normal = Record(path, "a", "test", "good", False)
    assert load_mask(normal).shape == shown.shape[:2] and not load_mask(normal).any()


def test_what_counts_as_anomalous(tmp_path: Path) -> None:
    image = save(tmp_path, COLOURS)
    drawn = RAMP // 60  # VisA and LOCO number the defects of a part
    assert (load_mask(defect(image, save(tmp_path, drawn, "m.png"))) == (drawn > 0)).all()
    deep = save(tmp_path, drawn.astype(np.uint16), "deep.png")
    assert (load_mask(defect(image, deep)) == (drawn > 0)).all()
    bits = save(tmp_path, Image.fromarray(drawn > 0), "bits.png")
    assert (load_mask(defect(image, bits)) == (drawn > 0)).all()
    # a palette whose first entry is white, the background's black the second
    palette = Image.fromarray((drawn == 0).astype(np.uint8)).convert("P")
    palette.putpalette([255, 255, 255, 0, 0, 0])
    assert (load_mask(defect(image, save(tmp_path, palette, "p.png"))) == (drawn > 0)).all()
    # transparent but for the defect, whatever colour hides there
    veil = np.dstack([COLOURS | 1, (drawn > 0).astype(np.uint8) * 255])
    assert (load_mask(defect(image, save(tmp_path, veil, "v.png"))) == (drawn > 0)).all()


def test_traces_of_jpeg_compression_are_no_defect(tmp_path: Path) -> None:
    image = layouts.picture(tmp_path / "x.png", size=(64, 64))
    pixels = np.zeros((64, 64), np.uint8)
    pixels[19:45, 11:37] = 255
    path = save(tmp_path, pixels, "m.jpg", quality=80)
    assert (np.asarray(Image.open(path)) % 255 != 0).any()
    assert (load_mask(defect(image, path)) * 255 == pixels).all()


def test_masks_are_resized_to_the_nearest_pixel(tmp_path: Path) -> None:
    image = save(tmp_path, COLOURS)
    drawn = (RAMP > 100).astype(np.uint8)
    path = save(tmp_path, drawn * 255, "m.png")
    assert (load_mask(defect(image, path), (12, 16)) == drawn.repeat(2, 0).repeat(2, 1)).all()
    normal = Record(tmp_path / "not opened.png", "a", "test", "good", False)
    assert load_mask(normal, (3, 4)).tolist() == [[0] * 4] * 3


def test_masks_of_another_size(tmp_path: Path) -> None:
    image = layouts.picture(tmp_path / "x.png", size=(100, 150))
    larger = layouts.mask(tmp_path / "large.png", (200, 300))
    assert load_mask(defect(image, larger)).shape == (100, 150)
    rounded = layouts.mask(tmp_path / "rounded.png", (33, 51))  # 33.3 x 50
    assert load_mask(defect(image, rounded)).shape == (100, 150)
    for size in ((150, 100), (100, 100), (100, 155)):
        other = layouts.mask(tmp_path / "m.png", size)
        match = rf"x\.png is 150x100, but its mask .*m\.png is {size[1]}x{size[0]}: "
        one_line(match, lambda: load_mask(defect(image, other)))  # noqa: B023
    union = MaskFiles((larger, tmp_path / "gone.png"))
    one_line(r"gone\.png: no such image file", lambda: load_mask(defect(image, union)))


def test_run_length_masks(tmp_path: Path) -> None:
    image = save(tmp_path, COLOURS)
    # 48 pixels in one run, as pycocotools writes it: 16 + 32 = 0b110000 -> groups 10000, 00001
    full = MaskRuns(6, 8, "0`1")
    assert load_mask(defect(image, full)).all() and not full.empty
    assert MaskRuns(6, 8, "`1").empty
    one_line(r"x\.png: damaged run-length", lambda: load_mask(defect(image, MaskRuns(6, 8, "1"))))
    flat = MaskRuns(3, 8, "h0")  # a run of 24: its fifth bit would be a sign, hence two groups
    one_line("its run-length mask is 8x3", lambda: load_mask(defect(image, flat)))


def encoded(image_format: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, on what it finds odd in a TIFF
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_truncated_files_are_named(tmp_path: Path, image_format: str) -> None:
    data = encoded(image_format)
    path = tmp_path / f"x.{image_format.lower()}"
    for keep in (0, 1, 10, 30, len(data) // 2, len(data) * 9 // 10):
        path.write_bytes(data[:keep])
        reason = "the file is empty" if keep == 0 else "not a readable image"
        one_line(rf"{path.name}: .*{reason}", lambda: load_image(path))


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, on what it finds odd in a TIFF
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_flipped_bytes_decode_or_are_named(tmp_path: Path, image_format: str) -> None:
    data = encoded(image_format)
    rng = np.random.default_rng(1)
    path = tmp_path / "x.img"
    outcomes = set()
    for _ in range(100):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(0, min(len(data), 400), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        try:
            outcomes.add(load_image(path).shape[2])
        except InputError as error:
            assert "x.img" in str(error) and "\n" not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes


def test_other_unreadable_files_are_named(tmp_path: Path, monkeypatch) -> None:
    one_line(r"gone\.png: no such image file", lambda: load_image(tmp_path / "gone.png"))
    one_line("a folder, not an image file", lambda: load_image(tmp_path))
    one_line(r"gone\.png: no such", lambda: load_mask(defect(tmp_path / "gone.png", tmp_path)))
    real = save(tmp_path, np.full((4, 4), 0.5, np.float32), "x.tif")
    one_line(r"x\.tif: floating-point", lambda: load_image(real))
    deep = save(tmp_path, np.full((4, 4), 70000, np.int32), "deep.tif")
    one_line(r"deep\.tif: 32-bit pixels outside", lambda: load_image(deep))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    one_line("too large to decode", lambda: load_image(save(tmp_path, COLOURS)))
