"""y = blur(x), the kernel outer([1,3,3,1])/64·4; then leaky_relu(y + bias, 0.2)·√2 (method.md §1).

x: N×C×H×W, y: N×C×OH×OW with OH = H + 2·padding − 3, dense in either layout. The kernel is an
outer product: a program goes down a strip of rows, filters each input row across once, and keeps
the last four of these in registers to filter them down. So an output costs four loads (from the
first-level cache, but for the first) instead of sixteen, and nothing is written in between.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from invad_fast.kernels.bias_leaky_relu import activated
from invad_fast.kernels.tiles import check_sample, tile_shape
from invad_fast.ops.memory_format import empty_like, in_memory_format, memory_format_of

# Outer and inner taps of [1, 3, 3, 1]/8·2.
OUTER, INNER = tl.constexpr(0.25), tl.constexpr(0.75)
# Rows of the output a program makes; it reads three more.
STRIP = 8
# 128 threads with a 16-byte load of 16-bit numbers each: four rows of them are held at a time.
TILE = 1024
WARPS = 4


@triton.jit
def _across(
    row_start,  # pointers to each element's row of x
    row,
    column,  # of y
    inside,
    h,
    w,
    step,  # from one column of x to the next
    PADDING: tl.constexpr,
):
    """A row of x, filtered across: the elements of a row of y, before the filter down."""
    inside = inside & (row >= 0) & (row < h)
    total = tl.zeros(inside.shape, tl.float32)
    for tap in tl.static_range(4):
        at = column + (tap - PADDING)
        value = tl.load(row_start + at * step, inside & (at >= 0) & (at < w), other=0)
        total += value.to(tl.float32) * (OUTER if tap == 0 or tap == 3 else INNER)
    return total


@triton.jit
def _blur_upsample(
    x,  # N×H×W×C (channels last) or N·C×H×W
    bias,  # C, or unused
    y,  # N×OH×OW×C or N·C×OH×OW
    planes,  # N or N·C
    channels,
    h,
    w,
    out_h,
    out_w,
    HAS_BIAS: tl.constexpr,
    LAST: tl.constexpr,
    PADDING: tl.constexpr,
    ROWS: tl.constexpr,
    OUTSIDE: tl.constexpr,  # tile: columns×channels, or planes×columns
    INSIDE: tl.constexpr,
):
    strips = tl.cdiv(out_h, ROWS)
    top = tl.program_id(0) % strips * ROWS
    rest = tl.program_id(0) // strips
    if LAST:
        across = tl.cdiv(channels, INSIDE)
        channel = rest % across * INSIDE + tl.arange(0, INSIDE)[None, :]
        rest //= across
        around = tl.cdiv(out_w, OUTSIDE)
        column = rest % around * OUTSIDE + tl.arange(0, OUTSIDE)[:, None]
        plane = (rest // around).to(tl.int64)
        inside = (column < out_w) & (channel < channels)
        step = channels
        source = x + plane * h * w * channels + channel
        target = y + plane * out_h * out_w * channels + channel
    else:
        across = tl.cdiv(out_w, INSIDE)
        column = rest % across * INSIDE + tl.arange(0, INSIDE)[None, :]
        plane = rest // across * OUTSIDE + tl.arange(0, OUTSIDE)[:, None]
        channel = plane % channels
        inside = (plane < planes) & (column < out_w)
        step = 1
        source = x + plane.to(tl.int64) * h * w
        target = y + plane.to(tl.int64) * out_h * out_w
    if HAS_BIAS:
        shift = tl.load(bias + channel, channel < channels).to(tl.float32)
    row = top - PADDING
    first = _across(source + row * w * step, row, column, inside, h, w, step, PADDING)
    row += 1
    second = _across(source + row * w * step, row, column, inside, h, w, step, PADDING)
    row += 1
    third = _across(source + row * w * step, row, column, inside, h, w, step, PADDING)
    for out in range(top, top + ROWS):
        row += 1
        fourth = _across(source + row * w * step, row, column, inside, h, w, step, PADDING)
        result = (first + fourth) * OUTER + (second + third) * INNER
        if HAS_BIAS:
            result = activated(result + shift)
        to = target + (out * out_w + column) * step
        tl.store(to, result.to(y.dtype.element_ty), inside & (out < out_h))
        first = second
        second = third
        third = fourth


def blur_upsample(x: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Forward; arguments as in ``invad_fast.ops.blur_upsample``. Its backward is itself."""
    layout = memory_format_of(x)
    x = in_memory_format(x, layout)
    n, c, h, w = x.shape
    y = empty_like(x, (n, c, h + 2 * padding - 3, w + 2 * padding - 3))
    if y.numel() == 0:
        return y
    check_sample(x)
    out_h, out_w = y.shape[2:]
    last = layout == torch.channels_last
    planes, columns = (n, c) if last else (n * c, out_w)
    # 64 channels of several columns: their loads overlap in the first-level cache
    tile = tile_shape(out_w if last else planes, columns, TILE, widest=64 if last else TILE)
    others = n * triton.cdiv(out_w, tile[0]) if last else triton.cdiv(planes, tile[0])
    rows = min(STRIP, triton.next_power_of_2(out_h))
    grid = (triton.cdiv(out_h, rows) * others * triton.cdiv(columns, tile[1]),)
    with torch.cuda.device_of(x):
        _blur_upsample[grid](
            x, x if bias is None else bias.contiguous(), y, planes, c, h, w, out_h, out_w,
            bias is not None, last, padding, rows, *tile, num_warps=WARPS,
        )  # fmt: skip
    return y
