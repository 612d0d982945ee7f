"""runs ─ run ─> results: a finished run is kept, an interrupted training goes on.

Under torchrun all processes do every run together, and the main one alone writes.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from invad_fast.benchmark.plan import Run, described, difference
from invad_fast.data.json_file import read_json
from invad_fast.device import choose_device
from invad_fast.distributed import World, join
from invad_fast.errors import InputError
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.files import make_folder, write_whole
from invad_fast.method import Method
from invad_fast.method_names import load_model
from invad_fast.model import InvAD
from invad_fast.model_file import holds_model
from invad_fast.training.train import train


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        run: what was trained and scored.
        figures: class → figure → value, a fraction of one; not a number where undefined.
        training: seconds, images, images_per_second, loss, resumed; empty for a checkpoint.
        device: where it was scored and trained, in words.
    """

    run: Run
    figures: dict[str, dict[str, float]]
    training: dict[str, Any]
    device: str


def run_benchmark(
    runs: Sequence[Run],
    *,
    show_progress: bool = True,
    finished: Callable[[Run, Sequence[RunResult]], None] | None = None,
) -> list[RunResult]:
    """Does what is not done yet.

    Args:
        finished: called after each run with it and all results so far, so that an interrupted
            benchmark leaves its tables.

    Raises:
        InputError: where a run's folder holds a run of other settings, or a training fails.
    """
    world, _ = join(runs[0].training.device)
    # Before any trains: it may refuse.
    kept = world.on_main(lambda: [_read_result(run) for run in runs])
    results: list[RunResult] = []
    for run, result in zip(runs, kept):
        if result is None:
            try:
                result = _do(run, world, show_progress)
            except InputError as error:
                raise InputError(f"{run.title}: {error}") from None
        results.append(result)
        if finished is not None and world.main:
            finished(run, results)
    return results


def _do(run: Run, world: World, show_progress: bool) -> RunResult:
    if run.checkpoint is None:
        model, training = _trained(run, world, show_progress)
    else:
        model, training = _from_checkpoint(run), {}
    started = time.monotonic()
    evaluation = evaluate_model(
        model,
        run.dataset,
        output=run.folder / "evaluation",
        protocol=run.model.protocol,
        show_progress=show_progress,
        options=run.model.scoring,
    )
    figures = {name: result.figures for name, result in evaluation.classes.items()}
    result = RunResult(run, figures, training, _device_name(run))
    content = {
        "made_from": described(run),
        "figures": {c: {k: _or_none(v) for k, v in row.items()} for c, row in figures.items()},
        "training": training,
        "evaluation_seconds": time.monotonic() - started,
        "device": result.device,
    }
    world.on_main(lambda: _write(run.folder / "result.json", content))
    return result


def _trained(run: Run, world: World, show_progress: bool) -> tuple[Method, dict[str, Any]]:
    """Trains, or goes on; a model whose training ended, but not its evaluation, is only loaded."""
    folder, facts = run.folder / "training", run.folder / "training.json"
    names = (facts, folder / "checkpoint.pt")
    done_before, resumed = world.on_main(lambda: [path.is_file() for path in names])
    if done_before:
        return load_model(folder / "model.safetensors"), read_json(facts)
    torch.manual_seed(run.seed)
    model = run.new_model()
    started = time.monotonic()
    done = train(model, run.dataset, run.training, folder, resumed, show_progress=show_progress)
    training = {
        "images": run.images_seen,
        # A resumed training's seconds are those of its last part.
        "seconds": time.monotonic() - started,
        "images_per_second": done.images_per_second,
        "resumed": resumed,
        "loss": done.losses[-1],
    }
    world.on_main(lambda: _write(facts, training))
    return model, training


def _from_checkpoint(run: Run) -> Method:
    """A model file of ours, or an authors' checkpoint in a model of the run's settings."""
    path = run.checkpoint
    assert path is not None
    if holds_model(path):
        return load_model(path)
    with warnings.catch_warnings():
        # The checkpoint brings the encoder's weights too.
        warnings.filterwarnings("ignore", message=".*random weights")
        model = run.new_model(random_encoder=True)
    if not isinstance(model, InvAD):
        raise InputError(f"checkpoint: {path} is no model file of ours, and {run.model.method} has "
                         "no authors' checkpoints")  # fmt: skip
    return model.load_reference(path).eval()


def _read_result(run: Run) -> RunResult | None:
    path = run.folder / "result.json"
    if not path.is_file():
        return None
    content = read_json(path)
    if (gap := difference(run, content["made_from"])) is not None:
        key, before, now = gap
        raise InputError(
            f"{path} was made with {key}={before}, not {now}: choose another output folder, or "
            "delete this run's"
        )
    figures = {
        name: {k: float("nan") if v is None else v for k, v in row.items()}
        for name, row in content["figures"].items()
    }
    return RunResult(run, figures, content["training"], content["device"])


def _device_name(run: Run) -> str:
    device = choose_device(run.training.device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _or_none(value: float) -> float | None:
    return None if value != value else value  # JSON has no not-a-number


def _write(path: Path, content: Any) -> None:
    make_folder(path.parent)
    write_whole(path, json.dumps(content, indent=2) + "\n")
