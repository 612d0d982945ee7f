"""y = x̂·γ + β with x̂ = (x − mean)/√(var + eps) over C×H×W of each sample (method.md §1).

x, y: N×C×H×W, dense in either layout; gamma_beta: N×2C×H×W in x's layout, γ first. A sample of x
is a matrix: one row with all its elements (contiguous), or a row a pixel (channels last). In both,
a row of gamma_beta is twice as long: γ's part, then β's.

Two kernels: part moments (``sample_moments``), then the merged moments and the result. Samples are
walked backwards the second time: the last ones read are those that the second-level cache still
holds. The backward is two more: with h = grad·γ,

    grad_γ = grad·x̂,  grad_β = grad,  grad_x = rstd·(h − mean(h) − x̂·mean(h·x̂))

the first writes grad_γ and grad_β and each part's Σh and Σh·x̂, the second adds those in order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from invad_fast.kernels.sample_moments import ENOUGH_PARTS, cut, merged_moments, part_moments
from invad_fast.kernels.tiles import check_sample, tile_elements, tile_shape
from invad_fast.ops.memory_format import empty_like, in_memory_format, memory_format_of

WARPS = 4


@triton.jit
def _tile(number, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Row, column and mask of a sample's tile."""
    across = tl.cdiv(columns, COLUMNS)
    row = number // across * ROWS + tl.arange(0, ROWS)[:, None]
    column = number % across * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return row, column, (row < rows) & (column < columns)


