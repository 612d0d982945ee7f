"""conv3x3 and its gradients against torch's convolution in float64."""

import pytest
import torch
from op_cases import available
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops import conv3x3, use_implementation
from invad_fast.ops.conv3x3 import LEAST_PIXELS
from invad_fast.ops.winograd_conv import filter_gradient, winograd_conv_backward

# N, I, O, H, W: both ways, x's gradient by torch, odd sides, several panels and groups
SHAPES = [(1, 64, 64, 32, 32), (2, 16, 128, 31, 33), (3, 192, 64, 20, 18), (9, 64, 64, 48, 64)]
BACKWARD = "winograd_conv_backward"


def arguments(n: int, i: int, o: int, h: int, w: int) -> list[Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(o, i, 3, 3) / (9 * i) ** 0.5
    return [torch.randn(n, i, h, w), weight, torch.randn(o)]


def results(function, given: list[Tensor], grad: Tensor) -> list[Tensor]:
    """y and the gradients by all arguments."""
    leaves = [a.detach().requires_grad_() for a in given]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad)]


def torchs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", available("winograd_conv"))
def test_values_and_gradients(name: str, shape: tuple[int, ...], layout) -> None:
    x, weight, bias = arguments(*shape)
    grad = torch.randn(shape[0], shape[2], *shape[3:])
    expected = results(torchs, [x.double(), weight.double(), bias.double()], grad.double())
    given = [x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout), bias]
    with use_implementation(name, "winograd_conv"), use_implementation(name, BACKWARD):
        actual = results(torch.ops.invad_fast.conv3x3, given, grad.contiguous(memory_format=layout))
    for value, exact in zip(actual, expected):
        assert (value - exact).norm() <= 3e-6 * exact.norm()
        torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=1e-4 * exact.std().item())


def test_one_row_of_pixels_is_left_to_torch() -> None:
    x, weight, bias = arguments(1, 64, 64, 1, LEAST_PIXELS - 1)
    assert torch.equal(conv3x3(x, weight, bias), torchs(x, weight, bias))


def test_other_types_and_filters_are_left_to_torch() -> None:
    x, weight, bias = arguments(1, 16, 64, 40, 40)
    assert conv3x3(x.double(), weight.double(), bias.double()).dtype == torch.float64
    assert torch.equal(conv3x3(x, weight[:8], bias[:8]), torchs(x, weight[:8], bias[:8]))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv3x3(x, weight, bias).dtype == torch.bfloat16


@pytest.mark.parametrize("name", available("winograd_conv_backward"))
def test_no_images(name: str) -> None:
    x, grad = torch.empty(0, 16, 5, 6), torch.empty(0, 64, 5, 6)
    with use_implementation(name, BACKWARD):
        gradient = filter_gradient(winograd_conv_backward(x, grad))
    assert gradient.shape == (64, 16, 3, 3) and not gradient.any()


@pytest.mark.parametrize("name", available("winograd_conv_backward"))
def test_wrong_arguments_are_refused(name: str) -> None:
    with use_implementation(name, BACKWARD), pytest.raises(RuntimeError, match="grad must be"):
        winograd_conv_backward(torch.zeros(1, 16, 4, 4), torch.zeros(1, 64, 4, 5))


def test_compiled_whole() -> None:
    x, weight, bias = arguments(1, 64, 64, 32, 32)
    compiled = torch.compile(conv3x3, fullgraph=True, backend="aot_eager")
    grad = torch.randn(1, 64, 32, 32)
    for one, other in zip(
        results(compiled, [x, weight, bias], grad), results(conv3x3, [x, weight, bias], grad)
    ):
        assert torch.equal(one, other)
