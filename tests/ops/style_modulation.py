import torch
from op_cases import Variant, double
from torch import Tensor

from invad_fast.ops import style_modulation


def latent(shape: tuple[int, ...], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The style, the weight and the bias for x's shape."""
    n, c, h, w = shape
    weight = double(2 * c, width, 3, 3) / (9 * width) ** 0.5
    return double(n, width, h, w), weight, double(2 * c)


def variant(width: int) -> Variant:
    # γ and β are rounded to x's dtype on the way, and so are the 9·S products' inputs
    return Variant("style_modulation", style_modulation, lambda s: latent(s, width), slack=8)


VARIANTS = {"style_modulation": variant(16), "style_modulation, odd width": variant(5)}


def forward() -> list[tuple]:
    x, style, bias = (
        torch.randn(shape, requires_grad=True) for shape in ((2, 3, 4, 5), (2, 3, 4, 5), (6,))
    )
    return [(x, style, torch.randn(6, 3, 3, 3), bias, 1e-5)]


def backward() -> list[tuple]:
    grad, x, style = torch.randn(3, 2, 3, 4, 5)
    filters = torch.randn(6, 3, 3, 3), torch.randn(6)
    return [(grad, x, style, *filters, torch.randn(2), torch.rand(2))]


CALLS = {"style_modulation": forward, "style_modulation_backward": backward}
