from cost import Count
from torch import Tensor


def flops(x: Tensor, out_channels: int) -> int:
    """The 36 products of every 4×4 tile; the transformations of patches and tiles are not in it."""
    n, in_channels, height, width = x.shape
    return 2 * 36 * n * -(-height // 4) * -(-width // 4) * in_channels * out_channels


COUNTS = {
    "winograd_conv": Count(lambda x, weight, bias, plus, slope: flops(x, 64 * weight.shape[1])),
    "winograd_conv_backward": Count(lambda x, grad: flops(x, grad.shape[1])),
}
