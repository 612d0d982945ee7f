"""A memory alone, and joined to InvAD-lite, beside InvAD-lite alone: CPU time of an image.

    python bench/memory_cost.py

ResNet-18, one class of 2,000 patches, one thread, the forms for inference; the calls alternate, so
that other work on the machine costs all alike. What is in the bank does not change what is
computed.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from typing import Any

import torch

from invad_fast import InvAD, NearestNeighbours
from invad_fast.memory.banks import MemoryBanks
from invad_fast.memory.settings import MemorySettings

CASES = tuple((size, precision) for size in (128, 256) for precision in ("fp32", "bf16"))
NAMES = ("InvAD-lite", "joined", "memory")
BATCH, ROUNDS, COUNT = 8, 15, 2000


def form(name: str, size: int, precision: str) -> Any:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"encoder": "resnet18", "input_size": size, "encoder_weights": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the encoder's weights are random
        alone = name == "memory"
        model: Any = NearestNeighbours(**fields) if alone else InvAD("invad-lite", **fields)
    model.classes = ("part",)
    if name != "InvAD-lite":
        settings = MemorySettings(patches=COUNT, counts=(COUNT,))
        banks = MemoryBanks(settings, model.config.channels)
        banks.vectors.normal_()
        model.remember(banks)
    return model.eval().for_inference("fp32" if alone else precision)


def main() -> None:
    torch.set_num_threads(1)
    for size, precision in CASES:
        forms = {name: form(name, size, precision) for name in NAMES}
        images = torch.randn(BATCH, 3, size, size)
        taken: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(ROUNDS + 1):
            for name, made in forms.items():
                started = time.process_time()
                made.predict(images)
                taken[name].append((time.process_time() - started) / BATCH * 1e3)
        medians = {name: statistics.median(found[1:]) for name, found in taken.items()}
        base = medians["InvAD-lite"]
        for name, found in medians.items():
            how = "fp32" if name == "memory" else precision
            row = f"{size} px, {how}: {name:10} {found:6.1f} ms, {found / base:.2f} of InvAD-lite\n"
            sys.stdout.write(row)


if __name__ == "__main__":
    main()
