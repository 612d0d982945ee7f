"""Every implementation of every op against the reference in float64; values and gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from op_cases import DTYPES, SHAPES, assert_close, available, samples
from ops import CALLS, VARIANTS
from torch import Tensor

from invad_fast import InputError
from invad_fast.ops import (
    bias_leaky_relu,
    blur_upsample,
    normalize_modulate,
    style_modulation,
    use_implementation,
)
from invad_fast.ops.dispatch import ops as declared

GPU = ["cuda"] if torch.cuda.is_available() else []
# Where an implementation runs, of what is here; Triton also in its interpreter, on the CPU.
DEVICES = {"reference": ["cpu", *GPU], "cpu": ["cpu"], "cuda": GPU, "triton": GPU or ["cpu"]}
CASES = [
    pytest.param(variant, name, device, id=f"{title}-{name}-on-{device}")
    for title, variant in VARIANTS.items()
    for name in available(variant.op)
    for device in DEVICES[name]
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant, name, device", CASES)
def test_values(
    variant, name: str, device: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    for what, sample in samples(variant, shape, dtype, device=device):
        result = sample.result(name)
        assert result.dtype == dtype
        assert_close(result, sample.expected(), sample.tolerance, what)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant, name, device", CASES)
def test_gradients(
    variant, name: str, device: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    for what, sample in samples(variant, shape, dtype, values=("usual", "shifted"), device=device):
        gradients, expected = sample.gradients(name), sample.expected_gradients()
        assert len(gradients) == len(expected)
        for position, (actual, exact) in enumerate(zip(gradients, expected)):
            # a gradient is a product of rounded numbers: x̂, γ and the incoming gradient
            assert_close(actual, exact, 4 * sample.tolerance, f"{what}, argument {position}", 1.0)


@pytest.mark.parametrize("variant, name, device", CASES)
def test_the_same_bits_again(variant, name: str, device: str) -> None:
    """Sums are taken in one order, whatever the threads do."""
    shape, dtype = (2, 16, 64, 48), torch.bfloat16
    for what, sample in samples(variant, shape, dtype, values=("usual",), device=device):
        first, *others = ([sample.result(name), *sample.gradients(name)] for _ in range(3))
        for other in others:
            assert all(map(torch.equal, first, other)), what


@pytest.mark.parametrize("variant, name, device", CASES)
def test_not_finite(variant, name: str, device: str) -> None:
    """NaN and infinity come out where they do in the reference, and stay in their sample."""
    shape, dtype = (3, 4, 5, 6), torch.float32
    for _, sample in samples(variant, shape, dtype, values=("usual",), device=device):
        x = sample.arguments[0]
        if x.stride(0) == 0:
            continue
        x[0, 1, 2, 3], x[1, 0, 4, 5] = float("nan"), float("inf")
        result, expected = sample.result(name), sample.expected()
        assert torch.equal(result.isnan(), expected.isnan())
        assert torch.equal(result.isinf(), expected.isinf())
        assert result[2].isfinite().all() and expected[0].isnan().any()


def test_references_against_the_formulas() -> None:
    """Written straight from method.md §1, with none of the ops' own code."""
    torch.manual_seed(0)
    x, skip, bias = double(2, 3, 5, 7), double(2, 3, 5, 7), double(3)
    style, weight, both = double(2, 4, 5, 7), double(6, 4, 3, 3), double(6)
    activated = torch.nn.functional.leaky_relu(x + bias.view(1, -1, 1, 1), 0.2) * 2**0.5
    normal = torch.nn.functional.layer_norm(x, x.shape[1:], eps=1e-5)
    gamma, beta = torch.nn.functional.conv2d(style, weight, both, padding=1).chunk(2, 1)
    taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64)
    kernel = (torch.outer(taps, taps) / 64 * 4).expand(3, 1, 4, 4)
    with use_implementation("reference"):
        for actual, expected in (
            (bias_leaky_relu(x, bias), activated),
            (bias_leaky_relu(x, bias, skip), (activated + skip) / 2**0.5),
            (normalize_modulate(x, None), normal),
            (normalize_modulate(x, torch.cat([gamma, beta], 1)), normal * gamma + beta),
            (style_modulation(x, style, weight, both), normal * gamma + beta),
            *(
                (blur_upsample(x, None, p), torch.conv2d(x, kernel, padding=p, groups=3))
                for p in (1, 2)
            ),
        ):
            torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def double(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    x, bias, skip, gamma_beta = (
        double(2, 3, 4, 5),
        double(3),
        double(2, 3, 4, 5),
        double(2, 6, 4, 5),
    )
    with use_implementation("reference"):
        assert torch.autograd.gradcheck(bias_leaky_relu, (x, bias))
        assert torch.autograd.gradcheck(bias_leaky_relu, (x, bias, skip))
        assert torch.autograd.gradcheck(normalize_modulate, (x, gamma_beta))
        assert torch.autograd.gradcheck(lambda x: normalize_modulate(x, None), (x,))
        style = double(2, 2, 4, 5), double(6, 2, 3, 3), double(6)
        assert torch.autograd.gradcheck(style_modulation, (x, *style))
        for padding in (1, 2):
            assert torch.autograd.gradcheck(lambda x, p=padding: blur_upsample(x, None, p), (x,))


@pytest.mark.parametrize("device", ["cpu", *GPU])
@pytest.mark.parametrize("op", declared())
def test_opcheck(op: str, device: str) -> None:
    def there(argument):
        if isinstance(argument, list):
            return [there(each) for each in argument]
        if not isinstance(argument, Tensor):
            return argument
        return argument.detach().to(device).requires_grad_(argument.requires_grad)

    for sample in CALLS[op]():
        arguments = tuple(map(there, sample))
        torch.library.opcheck(getattr(torch.ops.invad_fast, op).default, arguments)


def test_compiles_as_one_graph() -> None:
    def block(x: Tensor, gamma_beta: Tensor, bias: Tensor) -> Tensor:
        y = normalize_modulate(x, gamma_beta)
        return bias_leaky_relu(blur_upsample(y, bias, padding=2), bias)

    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 6, 6), torch.randn(2, 6, 6, 6), torch.randn(3)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), block(*inputs))


def test_wrong_shapes_and_names_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"bias must be \(3,\)"):
        bias_leaky_relu(torch.zeros(1, 3, 2, 2), torch.zeros(4))
    with pytest.raises(InputError, match="no implementation 'fast'"), use_implementation("fast"):
        pass
    if "cuda" not in available("bias_leaky_relu"):
        with pytest.raises(InputError, match="cuda is not available"), use_implementation("cuda"):
            pass


def test_without_any_library() -> None:
    code = (
        "import torch; from invad_fast.ops import *; "
        "assert implementations('bias_leaky_relu')['cpu']; "
        "print(bias_leaky_relu(torch.ones(1, 1, 1, 1), torch.ones(1)).item())"
    )
    environment = {**os.environ, "INVAD_FAST_IMPLEMENTATION": "reference"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    assert float(done.stdout) == pytest.approx(2 * 2**0.5)
