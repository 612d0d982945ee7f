"""Ops at the models' shapes, every implementation beside a plain addition of as many bytes."""

import pytest
import torch

from invad_fast.ops import bias_leaky_relu, implementations, use_implementation

# Channels and side of InvAD's and InvAD-lite's three scales at 256×256.
SHAPES = {"invad": ((256, 64), (512, 32), (1024, 16)), "lite": ((64, 64), (128, 32), (256, 16))}
CASES = [
    pytest.param(batch, channels, side, id=f"{model}-{channels}x{side}-batch{batch}")
    for model, scales in SHAPES.items()
    for channels, side in scales
    for batch in (1, 8)
]


def right(name: str, x: torch.Tensor, bias: torch.Tensor, skip: torch.Tensor) -> bool:
    with use_implementation(name, "bias_leaky_relu"):
        actual = bias_leaky_relu(x, bias, skip).double()
    expected = torch.nn.functional.leaky_relu(x.double() + bias.double().view(1, -1, 1, 1), 0.2)
    expected = (expected * 2**0.5 + skip.double()) / 2**0.5
    return torch.allclose(actual, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("batch, channels, side", CASES)
@pytest.mark.parametrize("name", ["reference", "cpu", "add"])
def test_bias_leaky_relu(benchmark, name, batch, channels, side, dtype) -> None:
    x = torch.randn(batch, channels, side, side).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    bias, skip, out = torch.randn(channels), torch.randn_like(x), torch.empty_like(x)
    benchmark.group = f"{batch}x{channels}x{side}x{side} {str(dtype).removeprefix('torch.')}"
    # The floor: as many bytes as the op reads (x and skip) and writes.
    if name == "add":
        benchmark(torch.add, x, skip, out=out)
        return
    reason = implementations("bias_leaky_relu")[name]
    if reason:
        pytest.skip(reason)
    assert right(name, x, bias, skip), "wrong results are not timed"
    with use_implementation(name, "bias_leaky_relu"):
        benchmark(bias_leaky_relu, x, bias, skip)
