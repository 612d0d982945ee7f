"""winograd_conv: a 3×3 convolution with a quarter of the multiplications, for inference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops.bias_leaky_relu import check_bias
from invad_fast.ops.dispatch import define
from invad_fast.ops.layout import check_image

TILE, PATCH, PANEL, LANES = 4, 6, 64, 16

# F(4×4, 3×3) (Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308,
# §4.3): a tile is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. Its points are 0, ±a, ±b and ∞: for these fractions,
# exact in binary, the rounding of both factors weighs half of what it does for their 1 and 2.
_a, _b = 5 / 8, 3 / 2
_a2, _b2 = _a * _a, _b * _b
_fa, _fb = 2 * _a2 * (_a2 - _b2), 2 * _b2 * (_b2 - _a2)
_B = (
    (_a2 * _b2, 0, -_a2 - _b2, 0, 1, 0),
    (0, -_a * _b2, -_b2, _a, 1, 0),
    (0, _a * _b2, -_b2, -_a, 1, 0),
    (0, -_a2 * _b, -_a2, _b, 1, 0),
    (0, _a2 * _b, -_a2, -_b, 1, 0),
    (0, _a2 * _b2, 0, -_a2 - _b2, 0, 1),
)
_G = (
    (1 / (_a2 * _b2), 0, 0),
    (1 / _fa, _a / _fa, _a2 / _fa),
    (1 / _fa, -_a / _fa, _a2 / _fa),
    (1 / _fb, _b / _fb, _b2 / _fb),
    (1 / _fb, -_b / _fb, _b2 / _fb),
    (0, 0, 1),
)
_A = (
    (1, 1, 1, 1, 1, 0),
    (0, _a, -_a, _b, -_b, 0),
    (0, _a2, _a2, _b2, _b2, 0),
    (0, _a2 * _a, -_a2 * _a, _b2 * _b, -_b2 * _b, 1),
)


def winograd_conv(
    x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None = None, slope: float = 1.0
) -> Tensor:
    """y = leaky_relu(conv3×3(x) + bias + plus, slope), zero-padded, stride 1.

    Equal to the direct sum but for rounding: that of both transformed factors to the weight's type
    counts some six times. Sums are in float32. :func:`conv3x3` has gradients.

    Args:
        x: N×I×H×W, float32 or bfloat16, I a multiple of 16.
        weight: as :func:`winograd_weight` makes it, float32, or bfloat16 where x is.
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


