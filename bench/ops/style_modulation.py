import torch
from cost import Count, first_again
from torch import Tensor

LATENT = 16  # width of the style that γ and β are made of


def read_backward(grad: int, x: int, *others: int) -> tuple[int, int]:
    return grad + x + sum(others), grad + x


COUNTS = {
    # each of γ and β is 9·S products a pixel and channel
    "style_modulation": Count(
        lambda x, style, weight, bias, eps: x.numel() * (8 + 2 * 2 * 9 * style.shape[1]),
        first_again,
    ),
    # γ once more, the same sums as above, and the gradients of γ and β
    "style_modulation_backward": Count(
        lambda grad, x, style, weight, bias, mean, rstd: x.numel() * (12 + 2 * 9 * style.shape[1]),
        read_backward,
    ),
}


def gradient(
    x: Tensor, style: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[str, tuple]:
    mean = x.new_empty(x.shape[0], dtype=torch.float32)
    return "style_modulation_backward", (x, x, style, weight, bias, mean, mean)


def fused(x: Tensor, gamma_beta: Tensor | None, eps: float) -> tuple | None:
    """The arguments where normalize_modulate's were given; None without γ and β."""
    if gamma_beta is None:
        return None
    channels = gamma_beta.shape[1]
    style = x.new_empty(x.shape[0], LATENT, *x.shape[2:])
    return x, style, x.new_empty(channels, LATENT, 3, 3), x.new_empty(channels), eps
