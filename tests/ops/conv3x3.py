import torch
from torch import Tensor


def sample() -> tuple[Tensor, Tensor, Tensor]:
    """With as many pixels as Winograd's filtering wants."""
    x, weight, bias = torch.randn(1, 16, 33, 32), torch.randn(64, 16, 3, 3) / 12, torch.randn(64)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def forward() -> list[tuple]:
    x, weight, bias = sample()
    return [(x, weight, bias), (torch.randn(2, 3, 4, 5), torch.randn(2, 3, 3, 3), None)]


def backward() -> list[tuple]:
    x, weight, _ = (each.detach() for each in sample())
    small = torch.randn(2, 2, 4, 5), torch.randn(2, 3, 4, 5), torch.randn(2, 3, 3, 3)
    return [
        (torch.randn(1, 64, 33, 32), x, weight, True, True),
        (*small, True, False),
        (*small, False, True),
    ]


CALLS = {"conv3x3": forward, "conv3x3_backward": backward}
