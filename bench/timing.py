"""One way to time a call: as many rounds as fit, on CUDA until the device is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Rounds:
    """How often a call is timed: for about ``seconds``, within the bounds."""

    seconds: float
    least: int
    most: int


def timed(
    benchmark, group: str, name: str, baseline: str, function: Callable, rounds: Rounds, **info
) -> None:
    """Times ``function``, which has run before; ``info`` goes into the row of results.csv.

    Args:
        group, baseline: the row's ratio is to the row of that name in the same group.
    """

    def once() -> None:
        function()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    started = time.perf_counter()
    once()
    fitting = int(rounds.seconds / (time.perf_counter() - started))
    benchmark.group = group
    benchmark.extra_info |= {"name": name, "baseline": baseline, **info}
    benchmark.pedantic(once, rounds=min(max(fitting, rounds.least), rounds.most))
