"""The words in which an op's file says what it refuses; ``csrc/arguments.h`` has the same.

So the lines are the same, whatever runs: tests/test_op_arguments.py holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from invad_fast.ops.memory_format import accumulation_dtype

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
FLOAT_MAX = torch.finfo(torch.float32).max


class Arguments:
    """Each method refuses what does not hold, in eager mode and while tracing.

    Raises:
        RuntimeError: one line that begins with the op's name, from every method.
    """

    def __init__(self, op: str) -> None:
        self._op = op

    def require(self, holds: bool, message: Callable[[], str]) -> None:
        """``message`` gives the rest of the line."""
        torch._check(holds, lambda: f"{self._op}: {message()}")

    def one_of(self, name: str, x: Tensor, dtypes: Sequence[torch.dtype], title: str) -> None:
        """A dense tensor of one of the types, which ``title`` names."""
        self.require(
            x.dtype in dtypes and x.layout == torch.strided,
            lambda: f"{name} must be a dense tensor of {title}, not {_kind(x)}",
        )

    def is_float(self, name: str, x: Tensor) -> None:
        """One of the four float types."""
        self.one_of(name, x, FLOATS, "float32, float16, bfloat16 or float64")

    def type(self, name: str, x: Tensor, dtype: torch.dtype) -> None:
        self.one_of(name, x, (dtype,), str(dtype))

    def size(self, name: str, x: Tensor, size: Sequence[int]) -> None:
        self.require(
            tuple(x.shape) == tuple(size),
            lambda: f"{name} must be {tuple(size)}, not {tuple(x.shape)}",
        )

    def device(self, name: str, x: Tensor, like: Tensor) -> None:
        self.require(x.device == like.device, lambda: f"{name} must be on the device of the others")

    def image(self, name: str, x: Tensor) -> None:
        """A batch of images or features."""
        self.is_float(name, x)
        self.require(x.dim() == 4, lambda: f"{name} must be N×C×H×W, not {tuple(x.shape)}")

    def floats(self, name: str, x: Tensor, size: Sequence[int], like: Tensor) -> None:
        """Floats of a size, beside others."""
        self.is_float(name, x)
        self.size(name, x, size)
        self.device(name, x, like)

    def statistics(self, name: str, values: Tensor, x: Tensor) -> None:
        """A number for each sample of x, as a forward returned them for its backward."""
        self.type(name, values, accumulation_dtype(x))
        self.size(name, values, x.shape[:1])
        self.device(name, values, x)
        self.require(
            values.shape[0] < 2 or values.stride(0) != 0,
            lambda: (
                f"{name} must have a number of its own for each sample, not one that is expanded"
            ),
        )

    def number(self, name: str, value: float, least: float, most: float) -> None:
        """least ≤ value ≤ most; NaN is neither."""
        self.require(
            least <= value <= most,
            lambda: f"{name} must be from {least:g} to {most:g}, not {value:g}",
        )


def _kind(x: Tensor) -> str:
    return str(x.dtype if x.layout == torch.strided else x.layout)
