"""Images of every pixel format come out upright, 8-bit, RGB; damaged ones are named."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from refusals import one_line
from sample_images import COLOURS, RAMP, defect, save, tiff
from without_torch import run_without_torch

from invad_fast import InputError
from invad_fast.data import Record, load_image, load_mask


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
    one_line("cannot be opened", lambda: load_image(tmp_path / ("n" * 300)))
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    one_line(r"loop\.png: cannot be opened", lambda: load_image(tmp_path / "loop.png"))
    one_line("not a readable image", lambda: load_image("nul\0.png"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    one_line("too large to decode", lambda: load_image(save(tmp_path, COLOURS)))


def test_the_limit_on_pixels_can_be_lifted(tmp_path: Path, monkeypatch) -> None:
    path = save(tmp_path, COLOURS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    one_line("set the environment variable INVAD_FAST_MAX_PIXELS", lambda: load_image(path))
    monkeypatch.setenv("INVAD_FAST_MAX_PIXELS", "48")
    assert (load_image(path) == COLOURS).all()
    monkeypatch.setenv("INVAD_FAST_MAX_PIXELS", "47")
    one_line("48 pixels exceed the limit of 47", lambda: load_image(path))
    one_line("48 pixels exceed", lambda: load_mask(defect(path, path)))
    monkeypatch.setenv("INVAD_FAST_MAX_PIXELS", "0")
    assert (load_image(path) == COLOURS).all()
    monkeypatch.setenv("INVAD_FAST_MAX_PIXELS", "many")
    one_line("must be a number of pixels, .* not 'many'", lambda: load_image(path))
    # PIL's limit is the whole process's: another library's images are still held to it.
    assert Image.MAX_IMAGE_PIXELS == 4


LARGE = np.random.default_rng(0).integers(0, 256, (1300, 1100, 4), np.uint8)  # several strips


def large_images() -> dict[str, tuple[Image.Image, Image.Image]]:
    """Images of several strips, and what each looks like in 8 bits."""
    colours, grey = Image.fromarray(LARGE), Image.fromarray(LARGE[..., 0])
    white = Image.new("RGBA", colours.size, "white")
    palette = grey.convert("P")
    palette.info["transparency"] = 7
    veiled = Image.fromarray(LARGE[..., 2:])  # LA
    return {
        "RGBA": (colours, Image.alpha_composite(white, colours).convert("RGB")),
        "RGB": (colours.convert("RGB"), colours.convert("RGB")),
        "L": (grey, grey.convert("RGB")),
        "1": (grey.convert("1"), grey.convert("1").convert("RGB")),
        "P": (palette, Image.alpha_composite(white, palette.convert("RGBA")).convert("RGB")),
        "LA": (veiled, Image.alpha_composite(white, veiled.convert("RGBA")).convert("RGB")),
        "I;16": (
            Image.fromarray(LARGE[..., 1].astype(np.uint16) * 257),
            Image.fromarray(LARGE[..., 1]).convert("RGB"),
        ),
    }


@pytest.mark.parametrize("mode", large_images())
def test_strips_change_nothing(tmp_path: Path, mode: str) -> None:
    image, expected = large_images()[mode]
    path = tmp_path / "x.png"
    image.save(path, compress_level=1)
    assert (load_image(path) == np.asarray(expected)).all()
    for size in ((256, 200), (1300, 200), (256, 1100), (1400, 1500)):
        resized = expected.resize(size[::-1], Image.Resampling.BILINEAR)
        assert (load_image(path, size) == np.asarray(resized)).all(), size


def photograph(size: tuple[int, int]) -> np.ndarray:
    """Structure at every scale, as photographs have: height x width x 3."""
    rng = np.random.default_rng(3)
    total = np.zeros((*size, 3))
    for cells in (4, 16, 64, 256):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(noise.resize(size[::-1], Image.Resampling.BILINEAR), float)
    return (total / 4).astype(np.uint8)


def test_only_jpegs_far_too_large_are_decoded_reduced(tmp_path: Path) -> None:
    path = save(tmp_path, photograph((1001, 1203)), "x.jpg", quality=92)
    whole = Image.open(path).convert("RGB")
    for size, exact in (((63, 75), True), ((60, 70), False), ((20, 30), False)):
        expected = np.asarray(whole.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
        difference = abs(load_image(path, size) - expected)
        assert difference.max() <= (0 if exact else 5) and difference.mean() < 0.2
        assert exact or difference.any(), "decoded whole: nothing is tested"
    assert (load_image(path) == np.asarray(whole)).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(tmp_path, whole, "turned.jpg", quality=92, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(turned))
    expected = np.asarray(upright.resize((20, 30), Image.Resampling.BILINEAR)).astype(int)
    assert abs(load_image(turned, (30, 20)) - expected).max() <= 5


def test_memory_is_that_of_the_decoded_image(tmp_path: Path) -> None:
    side = 3000
    image = Image.fromarray(LARGE).resize((side, side), Image.Resampling.NEAREST)
    image.save(tmp_path / "x.png", compress_level=1)
    image.convert("RGB").save(tmp_path / "x.jpg")
    script = f"""
import resource
from pathlib import Path
from invad_fast.data import load_image
folder = Path({str(tmp_path)!r})
load_image({str(save(tmp_path, COLOURS, "small.png"))!r}, (8, 8))
for name in ("x.jpg", "x.png"):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load_image(folder / name, (96, 96))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    reduced, whole = map(int, run_without_torch(script).split())
    assert reduced < 0.3 * 4 * side * side  # of the JPEG's pixels, decoded at an eighth
    assert whole < 1.5 * 4 * side * side


def test_the_size_of_an_image_is_asked_for_without_decoding_it(tmp_path: Path, monkeypatch) -> None:
    path = save(tmp_path, COLOURS)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", None)
    assert load_mask(Record(path, "a", "test", "good", False)).shape == (6, 8)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_tiff_and_its_mask(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(RAMP, False, "<", (274, 3, 1, orientation)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    as_png = save(tmp_path, RAMP, "x.png", exif=exif)
    assert (load_image(path) == load_image(as_png)).all()
    for mask in (save(tmp_path, RAMP, "m.png"), as_png):
        found, expected = (load_mask(defect(image, mask)) for image in (path, as_png))
        assert found.shape == load_image(path).shape[:2] and (found == expected).all()


def test_colours_of_a_palette_that_is_not_there(tmp_path: Path) -> None:
    """PIL knows no other answer to it than a failed assertion."""
    file = save(tmp_path, Image.fromarray(RAMP).convert("P"))
    content = file.read_bytes()
    place = content.index(b"PLTE") - 4
    length = int.from_bytes(content[place : place + 4], "big")
    file.write_bytes(content[:place] + content[place + 12 + length :])
    one_line("palette that is not there", lambda: load_image(file))
