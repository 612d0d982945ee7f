"""Bytes that an op must move and the arithmetic it does (``ops/``), and the ops a model calls.

The counts depend on the shapes only: a time divided into them is the fraction of a machine's
bandwidth that an implementation reaches. Run as a script, it prints both models' totals.
"""

from __future__ import annotations

import math
import sys
from collections import Counter

import torch
from cost import Cost
from ops import COUNTS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import invad_fast.ops  # noqa: F401  (declares the ops)
from invad_fast import InvAD, InvADConfig

BATCHES = (1, 8, 32)
SIGMA = 4.0  # of the map's Gaussian, in pixels
BOUNDARIES = 1000  # of score_histogram, as for streamed figures
MODELS = {
    "invad": InvADConfig(encoder=None, channels=(256, 512, 1024), blocks=(2, 2, 2)),
    "invad-lite": InvADConfig(encoder=None, channels=(64, 128, 256), blocks=(4, 4, 4)),
}


def cost(op: str, *arguments) -> Cost:
    """Of one call ``torch.ops.invad_fast.<op>(*arguments)``; the tensors may be on ``meta``.

    Raises:
        KeyError: for an op that has no count here.
    """
    count = COUNTS[op]
    outputs = getattr(torch.ops.invad_fast, op)(*map(_on_meta, arguments))
    sizes = [_bytes(a) for a in arguments]
    return Cost(*count.read(*sizes), _bytes(outputs), count.flops(*arguments))


def _on_meta(argument):
    if isinstance(argument, list):
        return [_on_meta(each) for each in argument]
    return argument.to("meta") if isinstance(argument, Tensor) else argument


def _bytes(argument) -> int:
    """Of a tensor, or of all in a list; of anything else none."""
    if isinstance(argument, (list, tuple)):
        return sum(map(_bytes, argument))
    return argument.numel() * argument.element_size() if isinstance(argument, Tensor) else 0


class _Recorder(TorchDispatchMode):
    """Counts the calls of this package's ops, by op and arguments, with no value computed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "invad_fast":
            # defaults at the end are left out of args
            rest = func._schema.arguments[len(args) :]
            full = (*args, *((kwargs or {}).get(a.name, a.default_value) for a in rest))
            self.calls[func._schema.name.split("::")[1], tuple(map(_described, full))] += 1
        return func(*args, **(kwargs or {}))


def _described(argument):
    """What a call is counted under: a tensor's shape and dtype, anything else as it is."""
    return (argument.shape, argument.dtype) if isinstance(argument, Tensor) else argument


def calls(
    model: torch.nn.Module, batch: int, dtype: torch.dtype = torch.bfloat16
) -> list[tuple[str, tuple, int]]:
    """The ops of this package that ``model.reconstruct`` calls: (op, meta arguments, how often).

    Args:
        model: an InvAD on the ``meta`` device; its dtype is changed to ``dtype``.
        batch: images.
    """
    features = _features(model.config, batch, dtype)
    with torch.no_grad(), _Recorder() as recorder:
        model.to(dtype).reconstruct(features)
    return [
        (op, tuple(map(_as_meta, arguments)), count)
        for (op, arguments), count in recorder.calls.items()
    ]


def _features(config: InvADConfig, batch: int, dtype: torch.dtype) -> list[Tensor]:
    """What the encoder gives, finest first, on ``meta``."""
    height, width = config.input_size
    return [
        torch.empty(batch, channels, height // stride, width // stride, dtype=dtype, device="meta")
        for channels, stride in zip(config.channels, config.strides)
    ]


def _as_meta(described):
    if isinstance(described, tuple):
        shape, dtype = described
        return torch.empty(shape, dtype=dtype, device="meta")
    return described


def model_calls(name: str, batch: int, dtype: torch.dtype = torch.bfloat16) -> list:
    """:func:`calls` of the published variant ``name``, "invad" or "invad-lite"."""
    with torch.device("meta"):
        return calls(InvAD(MODELS[name]), batch, dtype)


def map_calls(name: str, batch: int, dtype: torch.dtype = torch.bfloat16) -> list:
    """Likewise what makes the map and the score of a batch."""
    config = MODELS[name]
    features = _features(config, batch, dtype)
    coarse = torch.empty(batch, *features[0].shape[2:], device="meta")
    return [
        ("cosine_map", (features, features, True), 1),
        ("anomaly_score", ([coarse], list(config.input_size), SIGMA), 1),
    ]


def metric_calls(name: str, batch: int) -> list:
    """Likewise what scores a batch's maps against their masks."""
    shape = (batch, *MODELS[name].input_size)
    mask = torch.empty(shape, dtype=torch.bool, device="meta")
    boundaries = torch.empty(BOUNDARIES, device="meta")
    areas = torch.empty(shape, dtype=torch.int32, device="meta")
    return [
        ("connected_regions", (mask,), 1),
        ("score_histogram", (torch.empty(shape, device="meta"), areas, boundaries), 1),
    ]


def main() -> None:
    sys.stdout.write("bf16; calls, MB read, MB read again, MB written, GFLOP\n")
    for name in MODELS:
        for batch in BATCHES:
            totals: dict[str, Cost] = {}
            counts: Counter[str] = Counter()
            made = [*model_calls(name, batch), *map_calls(name, batch), *metric_calls(name, batch)]
            for op, arguments, count in made:
                totals[op] = totals.get(op, Cost()) + cost(op, *arguments) * count
                counts[op] += count
            for op, total in totals.items():
                sys.stdout.write(
                    f"{name:>10} batch {batch:2} {op:18} ×{counts[op]:2} "
                    f"{total.read / 1e6:8.2f} {total.read_again / 1e6:8.2f} "
                    f"{total.written / 1e6:8.2f} {total.flops / 1e9:8.3f}\n"
                )
            whole = sum(totals.values(), Cost())
            at = 4.8e12  # an H200's memory, bytes a second
            sys.stdout.write(
                f"{name:>10} batch {batch:2} all: {whole.bytes / 1e6:.1f} MB, "
                f"{math.ceil(whole.bytes / at * 1e6)} µs at 4.8 TB/s\n"
            )


if __name__ == "__main__":
    main()
