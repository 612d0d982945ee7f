"""Bytes that an op must move and the arithmetic it does, and the ops that a model calls.

The counts depend on the shapes only: a time divided into them is the fraction of a machine's
bandwidth that an implementation reaches. Run as a script, it prints both models' totals.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import invad_fast.ops  # noqa: F401  (declares the ops)
from invad_fast import InvAD, InvADConfig

BATCHES = (1, 8, 32)
MODELS = {
    "invad": InvADConfig(encoder=None, channels=(256, 512, 1024), blocks=(2, 2, 2)),
    "invad-lite": InvADConfig(encoder=None, channels=(64, 128, 256), blocks=(4, 4, 4)),
}


@dataclass(frozen=True)
class Cost:
    """What one call costs on any machine.

    Attributes:
        read: bytes of the inputs, each counted once.
        read_again: bytes that have to be read a second time where a cache does not hold them: a
            sample's statistics must be complete before its first result.
        written: bytes of the outputs.
        flops: additions and multiplications, a fused pair counted as two; those of 3×3
            convolutions included.
    """

    read: int = 0
    read_again: int = 0
    written: int = 0
    flops: int = 0

    @property
    def bytes(self) -> int:
        """Traffic where nothing is cached between the passes over a sample."""
        return self.read + self.read_again + self.written

    @property
    def least_bytes(self) -> int:
        """Traffic where the second pass finds its sample in a cache."""
        return self.read + self.written

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.read + other.read,
            self.read_again + other.read_again,
            self.written + other.written,
            self.flops + other.flops,
        )

    def __mul__(self, count: int) -> Cost:
        return Cost(*(count * n for n in (self.read, self.read_again, self.written, self.flops)))


# the op's arguments → FLOPs
_FLOPS: dict[str, Callable[..., int]] = {
    # x + bias, ·slope, ·gain; then + skip and ·1/√2
    "bias_leaky_relu": lambda x, bias, skip=None: x.numel() * (3 if skip is None else 5),
    "bias_leaky_relu_backward": lambda grad, x, bias, has_skip: x.numel() * 4,
    # statistics: the mean, the difference, its square and their sum; then x̂, and x̂·γ + β
    "normalize_modulate": lambda x, gamma_beta, eps: x.numel() * (6 if gamma_beta is None else 8),
    "normalize_modulate_backward": lambda grad, x, gamma_beta, mean, rstd: (
        x.numel() * (10 if gamma_beta is None else 12)
    ),
    # each of γ and β is 9·S products a pixel and channel
    "style_modulation": lambda x, style, weight, bias, eps: (
        x.numel() * (8 + 2 * 2 * 9 * style.shape[1])
    ),
    # four taps down, four across, counted at the input's size
    "blur_upsample": lambda x, bias, padding: x.numel() * (16 if bias is None else 19),
}


def cost(op: str, *arguments) -> Cost:
    """Of one call ``torch.ops.invad_fast.<op>(*arguments)``; the tensors may be on ``meta``.

    Raises:
        KeyError: for an op that has no count here.
    """
    flops = _FLOPS[op](*arguments)
    tensors = [a.to("meta") if isinstance(a, Tensor) else a for a in arguments]
    outputs = getattr(torch.ops.invad_fast, op)(*tensors)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    read, again = _read(op, arguments)
    return Cost(read, again, sum(map(_bytes, outputs)), flops)


def _read(op: str, arguments: tuple) -> tuple[int, int]:
    sizes = [_bytes(a) for a in arguments]
    if op == "normalize_modulate_backward":
        grad, x, gamma_beta, *statistics = sizes
        needed = grad + x + gamma_beta // 2  # β is not
        return needed + sum(statistics), needed
    if op in ("normalize_modulate", "style_modulation"):
        return sum(sizes), sizes[0]
    return sum(sizes), 0


def _bytes(argument) -> int:
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
    config = model.config
    height, width = config.input_size
    features = [
        torch.empty(batch, channels, height // stride, width // stride, dtype=dtype, device="meta")
        for channels, stride in zip(config.channels, config.strides)
    ]
    with torch.no_grad(), _Recorder() as recorder:
        model.to(dtype).reconstruct(features)
    return [
        (op, tuple(map(_as_meta, arguments)), count)
        for (op, arguments), count in recorder.calls.items()
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


def main() -> None:
    sys.stdout.write("bf16; calls, MB read, MB read again, MB written, GFLOP\n")
    for name in MODELS:
        for batch in BATCHES:
            totals: dict[str, Cost] = {}
            counts: Counter[str] = Counter()
            for op, arguments, count in model_calls(name, batch):
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
