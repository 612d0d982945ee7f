"""The inspector beside a bare `predict` of the same engine: what a verdict on record costs a part.

The demo's model at 256×256, pictures that lie ready. Overhead is the time of a call of `inspect`,
both rows of the ledger included, less the time that its engine took for it, in the same call.
"""

from __future__ import annotations

import functools
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from timing import Rounds, timed

from invad_fast import InvAD, InvADConfig
from invad_fast.demo import ENCODER, demo_encoder_weights
from invad_fast.inspection import Inspector, Recipe
from invad_fast.inspection.run_source import run_source
from invad_fast.inspection.sources.picture import Picture
from invad_fast.model_engine import make_recipe

SIZE, PARTS = 256, 200


@functools.cache
def model() -> InvAD:
    """The demo's, at 256×256; what is computed does not depend on the training."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = InvADConfig(
            encoder=ENCODER, blocks=(1, 1, 1), loss_weight=5.0, input_size=(SIZE, SIZE)
        )
        made = InvAD(config, encoder_weights=demo_encoder_weights()).eval()
    made.classes, made.thresholds = ("part",), {"*": 10.0}  # nothing exceeds it
    return made


@functools.cache
def frame() -> np.ndarray:
    """A smooth picture, BGR8."""
    coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    return (255 * large[0]).byte().permute(1, 2, 0).contiguous().numpy()


def recipe(folder: Path, durability: str) -> Recipe:
    model().save(folder / "model.safetensors")
    made = make_recipe(folder / "model.safetensors", folder / "line.yaml")
    content = made.content | {"durability": durability, "deadline_ms": 10_000}
    return Recipe.of(content, folder / "line.yaml")


class Ready:
    """Pictures that lie ready."""

    at_once: int | None = 2

    def __iter__(self):
        return iter([Picture(None, frame(), "BGR8")] * PARTS)

    def stop(self) -> None: ...


@pytest.mark.parametrize("name", ["predict", "inspector"])
def test_throughput(name: str, tmp_path: Path, benchmark) -> None:
    """Parts a second: a loop over `predict`, and the inspector with its ledger."""
    rounds = Rounds(30, 3, 7)
    if name == "predict":
        form, images = model().optimize(), frame()[None, ..., ::-1].copy()

        def bare() -> None:
            for _ in range(PARTS):
                form.predict(images)

        bare()
        timed(benchmark, f"inspector-{PARTS}-parts", name, "predict", bare, rounds)
        return
    with Inspector(recipe(tmp_path, "process"), tmp_path / "line.db") as line:

        def inspected() -> None:
            assert run_source(line, Ready()) == PARTS
            line.wait_for_room(1)

        inspected()
        timed(benchmark, f"inspector-{PARTS}-parts", name, "predict", inspected, rounds)
        assert not line.accounts.reasons


@pytest.mark.parametrize("durability", ["process", "power"])
def test_overhead(durability: str, tmp_path: Path, benchmark) -> None:
    """Milliseconds of a part besides its engine's: median, p99, p99.9; and the disk's own fsync."""
    with Inspector(recipe(tmp_path, durability), tmp_path / "line.db") as line:
        spent = []

        def parts() -> None:
            for _ in range(PARTS):
                started = time.perf_counter()
                result = line.inspect(frame(), pixel_format="BGR8")
                whole = 1e3 * (time.perf_counter() - started)
                spent.append(whole - result.views[0].times_ms["engine"])

        parts()
        spent.clear()
        timed(benchmark, "inspector-overhead", durability, durability, parts, Rounds(30, 3, 5))
    shares = ", ".join(f"{q:g}: {np.quantile(spent, q):.2f}" for q in (0.5, 0.99, 0.999))
    synced = ", ".join(f"{q:g}: {np.quantile(fsyncs(tmp_path), q):.2f}" for q in (0.5, 0.99, 0.999))
    print(f"\n{durability}: ms besides the engine, quantiles {shares}; fsync {synced}")


def fsyncs(folder: Path) -> list[float]:
    """Milliseconds of an fsync after 8 kB."""
    found = []
    with open(folder / "synced", "wb") as file:
        for _ in range(300):
            file.write(bytes(8192))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            found.append(1e3 * (time.perf_counter() - started))
    return found
