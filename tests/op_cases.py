"""Samples of every op: the variants of tests/ops × shapes × dtypes × layouts × values.

The tests walk them for every implementation that `implementations(op)` has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from invad_fast.ops import implementations, use_implementation

SHAPES = [
    (2, 3, 5, 7),
    (1, 64, 16, 16),
    (1, 1, 1, 1),
    (0, 4, 3, 3),
    (3, 17, 33, 9),
    (1, 8, 256, 256),
]
# dtype -> error allowed of results that are rounded once, relative to the largest value
DTYPES = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}
# x = scale·N(0,1) + shift: in float16 too all of them are finite
VALUES = {"usual": (1.0, 0.0), "shifted": (3.0, 50.0), "huge": (4e3, 0.0), "tiny": (1e-4, 0.0)}


@dataclass(frozen=True)
class Variant:
    """A way to call an op.

    Attributes:
        function: the public function.
        inputs: x's shape → the arguments after x, tensors in float64.
        slack: factor of the dtype's error, where more than one rounding is made.
        smallest: least height and width of x that the op takes.
    """

    op: str
    function: Callable[..., Tensor]
    inputs: Callable[[tuple[int, ...]], tuple]
    slack: float = 1.0
    smallest: int = 1


def double(*shape: int) -> Tensor:
    """Normally distributed, float64."""
    return torch.randn(shape, dtype=torch.float64)


def available(op: str) -> list[str]:
    """The implementations of an op that can run here."""
    return [name for name, reason in implementations(op).items() if reason is None]


def placed(function: Callable, name: str) -> Callable:
    """``function`` on the device that the implementation ``name`` is for, results on the CPU."""
    on_gpu = name in ("cuda", "triton") and torch.cuda.is_available()

    def moved(value, device: str):
        if isinstance(value, (list, tuple)):
            return type(value)(moved(each, device) for each in value)
        return value.to(device) if isinstance(value, Tensor) else value

    def run(*arguments):
        return moved(function(*moved(arguments, "cuda" if on_gpu else "cpu")), "cpu")

    return run


def _strided(x: Tensor) -> Tensor:
    padded = torch.zeros(*x.shape[:3], x.shape[3] + 3, dtype=x.dtype, device=x.device)
    return padded[..., 1:-2].copy_(x)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _expanded(x: Tensor) -> Tensor:
    return x[:1].expand(x.shape) if len(x) else x


def _same(x: Tensor) -> Tensor:
    return x


# name → (what is done to x, what is done to the other feature maps)
LAYOUTS: dict[str, tuple[Callable, Callable]] = {
    "channels first": (_same, _same),
    "channels last": (_channels_last, _channels_last),
    "mixed": (_channels_last, _same),
    "strided": (_strided, _strided),
    "expanded": (_expanded, _expanded),
}


@dataclass(frozen=True)
class Sample:
    """Arguments of one call, in the dtype under test, and the variant that they are for."""

    variant: Variant
    arguments: tuple
    tolerance: float

    def result(self, name: str | None) -> Tensor:
        """Of the implementation, or for None of what runs by itself."""
        with self._using(name):
            return self.variant.function(*self.arguments)

    def expected(self) -> Tensor:
        """The reference in float64 on the very same numbers."""
        with use_implementation("reference"):
            return self.variant.function(*map(_widened, self.arguments))

    def gradients(self, name: str | None) -> list[Tensor]:
        with self._using(name):
            return _gradients(self.variant.function, self.arguments)

    def expected_gradients(self) -> list[Tensor]:
        with use_implementation("reference"):
            return _gradients(self.variant.function, tuple(map(_widened, self.arguments)))

    def _using(self, name: str | None) -> AbstractContextManager:
        return nullcontext() if name is None else use_implementation(name, self.variant.op)


def _widened(argument):
    return argument.double() if isinstance(argument, Tensor) else argument


def _gradients(function: Callable[..., Tensor], arguments: tuple) -> list[Tensor]:
    """Of Σ y·w, with weights w that do not depend on the implementation; one for each tensor."""
    leaves = [a.detach().requires_grad_() if isinstance(a, Tensor) else a for a in arguments]
    y = function(*leaves)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return list(torch.autograd.grad(y, tensors, weights.to(y.device, y.dtype)))


def samples(
    variant: Variant,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    *,
    layouts: tuple[str, ...] = tuple(LAYOUTS),
    values: tuple[str, ...] = tuple(VALUES),
    device: str = "cpu",
) -> Iterator[tuple[str, Sample]]:
    """(name, sample) for every layout and every kind of values; none where x is too small."""
    if min(shape[2:]) < variant.smallest:
        return
    if math.prod(shape) > 100_000:  # large ones for their size alone
        layouts, values = layouts[:2], values[:1]
    for layout, kind in itertools.product(layouts, values):
        torch.manual_seed(0)
        scale, shift = VALUES[kind]
        of_x, of_others = LAYOUTS[layout]
        x = of_x((double(*shape) * scale + shift).to(device, dtype))
        others = []
        for argument in variant.inputs(shape):
            if isinstance(argument, Tensor):
                argument = argument.to(device, dtype)
                # weights of a convolution are no feature maps
                if argument.dim() == 4 and argument.shape[0] == shape[0] != 2 * shape[1]:
                    argument = of_others(argument)
            others.append(argument)
        yield f"{layout}, {kind}", Sample(variant, (x, *others), variant.slack * DTYPES[dtype])


def assert_close(
    actual: Tensor, expected: Tensor, tolerance: float, what: str = "", scale: float = 0.0
) -> None:
    """Relative to the largest expected value, or to ``scale`` where it is larger."""
    if expected.numel():
        scale = max(scale, expected.abs().max().item())
    torch.testing.assert_close(
        actual.double().cpu(),
        expected.cpu(),
        rtol=tolerance,
        atol=tolerance * scale,
        equal_nan=True,
        msg=lambda text: f"{what}: {text}",
    )
