"""winograd_conv against the direct sum in float64, every implementation."""

import pytest
import torch
from another_process import run_again
from op_cases import available
from torch import Tensor
from torch.nn import functional as F

from invad_fast.ops import use_implementation, winograd_conv
from invad_fast.ops.winograd_conv import suits_winograd, winograd_weight

# N, I, O, H, W: one tile, part of a tile, odd sides, one pixel, no image, several panels and groups
SHAPES = [
    (1, 16, 64, 4, 4),
    (2, 32, 128, 9, 7),
    (3, 48, 64, 2, 3),
    (1, 64, 64, 1, 1),
    (0, 16, 64, 8, 8),
    (2, 256, 192, 16, 12),
    (10, 16, 64, 64, 64),
]


# types of x and of the factors → errors allowed, of the norm and of a single place. Bfloat16 rounds
# the result by 2⁻⁹ of itself; rounding of the factors counts some six times as much.
TOLERANCES = {
    (torch.float32, torch.float32): (2e-6, 1e-4),
    (torch.bfloat16, torch.float32): (3e-3, 2e-2),
    (torch.bfloat16, torch.bfloat16): (2e-2, 2e-1),
}


def arguments(n: int, i: int, o: int, h: int, w: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(o, i, 3, 3) / (9 * i) ** 0.5
    return torch.randn(n, i, h, w), weight, torch.randn(o), torch.randn(n, o, h, w)


def direct(x: Tensor, weight: Tensor, bias: Tensor, plus: Tensor | None, slope: float) -> Tensor:
    y = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    y = y if plus is None else y + plus.double()
    return torch.where(y > 0, y, y * slope)


@pytest.mark.parametrize("types", TOLERANCES)
@pytest.mark.parametrize("slope, added", [(1.0, False), (0.0, True), (0.2, True)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", available("winograd_conv"))
def test_values(name: str, shape: tuple[int, ...], slope: float, added: bool, types) -> None:
    dtype, factors = types
    x, weight, bias, plus = arguments(*shape)
    x, plus = x.to(dtype), plus.to(dtype) if added else None
    expected = direct(x, weight, bias, plus, slope)
    transformed = winograd_weight(weight, factors)
    norm, place = TOLERANCES[types]
    for layout in (torch.contiguous_format, torch.channels_last):
        given = x.contiguous(memory_format=layout), transformed, bias, plus, slope
        with use_implementation(name, "winograd_conv"):
            y = winograd_conv(*given)
        assert y.is_contiguous(memory_format=torch.channels_last) and y.dtype == dtype
        torch.testing.assert_close(y.double(), expected, rtol=place / 10, atol=place)
        assert (y - expected).norm() <= norm * expected.norm()


@pytest.mark.parametrize("name", available("winograd_conv"))
def test_bfloat16_factors_are_rounded_once(name: str) -> None:
    """The same as exact arithmetic on the rounded factors would give."""
    x, weight, bias, _ = arguments(2, 64, 64, 12, 20)
    transformed = winograd_weight(weight, torch.bfloat16)
    with use_implementation(name, "winograd_conv"):
        y = winograd_conv(x.bfloat16(), transformed, bias)
    with use_implementation("reference", "winograd_conv"):
        expected = winograd_conv(x.bfloat16(), transformed, bias)
    # A patch's entry on the edge between two numbers may be rounded otherwise: rare, and small.
    error = (y.float() - expected.float()).norm() / expected.float().norm()
    assert error < 2e-3


@pytest.mark.skipif("cpu" not in available("winograd_conv"), reason="no CPU library was built")
@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_other_instruction_sets_in_another_process(capability: str) -> None:
    """What a processor without BF16 units, without AVX-512, or without AVX2, would run."""
    names = "cpu and not another_process"
    run_again(__file__, names, {"INVAD_FAST_CPU_CAPABILITY": capability})


@pytest.mark.parametrize("name", available("winograd_conv"))
def test_what_is_not_finite_stays_in_its_tiles(name: str) -> None:
    x, weight, bias, _ = arguments(2, 16, 64, 12, 12)
    x[0, 3, 5, 5] = float("nan")
    with use_implementation(name, "winograd_conv"):
        y = winograd_conv(x, winograd_weight(weight), bias)
    assert y[0, :, 4:7, 4:7].isnan().all()
    assert y[1].isfinite().all() and y[0, :, :, 8:].isfinite().all()


@pytest.mark.parametrize("name", available("winograd_conv"))
def test_wrong_arguments_are_refused(name: str) -> None:
    x, weight, bias, plus = arguments(1, 16, 64, 4, 4)
    transformed = winograd_weight(weight)
    with use_implementation(name, "winograd_conv"):
        with pytest.raises(RuntimeError, match="weight must be"):
            winograd_conv(torch.zeros(1, 32, 4, 4), transformed, bias)
        with pytest.raises(RuntimeError, match="bias must be"):
            winograd_conv(x, transformed, bias[:3])
        with pytest.raises(RuntimeError, match="x must be float32 or bfloat16"):
            winograd_conv(x.double(), transformed, bias)
        with pytest.raises(RuntimeError, match="bias must be a dense tensor of torch.float32"):
            winograd_conv(x, transformed, bias.double())
        with pytest.raises(
            RuntimeError, match="weight must be a dense tensor of float32 or, like x, bfloat16"
        ):
            winograd_conv(x, winograd_weight(weight, torch.bfloat16), bias)
        with pytest.raises(RuntimeError, match="plus must be"):
            winograd_conv(x, transformed, bias, plus[..., :2])


def test_which_filters_suit() -> None:
    assert suits_winograd(torch.empty(64, 16, 3, 3))
    assert not suits_winograd(torch.empty(64, 24, 3, 3))
    assert not suits_winograd(torch.empty(32, 16, 3, 3))
    assert not suits_winograd(torch.empty(64, 16, 1, 1))