@triton.jit
def _normalize_modulate(
    x,  # N×rows×columns
    gamma_beta,  # N×rows×2·columns, or unused
    moments,  # N×parts×2
    y,  # N×rows×columns
    mean_out,  # N
    rstd_out,  # N
    rows,
    columns,
    tiles,  # of a sample
    parts,
    span,
    eps,
    MODULATED: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    sample = program // tiles
    row, column, inside = _tile(program % tiles, rows, columns, ROWS, COLUMNS)
    size = rows * columns
    at = row * columns + column
    value = tl.load(x + sample.to(tl.int64) * size + at, inside).to(tl.float32)
    if MODULATED:
        gamma_beta += sample.to(tl.int64) * size * 2 + row * columns * 2 + column
        gamma = tl.load(gamma_beta, inside).to(tl.float32)
        beta = tl.load(gamma_beta + columns, inside).to(tl.float32)
    mean, rstd = merged_moments(moments, sample, size, parts, span, eps, PARTS)
    if program % tiles == 0:
        tl.store(mean_out + sample, mean)
        tl.store(rstd_out + sample, rstd)
    result = (value - mean) * rstd
    if MODULATED:
        result = result * gamma + beta
    tl.store(y + sample.to(tl.int64) * size + at, result.to(y.dtype.element_ty), inside)


def sample_matrix(x: Tensor, layout: torch.memory_format) -> tuple[int, int]:
    """(rows, columns) of a sample of x, as a matrix whose rows hold γ's and β's parts in turn."""
    _, c, h, w = x.shape
    return (h * w, c) if layout == torch.channels_last else (1, c * h * w)


def normalize_modulate(
    x: Tensor, gamma_beta: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y, mean and rstd; arguments as in ``invad_fast.ops.normalize_modulate``."""
    layout = memory_format_of(x)
    x = in_memory_format(x, layout)
    y = empty_like(x)
    mean = x.new_empty(len(x), dtype=torch.float32)
    rstd = torch.empty_like(mean)
    if x.numel() == 0:
        return y, mean.fill_(float("nan")), rstd.fill_(float("nan"))
    check_sample(x, 2)
    modulated = gamma_beta is not None
    other = in_memory_format(gamma_beta, layout, x.dtype) if gamma_beta is not None else x
    rows, columns = sample_matrix(x, layout if modulated else torch.contiguous_format)
    tile = tile_shape(rows, columns, tile_elements(x.numel(), x.element_size()))
    tiles = triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])
    with torch.cuda.device_of(x):
        moments, span, pieces = part_moments(x)
        _normalize_modulate[(len(x) * tiles,)](
            x, other, moments, y, mean, rstd, rows, columns, tiles, pieces.parts, span, eps,
            modulated, pieces.padded, *tile, num_warps=WARPS,
        )  # fmt: skip
    return y, mean, rstd


@triton.jit
def _gradients(grad, x, gamma, mean, rstd, inside, MODULATED: tl.constexpr):
    """(grad, grad·γ, x̂) of a tile, from pointers; 0 outside."""
    direct = tl.load(grad, inside, other=0).to(tl.float32)
    normal = tl.where(inside, (tl.load(x, inside, other=0).to(tl.float32) - mean) * rstd, 0)
    h = direct
    if MODULATED:
        h = direct * tl.load(gamma, inside, other=0).to(tl.float32)
    return direct, h, normal


@triton.jit
def _normalize_modulate_sums(
    grad,  # N×rows×columns
    x,  # N×rows×columns
    gamma_beta,  # N×rows×2·columns, or unused
    mean,  # N
    rstd,  # N
    grad_gamma_beta,  # N×rows×2·columns, or unused
    sums,  # N×parts×2: of grad·γ, and of grad·γ·x̂
    rows,
    columns,
    parts,
    steps,
    MODULATED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    sample = tl.program_id(0) // parts
    number = tl.program_id(0) % parts * steps
    start = sample.to(tl.int64) * rows * columns
    m, r = tl.load(mean + sample), tl.load(rstd + sample)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    projection = tl.zeros((ROWS, COLUMNS), tl.float32)
    for _ in range(steps):
        row, column, inside = _tile(number, rows, columns, ROWS, COLUMNS)
        at = start + row * columns + column
        style = start * 2 + row * columns * 2 + column
        direct, h, normal = _gradients(
            grad + at, x + at, gamma_beta + style, m, r, inside, MODULATED
        )
        if MODULATED:
            kind = grad_gamma_beta.dtype.element_ty
            tl.store(grad_gamma_beta + style, (direct * normal).to(kind), inside)
            tl.store(grad_gamma_beta + style + columns, direct.to(kind), inside)
        total += h
        projection += h * normal
        number += 1
    tl.store(sums + tl.program_id(0) * 2, tl.sum(total))
    tl.store(sums + tl.program_id(0) * 2 + 1, tl.sum(projection))


@triton.jit
def _normalize_modulate_x(
    grad,  # N×rows×columns
    x,  # N×rows×columns
    gamma_beta,  # N×rows×2·columns, or unused
    mean,  # N
    rstd,  # N
    sums,  # N×parts×2
    grad_x,  # N×rows×columns
    rows,
    columns,
    tiles,
    parts,
    MODULATED: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    sample = program // tiles
    row, column, inside = _tile(program % tiles, rows, columns, ROWS, COLUMNS)
    size = rows * columns
    at = sample.to(tl.int64) * size + row * columns + column
    style = sample.to(tl.int64) * size * 2 + row * columns * 2 + column
    r = tl.load(rstd + sample)
    _, h, normal = _gradients(
        grad + at, x + at, gamma_beta + style, tl.load(mean + sample), r, inside, MODULATED
    )
    part = tl.arange(0, PARTS)
    sums += (sample * parts + part) * 2
    mean_h = tl.sum(tl.load(sums, part < parts, other=0)) / size
    mean_projection = tl.sum(tl.load(sums + 1, part < parts, other=0)) / size
    result = (h - mean_h - normal * mean_projection) * r
    tl.store(grad_x + at, result.to(grad_x.dtype.element_ty), inside)


def normalize_modulate_backward(
    grad: Tensor, x: Tensor, gamma_beta: Tensor | None, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """grad_x and grad_gamma_beta (empty without a gamma_beta); as in ``invad_fast.ops``."""
    layout = memory_format_of(x)
    x = in_memory_format(x, layout)
    grad = in_memory_format(grad, layout, x.dtype)
    modulated = gamma_beta is not None
    grad_x, grad_gamma_beta, other = empty_like(x), x.new_empty(0), x
    if gamma_beta is not None:
        grad_gamma_beta = empty_like(x, gamma_beta.shape)
        other = in_memory_format(gamma_beta, layout, x.dtype)
    if x.numel() == 0:
        return grad_x, grad_gamma_beta
    check_sample(x, 2)
    rows, columns = sample_matrix(x, layout if modulated else torch.contiguous_format)
    # by the sample's size alone, as in the forward
    elements = tile_elements(rows * columns, x.element_size(), programs=ENOUGH_PARTS)
    tile = tile_shape(rows, columns, elements)
    tiles = triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])
    pieces = cut(tiles)
    sums = x.new_empty((len(x), pieces.parts, 2), dtype=torch.float32)
    with torch.cuda.device_of(x):
        _normalize_modulate_sums[(len(x) * pieces.parts,)](
            grad, x, other, mean, rstd, grad_gamma_beta if modulated else x, sums, rows, columns,
            pieces.parts, pieces.steps, modulated, *tile, num_warps=WARPS,
        )  # fmt: skip
        _normalize_modulate_x[(len(x) * tiles,)](
            grad, x, other, mean, rstd, sums, grad_x, rows, columns, tiles, pieces.parts,
            modulated, pieces.padded, *tile, num_warps=WARPS,
        )  # fmt: skip
    return grad_x, grad_gamma_beta