def winograd_weight(weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Filters O×I×3×3, transformed.

    Returns:
        36×O/64×I×64 of float32, or 36×O/64×I/2×128 of bfloat16: two input channels of each output
        side by side, as processors multiply them.
    """
    both_sides = _filter_transform(weight)
    out_channels, in_channels = weight.shape[:2]
    panels = out_channels // PANEL
    transformed = weight.new_empty((PATCH**2, panels, in_channels, PANEL), dtype=dtype)
    # Panel by panel: all of them in float64 would be eight times the filters' memory.
    for panel, filters in enumerate(weight.flatten(2).split(PANEL)):
        columns = filters.permute(2, 1, 0).flatten(1)  # 9×(I·64)
        transformed[:, panel] = (both_sides @ columns).view(-1, in_channels, PANEL)
    if dtype == torch.float32:
        return transformed
    return transformed.unflatten(2, (-1, 2)).transpose(3, 4).flatten(3)


def filter_gradient(transformed: Tensor) -> Tensor:
    """A loss's gradient by transformed float32 filters 36×O/64×I×64 → by the filters, O×I×3×3."""
    back = _filter_transform(transformed).T @ transformed.flatten(1)
    panels, in_channels = transformed.shape[1:3]
    back = back.view(3, 3, panels, in_channels, PANEL).permute(2, 4, 3, 0, 1)
    return back.reshape(panels * PANEL, in_channels, 3, 3)


def _filter_transform(like: Tensor) -> Tensor:
    """G on both sides of flattened filters: 36×9."""
    g = torch.tensor(_G, dtype=like.dtype, device=like.device)
    return torch.kron(g, g)


def _unpaired(weight: Tensor) -> Tensor:
    """`winograd_weight`'s result as 36×I×O, float32."""
    if weight.dtype == torch.bfloat16:
        weight = weight.unflatten(3, (PANEL, 2)).transpose(3, 4).flatten(2, 3).float()
    return weight.transpose(1, 2).flatten(2)


def _check(x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None) -> torch.Size:
    """The output's shape."""
    check_image(x)
    torch._check(
        x.dtype in (torch.float32, torch.bfloat16), lambda: "x must be float32 or bfloat16"
    )
    torch._check(
        weight.dtype in (torch.float32, x.dtype) and bias.dtype == torch.float32,
        lambda: "weight must be float32 or, like x, bfloat16; bias must be float32",
    )
    paired = 1 if weight.dtype == torch.float32 else 2
    torch._check(
        weight.dim() == 4
        and weight.shape[0] == PATCH**2
        and tuple(weight.shape[2:]) == (x.shape[1] // paired, paired * PANEL)
        and x.shape[1] % LANES == 0,
        lambda: (
            f"weight must be winograd_weight's for the channels of x {tuple(x.shape)}, "
            "a multiple of 16"
        ),
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
    a = torch.tensor(_A, dtype=torch.float32, device=x.device)
    down, across = -(-height // TILE), -(-width // TILE)
    patches = _patches(x).to(weight.dtype).float()
    products = torch.einsum("pit,pio->pot", patches, _unpaired(weight)).unflatten(0, (PATCH, PATCH))
    tiles = torch.einsum("ak,klot,bl->otab", a, products, a)
    tiles = tiles.view(out_channels, n, down, across, TILE, TILE).permute(1, 0, 2, 4, 3, 5)
    whole = tiles.reshape(n, out_channels, down * TILE, across * TILE)[..., :height, :width]
    whole = whole + bias.view(1, -1, 1, 1)
    if plus is not None:
        whole = whole + plus
    return y.copy_(torch.where(whole > 0, whole, whole * slope))


def _patches(x: Tensor) -> Tensor:
    """N×I×H×W → transformed, 36×I×tiles."""
    height, width = x.shape[2:]
    b = torch.tensor(_B, dtype=torch.float32, device=x.device)
    padded = F.pad(x.float(), (1, -width % TILE + 1, 1, -height % TILE + 1))
    patches = padded.unfold(2, PATCH, TILE).unfold(3, PATCH, TILE)
    return torch.einsum("ak,nihwkl,bl->abinhw", b, patches, b).flatten(0, 1).flatten(2)


def _fake(x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None, slope: float) -> Tensor:
    shape = _check(x, weight, bias, plus)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


_op = define(
    "winograd_conv(Tensor x, Tensor weight, Tensor bias, Tensor? plus, float slope) -> Tensor",
    _reference,
    _fake,
)


def winograd_conv_backward(x: Tensor, grad: Tensor) -> Tensor:
    """The gradient by the transformed filters, 36×O/64×I×64, with a quarter of the multiplications.

    Args:
        x: N×I×H×W, float32, I a multiple of 16.
        grad: by the convolution's result, N×O×H×W, float32, O a multiple of 64.

    Raises:
        RuntimeError: where shapes or types disagree.
    """
    return _backward_op(x, grad)


def _reference_backward(x: Tensor, grad: Tensor) -> Tensor:
    transformed = _fake_backward(x, grad)
    if x.numel() == 0:
        return transformed.zero_()
    height, width = x.shape[2:]
    a = torch.tensor(_A, dtype=torch.float32, device=x.device)
    padded = F.pad(grad, (0, -width % TILE, 0, -height % TILE))
    tiles = padded.unfold(2, TILE, TILE).unfold(3, TILE, TILE)
    tiles = torch.einsum("ka,nohwkl,lb->abonhw", a, tiles, a).flatten(0, 1).flatten(2)
    product = torch.einsum("pit,pot->pio", _patches(x), tiles)
    return transformed.copy_(product.unflatten(2, (-1, PANEL)).transpose(1, 2))


def _fake_backward(x: Tensor, grad: Tensor) -> Tensor:
    check_image(x)
    torch._check(
        grad.dim() == 4
        and (grad.shape[0], *grad.shape[2:]) == (x.shape[0], *x.shape[2:])
        and x.shape[1] % LANES == 0
        and grad.shape[1] % PANEL == 0
        and x.dtype == grad.dtype == torch.float32,
        lambda: (
            f"x {tuple(x.shape)} and grad {tuple(grad.shape)} must be float32, N×I×H×W and "
            "N×O×H×W, I a multiple of 16 and O of 64"
        ),
    )
    return x.new_empty(PATCH**2, grad.shape[1] // PANEL, x.shape[1], PANEL)


_backward_op = define(
    "winograd_conv_backward(Tensor x, Tensor grad) -> Tensor",
    _reference_backward,
    _fake_backward,
)
