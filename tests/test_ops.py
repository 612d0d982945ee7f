"""Every implementation of every op against the reference in float64; values and gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from invad_fast import InputError
from invad_fast.ops import (
    bias_leaky_relu,
    blur_upsample,
    implementations,
    normalize_modulate,
    use_implementation,
)
from invad_fast.ops.dispatch import ops

SHAPES = [
    (2, 3, 5, 7),
    (1, 64, 16, 16),
    (1, 1, 1, 1),
    (0, 4, 3, 3),
    (3, 17, 33, 9),
    (1, 8, 256, 256),
]
DTYPES = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def available(op: str) -> list[str]:
    return [name for name, reason in implementations(op).items() if reason is None]


def layouts_of(x: Tensor) -> dict[str, Tensor]:
    padded = torch.zeros(*x.shape[:3], x.shape[3] + 3, dtype=x.dtype)
    strided = padded[..., 1:-2].copy_(x)
    return {
        "channels first": x,
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "strided": strided,
        "expanded": x[:1].expand(4, -1, -1, -1) if len(x) else x,
    }


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    scale = expected.abs().max().item() if expected.numel() else 0
    torch.testing.assert_close(
        actual.double(), expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", available("bias_leaky_relu"))
def test_bias_leaky_relu(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for x in layouts_of(torch.randn(shape).to(dtype)).values():
        bias, skip = torch.randn(x.shape[1]), torch.randn(x.shape).to(dtype)
        expected = torch.nn.functional.leaky_relu(x.double() + bias.double().view(1, -1, 1, 1), 0.2)
        expected = expected * 2**0.5
        with use_implementation(name, "bias_leaky_relu"):
            plain, summed = bias_leaky_relu(x, bias), bias_leaky_relu(x, bias, skip)
        assert plain.dtype == dtype
        close(plain, expected, DTYPES[dtype])
        close(summed, (expected + skip.double()) / 2**0.5, DTYPES[dtype])


@pytest.mark.parametrize("name", available("bias_leaky_relu"))
def test_bias_leaky_relu_extremes(name: str) -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e38, -1e-40, 0.0]).view(
        1, 1, 2, 3
    )
    with use_implementation(name):
        y = bias_leaky_relu(x, torch.zeros(1)).flatten()
    assert y[0].isnan() and y[1] == float("inf") and y[2] == -float("inf")
    assert y[3] > 1e38 and -1e-40 < y[4] <= 0 and y[5] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", available("normalize_modulate"))
def test_normalize_modulate(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for x in layouts_of((torch.randn(shape) * 3 + 5).to(dtype)).values():
        n, c, h, w = x.shape
        gamma_beta = torch.randn(n, 2 * c, h, w).to(dtype)
        wide = x.double()
        mean = wide.mean((1, 2, 3), keepdim=True)
        normal = (wide - mean) / (wide.var((1, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        gamma, beta = gamma_beta.double().chunk(2, 1)
        with use_implementation(name, "normalize_modulate"):
            y, plain = normalize_modulate(x, gamma_beta), normalize_modulate(x, None)
        assert y.dtype == dtype
        close(y, normal * gamma + beta, 4 * DTYPES[dtype])
        close(plain, normal, 4 * DTYPES[dtype])


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 8, 33, 33), (0, 4, 5, 5), (1, 1, 3, 3)])
def test_blur_upsample(shape: tuple[int, ...], padding: int) -> None:
    x = torch.randn(shape)
    taps = torch.tensor([1.0, 3, 3, 1]).double()
    kernel = (torch.outer(taps, taps) / 16).expand(shape[1], 1, 4, 4)
    if shape[0]:
        expected = torch.nn.functional.conv2d(x.double(), kernel, padding=padding, groups=shape[1])
        close(blur_upsample(x, padding=padding), expected, 2e-6)
    else:
        assert blur_upsample(x, padding=padding).shape[2] == 5 + 2 * padding - 3


def double(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def test_gradients() -> None:
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
        for padding in (1, 2):
            assert torch.autograd.gradcheck(lambda x, p=padding: blur_upsample(x, None, p), (x,))


def samples(op: str) -> list[tuple]:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    return {
        "bias_leaky_relu": [
            (x, torch.randn(3, requires_grad=True)),
            (x, torch.randn(3), x.detach()),
        ],
        "bias_leaky_relu_backward": [(x.detach(), x.detach(), torch.randn(3), True)],
        "normalize_modulate": [
            (x, torch.randn(2, 6, 4, 5, requires_grad=True), 1e-5),
            (x, None, 1e-5),
        ],
        "blur_upsample": [(x, None, 1), (x, torch.randn(3, requires_grad=True), 2)],
        "normalize_modulate_backward": [
            (x.detach(), x.detach(), torch.randn(2, 6, 4, 5), torch.randn(2), torch.rand(2))
        ],
    }[op]


@pytest.mark.parametrize("op", ops())
def test_opcheck(op: str) -> None:
    for sample in samples(op):
        torch.library.opcheck(getattr(torch.ops.invad_fast, op).default, sample)


def test_compiles_as_one_graph() -> None:
    def block(x: Tensor, gamma_beta: Tensor, bias: Tensor) -> Tensor:
        y = normalize_modulate(x, gamma_beta)
        return bias_leaky_relu(blur_upsample(y, bias, padding=2), bias)

    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 6, 6), torch.randn(2, 6, 6, 6), torch.randn(3)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), block(*inputs))


def test_wrong_shapes_and_names_are_refused() -> None:
    with pytest.raises(RuntimeError, match="one entry a channel"):
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
