"""1 − cosine of features f and reconstructions r, no resized feature ever written (method.md §2).

f, r: N×C×H×W each, any strides. With unit vectors and the bilinear weights of a pixel a product
(f·r, f·f, r·r) is a quadratic form of what the corners of its coarse cell have with each other. So
for every scale but the first: the products of each vector with itself (3×P, P = N·h·w), then of
neighbours, both orders added (4×3×P: same, right, below, diagonal), then their sums with products
of weights, added to totals on the finest grid (3×N·H·W). The first scale's kernel adds its own
products and writes the map. csrc/cpu/cosine_map.cpp has the algebra.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from invad_fast.ops.cosine_map import accumulation_dtype

NORMALIZE_EPS, COSINE_EPS = tl.constexpr(1e-12), tl.constexpr(1e-8)
# A tile of pixels×channels.
PIXELS, CHANNELS = 16, 64
# Pixels of a program that does not go over channels.
PLAIN_PIXELS = 256


@triton.jit
def _place(pixel, height, width):
    """(sample, row, column) of pixels counted through all samples."""
    row = pixel // width
    return (row // height).to(tl.int64), row % height, pixel % width


@triton.jit
def _vectors(x, n, row, column, stride_n, stride_h, stride_w):
    """Pointers to the first channel of each place: pixels×1."""
    return (x + n * stride_n + row.to(tl.int64) * stride_h + column * stride_w)[:, None]


@triton.jit
def _own_products(f, r, channels, f_step, r_step, inside, ACC: tl.constexpr, SHAPE: tl.constexpr):
    """f·r, f·f and r·r of each pixel; f and r: pointers, pixels×1."""
    fr = tl.zeros(SHAPE, ACC)
    ff = tl.zeros(SHAPE, ACC)
    rr = tl.zeros(SHAPE, ACC)
    for start in range(0, channels, SHAPE[1]):
        channel = start + tl.arange(0, SHAPE[1])[None, :]
        mask = inside[:, None] & (channel < channels)
        a = tl.load(f + channel * f_step, mask, other=0).to(ACC)
        b = tl.load(r + channel * r_step, mask, other=0).to(ACC)
        fr += a * b
        ff += a * a
        rr += b * b
    return tl.sum(fr, 1), tl.sum(ff, 1), tl.sum(rr, 1)


@triton.jit
def _inverse_norm(square):
    norm = tl.sqrt(square)
    return 1 / tl.where(norm < NORMALIZE_EPS, NORMALIZE_EPS, norm)


@triton.jit
def _norm(square):
    """At least eps; rounding may have left the square below zero, and NaN stays NaN."""
    norm = tl.sqrt(tl.where(square < 0, 0, square))
    return tl.where(norm < COSINE_EPS, COSINE_EPS, norm)


@triton.jit
def _products(
    f, r, products,  # products: 3×P
    pixels, channels, height, width,
    f_n, f_c, f_h, f_w, r_n, r_c, r_h, r_w,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = pixel < pixels
    n, row, column = _place(pixel, height, width)
    fr, ff, rr = _own_products(
        _vectors(f, n, row, column, f_n, f_h, f_w), _vectors(r, n, row, column, r_n, r_h, r_w),
        channels, f_c, r_c, inside, products.dtype.element_ty, (ROWS, COLUMNS),
    )  # fmt: skip
    tl.store(products + pixel, fr, inside)
    tl.store(products + pixels + pixel, ff, inside)
    tl.store(products + 2 * pixels + pixel, rr, inside)


@triton.jit
def _added_up(products, TOGETHER: tl.constexpr):
    """Over as many channels as a thread has beside each other."""
    if TOGETHER == 1:
        return products
    ROWS: tl.constexpr = products.shape[0]
    GROUPS: tl.constexpr = products.shape[1] // TOGETHER
    return tl.sum(tl.reshape(products, (ROWS, GROUPS, TOGETHER)), 2)


@triton.jit
def _add(sums, f_p, f_q, r_p, r_q, TOGETHER: tl.constexpr):
    """f_p·r_q, r_p·f_q, f_p·f_q and r_p·r_q, added to their sums."""
    fr, rf, ff, rr = sums
    fr += _added_up(f_p * r_q, TOGETHER)
    rf += _added_up(r_p * f_q, TOGETHER)
    ff += _added_up(f_p * f_q, TOGETHER)
    rr += _added_up(r_p * r_q, TOGETHER)
    return fr, rf, ff, rr


@triton.jit
def _of_units(sums, f_p, f_q, r_p, r_q):
    """Both orders added, of unit vectors: f·r, f·f, r·r; the others are the inverse norms."""
    fr, rf, ff, rr = sums
    both = tl.sum(fr, 1) * (f_p * r_q) + tl.sum(rf, 1) * (r_p * f_q)
    return both, 2 * tl.sum(ff, 1) * (f_p * f_q), 2 * tl.sum(rr, 1) * (r_p * r_q)


@triton.jit
def _store(planes, plane: tl.constexpr, pixels, pixel, inside, values):
    fr, ff, rr = values
    at = planes + plane * 3 * pixels + pixel
    tl.store(at, fr, inside)
    tl.store(at + pixels, ff, inside)
    tl.store(at + 2 * pixels, rr, inside)


@triton.jit
def _neighbours(
    f, r, products, planes,  # products: 3×P; planes: 4×3×P
    pixels, channels, height, width,
    f_n, f_c, f_h, f_w, r_n, r_c, r_h, r_w,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    ACC: tl.constexpr = planes.dtype.element_ty
    pixel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = pixel < pixels
    n, row, column = _place(pixel, height, width)
    # At an edge a vector is its own neighbour.
    down = tl.where(row + 1 < height, 1, 0)
    right = tl.where(column + 1 < width, 1, 0)
    f0 = _vectors(f, n, row, column, f_n, f_h, f_w)
    f1 = f0 + (right * f_w)[:, None]
    f2 = f0 + (down.to(tl.int64) * f_h)[:, None]
    f3 = f2 + (right * f_w)[:, None]
    r0 = _vectors(r, n, row, column, r_n, r_h, r_w)
    r1 = r0 + (right * r_w)[:, None]
    r2 = r0 + (down.to(tl.int64) * r_h)[:, None]
    r3 = r2 + (right * r_w)[:, None]
    zero = tl.zeros((ROWS, COLUMNS // TOGETHER), ACC)
    rightwards = (zero, zero, zero, zero)
    below = (zero, zero, zero, zero)
    diagonal = (zero, zero, zero, zero)
    crossing = (zero, zero, zero, zero)
    for start in range(0, channels, COLUMNS):
        channel = start + tl.arange(0, COLUMNS)[None, :]
        mask = inside[:, None] & (channel < channels)
        f_at = channel * f_c
        r_at = channel * r_c
        a0 = tl.load(f0 + f_at, mask, other=0).to(ACC)
        a1 = tl.load(f1 + f_at, mask, other=0).to(ACC)
        a2 = tl.load(f2 + f_at, mask, other=0).to(ACC)
        a3 = tl.load(f3 + f_at, mask, other=0).to(ACC)
        b0 = tl.load(r0 + r_at, mask, other=0).to(ACC)
        b1 = tl.load(r1 + r_at, mask, other=0).to(ACC)
        b2 = tl.load(r2 + r_at, mask, other=0).to(ACC)
        b3 = tl.load(r3 + r_at, mask, other=0).to(ACC)
        rightwards = _add(rightwards, a0, a1, b0, b1, TOGETHER)
        below = _add(below, a0, a2, b0, b2, TOGETHER)
        diagonal = _add(diagonal, a0, a3, b0, b3, TOGETHER)
        crossing = _add(crossing, a1, a2, b1, b2, TOGETHER)
    of_f = products + pixels + pixel
    of_r = of_f + pixels
    lower = down * width
    u0 = _inverse_norm(tl.load(of_f, inside))
    u1 = _inverse_norm(tl.load(of_f + right, inside))
    u2 = _inverse_norm(tl.load(of_f + lower, inside))
    u3 = _inverse_norm(tl.load(of_f + lower + right, inside))
    v0 = _inverse_norm(tl.load(of_r, inside))
    v1 = _inverse_norm(tl.load(of_r + right, inside))
    v2 = _inverse_norm(tl.load(of_r + lower, inside))
    v3 = _inverse_norm(tl.load(of_r + lower + right, inside))
    own = (
        tl.load(products + pixel, inside) * (u0 * v0),
        tl.load(of_f, inside) * (u0 * u0),
        tl.load(of_r, inside) * (v0 * v0),
    )
    _store(planes, 0, pixels, pixel, inside, own)
    _store(planes, 1, pixels, pixel, inside, _of_units(rightwards, u0, u1, v0, v1))
    _store(planes, 2, pixels, pixel, inside, _of_units(below, u0, u2, v0, v2))
    fr, ff, rr = _of_units(diagonal, u0, u3, v0, v3)
    fr_crossing, ff_crossing, rr_crossing = _of_units(crossing, u1, u2, v1, v2)
    both = (fr + fr_crossing, ff + ff_crossing, rr + rr_crossing)
    _store(planes, 3, pixels, pixel, inside, both)


@triton.jit
def _tap(i, source, target, ACC: tl.constexpr):
    """(first, second, fraction) as in ``invad_fast/ops/bilinear.py``."""
    steps = tl.maximum(target - 1, 1)
    position = i * (source - 1)
    first = position // steps
    fraction = (position % steps).to(ACC) / steps.to(ACC)
    return first, tl.minimum(first + 1, source - 1), fraction


@triton.jit
def _between(same, step, first, second, t, inside):
    """The product at fraction t between two samples; same, step: pointers to its planes."""
    a = tl.load(same + first, inside)
    b = tl.load(same + second, inside)
    c = tl.load(step + first, inside)
    return (1 - t) * (1 - t) * a + t * t * b + t * (1 - t) * c


@triton.jit
def _add_resized(
    planes, totals,  # planes: 4×3×p; totals: 3×P
    coarse_pixels, pixels, height, width, coarse_height, coarse_width,
    FIRST: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    ACC: tl.constexpr = totals.dtype.element_ty
    pixel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = pixel < pixels
    n, row, column = _place(pixel, height, width)
    top, bottom, down = _tap(row, coarse_height, height, ACC)
    left, right, across = _tap(column, coarse_width, width, ACC)
    sample = n * (coarse_height * coarse_width)
    top = sample + top * coarse_width
    bottom = sample + bottom * coarse_width
    plane = 3 * coarse_pixels
    for product in tl.static_range(3):
        same = planes + product * coarse_pixels
        # Down first: each column's product, and that of each column with the next.
        a = _between(same + left, same + 2 * plane + left, top, bottom, down, inside)
        b = _between(same + right, same + 2 * plane + right, top, bottom, down, inside)
        c = _between(same + plane + left, same + 3 * plane + left, top, bottom, down, inside)
        total = (1 - across) * (1 - across) * a + across * across * b + across * (1 - across) * c
        to = totals + product * pixels + pixel
        if not FIRST:
            total += tl.load(to, inside)
        tl.store(to, total, inside)


@triton.jit
def _distance(
    f, r, totals, out,  # totals: 3×P or unused; out: P
    pixels, channels, height, width,
    f_n, f_c, f_h, f_w, r_n, r_c, r_h, r_w,
    NORMALIZE: tl.constexpr, HAS_TOTALS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = pixel < pixels
    n, row, column = _place(pixel, height, width)
    fr, ff, rr = _own_products(
        _vectors(f, n, row, column, f_n, f_h, f_w), _vectors(r, n, row, column, r_n, r_h, r_w),
        channels, f_c, r_c, inside, out.dtype.element_ty, (ROWS, COLUMNS),
    )  # fmt: skip
    if NORMALIZE:
        u = _inverse_norm(ff)
        v = _inverse_norm(rr)
        fr *= u * v
        ff *= u * u
        rr *= v * v
    if HAS_TOTALS:
        fr += tl.load(totals + pixel, inside)
        ff += tl.load(totals + pixels + pixel, inside)
        rr += tl.load(totals + 2 * pixels + pixel, inside)
    tl.store(out + pixel, 1 - fr / (_norm(ff) * _norm(rr)), inside)


def cosine_map(
    features: list[Tensor], reconstructions: list[Tensor], unified: bool
) -> list[Tensor]:
    """Arguments as in ``invad_fast.ops.cosine_map``."""
    dtype = accumulation_dtype([*features, *reconstructions])
    pairs = list(zip(features, reconstructions))
    with torch.cuda.device_of(features[0]):
        if not unified:
            return [_map(f, r, None, False, dtype) for f, r in pairs]
        totals = None
        for f, r in pairs[1:]:
            totals = _resized_totals(f, r, totals, features[0], dtype)
        return [_map(*pairs[0], totals, True, dtype)]


def _map(f: Tensor, r: Tensor, totals: Tensor | None, normalize: bool, dtype) -> Tensor:
    n, c, h, w = f.shape
    out = f.new_empty((n, h, w), dtype=dtype)
    if n:
        _distance[(triton.cdiv(n * h * w, PIXELS),)](
            f, r, out if totals is None else totals, out, n * h * w, c, h, w,
            *f.stride(), *r.stride(), normalize, totals is not None, PIXELS, CHANNELS,
        )  # fmt: skip
    return out


def _resized_totals(f: Tensor, r: Tensor, totals: Tensor | None, finest: Tensor, dtype) -> Tensor:
    """Adds a scale's products on the finest grid; makes them where there are none yet."""
    n, c, h, w = f.shape
    height, width = finest.shape[2:]
    first = totals is None
    if totals is None:
        totals = f.new_empty((3, n, height, width), dtype=dtype)
    if n == 0:
        return totals
    pixels, fine_pixels = n * h * w, n * height * width
    products = f.new_empty((3, n, h, w), dtype=dtype)
    planes = f.new_empty((4, 3, n, h, w), dtype=dtype)
    strides = (*f.stride(), *r.stride())
    blocks = (triton.cdiv(pixels, PIXELS),)
    _products[blocks](f, r, products, pixels, c, h, w, *strides, PIXELS, CHANNELS)
    _neighbours[blocks](f, r, products, planes, pixels, c, h, w, *strides, PIXELS, *_columns(f, r))
    _add_resized[(triton.cdiv(fine_pixels, PLAIN_PIXELS),)](
        planes, totals, pixels, fine_pixels, height, width, h, w, first, PLAIN_PIXELS
    )
    return totals


def _columns(f: Tensor, r: Tensor) -> tuple[int, int]:
    """(channels of ``_neighbours``'s tile, how many of them a thread adds up by itself).

    It keeps sixteen sums. Where a thread reads eight channels at once, 16 bytes, one of each kind
    is enough for them; else each channel has its own, and the tile is half as large.
    """
    together = all(x.stride(1) == 1 and x.element_size() == 2 for x in (f, r))
    return (CHANNELS, 8) if together else (CHANNELS // 2, 1)
