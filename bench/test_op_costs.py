"""The counts that times are divided by: op_costs.py and ops/."""

import csv
from pathlib import Path

import predicted_h200
import pytest
import torch
from cost import Cost
from op_costs import BATCHES, MODELS, cost, model_calls
from ops import COUNTS, GRADIENTS
from ops.style_modulation import fused

from invad_fast.ops.dispatch import ops


def test_every_op_is_counted() -> None:
    assert set(COUNTS) == set(ops())


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
    style = cost("style_modulation", x, tensor(2, 16, 4, 5), tensor(6, 16, 3, 3), tensor(6), 1e-5)
    assert style.bytes == 240 * 3 + 2 * 16 * 20 * 2 + 6 * 144 * 2 + 12 + 16
    assert style.flops == 120 * (8 + 4 * 144)
    assert cost("blur_upsample", x, None, 2).written == 2 * 3 * 5 * 6 * 2
    op, arguments = GRADIENTS["style_modulation"](*fused(x, both, 1e-5))
    backward = cost(op, *arguments)
    # grad and x, and both again for grad_x; grad_x, grad_γ and grad_β
    assert (backward.read_again, backward.written) == (480, 720)
    assert backward.flops == 120 * (12 + 2 * 144)


def test_flops_of_convolutions() -> None:
    """By hand: 2×16×5×6 to 64 channels; Winograd's tiles are 2×2 of 4×4 an image."""
    x, weight, y = tensor(2, 16, 5, 6), tensor(64, 16, 3, 3), tensor(2, 64, 5, 6)
    direct = 2 * 60 * 16 * 64 * 9
    assert cost("conv3x3", x, weight, None).flops == direct
    assert cost("conv3x3_backward", y, x, weight, True, True).flops == 2 * direct
    transformed = torch.empty(36, 1, 16, 64, device="meta")
    products = 2 * 36 * 8 * 16 * 64
    both = cost("winograd_conv", x.float(), transformed, transformed[0, 0, 0], None, 1.0)
    assert both.flops == cost("winograd_conv_backward", x.float(), y.float()).flops == products


def test_bytes_and_flops_of_maps_and_metrics() -> None:
    """By hand: two images, scales 3×4×5 and 7×2×3 in bfloat16."""
    fine, coarse = tensor(2, 3, 4, 5), tensor(2, 7, 2, 3)
    both = [fine, coarse]
    # 40 fine pixels of three channels, 12 coarse ones of seven
    assert cost("cosine_map", both, both, True) == Cost(
        2 * (240 + 168), 0, 40 * 4, 120 * 6 + 84 * 38 + 40 * 63
    )
    assert cost("cosine_map", both, both, False).flops == (120 + 84) * 6
    # without a Gaussian a row of the resize is two taps, but one where it meets a sample
    maps = [torch.empty(2, 3, 3, device="meta")]
    assert cost("anomaly_score", maps, [5, 5], 0.0) == Cost(
        2 * 9 * 4, 0, 2 * 25 * 4 + 2 * 4, 2 * 2 * (7 * 3 + 7 * 5)
    )
    areas = torch.empty(2, 8, 8, dtype=torch.int32, device="meta")
    # eleven boundaries make twelve bins: four halvings
    counted = cost("score_histogram", areas.float(), areas, torch.empty(11, device="meta"))
    assert counted == Cost(128 * 8 + 44, 0, 12 * 24, 128 * 4)
    assert cost("connected_regions", areas.bool()) == Cost(128, 0, 128 * 8, 0)


def test_the_prediction_is_of_these_counts_and_covers_every_op() -> None:
    """predicted_h200.csv is what predicted_h200.py makes of static.csv."""
    rows = [
        {name: str(value) for name, value in vars(row).items()}
        for row in predicted_h200.predictions()
    ]
    with Path(predicted_h200.__file__).with_suffix(".csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    of_each = {(row["model"], row["batch"], row["op"]) for row in rows}
    launched = predicted_h200._LAUNCHES
    assert {(m, str(b), op) for m in MODELS for b in BATCHES for op in launched} <= of_each


@pytest.mark.parametrize(
    "name, modulations, megabytes", [("invad", 12, 13.1), ("invad-lite", 24, 7)]
)
def test_a_models_calls(name: str, modulations: int, megabytes: float) -> None:
    """One modulation a styled convolution: two a block, of 2, 2, 2 or 4, 4, 4 blocks."""
    calls = [call for call in model_calls(name, 1) if call[0] == "normalize_modulate"]
    assert sum(count for *_, count in calls) == modulations
    whole = sum((cost(op, *arguments) * count for op, arguments, count in calls), Cost())
    assert whole.read_again / 1e6 == pytest.approx(megabytes, rel=0.01)
