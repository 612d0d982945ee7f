"""The time that a plan will take, from a step or two on the machine at hand."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from invad_fast.benchmark.plan import Run
from invad_fast.data import load_tensor
from invad_fast.device import autocast, choose_device, choose_precision
from invad_fast.evaluation.maps import inference_form
from invad_fast.training.train import clip_gradients, make_optimizer

STEPS = 2
CPU_BATCH = 4  # images in a timed step where a configured batch would take a minute


@dataclass(frozen=True)
class Costs:
    """Seconds an image of each part of the work, and how they were measured."""

    decode: float
    encode: float
    train: float
    score: float
    how: str


def estimate(runs: Sequence[Run]) -> tuple[float, list[tuple[Run, Costs, float]]]:
    """Seconds of all runs, and of each with the costs that it is made of.

    Equal models are measured once. The figures' own time and what the machine does besides are
    not in it.
    """
    measured: dict[tuple, Costs] = {}
    rows = []
    for run in runs:
        model = run.model
        options = run.training
        key = (model.method, model.encoder, model.out_indices, model.blocks, model.size,
               options.precision, options.device, options.batch_size)  # fmt: skip
        if key not in measured:
            measured[key] = measure(run)
        rows.append((run, measured[key], seconds(run, measured[key])))
    return sum(row[2] for row in rows), rows


def seconds(run: Run, costs: Costs) -> float:
    """Seconds of one run: decoding overlaps with the model's work on worker processes."""
    workers = max(run.training.workers, 1)
    look = max(costs.decode / workers, costs.encode)
    scored = len(run.dataset.test) * max(costs.decode / workers, costs.score)
    if run.checkpoint is not None:
        return scored
    images = len(run.dataset.train)
    encoded = images if features_fit(run) else run.images_seen
    calibrated = images * costs.score  # thresholds, at the end
    return encoded * look + run.images_seen * costs.train + calibrated + scored


def features_fit(run: Run) -> bool:
    """Whether training keeps the encoder's features, in half precision, or computes them anew."""
    numbers = sum(math.prod(shape) for shape in run.config.feature_shapes)
    size = len(run.dataset.train) * numbers * 2
    return size <= run.training.feature_cache_gib * 2**30


def measure(run: Run) -> Costs:
    """Times a step or two of the run's model, its encoder with random weights, on real images."""
    device = choose_device(run.training.device)
    precision = choose_precision(run.training.precision, device)
    batch = run.training.batch_size
    if device.type == "cpu":
        batch = min(batch, CPU_BATCH)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*random weights")
        model = run.new_model(random_encoder=True)
    schedule = model.schedule(run.training.schedule)
    model.take_up(schedule)
    model.to(device).to(memory_format=torch.channels_last)
    records = [*run.dataset.train, *run.dataset.test][:batch]
    images, decode = _timed(
        device, lambda: [load_tensor(r.image, model.config.input_size) for r in records], repeats=1
    )
    stack = torch.stack((images * batch)[:batch]).to(device)

    def encoded() -> list[torch.Tensor]:
        with autocast(device, precision):
            return [f.float() for f in model.encode(stack)]

    features, encode = _timed(device, encoded)
    optimizer = make_optimizer(model, schedule, 0.0)

    def step() -> None:
        with autocast(device, precision):
            made = model.reconstruct(model.standardize(features))
        optimizer.zero_grad(set_to_none=True)
        model.loss(features, made).backward()
        clip_gradients(model, schedule.clip)
        optimizer.step()

    model.train()
    _, train = _timed(device, step)
    form = inference_form(model.eval(), run.model.scoring, device.type)
    _, score = _timed(device, lambda: form.predict(stack))
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else (
        f"CPU, {torch.get_num_threads()} threads"
    )  # fmt: skip
    how = f"the mean of {STEPS} steps of {batch} images on this machine ({where}, {precision})"
    return Costs(decode / len(records), encode / batch, train / batch, score / batch, how)


def _timed(
    device: torch.device, work: Callable[[], Any], repeats: int = STEPS
) -> tuple[Any, float]:
    """The result, and mean seconds of ``repeats`` calls after one that warms up."""
    result = work()
    _finish(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    _finish(device)
    return result, (time.perf_counter() - started) / repeats


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
