"""Images and masks of every pixel format come out upright, 8-bit, RGB; damaged ones are named."""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sample_sets
from PIL import Image, ImageOps
from without_torch import run_without_torch

from invad_fast import InputError
from invad_fast.data import Record, load_image, load_mask
from invad_fast.data.mask_source import MaskFiles, MaskRuns
from invad_fast.errors import InputWarning

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


@pytest.mark.parametrize(
    "image_format, options",
    [
        ("JPEG", {"quality": 80}),
        ("WEBP", {"quality": 60}),
        ("TIFF", {"compression": "jpeg"}),
        ("JPEG2000", {"irreversible": True, "quality_layers": [8]}),
    ],
)
def test_traces_of_compression_are_no_defect_whatever_the_name(
    tmp_path: Path, image_format: str, options: dict
) -> None:
    image = sample_sets.picture(tmp_path / "x.png", size=(64, 64))
    across, down = np.mgrid[:64, :64]
    pixels = (np.hypot(across - 30, down - 27) < 17).astype(np.uint8) * 255
    try:
        path = save(tmp_path, pixels, "m.png", format=image_format, **options)
    except (KeyError, OSError):
        pytest.skip(f"this PIL does not write {image_format}")
    stored = np.asarray(Image.open(path).convert("L"))
    assert (stored % 255 != 0).any(), "no traces: nothing is tested"
    assert (load_mask(defect(image, path)) * 255 == pixels).all()


