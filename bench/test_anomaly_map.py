"""Features to map and score at the models' shapes, beside the straightforward map and the floor.

``eager``: method.md §2 word for word in torch and scipy. ``reference``: products of neighbours in
plain torch. ``reading``: a sum over the features and reconstructions, the least that any map must
do. All in one process: the ratios count.
"""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from timing import DEVICE
from torch import Tensor
from torch.nn import functional as F

from invad_fast.anomaly_map import map_and_score
from invad_fast.ops import implementations, use_implementation

# Channels and side of InvAD's and InvAD-lite's three scales at 256×256.
SHAPES = {"invad": ((256, 64), (512, 32), (1024, 16)), "lite": ((64, 64), (128, 32), (256, 16))}
IMAGE = (256, 256)
ON_GPU = DEVICE.type == "cuda"
NATIVE = ("cuda", "triton") if ON_GPU else ("cpu",)


def pyramids(scales, batch: int, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Channels last, as the model leaves them."""
    torch.manual_seed(0)
    features = [torch.randn(batch, c, side, side).relu().to(DEVICE) for c, side in scales]
    reconstructions = [f + 0.3 * torch.randn_like(f) for f in features]
    last = torch.channels_last
    return tuple([t.to(dtype, memory_format=last) for t in s] for s in (features, reconstructions))


def eager(features: list[Tensor], reconstructions: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The unified map by its definition."""
    size = features[0].shape[2:]

    def concatenated(maps: list[Tensor]) -> Tensor:
        units = [F.normalize(m.float(), dim=1) for m in maps]
        resized = [F.interpolate(u, size, mode="bilinear", align_corners=True) for u in units]
        return torch.cat(resized, 1)

    distance = 1 - F.cosine_similarity(concatenated(features), concatenated(reconstructions), dim=1)
    maps = F.interpolate(distance[:, None], IMAGE, mode="bilinear", align_corners=True)[:, 0]
    filtered = np.stack([gaussian_filter(m, 4.0) for m in maps.cpu().numpy()])
    return torch.from_numpy(filtered), torch.from_numpy(filtered.max((1, 2)))


def reading(features: list[Tensor], reconstructions: list[Tensor]) -> list[Tensor]:
    return [t.sum() for t in (*features, *reconstructions)]


def until_done(function):
    """``function``, back when the device is done."""

    def run(*arguments):
        function(*arguments)
        if ON_GPU:
            torch.cuda.synchronize()

    return run


@pytest.mark.parametrize("name", ["eager", "reference", *NATIVE, "reading"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("batch", [1, 8, *[32] * ON_GPU])
@pytest.mark.parametrize("model", SHAPES)
def test_map_and_score(benchmark, model: str, batch: int, dtype: torch.dtype, name: str) -> None:
    inputs = pyramids(SHAPES[model], batch, dtype)
    benchmark.group = f"{model} batch {batch} {str(dtype).removeprefix('torch.')}"
    if name == "eager":
        benchmark.pedantic(eager, inputs, rounds=2, warmup_rounds=1)
        return
    if name == "reading":
        benchmark(until_done(reading), *inputs)
        return
    reason = implementations("cosine_map")[name]
    if reason:
        pytest.skip(reason)
    with use_implementation(name):
        for actual, expected in zip(map_and_score(*inputs, IMAGE), eager(*inputs)):
            torch.testing.assert_close(actual.cpu(), expected, rtol=0, atol=2e-6)
        benchmark(until_done(map_and_score), *inputs, IMAGE)
