"""anomaly_score: maps ─> resize, Gaussian ─> map and its maximum."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from invad_fast.ops.bilinear import taps
from invad_fast.ops.cosine_map import accumulation_dtype
from invad_fast.ops.dispatch import define

TRUNCATE = 4.0  # standard deviations after which the Gaussian ends, as in scipy


def anomaly_score(maps: list[Tensor], size: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    """Each map resized bilinearly (align_corners=True), their mean, a Gaussian filter (SPEC §2).

    The filter is scipy.ndimage.gaussian_filter's: cut off at 4σ, edges mirrored including the edge
    sample (``reflect``). Resize and filter are both linear and separable, so each side of a map
    has one matrix M for both, and the result is M·map·Mᵀ; M has a narrow band of numbers.

    Args:
        maps: N×Hᵢ×Wᵢ each; float32, float16, bfloat16 or float64, computed in float32 (float64
            where any is).
        size: (H, W) of the result.
        sigma: standard deviation of the Gaussian in pixels of the result; 0 for none.

    Returns:
        (map N×H×W, score N: the maximum of each map), float32 (float64). NaN or infinity in a map
        makes NaN of its score if it reaches the filtered map as NaN; other images keep theirs.
        No gradient.

    Raises:
        RuntimeError: where shapes disagree, a map has no pixels, or sigma is negative or not
            finite.
    """
    return _op(list(maps), list(size), sigma)


def check(maps: list[Tensor], size: list[int], sigma: float) -> None:
    """Refuses maps, sizes and filters that make no result, in eager mode and while tracing."""
    torch._check(len(maps) > 0, lambda: "no maps")
    for m in maps:
        _check_map(m, maps[0].shape[:1])
    torch._check(
        len(size) == 2 and min(size) > 0, lambda: f"size must be two positive numbers, not {size}"
    )
    torch._check(
        0 <= sigma < math.inf, lambda: f"sigma must be finite and not negative, not {sigma}"
    )


def _check_map(m: Tensor, samples: torch.Size) -> None:
    torch._check(
        m.dim() == 3 and m.shape[:1] == samples and m.shape[1] > 0 and m.shape[2] > 0,
        lambda: f"maps must be N×H×W with pixels and one N, not {tuple(m.shape)}",
    )
    torch._check(m.is_floating_point(), lambda: f"maps must be float, not {m.dtype}")


def _fake(maps: list[Tensor], size: list[int], sigma: float) -> tuple[Tensor, Tensor]:
    check(maps, size, sigma)
    n, dtype = maps[0].shape[0], accumulation_dtype(maps)
    return maps[0].new_empty((n, *size), dtype=dtype), maps[0].new_empty(n, dtype=dtype)


def _reference(maps: list[Tensor], size: list[int], sigma: float) -> tuple[Tensor, Tensor]:
    check(maps, size, sigma)
    dtype = accumulation_dtype(maps)
    total = maps[0].new_zeros((maps[0].shape[0], *size), dtype=dtype)
    for m in maps:
        rows, columns = (
            resize_filter_matrix(source, target, sigma).to(m.device, dtype)
            for source, target in zip(m.shape[1:], size)
        )
        total += rows @ m.to(dtype) @ columns.T
    total /= len(maps)
    return total, total.amax((1, 2))


@functools.lru_cache(maxsize=64)
def resize_filter_matrix(source: int, target: int, sigma: float) -> Tensor:
    """target×source, float64: bilinear resize (align_corners=True), then the Gaussian."""
    first, second, fraction = taps(source, target)
    resize = torch.zeros(target, source, dtype=torch.float64)
    resize.scatter_add_(1, first[:, None], (1 - fraction)[:, None])
    resize.scatter_add_(1, second[:, None], fraction[:, None])
    return _gaussian_matrix(target, sigma) @ resize


def _gaussian_matrix(length: int, sigma: float) -> Tensor:
    """length×length, truncated at 4σ; edges mirrored including the edge (scipy's ``reflect``)."""
    if sigma == 0:
        return torch.eye(length, dtype=torch.float64)
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    position = (torch.arange(length)[:, None] + offsets.long()) % (2 * length)
    position = torch.where(position < length, position, 2 * length - 1 - position)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, position, weights.expand(length, -1))


_op = define(
    "anomaly_score(Tensor[] maps, int[] size, float sigma) -> (Tensor, Tensor)", _reference, _fake
)
