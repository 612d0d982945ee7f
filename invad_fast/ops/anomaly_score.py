"""anomaly_score: maps ─> resize, Gaussian ─> map and its maximum."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from invad_fast.ops.arguments import Arguments
from invad_fast.ops.bilinear import taps
from invad_fast.ops.cosine_map import accumulation_dtype
from invad_fast.ops.dispatch import define

TRUNCATE = 4.0  # standard deviations after which the Gaussian ends, as in scipy
# Of a result's side and of the Gaussian, in pixels: far beyond any image, and their filter's matrix
# still fits a machine.
MOST_SIDE, MOST_SIGMA = 1 << 14, 1000.0


def anomaly_score(maps: list[Tensor], size: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    """Maps resized bilinearly (align_corners=True), their mean, a Gaussian filter (method.md §2).

    The filter is scipy.ndimage.gaussian_filter's: cut off at 4σ, edges mirrored including the edge
    sample (``reflect``). Resize and filter are both linear and separable, so each side of a map
    has one matrix M for both, and the result is M·map·Mᵀ; M has a narrow band of numbers.

    Args:
        maps: N×Hᵢ×Wᵢ each; float32, float16, bfloat16 or float64, computed in float32 (float64
            where any is).
        size: (H, W) of the result, each at most 16384.
        sigma: standard deviation of the Gaussian in pixels of the result, at most 1000; 0 for none.

    Returns:
        (map N×H×W, score N: the maximum of each map), float32 (float64). NaN or infinity in a map
        makes NaN of its score if it reaches the filtered map as NaN; other images keep theirs.
        No gradient.

    Raises:
        RuntimeError: where types, shapes or devices disagree, a map has no pixels, or size or sigma
            is out of its range.
    """
    return _op(list(maps), list(size), sigma)


def _check(maps: list[Tensor], size: list[int], sigma: float) -> None:
    of = Arguments("anomaly_score")
    of.require(len(maps) > 0, lambda: "there are no maps")
    for i, m in enumerate(maps):
        _check_map(of, f"maps[{i}]", m, maps[0])
    of.require(len(size) == 2, lambda: f"size must be (H, W), not {tuple(size)}")
    for side in size:
        of.number("a side of size", side, 1, MOST_SIDE)
    of.number("sigma", sigma, 0, MOST_SIGMA)


def _check_map(of: Arguments, name: str, m: Tensor, first: Tensor) -> None:
    of.is_float(name, m)
    of.require(
        m.dim() == 3 and m.shape[:1] == first.shape[:1] and min(m.shape[1:]) > 0,
        lambda: f"{name} must be N×H×W with pixels and one N for all, not {tuple(m.shape)}",
    )
    of.device(name, m, first)


def _fake(maps: list[Tensor], size: list[int], sigma: float) -> tuple[Tensor, Tensor]:
    n, dtype = maps[0].shape[0], accumulation_dtype(maps)
    return maps[0].new_empty((n, *size), dtype=dtype), maps[0].new_empty(n, dtype=dtype)


def _reference(maps: list[Tensor], size: list[int], sigma: float) -> tuple[Tensor, Tensor]:
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
    "anomaly_score(Tensor[] maps, int[] size, float sigma) -> (Tensor, Tensor)",
    _check,
    _reference,
    _fake,
)
