"""One image or mask from its file: any common pixel format, upright, 8-bit, resized.

What becomes of an unusual file:

- grey, palette, CMYK and the like: converted to RGB;
- transparency: composited over white, as viewers show it;
- 16 bits a channel: the full range 0..65535 is scaled to 0..255, the same for every image (a
  stretch to each image's own range would make equal parts look different);
- EXIF rotation: applied, so that the pixels stand as a viewer shows them;
- several frames or pages: the first;
- floating point, damaged, empty, or no image at all: one line that names the file.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageOps

from invad_fast.data.mask_source import MaskFiles, MaskRuns
from invad_fast.errors import InputError

if TYPE_CHECKING:
    from invad_fast.data.record import Record

Size = tuple[int, int]
"""(height, width) in pixels."""


def load_image(path: str | Path, size: Size | None = None) -> np.ndarray:
    """The image at ``path`` as uint8 H x W x 3, RGB.

    ``size`` (height, width) resizes straight to it, bilinear and antialiased as PIL does it
    (SPEC section 1, Training); None keeps the size. Raises `InputError` naming the file.
    """
    image = _as_rgb(_open(Path(path)), path)
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(image)


def load_mask(record: "Record", size: Size | None = None) -> np.ndarray:
    """The mask of ``record`` as uint8 H x W of 0 and 1; zeros where the part is normal.

    Every pixel above 0 is anomalous (VisA and LOCO number their defects), above 127 in a JPEG,
    whose compression leaves traces around the edges. ``size`` (height, width) resizes to the
    nearest pixel; None gives the upright image's size.

    A mask of another size than the image is taken where it has the same aspect ratio (to 1 %).
    Where it has the size the image is stored in, but not the one it is shown in, it is rotated
    as the image's EXIF tag says. Any other size raises `InputError` naming both files and
    sizes, and so does an anomalous record that has no mask.
    """
    if not record.anomalous and size is not None:
        return np.zeros(size, np.uint8)
    stored, orientation = _stored(record.image)
    turned = orientation >= 5
    upright = (stored[1], stored[0]) if turned else stored
    if not record.anomalous:
        return np.zeros(upright, np.uint8)
    sources: tuple[Path | MaskRuns, ...]
    if record.mask is None:
        raise InputError(f"{record.image}: anomalous, but without a mask: no pixel-level figures")
    sources = record.mask.paths if isinstance(record.mask, MaskFiles) else (record.mask,)
    size = size or upright
    result = np.zeros(size, np.uint8)
    for source in sources:
        mask = _decode_mask(source, record.image)
        if turned and mask.size != (upright[1], upright[0]) and mask.size == (stored[1], stored[0]):
            mask = _turn(mask, orientation)
        if not _same_shape(mask.size, (upright[1], upright[0])):
            name = source if isinstance(source, Path) else "its run-length mask"
            raise InputError(
                f"{record.image} is {upright[1]}x{upright[0]}, but its mask {name} is "
                f"{mask.width}x{mask.height}: the sizes must have the same aspect ratio"
            )
        result |= np.asarray(mask.resize((size[1], size[0]), Image.Resampling.NEAREST))
    return result


def _open(path: Path) -> Image.Image:
    """The decoded and upright image; whatever a decoder raises becomes one line."""
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # decoders raise SyntaxError, struct.error, IndexError, ...
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such image file")
    if isinstance(error, PermissionError):
        return InputError(f"{path}: this file may not be read (permission denied)")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: a folder, not an image file")
    if isinstance(error, Image.DecompressionBombError):
        return InputError(f"{path}: too large to decode ({_one_line(error)})")
    try:
        empty = path.stat().st_size == 0
    except OSError:
        empty = False
    reason = "the file is empty" if empty else _one_line(error) or type(error).__name__
    return InputError(f"{path}: not a readable image, damaged or cut short ({reason})")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _as_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise InputError(f"{path}: floating-point pixels have no fixed range; save 8 or 16 bits")
    if image.mode.startswith("I"):  # I;16, I;16B and, from some decoders, 16 bits within I
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise InputError(f"{path}: 32-bit pixels outside 0..65535; save 8 or 16 bits")
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def image_size(path: Path) -> Size:
    """(height, width) as the file stores the image, without decoding its pixels."""
    return _stored(path)[0]


def _stored(path: Path) -> tuple[Size, int]:
    """The size as stored, and the EXIF orientation 1..8."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            return (image.height, image.width), orientation if orientation in range(1, 9) else 1
    except Exception as error:  # as in _open
        raise _unreadable(path, error) from None


def _decode_mask(source: Path | MaskRuns, image: Path) -> Image.Image:
    if isinstance(source, MaskRuns):
        try:
            return Image.fromarray(np.ascontiguousarray(source.decode()))
        except InputError as error:
            raise InputError(f"{image}: {error}") from None
    mask = _open(source)
    if mask.mode[0] in "1LIF" and not mask.has_transparency_data:
        values = np.asarray(mask)
    else:  # black is the background, whatever its index in a palette, and so is the transparent
        mask = mask.convert("RGBA")
        black = Image.new("RGBA", mask.size, (0, 0, 0, 255))
        values = np.asarray(Image.alpha_composite(black, mask))[..., :3].max(axis=2)
    lossy = source.suffix.lower() in (".jpg", ".jpeg", ".jpe")
    return Image.fromarray((values > (127 if lossy else 0)).astype(np.uint8))


def _turn(mask: Image.Image, orientation: int) -> Image.Image:
    tagged = mask.copy()
    tagged.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(tagged)


def _same_shape(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Equal aspect ratios to 1 %, or to the rounding of the smaller one's sides to a pixel."""
    scale = max(mask[0] / image[0], mask[1] / image[1])
    slack = [max(1.0, 0.01 * side * scale) for side in image]
    return all(abs(m - i * scale) <= s for m, i, s in zip(mask, image, slack, strict=True))
