import torch
from cost import Count
from torch import Tensor

# four taps down, four across, counted at the input's size
COUNTS = {"blur_upsample": Count(lambda x, bias, padding: x.numel() * (16 if bias is None else 19))}


def gradient(x: Tensor, bias: Tensor | None, padding: int) -> tuple[str, tuple]:
    """The blur's, with the other padding; the activation's is bias_leaky_relu's."""
    y = torch.ops.invad_fast.blur_upsample(x, bias, padding)
    return "blur_upsample", (y, None, 3 - padding)
