"""Sound pixels beside damaged metadata are read."""

import struct
import zlib
from pathlib import Path

import pytest
from refusals import one_line
from sample_images import COLOURS, RAMP, defect, png, png_chunk, save, tiff

from invad_fast.data import Record, load_image, load_mask

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


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, on what it finds odd
@pytest.mark.parametrize("tag", [34665, 34853, 40965])
def test_a_tiff_whose_exif_points_nowhere(tmp_path: Path, tag: int) -> None:
    path = tmp_path / "x.tif"
    for order in "<>":
        for where in (2**32 - 16, 3, 0):
            path.write_bytes(tiff(RAMP, False, order, (tag, 4, 1, where)))
            assert (load_image(path) == RAMP[..., None]).all()
