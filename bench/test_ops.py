"""Every op × implementation at the shapes that the published models call it with.

Forward and backward, with the bytes that must be moved: results.csv has the fraction of this
machine's copy bandwidth. An implementation whose samples in tests/op_cases.py are wrong is not
timed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from op_costs import BATCHES, MODELS, Cost, cost, model_calls
from timing import DEVICE, Rounds, timed
from torch import Tensor

from invad_fast.ops import implementations, use_implementation
from invad_fast.ops.dispatch import IMPLEMENTATIONS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import op_cases

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHECKED_SHAPES = ((2, 3, 5, 7), (1, 64, 16, 16), (3, 17, 33, 9))
ROUNDS = Rounds(seconds=0.2, least=3, most=100)
LATENT = 16  # channels of the style that γ and β are made of
# op → which argument may be absent, and what it is called
OPTIONAL = {
    "bias_leaky_relu": (2, "skip"),
    "normalize_modulate": (1, "γβ"),
    "blur_upsample": (1, "bias"),
}


def calls() -> dict[str, tuple[str, tuple]]:
    """Title → op and meta arguments, of every distinct call of both models."""
    found = {}
    for model in MODELS:
        for batch in BATCHES:
            for precision, dtype in DTYPES.items():
                made = [(op, arguments) for op, arguments, _ in model_calls(model, batch, dtype)]
                if DEVICE.type == "cuda":  # on a CPU it runs as other ops
                    made += list(_style_modulations(made))
                for op, arguments in made:
                    at, given = OPTIONAL.get(op, (0, ""))
                    given = f" {given}" if arguments[at] is not None else ""
                    shape = "x".join(map(str, arguments[0].shape))
                    found[f"{op}{given} {shape} {precision}"] = (op, arguments)
    return found


def _style_modulations(made: list[tuple[str, tuple]]) -> Iterator[tuple[str, tuple]]:
    """What the inference form calls where γ and β are convolved and then applied."""
    for op, (x, gamma_beta, *eps) in made:
        if op == "normalize_modulate" and gamma_beta is not None:
            channels = gamma_beta.shape[1]
            style = x.new_empty(x.shape[0], LATENT, *x.shape[2:])
            weight, bias = x.new_empty(channels, LATENT, 3, 3), x.new_empty(channels)
            yield "style_modulation", (x, style, weight, bias, *eps)


CASES = [
    pytest.param(op, arguments, title, name, id=f"{title} {name}")
    for title, (op, arguments) in calls().items()
    for name in IMPLEMENTATIONS
    if implementations(op)[name] is None and name != ("cpu" if DEVICE.type == "cuda" else "cuda")
]


@pytest.mark.parametrize("op, arguments, title, name", CASES)
def test_forward(benchmark, op: str, arguments: tuple, title: str, name: str) -> None:
    refuse_if_red(op, name)
    function, given = getattr(torch.ops.invad_fast, op), made(arguments)
    with use_implementation(name), torch.inference_mode():
        run(benchmark, f"{title} forward", name, lambda: function(*given), cost(op, *arguments))


@pytest.mark.parametrize("op, arguments, title, name", CASES)
def test_backward(benchmark, op: str, arguments: tuple, title: str, name: str) -> None:
    refuse_if_red(op, name)
    given = [a.requires_grad_() if isinstance(a, Tensor) else a for a in made(arguments)]
    leaves = [a for a in given if isinstance(a, Tensor)]
    with use_implementation(name):
        y = getattr(torch.ops.invad_fast, op)(*given)
        y = y[0] if isinstance(y, tuple) else y
        grad = torch.randn_like(y)
        run(
            benchmark,
            f"{title} backward",
            name,
            lambda: torch.autograd.grad(y, leaves, grad, retain_graph=True),
            backward_cost(op, arguments, y.to("meta")),
        )


def backward_cost(op: str, arguments: tuple, y: Tensor) -> Cost | None:
    """Of the ops that the gradient is made of, y standing for its gradient."""
    x, *rest = arguments
    if op == "bias_leaky_relu":
        bias, skip = rest
        total = cost("bias_leaky_relu_backward", y, x, bias, skip is not None)
        size = y.numel() * y.element_size()  # the skip's gradient is y's by a number
        return total if skip is None else total + Cost(read=size, written=size, flops=y.numel())
    if op == "normalize_modulate":
        statistics = torch.empty(x.shape[0], device="meta")
        return cost("normalize_modulate_backward", y, x, rest[0], statistics, statistics)
    if op == "blur_upsample":
        bias, padding = rest
        total = cost("blur_upsample", y, None, 3 - padding)
        return (
            total if bias is None else total + cost("bias_leaky_relu_backward", y, y, bias, False)
        )
    return None


def run(benchmark, group: str, name: str, function: Callable, total: Cost | None) -> None:
    function()
    counted = {} if total is None else {"bytes": total.least_bytes, "flops": total.flops}
    timed(benchmark, group, name, "reference", function, ROUNDS, **counted)


def made(arguments: tuple) -> list:
    """Arguments with values: channels last, as training and inference run."""
    torch.manual_seed(0)
    given = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            argument = torch.randn(argument.shape, device=DEVICE.type).to(argument.dtype)
            if argument.dim() == 4:
                argument = argument.contiguous(memory_format=torch.channels_last)
        given.append(argument)
    return given


@functools.cache
def _fault(op: str, name: str) -> str | None:
    """What is wrong with an implementation's values or gradients."""
    for title, variant in op_cases.VARIANTS.items():
        for shape in CHECKED_SHAPES if variant.op == op else ():
            for dtype in DTYPES.values():
                for what, sample in op_cases.samples(variant, shape, dtype, device=DEVICE.type):
                    try:
                        with torch.backends.cudnn.flags(
                            enabled=True, deterministic=True, allow_tf32=False
                        ):
                            check(sample, name, f"{title}, {shape}, {dtype}, {what}")
                    except AssertionError as error:
                        return str(error)
    return None


def check(sample: op_cases.Sample, name: str, what: str) -> None:
    """tests/test_ops.py's two assertions."""
    op_cases.assert_close(sample.result(name), sample.expected(), sample.tolerance, what)
    for actual, exact in zip(sample.gradients(name), sample.expected_gradients()):
        op_cases.assert_close(actual, exact, 4 * sample.tolerance, what, 1.0)


def refuse_if_red(op: str, name: str) -> None:
    fault = _fault(op, name)
    if fault is not None:
        pytest.fail(f"{name} is wrong, so it is not timed: {fault}")
