"""Bytes that an op must move and the arithmetic it does, and the ops that a model calls.

The counts depend on the shapes only: a time divided into them is the fraction of a machine's
bandwidth that an implementation reaches. Run as a script, it prints both models' totals.
"""

from __future__ import annotations

import functools
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
from invad_fast.ops.anomaly_score import resize_filter_matrix

BATCHES = (1, 8, 32)
LATENT = 16  # width of the style that γ and β are made of
SIGMA = 4.0  # of the map's Gaussian, in pixels
BOUNDARIES = 1000  # of score_histogram, as for streamed figures
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


def _cosine_flops(features: list[Tensor], reconstructions: list[Tensor], unified: bool) -> int:
    """Three products of each pair of vectors; at every scale but the finest 16 more with neighbours
    (four places, both orders, f·f, r·r), and a quadratic form each of them at a fine pixel."""
    if not unified:
        return sum(6 * f.numel() for f in features)
    finest, *coarse = features
    pixels = finest.numel() // finest.shape[1]
    return 6 * finest.numel() + sum(2 * (3 + 16) * f.numel() + 63 * pixels for f in coarse)


def _score_flops(maps: list[Tensor], size: list[int], sigma: float) -> int:
    """A row of the one-dimensional matrices for each result, which is zero but for a band."""
    total = 0
    for m in maps:
        n, height, width = m.shape
        across = _not_zero(width, size[1], sigma) * n * height
        down = _not_zero(height, size[0], sigma) * n * size[1]
        total += 2 * (across + down)
    return total


@functools.cache
def _not_zero(source: int, target: int, sigma: float) -> int:
    return int((resize_filter_matrix(source, target, sigma) != 0).sum())


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
    # γ once more, the same sums as above, and the gradients of γ and β
    "style_modulation_backward": lambda grad, x, style, weight, bias, mean, rstd: (
        x.numel() * (12 + 2 * 9 * style.shape[1])
    ),
    # four taps down, four across, counted at the input's size
    "blur_upsample": lambda x, bias, padding: x.numel() * (16 if bias is None else 19),
    "cosine_map": _cosine_flops,
    "anomaly_score": _score_flops,
    # comparisons: a pixel finds its bin by halves
    "score_histogram": lambda scores, areas, boundaries: (
        scores.numel() * math.ceil(math.log2(len(boundaries) + 1))
    ),
    # integers only: links between pixels
    "connected_regions": lambda mask: 0,
}


def cost(op: str, *arguments) -> Cost:
    """Of one call ``torch.ops.invad_fast.<op>(*arguments)``; the tensors may be on ``meta``.

    Raises:
        KeyError: for an op that has no count here.
    """
    flops = _FLOPS[op](*arguments)
    outputs = getattr(torch.ops.invad_fast, op)(*map(_on_meta, arguments))
    read, again = _read(op, arguments)
    return Cost(read, again, _bytes(outputs), flops)


def _on_meta(argument):
    if isinstance(argument, list):
        return [_on_meta(each) for each in argument]
    return argument.to("meta") if isinstance(argument, Tensor) else argument


def _read(op: str, arguments: tuple) -> tuple[int, int]:
    sizes = [_bytes(a) for a in arguments]
    if op == "normalize_modulate_backward":
        grad, x, gamma_beta, *statistics = sizes
        needed = grad + x + gamma_beta // 2  # β is not
        return needed + sum(statistics), needed
    if op == "style_modulation_backward":
        return sum(sizes), sizes[0] + sizes[1]
    if op in ("normalize_modulate", "style_modulation"):
        return sum(sizes), sizes[0]
    return sum(sizes), 0


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


def fused(arguments: tuple) -> tuple | None:
    """style_modulation's arguments where normalize_modulate's were given; None without γ and β."""
    x, gamma_beta, eps = arguments
    if gamma_beta is None:
        return None
    channels = gamma_beta.shape[1]
    style = x.new_empty(x.shape[0], LATENT, *x.shape[2:])
    return x, style, x.new_empty(channels, LATENT, 3, 3), x.new_empty(channels), eps


def backward_call(op: str, arguments: tuple) -> tuple[str, tuple]:
    """What the gradient of a call is made of: an op's name and its arguments."""
    x, *rest = arguments
    mean = x.new_empty(x.shape[0], dtype=torch.float32)
    if op == "bias_leaky_relu":
        return f"{op}_backward", (x, x, rest[0], rest[1] is not None)
    if op == "normalize_modulate":
        return f"{op}_backward", (x, x, rest[0], mean, mean)
    if op == "style_modulation":
        return f"{op}_backward", (x, x, *rest[:3], mean, mean)
    bias, padding = rest
    y = torch.ops.invad_fast.blur_upsample(x, bias, padding)
    return op, (y, None, 3 - padding)


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
