import torch
from op_cases import Variant, double

from invad_fast.ops import normalize_modulate

VARIANTS = {
    "normalize_modulate": Variant(
        "normalize_modulate",
        normalize_modulate,
        lambda s: (double(s[0], 2 * s[1], *s[2:]),),
        slack=4,
    ),
    "normalize_modulate, alone": Variant(
        "normalize_modulate", normalize_modulate, lambda s: (None,), slack=4
    ),
}


def forward() -> list[tuple]:
    x, gamma_beta = (
        torch.randn(shape, requires_grad=True) for shape in ((2, 3, 4, 5), (2, 6, 4, 5))
    )
    return [(x, gamma_beta, 1e-5), (x, None, 1e-5)]


def backward() -> list[tuple]:
    grad, x = torch.randn(2, 2, 3, 4, 5)
    statistics = torch.randn(2), torch.rand(2)
    return [(grad, x, both, *statistics) for both in (torch.randn(2, 6, 4, 5), None)]


CALLS = {"normalize_modulate": forward, "normalize_modulate_backward": backward}
