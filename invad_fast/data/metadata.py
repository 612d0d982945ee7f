"""An image file less its metadata: what is tried when a decoder stumbles over a file.

Decoders give up on a whole file for a comment that is too long or a tag that points nowhere. The
pixels and what they need (palette, transparency, colour transform, orientation) stay as they are;
everything else goes. Formats: PNG (specification 3, section 11.3), JPEG (ITU T.81, annex B.1),
WebP (RFC 9649, section 2.7), TIFF (6.0, section 2).
"""

import os
import struct
from typing import IO

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"tRNS", b"eXIf")  # and every critical chunk: a capital first letter
_JPEG_KEPT = 0xEE  # Adobe's segment, which names the colour transform
_JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"  # which says that there is none to know
_WEBP_DROPPED = (b"EXIF", b"XMP ", b"ICCP")
# Exif, GPS and interoperability data, XMP, IPTC, Photoshop's, a colour profile
_TIFF_DROPPED = (34665, 34853, 40965, 700, 33723, 34377, 34675)
_TIFF_PRIVATE = 65000  # a tag that nobody reads


def without_metadata(data: bytes) -> bytes | None:
    """The file less its metadata; None where its format is another or nothing can be dropped."""
    try:
        if data.startswith(_PNG):
            stripped = _png(data)
        elif data.startswith(b"\xff\xd8"):
            stripped = _jpeg(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            stripped = _webp(data)
        elif data[:4] in (b"II*\0", b"MM\0*"):
            stripped = _tiff(data)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return None if stripped == data else stripped


def png_metadata_follows(stream: IO[bytes]) -> bool:
    """Whether a PNG tells more after its pixels than that it ends; the pixels are skipped."""
    stream.seek(len(_PNG))
    seen_pixels = False
    while len(head := stream.read(8)) == 8 and head[4:] != b"IEND":
        if head[4:] == b"IDAT":
            seen_pixels = True
        elif seen_pixels:
            return True
        stream.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def _png(data: bytes) -> bytes:
    kept, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + length
        if name[:1].isupper() or name in _PNG_KEPT:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _jpeg(data: bytes) -> bytes:
    kept, at = [data[:2]], 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:  # the pixels begin
            break
        if marker == 0xFF:  # padding
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        is_metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if data.startswith(b"JFIF", at + 4):
            kept.append(_JFIF)
        elif not is_metadata or marker == _JPEG_KEPT:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join([*kept, data[at:]])


def _webp(data: bytes) -> bytes:
    kept, at = [], 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        end = at + 8 + length + length % 2
        if name not in _WEBP_DROPPED:
            kept.append(data[at:end])
        at = end
    chunks = b"".join(kept)
    if chunks.startswith(b"VP8X"):  # its flags announce a profile (32), EXIF (8) and XMP (4)
        chunks = chunks[:8] + bytes([chunks[8] & ~0x2C]) + chunks[9:]
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _tiff(data: bytes) -> bytes:
    """Renames the tags of the first page: dropping them would move what follows."""
    order = "<" if data.startswith(b"II") else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, first)
    patched = bytearray(data)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", data, entry)[0] in _TIFF_DROPPED:
            struct.pack_into(f"{order}HHI4s", patched, entry, _TIFF_PRIVATE, 1, 1, bytes(4))
    return bytes(patched)
