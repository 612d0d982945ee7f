"""winograd_conv: a 3×3 convolution with a quarter of the multiplications, for inference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops.arguments import FLOAT_MAX, Arguments
from invad_fast.ops.dispatch import define

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
        plus: N×O×H×W of x's dtype, or None.
        slope: of negative values: 0 is a ReLU, 1 no activation; a finite float32.

    Returns:
        N×O×H×W, channels last.

    Raises:
        RuntimeError: where types, shapes or devices disagree.
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


def _check(x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None, slope: float) -> None:
    of = Arguments("winograd_conv")
    of.image("x", x)
    of.require(
        x.dtype in (torch.float32, torch.bfloat16),
        lambda: f"x must be float32 or bfloat16, not {x.dtype}",
    )
    of.one_of("weight", weight, (torch.float32, x.dtype), "float32 or, like x, bfloat16")
    _check_lanes(of, x)
    of.require(
        weight.dim() == 4, lambda: f"weight must be winograd_weight's, not {tuple(weight.shape)}"
    )
    paired = 1 if weight.dtype == torch.float32 else 2
    panels = weight.shape[1]
    of.size("weight", weight, (PATCH**2, panels, x.shape[1] // paired, paired * PANEL))
    of.device("weight", weight, x)
    of.type("bias", bias, torch.float32)
    of.floats("bias", bias, (panels * PANEL,), x)
    if plus is not None:
        of.type("plus", plus, x.dtype)
        of.floats("plus", plus, _size(x, weight), x)
    of.number("slope", slope, -FLOAT_MAX, FLOAT_MAX)


def _check_lanes(of: Arguments, x: Tensor) -> None:
    of.require(
        x.shape[1] > 0 and x.shape[1] % LANES == 0,
        lambda: f"x must have a multiple of {LANES} channels, not {tuple(x.shape)}",
    )


def _size(x: Tensor, weight: Tensor) -> torch.Size:
    """The output's."""
    return torch.Size((x.shape[0], weight.shape[1] * PANEL, *x.shape[2:]))


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
    return torch.empty(
        _size(x, weight), dtype=x.dtype, device=x.device, memory_format=torch.channels_last
    )


_op = define(
    "winograd_conv(Tensor x, Tensor weight, Tensor bias, Tensor? plus, float slope) -> Tensor",
    _check,
    _reference,
    _fake,
)


def winograd_conv_backward(x: Tensor, grad: Tensor) -> Tensor:
    """The gradient by the transformed filters, 36×O/64×I×64, with a quarter of the multiplications.

    Args:
        x: N×I×H×W, float32, I a multiple of 16.
        grad: by the convolution's result, N×O×H×W, float32, O a multiple of 64.

    Raises:
        RuntimeError: where types, shapes or devices disagree.
    """
    return _backward_op(x, grad)


def _check_backward(x: Tensor, grad: Tensor) -> None:
    of = Arguments("winograd_conv_backward")
    of.image("x", x)
    of.type("x", x, torch.float32)
    of.image("grad", grad)
    of.type("grad", grad, torch.float32)
    _check_lanes(of, x)
    out_channels = grad.shape[1]
    of.require(
        out_channels % PANEL == 0,
        lambda: f"grad must have a multiple of {PANEL} channels, not {tuple(grad.shape)}",
    )
    of.size("grad", grad, (x.shape[0], out_channels, *x.shape[2:]))
    of.device("grad", grad, x)


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
    return x.new_empty(PATCH**2, grad.shape[1] // PANEL, x.shape[1], PANEL)


_backward_op = define(
    "winograd_conv_backward(Tensor x, Tensor grad) -> Tensor",
    _check_backward,
    _reference_backward,
    _fake_backward,
)
