from cost import Count
from torch import Tensor

COUNTS = {
    # x + bias, ·slope, ·gain; then + skip and ·1/√2
    "bias_leaky_relu": Count(lambda x, bias, skip=None: x.numel() * (3 if skip is None else 5)),
    "bias_leaky_relu_backward": Count(lambda grad, x, bias, has_skip: x.numel() * 4),
}


def gradient(x: Tensor, bias: Tensor, skip: Tensor | None) -> tuple[str, tuple]:
    return "bias_leaky_relu_backward", (x, x, bias, skip is not None)
