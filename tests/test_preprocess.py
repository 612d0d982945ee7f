"""A camera's frame as the model takes it: the pixels that the same picture has as a file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import one_line

from invad_fast.data.images import load_image
from invad_fast.inspection import preprocess as module
from invad_fast.inspection.part import Reason
from invad_fast.inspection.pixel_formats import PIXEL_FORMATS
from invad_fast.inspection.preprocess import FrameError, preprocess

RNG = np.random.default_rng(0)


@pytest.fixture(params=["native", "numpy"], autouse=True)
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(module, "native_module", lambda: None)
    elif module.native_module() is None:
        pytest.skip("the compiled core is not installed")


def as_frame(name: str, grey: np.ndarray) -> np.ndarray:
    """A grey picture, of the format's bits, as a camera sends it in this format."""
    found = PIXEL_FORMATS[name]
    height, width = grey.shape
    if found.layout in ("grey", "bayer"):
        return grey.astype(found.dtype)
    if found.layout == "colours":
        return np.repeat(grey[..., None], len(found.order), 2).astype(found.dtype)
    if found.layout == "yuv":
        pair = [grey, np.full_like(grey, 128)]
        return np.stack(pair if found.order == "YUYV" else pair[::-1], -1).astype(np.uint8)
    if found.order == "gige":
        a, b = grey[:, 0::2], grey[:, 1::2]
        trio = np.stack([a >> 4, (a & 15) | (b & 15) << 4, b >> 4], -1)
        return trio.reshape(height, -1).astype(np.uint8)
    bits = (grey[..., None] >> np.arange(found.bits)) & 1
    return np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1, bitorder="little")


