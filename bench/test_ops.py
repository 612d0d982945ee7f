"""Every op × implementation at the shapes that the published models call it with.

Forward and backward, with the bytes that must be moved: results.csv has the fraction of this
machine's copy bandwidth. An implementation whose results are not the reference's is not timed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
import torch
from cost import Cost
from op_costs import BATCHES, MODELS, cost, model_calls
from ops.style_modulation import fused
from timing import DEVICE, Rounds, timed
from torch import Tensor

from invad_fast.ops import implementations, use_implementation
from invad_fast.ops.dispatch import IMPLEMENTATIONS

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ROUNDS = Rounds(seconds=0.2, least=3, most=100)
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
    for op, arguments in made:
        if op == "normalize_modulate" and (given := fused(*arguments)) is not None:
            yield "style_modulation", given


CASES = [
    pytest.param(op, arguments, title, name, id=f"{title} {name}")
    for title, (op, arguments) in calls().items()
    for name in IMPLEMENTATIONS
    if implementations(op)[name] is None and name != ("cpu" if DEVICE.type == "cuda" else "cuda")
]


@pytest.mark.parametrize("op, arguments, title, name", CASES)
def test_forward(benchmark, op: str, arguments: tuple, title: str, name: str) -> None:
    refuse_if_red(op, name, title, arguments)
    function, given = getattr(torch.ops.invad_fast, op), made(arguments)
    with use_implementation(name), torch.inference_mode():
        run(benchmark, f"{title} forward", name, lambda: function(*given), cost(op, *arguments))


@pytest.mark.parametrize("op, arguments, title, name", CASES)
def test_backward(benchmark, op: str, arguments: tuple, title: str, name: str) -> None:
    refuse_if_red(op, name, title, arguments)
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


# dtype → error allowed, relative to the largest value: a few roundings of γ, β and the results
ALLOWED = {torch.float32: 1e-4, torch.bfloat16: 6e-2}


@functools.cache
def _fault(op: str, name: str, title: str, arguments: tuple) -> str | None:
    """What is wrong with an implementation's values or gradients, on what is timed."""
    try:
        for actual, expected in zip(_results(op, name, arguments), _results(op, None, arguments)):
            allowed = ALLOWED[actual.dtype]
            most = expected.abs().max().item() if expected.numel() else 0.0
            torch.testing.assert_close(
                actual.double(), expected.double(), rtol=allowed, atol=allowed * most
            )
    except AssertionError as error:
        return f"{title}: {error}"
    return None


def _results(op: str, name: str | None, arguments: tuple) -> list[Tensor]:
    """y and its gradients by every tensor, of an implementation; for None of the reference."""
    given = [a.requires_grad_() if isinstance(a, Tensor) else a for a in made(arguments)]
    leaves = [a for a in given if isinstance(a, Tensor)]
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with exact, use_implementation(name or "reference"):
        y = getattr(torch.ops.invad_fast, op)(*given)
        y = y[0] if isinstance(y, tuple) else y
        torch.manual_seed(1)
        return [y.detach(), *torch.autograd.grad(y, leaves, torch.randn_like(y))]


def refuse_if_red(op: str, name: str, title: str, arguments: tuple) -> None:
    fault = _fault(op, name, title, arguments)
    if fault is not None:
        pytest.fail(f"{name} is wrong, so it is not timed: {fault}")
