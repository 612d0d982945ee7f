"""The demo: make a production line's images, train on the good parts, find defects in new ones."""

from __future__ import annotations

import time
from importlib.resources import as_file, files
from pathlib import Path

import torch

from invad_fast.config import InvADConfig
from invad_fast.data import read_dataset
from invad_fast.data.production_line import PRODUCTS, make_production_line
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.evaluation.output_folder import take_folder
from invad_fast.evaluation.report import write_report
from invad_fast.evaluation.results import Evaluation
from invad_fast.model import InvAD
from invad_fast.training.options import TrainingOptions
from invad_fast.training.train import train

ENCODER = "resnet10t"
WEIGHTS = "demo_resnet10t.safetensors"
SIZE = 128


def demo_encoder_weights() -> Path:
    """The small encoder that ships with the package (made by tools/train_demo_encoder.py)."""
    with as_file(files("invad_fast") / "weights" / WEIGHTS) as path:
        return path


def demo_model(encoder_weights: str | Path | None) -> InvAD:
    """A small InvAD for 128×128 images: invad-lite with one block at each scale."""
    config = InvADConfig(
        encoder=ENCODER, blocks=(1, 1, 1), loss_weight=5.0, input_size=(SIZE, SIZE)
    )
    return InvAD(config, encoder_weights=encoder_weights)


def run_demo(
    output: Path,
    *,
    seed: int = 0,
    epochs: int = 24,
    train_parts: int = 60,
    test_good: int = 20,
    defects: int = 8,
    encoder_weights: str | Path | None = "shipped",
    show_progress: bool = True,
) -> Evaluation:
    """Writes ``parts/`` (the images), ``run/`` (the model), ``report.html`` below ``output``.

    Args:
        seed: of the parts, the defects and the weights; test parts never train.
        train_parts, test_good, defects: good parts of each product to train and to test on, and
            parts with each kind of defect.
        encoder_weights: "shipped", a file, or None for random features.
    """
    started = time.monotonic()
    take_folder(output)
    make_production_line(output / "parts", SIZE, train_parts, test_good, defects, seed)
    torch.manual_seed(seed)
    if encoder_weights == "shipped":
        encoder_weights = demo_encoder_weights()
    model = demo_model(encoder_weights)
    options = TrainingOptions(
        epochs=epochs,
        # Small batches: in three minutes the number of steps counts, not their smoothness.
        batch_size=8,
        learning_rate=0.004,
        precision="auto",
        seed=seed,
    )
    parts = read_dataset(output / "parts")
    train(model, parts, options, output / "run", show_progress=show_progress)
    evaluation = evaluate_model(model, parts, output=output, show_progress=show_progress)
    seconds = time.monotonic() - started
    notes = [
        f"One model for {len(PRODUCTS)} products, trained on {train_parts} good parts of each, "
        f"scored on parts it has not seen: {test_good} good ones and {defects} of each kind of "
        f"defect. Everything was made, trained and scored on this machine in {seconds:.0f} s.",
    ]
    write_report(output / "report.html", "InvAD on a production line", notes, evaluation)
    return evaluation
