"""torch.compile and torch.export of the ops and of whole models, with the values of eager mode."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from invad_fast import InvAD, InvADConfig
from invad_fast.ops import bias_leaky_relu, blur_upsample, normalize_modulate, style_modulation

BATCH = 2


class FromFeatures(nn.Module):
    """What comes after the encoder, called with one argument a scale."""

    def __init__(self) -> None:
        super().__init__()
        config = InvADConfig(
            encoder=None, channels=(4, 6, 8), blocks=(1, 1, 1), style_channels=8,
            latent_channels=4, grid=(2, 3),
        )  # fmt: skip
        self.model = InvAD(config)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> list[Tensor]:
        return self.model.reconstruct([fine, middle, coarse])


class AllOps(nn.Module):
    """One call of each op, with and without its optional arguments."""

    def forward(self, x: Tensor, style: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = style_modulation(x, style, weight, bias)
        y = normalize_modulate(y, torch.cat([y, x], 1)) + normalize_modulate(x, None)
        y = bias_leaky_relu(bias_leaky_relu(y, bias[:3]), bias[3:], skip=x)
        return blur_upsample(blur_upsample(y, None, padding=2), bias[:3], padding=1)


def from_features() -> tuple[nn.Module, tuple[Tensor, ...]]:
    shapes = (4, 8, 12), (6, 4, 6), (8, 2, 3)
    return FromFeatures().eval(), tuple(torch.randn(BATCH, *shape) for shape in shapes)


def from_images() -> tuple[nn.Module, tuple[Tensor, ...]]:
    with pytest.warns(UserWarning, match="random weights"):
        model = InvAD(
            "invad-lite", encoder_weights=None, encoder="resnet10t", blocks=(1, 1, 1),
            style_channels=8, latent_channels=4, input_size=(32, 48),
        )  # fmt: skip
    return model.eval(), (torch.randn(BATCH, 3, 32, 48),)


def all_ops() -> tuple[nn.Module, tuple[Tensor, ...]]:
    x, style = torch.randn(BATCH, 3, 6, 5), torch.randn(BATCH, 4, 6, 5)
    return AllOps(), (x, style, torch.randn(6, 4, 3, 3), torch.randn(6))


SUBJECTS = pytest.mark.parametrize("make", [all_ops, from_features, from_images])


@pytest.mark.parametrize(
    "make, layout",
    [
        (all_ops, torch.contiguous_format),
        (all_ops, torch.channels_last),
        (from_features, torch.channels_last),
        (from_images, torch.contiguous_format),
    ],
)
@torch.no_grad()
def test_compiles_as_one_graph(make, layout: torch.memory_format) -> None:
    """As inference runs it; aot_eager traces as inductor does, without its C++ compiler."""
    torch.manual_seed(0)
    module, inputs = make()
    module = module.to(memory_format=layout)
    inputs = tuple(x.contiguous(memory_format=layout) if x.dim() == 4 else x for x in inputs)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), module(*inputs))


def test_compiles_for_training() -> None:
    torch.manual_seed(0)
    module, inputs = from_features()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    gradients = []
    for forward in (module, compiled):
        loss = sum(r.square().mean() for r in forward(*inputs))
        gradients.append(torch.autograd.grad(loss, list(module.parameters())))
    torch.testing.assert_close(gradients[1], gradients[0])


@torch.no_grad()
def test_inductor_takes_the_ops() -> None:
    torch.manual_seed(0)
    module, inputs = all_ops()
    compiled = torch.compile(module, fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), module(*inputs))


@SUBJECTS
@torch.no_grad()
def test_exports(make) -> None:
    """The program that comes back from a file gives the same values, at other batches too."""
    torch.manual_seed(0)
    module, inputs = make()
    batch = torch.export.Dim("batch", min=1, max=64)
    dynamic = tuple({0: batch} if len(x) == BATCH else None for x in inputs)
    program = torch.export.export(module, inputs, dynamic_shapes=dynamic)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    targets = {str(node.target) for node in program.graph.nodes}
    assert any(target.startswith("invad_fast.") for target in targets), "the ops stay whole"
    for repeats in (1, 2):
        given = tuple(torch.cat([x] * repeats) if len(x) == BATCH else x for x in inputs)
        torch.testing.assert_close(loaded(*given), module(*given))


def test_opcheck_without_native_libraries() -> None:
    """Beside test_ops.py, which checks the ops with the libraries that are installed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_ops.py",
         "-k", "opcheck"],
        env={**os.environ, "INVAD_FAST_IMPLEMENTATION": "reference"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
