import torch
from op_cases import Variant, double

from invad_fast.ops import blur_upsample

VARIANTS = {
    "blur_upsample": Variant(
        "blur_upsample", blur_upsample, lambda s: (None, 1), slack=2, smallest=2
    ),
    "blur_upsample, bias": Variant(
        "blur_upsample", blur_upsample, lambda s: (double(s[1]), 2), slack=2
    ),
}


def forward() -> list[tuple]:
    x, bias = (torch.randn(shape, requires_grad=True) for shape in ((2, 3, 4, 5), (3,)))
    return [(x, None, 1), (x, bias, 2)]


CALLS = {"blur_upsample": forward}
