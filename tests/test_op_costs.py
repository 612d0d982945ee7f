"""The counts that times are divided by: bench/op_costs.py."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from op_costs import Cost, cost, model_calls


def tensor(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device="meta")


def test_bytes_and_flops_of_each_op() -> None:
    """By hand, for x of 2×3×4×5 = 120 elements, 240 bytes."""
    x, both, bias, mean = tensor(2, 3, 4, 5), tensor(2, 6, 4, 5), tensor(3), torch.empty(2)
    assert cost("bias_leaky_relu", x, bias, x) == Cost(240 + 6 + 240, 0, 240, 120 * 5)
    # x is read for the statistics, and again; y, mean and rstd are written
    assert cost("normalize_modulate", x, both, 1e-5) == Cost(720, 240, 240 + 16, 120 * 8)
    # β is not read; grad_x, grad_γ and grad_β are written
    backward = cost("normalize_modulate_backward", x, x, both, mean, mean)
    assert (backward.read, backward.read_again, backward.written) == (720 + 16, 720, 720)
    fused = cost("style_modulation", x, tensor(2, 16, 4, 5), tensor(6, 16, 3, 3), tensor(6), 1e-5)
    assert fused.bytes == 240 * 3 + 2 * 16 * 20 * 2 + 6 * 144 * 2 + 12 + 16
    assert fused.flops == 120 * (8 + 4 * 144)
    assert cost("blur_upsample", x, None, 2).written == 2 * 3 * 5 * 6 * 2


@pytest.mark.parametrize(
    "name, modulations, megabytes", [("invad", 12, 13.1), ("invad-lite", 24, 7)]
)
def test_a_models_calls(name: str, modulations: int, megabytes: float) -> None:
    """One modulation a styled convolution: two a block, of 2, 2, 2 or 4, 4, 4 blocks."""
    calls = [call for call in model_calls(name, 1) if call[0] == "normalize_modulate"]
    assert sum(count for *_, count in calls) == modulations
    whole = sum((cost(op, *arguments) * count for op, arguments, count in calls), Cost())
    assert whole.read_again / 1e6 == pytest.approx(megabytes, rel=0.01)
