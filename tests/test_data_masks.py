"""Masks of every format and size: which pixels are anomalous."""

from pathlib import Path

import numpy as np
import pytest
import sample_sets
from PIL import Image
from refusals import one_line
from sample_images import COLOURS, RAMP, defect, save

from invad_fast.data import Record, load_mask
from invad_fast.data.mask_source import MaskFiles, MaskRuns


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
