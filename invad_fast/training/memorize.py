"""A memory of the good parts, made in one pass over them: no gradient, no schedule."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from invad_fast.allocator import keep_freed_memory
from invad_fast.data import Dataset, read_dataset
from invad_fast.distributed import join
from invad_fast.errors import InputError
from invad_fast.files import make_folder
from invad_fast.memory.building import check_parts
from invad_fast.prediction import check_class_names
from invad_fast.training.features import open_features
from invad_fast.training.make_ready import make_ready
from invad_fast.training.memory import remember_parts
from invad_fast.training.options import TrainingOptions
from invad_fast.training.result import TrainingResult
from invad_fast.training.run_description import describe
from invad_fast.training.run_folder import RunFolder
from invad_fast.training.trainable import Learner
from invad_fast.training.training_images import readable, take_images

_OF_GRADIENTS = ("schedule", "epochs", "batch_size", "learning_rate")


def memorize(
    model: Learner,
    root: str | Path | Dataset,
    options: TrainingOptions,
    run: str | Path | None = None,
    resume: bool = False,
    classes: Sequence[str] | None = None,
    show_progress: bool = True,
) -> TrainingResult:
    """Gives ``model`` the memory of the good training images below ``root``.

    The images are encoded once where their features fit the options' bounds. Under torchrun all
    processes call it alike and end with the same model; the main one alone writes.

    Args:
        options: without those of a gradient's steps.
        run: folder for ``config.json``, ``images.json`` and the model; None writes nothing.
        resume: is refused: a run that was stopped is begun anew.
        classes: only these product classes.

    Raises:
        InputError: where the images, the run folder or the options do not allow it.
    """
    _check(options, resume)
    dataset = root if isinstance(root, Dataset) else read_dataset(root)
    if classes:
        dataset = dataset.only(classes)
    check_class_names(dataset.classes, f"{dataset.root}: ")
    world, device = join(options.device)
    options = dataclasses.replace(options, precision="fp32")  # type: ignore[type-var]
    show_progress = show_progress and world.main
    if options.cache is not None:
        dataset.refuse_inside(options.cache, "--cache")
        make_folder(options.cache)
    with ExitStack() as held:
        folder = None if run is None else RunFolder(Path(run))
        if folder is not None:
            dataset.refuse_inside(folder.path, "--run")
            world.on_main(lambda: held.enter_context(RunFolder(folder.path).held()))
        records = dataset.train
        if options.skip_damaged:
            records = readable(dataset, model.input_size, options, world)
        check_parts([record.class_name for record in records])
        if folder is not None:
            described = describe(model, options)
            world.on_main(lambda: take_images(
                folder, None, described, dataset, records, options, show_progress
            ))  # fmt: skip
        if device.type == "cpu":
            keep_freed_memory()
        started = time.monotonic()
        model.remember(None)
        model.classes = tuple(dataset.classes)
        model.eval().to(device)
        features = open_features(model, records, options, device, show_progress, world)
        halves = remember_parts(model, features, records, options.seed)
        model.to("cpu")
        make_ready(model, records, options, world, device, features.resized, show_progress, halves)
        seconds = time.monotonic() - started
        if folder is not None and world.main:
            model.save(folder.model)  # last: with it the run is finished
        world.wait()
        run_path = None if folder is None else folder.path
        return TrainingResult([], run_path, seconds, len(records) / max(seconds, 1e-9), 0)


def _check(options: TrainingOptions, resume: bool) -> None:
    """Refuses what asks for steps that are not made."""
    given = [name for name in _OF_GRADIENTS if getattr(options, name) is not None]
    if resume:
        given.append("resume")
    if options.precision == "bf16":
        given.append("precision")
    if options.checkpoint_seconds != TrainingOptions().checkpoint_seconds:
        given.append("checkpoint_seconds")
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise InputError(
            f"a memory is made in one pass over the good parts, in fp32 and without steps: leave "
            f"out {flags}"
        )
