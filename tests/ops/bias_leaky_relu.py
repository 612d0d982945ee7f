import torch
from op_cases import Variant, double

from invad_fast.ops import bias_leaky_relu

VARIANTS = {
    "bias_leaky_relu": Variant("bias_leaky_relu", bias_leaky_relu, lambda s: (double(s[1]),)),
    "bias_leaky_relu, skip": Variant(
        "bias_leaky_relu", bias_leaky_relu, lambda s: (double(s[1]), double(*s))
    ),
}


def forward() -> list[tuple]:
    x, bias = (torch.randn(shape, requires_grad=True) for shape in ((2, 3, 4, 5), (3,)))
    return [(x, bias, None), (x, bias.detach(), torch.randn(2, 3, 4, 5))]


def backward() -> list[tuple]:
    grad, source = torch.randn(2, 2, 3, 4, 5)
    return [(grad, source, torch.randn(3), has_skip) for has_skip in (True, False)]


CALLS = {"bias_leaky_relu": forward, "bias_leaky_relu_backward": backward}
