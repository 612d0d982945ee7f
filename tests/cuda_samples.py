"""Small samples of every CUDA kernel, for the sanitizers that bench/device.sh runs on a GPU."""

import sys

import torch
from op_cases import available, samples
from ops import VARIANTS

for title, variant in VARIANTS.items():
    if "cuda" not in available(variant.op):
        continue
    for shape in ((2, 3, 5, 7), (2, 16, 8, 4)):
        for dtype in (torch.float32, torch.bfloat16):
            layouts = ("channels first", "channels last")
            for _, sample in samples(
                variant, shape, dtype, layouts=layouts, values=("usual",), device="cuda"
            ):
                sample.gradients("cuda")
    torch.cuda.synchronize()
    sys.stdout.write(f"{title}\n")
    sys.stdout.flush()
