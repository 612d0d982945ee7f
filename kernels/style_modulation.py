"""y = x̂·γ + β with (γ, β) = conv3×3(style) and x̂ = (x − mean)/√(var + eps) (method.md §1).

x, y: N×C×H×W, dense in either layout; style: N×S×H×W, any strides; weight: 2C×S×3×3, γ's filters
first; bias: 2C. After the part moments (``sample_moments``), one kernel: a program makes a tile of
pixels×channels of y. γ and β are two products of matrices on the tensor cores,

    [pixels × 9·S] · [9·S × channels]

taken tap by tap: the pixels' neighbours in one direction, S values each, times that tap's filters,
S×channels. They stay in registers, where x̂ is multiplied by γ and β is added. Memory sees x twice
(the second time often from a cache), y once, and the small style; written and read back, γ and β
would be four times x more.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from invad_fast.kernels.sample_moments import merged_moments, part_moments
from invad_fast.ops.memory_format import empty_like, in_memory_format, memory_format_of

WARPS = 4


@triton.jit
def _style_modulation(
    x,  # N×C×pixels, by strides
    style,  # N×S×H×W, by strides
    weight,  # 9×S×2C, dense
    bias,  # 2C
    moments,  # N×parts×2
    y,  # like x
    mean_out,  # N
    rstd_out,  # N
    channels,
    h,
    w,
    pixel_stride,
    channel_stride,
    style_n,
    style_s,
    style_h,
    style_w,
    parts,
    span,
    eps,
    WIDTH: tl.constexpr,  # S
    PARTS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    DEPTH: tl.constexpr,  # values of the style taken at a time
    OPERAND: tl.constexpr,  # type of the products' inputs
):
    across = tl.cdiv(channels, CHANNELS)
    down = tl.cdiv(h * w, PIXELS)
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    sample = program // (across * down)
    pixel = program // across % down * PIXELS + tl.arange(0, PIXELS)
    channel = program % across * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < h * w)[:, None] & (channel < channels)[None, :]
    at = sample.to(tl.int64) * channels * h * w
    at += pixel[:, None] * pixel_stride + channel[None, :] * channel_stride
    value = tl.load(x + at, inside)

    row, column = pixel // w, pixel % w
    gamma = tl.zeros((PIXELS, CHANNELS), tl.float32)
    beta = tl.zeros((PIXELS, CHANNELS), tl.float32)
    style += sample.to(tl.int64) * style_n
    for tap in range(9):
        near_row, near_column = row + (tap // 3 - 1), column + (tap % 3 - 1)
        near = (near_row >= 0) & (near_row < h) & (near_column >= 0) & (near_column < w)
        source = style + near_row * style_h + near_column * style_w
        for start in tl.static_range(0, WIDTH, DEPTH):
            depth = start + tl.arange(0, DEPTH)
            known = depth < WIDTH
            patch = tl.load(
                source[:, None] + depth[None, :] * style_s,
                near[:, None] & known[None, :],
                other=0,
            ).to(OPERAND)
            filters = weight + (tap * WIDTH + depth)[:, None] * channels * 2 + channel[None, :]
            used = known[:, None] & (channel < channels)[None, :]
            gamma_filters = tl.load(filters, used, other=0).to(OPERAND)
            beta_filters = tl.load(filters + channels, used, other=0).to(OPERAND)
            # float32 in three TF32 products: float32's accuracy, still on the tensor cores
            gamma = tl.dot(patch, gamma_filters, gamma, input_precision="tf32x3")
            beta = tl.dot(patch, beta_filters, beta, input_precision="tf32x3")

    gamma += tl.load(bias + channel, channel < channels, other=0).to(tl.float32)[None, :]
    beta += tl.load(bias + channels + channel, channel < channels, other=0).to(tl.float32)[None, :]
    mean, rstd = merged_moments(moments, sample, channels * h * w, parts, span, eps, PARTS)
    if program % (across * down) == 0:
        tl.store(mean_out + sample, mean)
        tl.store(rstd_out + sample, rstd)
    result = (value.to(tl.float32) - mean) * rstd * gamma + beta
    tl.store(y + at, result.to(y.dtype.element_ty), inside)


def style_modulation(
    x: Tensor, style: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y, mean and rstd; arguments as in ``invad_fast.ops.style_modulation``.

    The weight is laid out as 3×3×S×2C: one that already is (``permute(3, 2, 0, 1)`` of a dense
    3×3×S×2C tensor), in x's dtype, is taken without a copy.
    """
    layout = memory_format_of(x)
    x = in_memory_format(x, layout)
    n, c, h, w = x.shape
    y = empty_like(x)
    mean = x.new_empty(n, dtype=torch.float32)
    rstd = torch.empty_like(mean)
    if x.numel() == 0:
        return y, mean.fill_(float("nan")), rstd.fill_(float("nan"))
    width = weight.shape[1]
    style = style.to(x.dtype)
    taps = weight.to(x.dtype).permute(2, 3, 1, 0).contiguous()
    pixels, channels = tile(x)
    grid = (n * triton.cdiv(h * w, pixels) * triton.cdiv(c, channels),)
    with torch.cuda.device_of(x):
        moments, span, pieces = part_moments(x)
        # One stage: prefetched copies into shared memory would pass by the first-level cache, which
        # holds the filters for all the programs of a multiprocessor.
        _style_modulation[grid](
            x, style, taps, bias.contiguous(), moments, y, mean, rstd, c, h, w,
            *((c, 1) if layout == torch.channels_last else (1, h * w)), *style.stride(),
            pieces.parts, span, eps, width, pieces.padded, pixels, channels,
            min(max(16, triton.next_power_of_2(width)), 64), _operand(x.dtype),
            num_warps=WARPS, num_stages=1,
        )  # fmt: skip
    return y, mean, rstd


def _operand(dtype: torch.dtype) -> tl.dtype:
    # Triton's interpreter would multiply the bits of bfloat16 as integers.
    if dtype == torch.float32 or (dtype == torch.bfloat16 and triton.knobs.runtime.interpret):
        return tl.float32
    return {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}[dtype]


def tile(x: Tensor) -> tuple[int, int]:
    """(pixels, channels) of a program's tile: the largest that gives a large GPU enough programs.

    γ, β and x of 64×64 elements take 80 registers of each of 128 threads; float32 in three
    products has larger operands, and half the channels. A tile reads 9·S filters for each of its
    channels (mostly from the first-level cache) and 9·S style values for each of its pixels: the
    32×32 that batch 1 needs to reach all multiprocessors read more.
    """
    n, c, h, w = x.shape
    pixels, channels = (64, 32) if x.dtype == torch.float32 else (64, 64)
    if n * triton.cdiv(h * w, pixels) * triton.cdiv(c, channels) < 128:
        pixels, channels = 32, 32
    least = 16  # of a product on the tensor cores
    return (
        min(pixels, max(least, triton.next_power_of_2(h * w))),
        min(channels, max(least, triton.next_power_of_2(c))),
    )