@pytest.mark.parametrize("name", PIXEL_FORMATS)
def test_grey_is_grey_in_every_format(name: str) -> None:
    """A picture whose 2×2 are of one grey comes out the same, whatever the camera sends."""
    bits = PIXEL_FORMATS[name].bits
    grey = RNG.integers(0, 2**bits, (1, 1)) + np.zeros((16, 24), np.int64)
    wanted = (grey * 255 + (2**bits - 1) // 2) // (2**bits - 1)
    found = preprocess(as_frame(name, grey), name, (16, 24))
    assert found.dtype == np.uint8 and (found == wanted[..., None]).all()
    if PIXEL_FORMATS[name].layout in ("grey", "packed", "colours"):
        grey = RNG.integers(0, 2**bits, (16, 24))
        wanted = (grey * 255 + (2**bits - 1) // 2) // (2**bits - 1)
        assert (preprocess(as_frame(name, grey), name, (16, 24)) == wanted[..., None]).all()


@pytest.mark.parametrize("size", [(32, 32), (90, 70), (256, 256), (1, 1), (7, 200)])
@pytest.mark.parametrize("name", ["RGB8", "BGR8", "RGBa8", "BGRa8", "Mono8"])
def test_resized_as_files_are(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    pixels = RNG.integers(0, 256, (90, 70, 3), np.uint8)
    if name == "Mono8":
        pixels = np.repeat(pixels[..., :1], 3, 2)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    order = [*map("RGB".index, name[:3])] if name != "Mono8" else [0]
    frame = pixels[..., order]
    if name.endswith("a8"):
        frame = np.concatenate([frame, RNG.integers(0, 256, (90, 70, 1), np.uint8)], 2)
    frame = frame[..., 0] if name == "Mono8" else frame
    wanted = load_image(tmp_path / "x.png", size)
    found = preprocess(frame, name, size)
    assert (found == wanted).all()
    # Strides of any kind: a part of a larger frame, one that stands on its head.
    larger = np.zeros((100, 90, *frame.shape[2:]), np.uint8)
    larger[5:95, 10:80] = frame
    assert (preprocess(larger[5:95, 10:80], name, size) == found).all()
    assert (preprocess(frame[::-1].copy()[::-1], name, size) == found).all()
    out = np.zeros((*size, 3), np.uint8)
    assert preprocess(frame, name, size, out=out) is out and (out == found).all()


@pytest.mark.parametrize("levels", [None, (0, 4095), (100, 3000)])
def test_sixteen_bits_as_files(tmp_path: Path, levels: tuple[int, int] | None) -> None:
    deep = RNG.integers(0, 4096, (40, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    if levels is None:
        deep = deep * 16 + 5
        Image.fromarray(deep).save(tmp_path / "x.png")
    wanted = load_image(tmp_path / "x.png", (20, 20), levels)
    assert (preprocess(deep, "Mono16", (20, 20), levels=levels) == wanted).all()
    if levels == (0, 4095):
        assert (preprocess(deep, "Mono12", (20, 20)) == wanted).all()


@pytest.mark.parametrize("order", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_bayer(order: str) -> None:
    """What is known of a colour stays; what is between is the mean of its neighbours."""
    frame = RNG.integers(0, 256, (12, 10), np.uint8)
    found = preprocess(frame, f"Bayer{order[:2]}8", (12, 10))
    for row in range(12):
        for column in range(10):
            own = order[2 * (row % 2) + column % 2]
            assert found[row, column, "RGB".index(own)] == frame[row, column]
    row, column = 5, 4  # within
    for colour in "RGB":
        near = [
            int(frame[r, c])
            for r in (4, 5, 6)
            for c in (3, 4, 5)
            if order[2 * (r % 2) + c % 2] == colour and (r, c) != (row, column)
        ]
        if order[2 * (row % 2) + column % 2] != colour:
            assert abs(found[row, column, "RGB".index(colour)] - np.mean(near)) <= 0.5


def test_colours_of_yuv() -> None:
    rgb = np.zeros((2, 8, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    frame = np.stack([ycc[..., 0], np.where(np.arange(8) % 2, ycc[..., 2], ycc[..., 1])], -1)
    for name, given in (("YUV422_8", frame), ("YUV422_8_UYVY", frame[..., ::-1])):
        found = preprocess(np.ascontiguousarray(given), name, (2, 8)).astype(int)
        assert abs(found - rgb).max() <= 2


@pytest.mark.parametrize(
    ("frame", "name", "line", "reason"),
    [
        (None, "RGB8", "NumPy array, not NoneType", Reason.DAMAGED_FRAME),
        (np.zeros((4, 4), np.uint8), "RGB8", "uint8 H×W×3, and this is uint8 4×4", "damaged frame"),
        (np.zeros((4, 4, 4), np.uint8), "BGR8", "this is uint8 4×4×4", "damaged frame"),
        (np.zeros((4, 4, 3), np.float32), "RGB8", "this is float32", "damaged frame"),
        (np.zeros((4, 4), np.uint16), "Mono8", "this is uint16", "damaged frame"),
        (np.zeros((4, 4), np.uint8), "Mono12", "uint16 H×W", "damaged frame"),
        (np.zeros((0, 4, 3), np.uint8), "RGB8", "cannot have 4×0", "wrong size"),
        (np.zeros((4, 5), np.uint8), "BayerRG8", "cannot have 5×4", "wrong size"),
        (np.zeros((4, 5, 2), np.uint8), "YUV422_8", "cannot have 5×4", "wrong size"),
        (np.zeros((4, 5), np.uint8), "Mono12p", "no whole number", "wrong size"),
    ],
)
def test_frames_that_are_none(frame: object, name: str, line: str, reason: str) -> None:
    with pytest.raises(FrameError) as caught:
        preprocess(frame, name, (4, 4))
    assert line in str(caught.value) and caught.value.reason == reason


def test_no_format_is_guessed() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    one_line("did you mean 'RGB8'", lambda: preprocess(frame, "RGB", (4, 4)))
    one_line("no pixel format None", lambda: preprocess(frame, None, (4, 4)))


@pytest.mark.parametrize("name", PIXEL_FORMATS)
@pytest.mark.parametrize("size", [(24, 36), (9, 50), (64, 7), (1, 1)])
def test_both_ways_are_one(name: str, size: tuple[int, int], monkeypatch) -> None:
    """The compiled core and NumPy with PIL give the same bytes, whatever lies in the frame."""
    found = PIXEL_FORMATS[name]
    if found.layout == "packed":
        frame = RNG.integers(0, 256, (24, 36 * found.bits // 8), np.uint8)
    else:
        channels = {"colours": (len(found.order),), "yuv": (2,)}.get(found.layout, ())
        frame = RNG.integers(0, 2**found.bits, (24, 36, *channels)).astype(found.dtype)
    levels = None if found.bits == 8 else (20, 2 ** (found.bits - 1) + 11)
    one = preprocess(frame, name, size, levels=levels)
    strided = preprocess(np.repeat(frame, 2, 0)[::2], name, size, levels=levels)
    monkeypatch.setattr(module, "native_module", lambda: None)
    two = preprocess(frame, name, size, levels=levels)
    off = 1 if found.layout == "yuv" else 0  # PIL's tables of chroma are rounded otherwise
    assert abs(one.astype(int) - two).max() <= off and (one == strided).all()


def test_many_threads_share_nothing() -> None:
    frames = [RNG.integers(0, 256, (30 + n, 50, 3), np.uint8) for n in range(8)]
    alone = [preprocess(frame, "BGR8", (16, 20 + n)) for n, frame in enumerate(frames)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            found = pool.map(lambda n: preprocess(frames[n], "BGR8", (16, 20 + n)), range(8))
            assert all((a == b).all() for a, b in zip(alone, found))


def test_out_must_fit() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    for out in (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((4, 8, 3), np.uint8)[:, ::2],
    ):
        one_line("out must be contiguous", lambda o=out: preprocess(frame, "RGB8", (4, 4), out=o))


def test_sizes_that_are_none() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    for size in ((-1, 4), (0, 4), (4,)):
        one_line("the size of the result", lambda s=size: preprocess(frame, "RGB8", s))
    one_line("out must be", lambda: preprocess(frame, "RGB8", (4, 4), out=[1]))


@pytest.mark.parametrize("levels", [(5, 5), (100, 5), (-1, -1), (0, 65536)])
def test_levels_must_rise(levels: tuple[int, int]) -> None:
    frame = np.zeros((4, 4), np.uint16)
    one_line("levels must rise", lambda: preprocess(frame, "Mono12", (4, 4), levels=levels))
