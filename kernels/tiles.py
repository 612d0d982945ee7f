"""How tensors are cut into tiles: by their shape alone, so that no call has to try tiles out.

A tile is what one program holds of a tensor at a time: 2 to 8 KB, so that each of its 128 threads
has one to four 16-byte loads in flight. The smaller ones are for tensors that would otherwise give
a large GPU's multiprocessors (over a hundred) too little to share. Nothing depends on the GPU, so
that every GPU gives the same bits.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

LEAST_BYTES, MOST_BYTES = 2048, 8192
ENOUGH_PROGRAMS = 512


def tile_elements(total: int, itemsize: int, programs: int = ENOUGH_PROGRAMS) -> int:
    """Elements of a tile, a power of two, of a tensor that ``programs`` programs should share."""
    elements = triton.next_power_of_2(max(1, total // programs))
    return min(max(elements, LEAST_BYTES // itemsize), MOST_BYTES // itemsize)


def tile_shape(rows: int, columns: int, elements: int, widest: int = MOST_BYTES) -> tuple[int, int]:
    """Rows and columns of a tile of a dense matrix, each a power of two.

    As wide as it can be with at most an eighth of its columns outside; at least 32 (or all), at
    most ``widest``.
    """
    width = min(triton.next_power_of_2(columns), elements, widest)
    while width > 32 and 8 * triton.cdiv(columns, width) * width > 9 * columns:
        width //= 2
    return min(triton.next_power_of_2(rows), elements // width), width


def matrix(x: Tensor, layout: torch.memory_format) -> tuple[int, int]:
    """(rows, columns) of x as a dense matrix: a row is a channel's pixels or a pixel's channels."""
    n, c, h, w = x.shape
    return (n * h * w, c) if layout == torch.channels_last else (n * c, h * w)


def check_sample(x: Tensor, factor: int = 1) -> None:
    """Refuses samples whose offsets do not fit 32 bits, with ``factor`` maps as large as x."""
    size = x.shape[1:].numel() * factor
    torch._check(size < 2**30, lambda: f"a sample of x {tuple(x.shape)} is too large for Triton")
