"""map = mean over the scales of M·map·Mᵀ, score = maximum of the map (method.md §2).

M, target×source, is resize and Gaussian in one; its rows are zero but for a band. One kernel does
both products: y[n, i, k] = Σ_j M[i, j]·x[n, j, k], only over the j that its rows i can reach.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from invad_fast.ops.anomaly_score import resize_filter_matrix
from invad_fast.ops.cosine_map import accumulation_dtype

ROWS, COLUMNS, STEP = 32, 64, 16


@triton.jit
def _banded_product(
    matrix,  # rows×depth
    bands,  # 2×blocks of rows: the first j, and the one after the last
    x,  # N×depth×columns
    y,  # N×rows×columns
    maxima,  # N×programs of an image, or unused
    rows, columns, depth,
    x_n, x_j, x_k, y_n, y_i, y_k,
    factor,  # of y, once the last product is in it
    ADD: tl.constexpr,  # to what y holds
    MAXIMA: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    ACC: tl.constexpr = y.dtype.element_ty
    blocks = tl.cdiv(rows, ROWS)
    block = tl.program_id(0) % blocks
    row = block * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) // blocks * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    n = tl.program_id(1).to(tl.int64)
    inside = (row < rows) & (column < columns)
    x += n * x_n + column * x_k
    total = tl.zeros((ROWS, COLUMNS), ACC)
    last = tl.load(bands + blocks + block)
    for start in range(tl.load(bands + block), last, STEP):
        across = start + tl.arange(0, STEP)[None, :]
        down = start + tl.arange(0, STEP)[:, None]
        weights = tl.load(matrix + row * depth + across, (row < rows) & (across < last), other=0)
        values = tl.load(x + down * x_j, (down < last) & (column < columns), other=0)
        total += tl.dot(weights, values.to(ACC), input_precision="ieee", out_dtype=ACC)
    to = y + n * y_n + row * y_i + column * y_k
    if ADD:
        total += tl.load(to, inside)
    total *= factor
    tl.store(to, total, inside)
    if MAXIMA:
        missing = tl.sum(tl.sum((inside & (total != total)).to(tl.int32), 1), 0)
        most = tl.max(tl.max(tl.where(inside, total, float("-inf")), 1), 0)
        at = maxima + n * tl.num_programs(0) + tl.program_id(0)
        tl.store(at, tl.where(missing > 0, float("nan"), most))


@functools.lru_cache(maxsize=64)
def _matrix(source: int, target: int, sigma: float, device: torch.device, dtype: torch.dtype):
    """M and its rows' bands by blocks of ROWS."""
    matrix = resize_filter_matrix(source, target, sigma)
    first, last = [], []
    for block in (matrix != 0).split(ROWS):
        reached = block.any(0).nonzero()
        first.append(int(reached[0]))
        last.append(int(reached[-1]) + 1)
    bands = torch.tensor([first, last], dtype=torch.int32, device=device)
    return matrix.to(device, dtype), bands


def _multiply(m, x: Tensor, y: Tensor, maxima: Tensor | None, factor: float, add: bool) -> None:
    """x, y: N×depth×columns and N×rows×columns, any strides."""
    matrix, bands = m
    rows, columns = y.shape[1:]
    _banded_product[(_programs(rows, columns), len(x))](
        matrix, bands, x, y, y if maxima is None else maxima, rows, columns, x.shape[1],
        *x.stride(), *y.stride(), factor, add, maxima is not None, ROWS, COLUMNS, STEP,
    )  # fmt: skip


def _programs(rows: int, columns: int) -> int:
    """Of one image of this size."""
    return triton.cdiv(rows, ROWS) * triton.cdiv(columns, COLUMNS)


def anomaly_score(maps: list[Tensor], size: list[int], sigma: float) -> tuple[Tensor, Tensor]:
    """Arguments as in ``invad_fast.ops.anomaly_score``."""
    n, dtype, device = len(maps[0]), accumulation_dtype(maps), maps[0].device
    out = maps[0].new_empty((n, *size), dtype=dtype)
    if n == 0:
        return out, out.new_empty(0)
    maxima = out.new_empty((n, _programs(*size)))
    with torch.cuda.device_of(out):
        for number, m in enumerate(maps):
            last = number == len(maps) - 1
            down, across = (
                _matrix(source, target, sigma, device, dtype)
                for source, target in zip(m.shape[1:], size)
            )
            wide = out.new_empty((n, m.shape[1], size[1]))
            _multiply(across, m.mT, wide.mT, None, 1.0, add=False)
            _multiply(
                down, wide, out, maxima if last else None, 1 / len(maps) if last else 1.0,
                add=number > 0,
            )  # fmt: skip
    return out, maxima.amax(1)
