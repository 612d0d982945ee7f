"""Mean and 1/√(variance + eps) of each sample, in two steps with a fixed order.

A sample is split over many programs, as one would leave most of a GPU idle: each writes the mean
and M2 = Σ(x − mean)² of its part. Whoever needs the sample's figures merges the parts (at most
256): mean = Σ nᵢ·meanᵢ/n, M2 = Σ M2ᵢ + Σ nᵢ·(meanᵢ − mean)² (Chan, Golub & LeVeque 1979). Squares
are only taken of differences from a nearby mean: a large mean costs no digits. How a sample is cut
depends on its size alone: neither the batch nor the GPU changes its bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from invad_fast.kernels.tiles import check_sample, tile_elements

ENOUGH_PARTS, MOST_PARTS = 128, 256
WARPS = 4


@dataclass(frozen=True)
class Cut:
    """How a sample is shared out: ``parts`` programs, each walking ``steps`` tiles."""

    parts: int
    steps: int

    @property
    def padded(self) -> int:
        """Parts as a power of two: what the merging program holds."""
        return triton.next_power_of_2(self.parts)


def cut(tiles: int) -> Cut:
    """Of a sample of ``tiles`` tiles."""
    steps = triton.cdiv(tiles, MOST_PARTS)
    return Cut(triton.cdiv(tiles, steps), steps)


@triton.jit
def _part_moments(
    x,  # N×size
    moments,  # N×parts×2: mean and M2
    size,
    parts,
    steps,
    TILE: tl.constexpr,
):
    sample = tl.program_id(0) // parts
    start = tl.program_id(0) % parts * steps * TILE
    x += sample.to(tl.int64) * size
    count = 0.0
    mean = 0.0
    m2 = 0.0
    for _ in range(steps):
        at = start + tl.arange(0, TILE)
        inside = at < size
        value = tl.load(x + at, inside, other=0).to(tl.float32)
        # the last part's last tiles may be empty: their weight is 0
        tile_count = tl.maximum(tl.minimum(size - start, TILE), 0).to(tl.float32)
        tile_mean = tl.sum(value) / tl.maximum(tile_count, 1)
        difference = tl.where(inside, value - tile_mean, 0)
        shift = tile_mean - mean
        weight = tile_count / (count + tile_count)
        m2 += tl.sum(difference * difference) + shift * shift * count * weight
        mean += shift * weight
        count += tile_count
        start += TILE
    tl.store(moments + tl.program_id(0) * 2, mean)
    tl.store(moments + tl.program_id(0) * 2 + 1, m2)


@triton.jit
def merged_moments(moments, sample, size, parts, span, eps, PARTS: tl.constexpr):
    """(mean, 1/√(variance + eps)) of a sample from its parts of ``span`` elements, the last less.

    moments: N×parts×2, as ``part_moments`` returns them.
    """
    moments += sample * parts * 2
    part = tl.arange(0, PARTS)
    inside = part < parts
    count = tl.minimum(size - part * span, span).to(tl.float32)
    # relative to one part's mean: the others' are close to it, and their sum stays small
    origin = tl.load(moments)
    shift = tl.where(inside, tl.load(moments + part * 2, inside, other=0) - origin, 0)
    shift_mean = tl.sum(tl.where(inside, count * shift, 0)) / size
    difference = tl.where(inside, shift - shift_mean, 0)
    m2 = tl.load(moments + part * 2 + 1, inside, other=0)
    m2 = tl.sum(tl.where(inside, m2 + count * difference * difference, 0))
    return origin + shift_mean, tl.rsqrt(m2 / size + eps)


def part_moments(x: Tensor) -> tuple[Tensor, int, Cut]:
    """x: N×C×H×W, dense in either layout → (N×parts×2, elements of a part, the cut)."""
    check_sample(x)
    size = x.shape[1:].numel()
    tile = tile_elements(size, x.element_size(), programs=ENOUGH_PARTS)
    pieces = cut(triton.cdiv(size, tile))
    moments = x.new_empty((len(x), pieces.parts, 2), dtype=torch.float32)
    _part_moments[(len(x) * pieces.parts,)](
        x, moments, size, pieces.parts, pieces.steps, tile, num_warps=WARPS
    )
    return moments, pieces.steps * tile, pieces