def test_what_a_mask_is_called_does_not_matter(tmp_path: Path) -> None:
    image = save(tmp_path, COLOURS)
    drawn = RAMP // 60  # numbered defects, which a JPEG would lose
    for image_format, options in (
        ("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("JPEG2000", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ):  # fmt: skip
        try:
            path = save(tmp_path, drawn, "m.jpg", format=image_format, **options)
        except (KeyError, OSError):
            continue  # this PIL does not write it
        assert (load_mask(defect(image, path)) == (drawn > 0)).all(), image_format
    grey = np.zeros((64, 64), np.uint8)
    grey[16:48, 16:48] = 100  # drawn with less than half of the full range
    path = save(tmp_path, grey, "m.jpg", quality=90)
    part = sample_sets.picture(tmp_path / "y.png", size=(64, 64))
    assert (load_mask(defect(part, path)) * 100 == grey).mean() > 0.99
    black = save(tmp_path, np.zeros((64, 64), np.uint8), "b.jpg")
    assert not load_mask(defect(part, black)).any()


def test_masks_are_resized_to_the_nearest_pixel(tmp_path: Path) -> None:
    image = save(tmp_path, COLOURS)
    drawn = (RAMP > 100).astype(np.uint8)
    path = save(tmp_path, drawn * 255, "m.png")
    assert (load_mask(defect(image, path), (12, 16)) == drawn.repeat(2, 0).repeat(2, 1)).all()
    normal = Record(tmp_path / "not opened.png", "a", "test", "good", False)
    assert load_mask(normal, (3, 4)).tolist() == [[0] * 4] * 3


def test_masks_of_another_size(tmp_path: Path) -> None:
    image = sample_sets.picture(tmp_path / "x.png", size=(100, 150))
    larger = sample_sets.mask(tmp_path / "large.png", (200, 300))
    assert load_mask(defect(image, larger)).shape == (100, 150)
    rounded = sample_sets.mask(tmp_path / "rounded.png", (33, 51))  # 33.3 x 50
    assert load_mask(defect(image, rounded)).shape == (100, 150)
    for size in ((150, 100), (100, 100), (100, 155)):
        other = sample_sets.mask(tmp_path / "m.png", size)
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


BAD_CHUNKS = {
    "eXIf that is no TIFF": png_chunk(b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03"),
    "eXIf cut short": png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x09"),
    "a long comment": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"A" * 3 * 2**20)),
    "a comment that is not compressed": png_chunk(b"zTXt", b"Comment\0\0AAAA"),
    "a text with a wrong checksum": png_chunk(b"tEXt", b"Comment\0A", checksum=1),
    "a broken profile": png_chunk(b"iCCP", b"icc\0\0broken"),
    "a profile of an unknown kind": png_chunk(b"iCCP", b"icc\0\x07" + zlib.compress(b"A")),
    "international text without its fields": png_chunk(b"iTXt", b"Comment"),
    "a size that is no size": png_chunk(b"pHYs", b"\0"),
    "gamma cut short": png_chunk(b"gAMA", b"\0"),
    "an animation without frames": png_chunk(b"acTL", b"\0"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, on what it finds odd
@pytest.mark.parametrize("fault", BAD_CHUNKS)
def test_sound_pixels_in_a_png_of_damaged_metadata(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(BAD_CHUNKS[fault]))
    assert (load_image(path) == RAMP[..., None]).all()
    assert (load_mask(defect(path, path)) == (RAMP > 0)).all()
    path.write_bytes(png(BAD_CHUNKS[fault])[:-30])  # the pixels are damaged too
    one_line("not a readable image", lambda: load_image(path))


BAD_EXIF = {
    "no TIFF": b"Exif\0\0nothing",
    "cut short": b"Exif\0\0MM\0*\0\0\0\x08\0\x09",
    "offset outside": b"Exif\0\0MM\0*\xff\xff\xff\xf0",
    "an orientation that is text": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02A\0\0\0"
    + bytes(4),
    "empty": b"Exif\0\0",
}


def test_orientation_told_after_the_pixels(tmp_path: Path) -> None:
    turn = png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")
    path = tmp_path / "x.png"
    for data in (png(turn), png()[:-12] + turn + png()[-12:]):
        path.write_bytes(data)
        assert load_image(path).shape == (8, 6, 3)
        assert load_mask(defect(path, path)).shape == (8, 6)


def test_the_size_of_an_image_is_asked_for_without_decoding_it(tmp_path: Path, monkeypatch) -> None:
    path = save(tmp_path, COLOURS)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", None)
    assert load_mask(Record(path, "a", "test", "good", False)).shape == (6, 8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, on what it finds odd
@pytest.mark.parametrize("fault", BAD_EXIF)
@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "PNG"])
def test_sound_pixels_beside_damaged_exif(tmp_path: Path, image_format: str, fault: str) -> None:
    exact = {"lossless": True} if image_format == "WEBP" else {}
    plain = load_image(save(tmp_path, COLOURS, "x.img", format=image_format, **exact))
    exif = BAD_EXIF[fault] if image_format != "PNG" else BAD_EXIF[fault][6:]
    path = tmp_path / "y.img"
    if image_format == "PNG":
        data = (tmp_path / "x.img").read_bytes()
        path.write_bytes(data[:33] + png_chunk(b"eXIf", exif) + data[33:])
    else:
        save(tmp_path, COLOURS, "y.img", format=image_format, exif=exif, **exact)
    assert (load_image(path) == plain).all()
    assert load_mask(Record(path, "a", "test", "good", False)).shape == (6, 8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, on what it finds odd
def test_jpegs_with_a_broken_profile_or_segment(tmp_path: Path) -> None:
    plain = save(tmp_path, COLOURS, "x.jpg")
    data = plain.read_bytes()
    for marker, content in (
        (0xE2, b"ICC_PROFILE\0\x09\x01nothing"),
        (0xE2, b"MPF\0MM\0*\xff\xff\xff\xff"),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
        (0xE0, b"JFIF\0"),
        (0xFE, b"\xff\xff\xff"),
    ):
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
        (tmp_path / "y.jpg").write_bytes(data[:2] + segment + data[2:])
        assert (load_image(tmp_path / "y.jpg") == load_image(plain)).all(), content


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


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, on what it finds odd
@pytest.mark.parametrize("tag", [34665, 34853, 40965])
def test_a_tiff_whose_exif_points_nowhere(tmp_path: Path, tag: int) -> None:
    path = tmp_path / "x.tif"
    for order in "<>":
        for where in (2**32 - 16, 3, 0):
            path.write_bytes(tiff(RAMP, False, order, (tag, 4, 1, where)))
            assert (load_image(path) == RAMP[..., None]).all()


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
