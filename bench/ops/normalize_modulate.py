import torch
from cost import Count, first_again
from torch import Tensor


def read_backward(grad: int, x: int, gamma_beta: int, mean: int, rstd: int) -> tuple[int, int]:
    needed = grad + x + gamma_beta // 2  # β is not
    return needed + mean + rstd, needed


COUNTS = {
    # statistics: the mean, the difference, its square and their sum; then x̂, and x̂·γ + β
    "normalize_modulate": Count(
        lambda x, gamma_beta, eps: x.numel() * (6 if gamma_beta is None else 8), first_again
    ),
    "normalize_modulate_backward": Count(
        lambda grad, x, gamma_beta, mean, rstd: x.numel() * (10 if gamma_beta is None else 12),
        read_backward,
    ),
}


def gradient(x: Tensor, gamma_beta: Tensor | None, eps: float) -> tuple[str, tuple]:
    mean = x.new_empty(x.shape[0], dtype=torch.float32)
    return "normalize_modulate_backward", (x, x, gamma_beta, mean, mean)
