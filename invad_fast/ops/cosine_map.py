"""cosine_map: 1 − cosine of features and reconstructions, no resized feature ever written."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops.arguments import Arguments
from invad_fast.ops.bilinear import taps
from invad_fast.ops.dispatch import define

NORMALIZE_EPS = 1e-12
COSINE_EPS = 1e-8


def cosine_map(
    features: list[Tensor], reconstructions: list[Tensor], unified: bool = True
) -> list[Tensor]:
    """1 − cosine over the channels, 0 where they agree and 2 where they are opposed (method.md §2).

    Unified: every vector is L2-normalised (eps 1e-12), every scale is resized bilinearly
    (align_corners=True) to the first one's grid, the channels are concatenated, then the cosine
    (each norm at least 1e-8). Else one map a scale, on its own grid, of the vectors as they are.

    The resized features are never made. Where û(Y,X) = Σ w_a·u_a over the four corners a of a cell
    of the coarse grid, û·v̂ = Σ w_a·w_b·u_a·v_b: four maps on the coarse grid (products of a vector
    with itself and with its right, lower and diagonal neighbours) make it, each resized with
    products of the bilinear weights. The error of a cosine is of float32's rounding times
    (Σ|u|² of the scales) / (|û|·|v̂|): 1e-6, unless opposed neighbours cancel.

    Args:
        features, reconstructions: N×Cᵢ×Hᵢ×Wᵢ, any number of scales, any sizes, any strides;
            float32, float16, bfloat16 or float64, each its own. Sums are kept in float32 (float64
            where any input is float64): norms must be below 1.8e19.

    Returns:
        [N×H₀×W₀], or N×Hᵢ×Wᵢ for every scale; float32 (float64). A vector that holds NaN or
        infinity makes NaN of the pixels that interpolate it. No gradient.

    Raises:
        RuntimeError: where types, shapes or devices disagree or a map has no pixels.
    """
    return _op(list(features), list(reconstructions), unified)


def accumulation_dtype(tensors: list[Tensor]) -> torch.dtype:
    """float64 where any tensor is, else float32."""
    return functools.reduce(torch.promote_types, (t.dtype for t in tensors), torch.float32)


def _check(features: list[Tensor], reconstructions: list[Tensor], unified: bool) -> None:
    of = Arguments("cosine_map")
    of.require(
        len(features) == len(reconstructions) > 0,
        lambda: (
            f"{len(features)} features and {len(reconstructions)} reconstructions: as many of both"
            " are needed, and at least one"
        ),
    )
    for i, (f, r) in enumerate(zip(features, reconstructions)):
        _check_scale(of, i, f, r, features[0])


def _check_scale(of: Arguments, i: int, f: Tensor, r: Tensor, finest: Tensor) -> None:
    of.image(f"features[{i}]", f)
    of.size(f"features[{i}]", f, (finest.shape[0], *f.shape[1:]))
    of.device(f"features[{i}]", f, finest)
    of.floats(f"reconstructions[{i}]", r, f.shape, finest)
    of.require(
        f.shape[2] > 0 and f.shape[3] > 0, lambda: f"features[{i}] has no pixels: {tuple(f.shape)}"
    )


def _fake(features: list[Tensor], reconstructions: list[Tensor], unified: bool) -> list[Tensor]:
    dtype = accumulation_dtype([*features, *reconstructions])
    mapped = features[:1] if unified else features
    return [f.new_empty((f.shape[0], *f.shape[2:]), dtype=dtype) for f in mapped]


def _reference(
    features: list[Tensor], reconstructions: list[Tensor], unified: bool
) -> list[Tensor]:
    dtype = accumulation_dtype([*features, *reconstructions])
    pairs = [(f.to(dtype), r.to(dtype)) for f, r in zip(features, reconstructions)]
    if not unified:
        return [_distance(_products(f, r)) for f, r in pairs]
    size = features[0].shape[2:]
    units = [
        (F.normalize(f, eps=NORMALIZE_EPS), F.normalize(r, eps=NORMALIZE_EPS)) for f, r in pairs
    ]
    return [_distance(torch.stack([_resized_products(u, v, size) for u, v in units]).sum(0))]


def _distance(products: Tensor) -> Tensor:
    """(û·v̂, û·û, v̂·v̂) → 1 − cosine."""
    dot, *squares = products
    first, second = (s.clamp_min(0).sqrt().clamp_min(COSINE_EPS) for s in squares)
    return 1 - dot / (first * second)


def _products(f: Tensor, r: Tensor) -> Tensor:
    """f·r, f·f and r·r over the channels: 3×N×H×W."""
    return torch.stack([(f * r).sum(1), (f * f).sum(1), (r * r).sum(1)])


def _neighbour_products(f: tuple[Tensor, Tensor], r: tuple[Tensor, Tensor]) -> Tensor:
    """The same of two places p and q, both orders added: f_p·r_q + f_q·r_p, 2·f_p·f_q, 2·r_p·r_q.

    Args:
        f, r: (the vectors at p, those at q).
    """
    return torch.stack(
        [
            (f[0] * r[1]).sum(1) + (f[1] * r[0]).sum(1),
            2 * (f[0] * f[1]).sum(1),
            2 * (r[0] * r[1]).sum(1),
        ]
    )


def _resized_products(f: Tensor, r: Tensor, size: torch.Size) -> Tensor:
    """The products of f and r resized to ``size``, without resizing them: 3×N×H×W."""
    same = _products(f, r)
    if same.shape[2:] == size:
        return same

    def neighbours(rows: slice, columns: slice, others: slice, other_columns: slice) -> Tensor:
        return _neighbour_products(
            (f[..., rows, columns], f[..., others, other_columns]),
            (r[..., rows, columns], r[..., others, other_columns]),
        )

    every, here, next_one = slice(None), slice(-1), slice(1, None)
    right = neighbours(every, here, every, next_one)
    below = neighbours(here, every, next_one, every)
    diagonal = neighbours(here, here, next_one, next_one)
    diagonal += neighbours(here, next_one, next_one, here)
    left = _resized_square(same, below, 2, size[0])
    across = _resized_square(right, diagonal, 2, size[0])
    return _resized_square(left, across, 3, size[1])


def _resized_square(same: Tensor, between: Tensor, axis: int, size: int) -> Tensor:
    """A product of two linear interpolants along one axis.

    Args:
        same: the product at each of n samples.
        between: that of each sample with the next, both orders added: n − 1 along the axis.
    """
    first, second, fraction = (t.to(same.device) for t in taps(same.shape[axis], size))
    shape = [-1 if a == axis else 1 for a in range(same.dim())]
    b = fraction.to(same.dtype).view(shape)
    # The last sample has itself for a neighbour, so that no other one's NaN reaches it.
    between = torch.cat([between, 2 * same.narrow(axis, -1, 1)], axis)
    return (
        (1 - b) ** 2 * same.index_select(axis, first)
        + b**2 * same.index_select(axis, second)
        + b * (1 - b) * between.index_select(axis, first)
    )


_op = define(
    "cosine_map(Tensor[] features, Tensor[] reconstructions, bool unified) -> Tensor[]",
    _check,
    _reference,
    _fake,
)
