"""A training of seconds: the demo's encoder, few blocks, 32 x 32 pixels."""

import warnings
from pathlib import Path

import torch

from invad_fast import InvAD, InvADConfig
from invad_fast.demo import demo_encoder_weights
from invad_fast.training.result import TrainingResult

SIZE = 32
EPOCHS, STEPS = 4, 2  # of a whole run: 8 images, 4 a step


def tiny(seed: int = 0, encoder_weights: Path | None | str = "demo", **fields) -> InvAD:
    """A new model; another seed gives another network over the same encoder."""
    torch.manual_seed(seed)
    config = {
        "encoder": "resnet10t", "out_indices": (1, 2), "blocks": (1, 1), "style_channels": 8,
        "latent_channels": 4, "input_size": SIZE,
    } | fields  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights
        weights = demo_encoder_weights() if encoder_weights == "demo" else encoder_weights
        return InvAD(InvADConfig(**config), weights)


def fit(model: InvAD, root: Path, **options) -> TrainingResult:
    """Four images a step, everything in this thread."""
    fixed = {"batch_size": 4, "workers": 0, "show_progress": False}
    return model.fit(root, **fixed | options)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
