"""y = leaky_relu(x + bias, 0.2)·√2, then (y + skip)/√2 where there is a skip (method.md §1).

x, skip, y: N×C×H×W, dense and seen as a matrix: a row is a channel's pixels (contiguous) or a
pixel's channels (channels last). bias: C. Each element is read and written once. The backward
writes grad_x and, with no atomics, one row of partial sums of it a program: they are added in a
fixed order, so equal inputs give equal bits.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from invad_fast.kernels.tiles import ENOUGH_PROGRAMS, matrix, tile_elements, tile_shape
from invad_fast.ops.memory_format import empty_like, in_memory_format, memory_format_of

SLOPE = tl.constexpr(0.2)
SQRT2 = tl.constexpr(math.sqrt(2))
WARPS = 4


@triton.jit
def activated(pre):
    """leaky_relu(pre, 0.2)·√2, in float32."""
    return tl.where(pre > 0, pre, pre * SLOPE) * SQRT2


@triton.jit
def _bias_leaky_relu(
    x,  # rows×columns
    bias,  # channels
    skip,  # rows×columns, or unused
    y,  # rows×columns
    rows,
    columns,
    channels,
    HAS_SKIP: tl.constexpr,
    LAST: tl.constexpr,  # channels last
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    across = tl.cdiv(columns, COLUMNS)
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (row < rows) & (column < columns)
    at = row.to(tl.int64) * columns + column
    channel = column if LAST else row % channels
    shift = tl.load(bias + channel, channel < channels).to(tl.float32)
    result = activated(tl.load(x + at, inside).to(tl.float32) + shift)
    if HAS_SKIP:
        result = (result + tl.load(skip + at, inside).to(tl.float32)) * (1 / SQRT2)
    tl.store(y + at, result.to(y.dtype.element_ty), inside)


def bias_leaky_relu(x: Tensor, bias: Tensor, skip: Tensor | None = None) -> Tensor:
    """Forward; arguments as in ``invad_fast.ops.bias_leaky_relu``."""
    layout = memory_format_of(x)
    x = in_memory_format(x, layout)
    skip = None if skip is None else in_memory_format(skip, layout, x.dtype)
    y = empty_like(x)
    if y.numel() == 0:
        return y
    rows, columns = matrix(x, layout)
    tile = _tile(x, layout)
    grid = (triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1]),)
    with torch.cuda.device_of(x):
        _bias_leaky_relu[grid](
            x, bias.contiguous(), x if skip is None else skip, y, rows, columns, x.shape[1],
            skip is not None, layout == torch.channels_last, *tile, num_warps=WARPS,
        )  # fmt: skip
    return y


def _tile(x: Tensor, layout: torch.memory_format) -> tuple[int, int]:
    """Rows and columns of a tile: few channels of many pixels, whose biases a thread loads once."""
    elements = tile_elements(x.numel(), x.element_size())
    widest = 128 if layout == torch.channels_last else elements
    return tile_shape(*matrix(x, layout), elements, widest)


@triton.jit
def _bias_leaky_relu_backward(
    grad,  # rows×columns, as is all but bias and partials
    source,  # source + bias is the pre-activation, or has its sign
    bias,  # channels
    grad_x,
    partials,  # channels last: parts×columns; else rows×parts
    rows,
    columns,
    channels,
    steps,  # tiles that a program walks
    parts,  # programs that share a channel's sum
    gain,  # of the activation: √2, or 1 where the sum with a skip has taken it back
    LAST: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    # Channels last: programs walk down the rows. Else: along the columns.
    part = tl.program_id(0) % parts
    other = tl.program_id(0) // parts
    row = (part * steps if LAST else other) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (other if LAST else part * steps) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    channel = column if LAST else row % channels
    shift = tl.load(bias + channel, channel < channels).to(tl.float32)
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for _ in range(steps):
        inside = (row < rows) & (column < columns)
        at = row.to(tl.int64) * columns + column
        active = tl.load(source + at, inside).to(tl.float32) + shift > 0
        result = tl.load(grad + at, inside, other=0).to(tl.float32) * gain
        result = tl.where(active, result, result * SLOPE)
        tl.store(grad_x + at, result.to(grad_x.dtype.element_ty), inside)
        sums += result
        if LAST:
            row += ROWS
        else:
            column += COLUMNS
    if LAST:
        column = other * COLUMNS + tl.arange(0, COLUMNS)
        tl.store(partials + part * columns + column, tl.sum(sums, 0), column < columns)
    else:
        row = other * ROWS + tl.arange(0, ROWS)
        tl.store(partials + row * parts + part, tl.sum(sums, 1), row < rows)


def bias_leaky_relu_backward(
    grad: Tensor, source: Tensor, bias: Tensor, has_skip: bool
) -> tuple[Tensor, Tensor]:
    """grad_x and grad_bias; arguments as in ``invad_fast.ops.bias_leaky_relu``."""
    layout = memory_format_of(source)
    source = in_memory_format(source, layout)
    grad = in_memory_format(grad, layout, source.dtype)
    grad_x = empty_like(source)
    n, c = source.shape[:2]
    if source.numel() == 0:
        return grad_x, bias.new_zeros(c, dtype=torch.float32)
    last = layout == torch.channels_last
    rows, columns = matrix(source, layout)
    tile = _tile(source, layout)
    down, across = triton.cdiv(rows, tile[0]), triton.cdiv(columns, tile[1])
    shared, others = (down, across) if last else (across, down)
    steps = triton.cdiv(shared, max(1, ENOUGH_PROGRAMS // others))
    parts = triton.cdiv(shared, steps)
    partials = source.new_empty((parts, 1, c) if last else (n, c, parts), dtype=torch.float32)
    with torch.cuda.device_of(source):
        _bias_leaky_relu_backward[(others * parts,)](
            grad, source, bias.contiguous(), grad_x, partials, rows, columns, c, steps, parts,
            1.0 if has_skip else SQRT2.value, last, *tile, num_warps=WARPS,
        )  # fmt: skip
    return grad_x, partials.sum((0, 1) if last else (0, 2))
