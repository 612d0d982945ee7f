"""A memory alone, and joined to InvAD-lite, beside InvAD-lite alone: ms of a batch, by input size.

ResNet-18, one class of 2,000 patches, fp32, the forms for inference. What is in the bank does not
change what is computed.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pytest
import torch
from timing import Rounds, timed

from invad_fast import InvAD, NearestNeighbours
from invad_fast.memory.banks import MemoryBanks
from invad_fast.memory.settings import MemorySettings

SIZES, BATCHES = (128, 256), (1, 8)
NAMES = ("InvAD-lite", "joined", "memory")
COUNT = 2000


@functools.cache
def form(name: str, size: int) -> Any:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"encoder": "resnet18", "input_size": size, "encoder_weights": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the encoder's weights are random
        if name == "memory":
            model: Any = NearestNeighbours(**fields)
        else:
            model = InvAD("invad-lite", **fields)
    model.classes = ("part",)
    if name != "InvAD-lite":
        settings = MemorySettings(patches=COUNT, counts=(COUNT,))
        banks = MemoryBanks(settings, model.config.channels)
        banks.vectors.normal_()
        model.remember(banks)
    return model.eval().for_inference("fp32")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("size", SIZES)
def test_predict(benchmark, size: int, batch: int, name: str) -> None:
    images = torch.randn(batch, 3, size, size)

    def run() -> None:
        form(name, size).predict(images)

    run()
    timed(benchmark, f"memory {size} batch {batch}", name, "InvAD-lite", run, Rounds(4, 5, 100))
