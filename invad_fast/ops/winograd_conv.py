"""winograd_conv: a 3×3 convolution with a quarter of the multiplications, for inference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops.bias_leaky_relu import check_bias
from invad_fast.ops.dispatch import define
from invad_fast.ops.layout import check_image

TILE, PATCH, PANEL, LANES = 4, 6, 64, 16

# F(4×4, 3×3) for the points 0, ±1, ±2 and ∞ (Lavin & Gray, "Fast Algorithms for Convolutional
# Neural Networks", arXiv 1509.09308, §4.3): a tile is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A.
_B = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def winograd_conv(
    x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None = None, slope: float = 1.0
) -> Tensor:
    """y = leaky_relu(conv3×3(x) + bias + plus, slope), zero-padded, stride 1.

    Equal to the direct sum but for rounding, which is some ten times as large. It has no backward.

    Args:
        x: N×I×H×W, float32 or bfloat16, I a multiple of 16; all arithmetic is in float32.
        weight: 36×O/64×I×64, as :func:`winograd_weight` makes it.
        bias: O, float32.
        plus: N×O×H×W, or None.
        slope: of negative values: 0 is a ReLU, 1 no activation.

    Returns:
        N×O×H×W, channels last.

    Raises:
        RuntimeError: where shapes or types disagree.
    """
    return _op(x, weight, bias, plus, slope)


def suits_winograd(weight: Tensor) -> bool:
    """Whether the op takes the filters O×I×k×k: 3×3, O a multiple of 64 and I of 16."""
    out_channels, in_channels, *kernel = weight.shape
    return kernel == [3, 3] and out_channels % PANEL == 0 and in_channels % LANES == 0


def winograd_weight(weight: Tensor) -> Tensor:
    """Filters O×I×3×3 → 36×O/64×I×64, transformed, in float32."""
    g = torch.tensor(_G, dtype=torch.float64, device=weight.device)
    both_sides = torch.kron(g, g)  # 36×9
    out_channels, in_channels = weight.shape[:2]
    shape = (PATCH**2, out_channels // PANEL, in_channels, PANEL)
    transformed = torch.empty(shape, device=weight.device)
    # Panel by panel: all of them in float64 would be eight times the filters' memory.
    for panel, filters in enumerate(weight.flatten(2).split(PANEL)):
        columns = filters.double().permute(2, 1, 0).flatten(1)  # 9×(I·64)
        transformed[:, panel] = (both_sides @ columns).view(-1, in_channels, PANEL)
    return transformed


def _check(x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None) -> torch.Size:
    """The output's shape."""
    check_image(x)
    torch._check(
        weight.dim() == 4
        and weight.shape[0] == PATCH**2
        and tuple(weight.shape[2:]) == (x.shape[1], PANEL)
        and x.shape[1] % LANES == 0,
        lambda: f"weight must be 36×O/64×I×64 for x {tuple(x.shape)}, I a multiple of 16",
    )
    torch._check(
        x.dtype in (torch.float32, torch.bfloat16), lambda: "x must be float32 or bfloat16"
    )
    torch._check(
        weight.dtype == bias.dtype == torch.float32, lambda: "weight and bias must be float32"
    )
    shape = torch.Size((x.shape[0], weight.shape[1] * PANEL, *x.shape[2:]))
    check_bias(x.new_empty(shape, device="meta"), bias)
    torch._check(plus is None or plus.shape == shape, lambda: f"plus must be {tuple(shape)}")
    return shape


def _reference(
    x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None, slope: float
) -> Tensor:
    y = _fake(x, weight, bias, plus, slope)
    n, out_channels, height, width = y.shape
    if y.numel() == 0:
        return y
    b, a = (torch.tensor(m, dtype=torch.float32, device=x.device) for m in (_B, _A))
    down, across = -(-height // TILE), -(-width // TILE)
    padded = F.pad(x.float(), (1, across * TILE - width + 1, 1, down * TILE - height + 1))
    patches = padded.unfold(2, PATCH, TILE).unfold(3, PATCH, TILE)
    patches = torch.einsum("ak,nihwkl,bl->abinhw", b, patches, b).flatten(0, 1).flatten(2)
    filters = weight.transpose(1, 2).flatten(2)
    products = torch.einsum("pit,pio->pot", patches, filters).unflatten(0, (PATCH, PATCH))
    tiles = torch.einsum("ak,klot,bl->otab", a, products, a)
    tiles = tiles.view(out_channels, n, down, across, TILE, TILE).permute(1, 0, 2, 4, 3, 5)
    whole = tiles.reshape(n, out_channels, down * TILE, across * TILE)[..., :height, :width]
    whole = whole + bias.view(1, -1, 1, 1)
    if plus is not None:
        whole = whole + plus
    return y.copy_(torch.where(whole > 0, whole, whole * slope))


def _fake(x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None, slope: float) -> Tensor:
    shape = _check(x, weight, bias, plus)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


_op = define(
    "winograd_conv(Tensor x, Tensor weight, Tensor bias, Tensor? plus, float slope) -> Tensor",
    _reference,
    _fake,
)
