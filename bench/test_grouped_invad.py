"""The grouped baseline computes what the model computes, and so do its gradients."""

import pytest
import torch
from grouped_invad import GroupedInvAD
from torch import Tensor

from invad_fast import InvAD, InvADConfig


@pytest.mark.parametrize("channels, blocks", [((8, 16, 32), (2, 1, 2)), ((6, 12, 24), (4, 4, 4))])
def test_outputs_and_gradients(channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    config = InvADConfig(encoder=None, channels=channels, blocks=blocks, input_size=(64, 96))
    model = InvAD(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # those that start at 0 or 1
                parameter += 0.3 * torch.randn_like(parameter)
    features = [
        torch.randn(2, c, 64 // stride, 96 // stride, dtype=torch.float64)
        for c, stride in zip(channels, config.strides)
    ]
    parameters = [p for p in model.parameters() if p.requires_grad]

    def outputs_and_gradients(form) -> list[Tensor]:
        outputs = form.reconstruct(features)
        loss = sum((r - f).square().mean() for r, f in zip(outputs, features))
        return [*outputs, *torch.autograd.grad(loss, parameters)]

    ours = outputs_and_gradients(model)
    scale = max(g.norm() for g in ours[3:])
    for actual, expected in zip(outputs_and_gradients(GroupedInvAD(model)), ours, strict=True):
        # Biases before a batch norm have a zero gradient: only rounding is left of it.
        assert (actual - expected).norm() <= 1e-9 * (expected.norm() + scale)
