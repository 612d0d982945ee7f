"""`predict` on files against the inference form alone, fed with batches that lie ready.

500 pictures of 320×240 (JPEG), InvAD-lite at 256×256, batches of 16; and one picture from process
start, the file cache warm.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timing import Rounds, timed

from invad_fast import InvAD, find_images, predict_files
from invad_fast.inference import OptimizedInvAD

IMAGES, BATCH = 500, 16


@functools.cache
def form() -> OptimizedInvAD:
    """Of random weights: what is computed does not depend on them."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the encoder's weights are random
        model = InvAD("invad-lite", encoder_weights=None).eval()
    model.classes, model.thresholds = ("part",), {"*": 10.0}  # nothing exceeds it
    return model.optimize()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth pictures: noise would take a JPEG decoder longer than any part does."""
    path, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for index in range(IMAGES):
        coarse = Image.fromarray(random.integers(0, 255, (12, 16, 3), np.uint8))
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(path / f"{index:03}.jpg")
    return path


@pytest.mark.parametrize("name", ["form", "predict"])
def test_predict(name: str, folder: Path, benchmark) -> None:
    batch = torch.randn(BATCH, 3, 256, 256)

    def alone() -> None:
        for start in range(0, IMAGES, BATCH):
            form().predict(batch[: min(BATCH, IMAGES - start)])

    def files() -> None:
        rows = list(predict_files(form(), find_images([folder]), batch_size=BATCH))
        assert {row["verdict"] for row in rows} == {"PASS"} and len(rows) == IMAGES

    work = alone if name == "form" else files
    form().predict(batch)
    timed(benchmark, f"predict-{IMAGES}", name, "form", work, Rounds(60, 2, 5))


def test_start(folder: Path, tmp_path: Path, benchmark) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InvAD("invad-lite", encoder_weights=None)
    model.save(tmp_path / "model.safetensors")
    words = ["predict", folder / "000.jpg", "--model", tmp_path / "model.safetensors"]

    def once() -> None:
        done = subprocess.run([sys.executable, "-m", "invad_fast", *map(str, words)],
                              capture_output=True, check=False)  # fmt: skip
        assert b'"score"' in done.stdout, done.stderr

    once()
    timed(benchmark, "predict-start", "one image", "one image", once, Rounds(30, 3, 5))
