"""What cameras send: the names of GenICam's pixel format convention (PFNC), and how each is read.

Source: EMVA, GenICam PFNC 2.4, https://www.emva.org. Packed formats fill bytes from their lowest
bit on (``p``); Mono12Packed is GigE Vision's own order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Layout = Literal["grey", "colours", "bayer", "yuv", "packed"]


@dataclass(frozen=True)
class PixelFormat:
    """How a frame of this format lies in its array.

    Attributes:
        layout: "grey" H×W; "colours" H×W×C; "bayer" H×W, a colour a pixel; "yuv" H×W×2; "packed"
            grey of more than 8 bits without gaps, uint8 H×(W·bits/8).
        bits: of a channel, from the lowest bit of its array's type on.
        order: of the channels; of "bayer" the colours of its upper left 2×2.
    """

    layout: Layout
    bits: int = 8
    order: str = ""

    @property
    def dtype(self) -> np.dtype:
        """Of the array."""
        return np.dtype(np.uint8 if self.bits == 8 or self.layout == "packed" else np.uint16)


def _formats() -> dict[str, PixelFormat]:
    found = {f"Mono{bits}": PixelFormat("grey", bits) for bits in (8, 10, 12, 14, 16)}
    found |= {f"Mono{bits}p": PixelFormat("packed", bits, "lsb") for bits in (10, 12)}
    found["Mono12Packed"] = PixelFormat("packed", 12, "gige")
    for order in ("RGB", "BGR"):
        found |= {f"{order}{bits}": PixelFormat("colours", bits, order) for bits in (8, 10, 12, 16)}
        found[f"{order}a8"] = PixelFormat("colours", 8, f"{order}A")
    for order in ("RGGB", "GRBG", "GBRG", "BGGR"):
        for bits in (8, 10, 12, 16):
            found[f"Bayer{order[:2]}{bits}"] = PixelFormat("bayer", bits, order)
    found["YUV422_8"] = PixelFormat("yuv", 8, "YUYV")
    found["YUV422_8_UYVY"] = PixelFormat("yuv", 8, "UYVY")
    return found


PIXEL_FORMATS: dict[str, PixelFormat] = _formats()
"""PFNC name → how it is read. Alpha is padding to cameras, and is left out."""
