"""Training on good parts only by the method's schedule, resumable after a kill at any moment."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invad_fast.allocator import keep_freed_memory
from invad_fast.data import Dataset, Record, read_dataset
from invad_fast.device import autocast, choose_precision
from invad_fast.distributed import World, join, restarted
from invad_fast.errors import InputError
from invad_fast.files import make_folder
from invad_fast.memory.building import check_parts
from invad_fast.prediction import check_class_names
from invad_fast.progress import TrainingProgress
from invad_fast.training.batch_check import check_batch
from invad_fast.training.data_parallel import training_forward
from invad_fast.training.features import Features, open_features
from invad_fast.training.make_ready import make_ready
from invad_fast.training.memory import remember_parts
from invad_fast.training.options import CompleteOptions, TrainingOptions
from invad_fast.training.result import TrainingResult
from invad_fast.training.run_description import (
    as_before,
    check_epochs,
    describe,
    refuse_other_run,
)
from invad_fast.training.run_folder import Checkpoint, RunFolder
from invad_fast.training.schedule import Schedule
from invad_fast.training.time_ahead import TRIED, in_words, seconds_of_step
from invad_fast.training.trainable import Trainable
from invad_fast.training.training_images import readable, take_images

_MEASURED = 1024  # images that the channels' statistics are taken over
_WORTH_SAYING = 50  # steps: a shorter training is over before it is read


def make_optimizer(model: Trainable, schedule: Schedule, learning_rate: float) -> torch.optim.Adam:
    """Adam over all but the encoder, with the schedule's betas, without weight decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.Adam(trainable, lr=learning_rate, betas=schedule.betas)


def clip_gradients(model: Trainable, limit: float | None) -> None:
    """Scales all gradients so that their common norm is at most ``limit``; None does nothing."""
    if limit is not None:
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], limit)


def train(
    model: Trainable,
    root: str | Path | Dataset,
    options: TrainingOptions,
    run: str | Path | None = None,
    resume: bool = False,
    classes: Sequence[str] | None = None,
    show_progress: bool = True,
) -> TrainingResult:
    """Trains ``model`` in place on the good training images below ``root``.

    Under torchrun (see `invad_fast.distributed`) all processes call it alike and end with the
    same model; the main one alone writes, and a restarted one goes on by itself. At the end the
    class prototypes and provisional thresholds are made, in the form that predictions will take.

    Args:
        root: a data set of any layout that `invad_fast.data.read_dataset` takes, or one read.
        run: folder for checkpoints, figures and the model; None writes nothing.
        resume: go on from the run folder's last checkpoint: with the same model, encoder weights,
            images and options, else it is refused. What the options leave open is as it was.
            The epochs may be raised, of a finished run too; one with nothing left to do keeps its
            model file as it is, calibrated thresholds included.
        classes: only these product classes.

    Raises:
        InputError: where the images, the run folder or the options do not allow it.
    """
    model.schedule(options.schedule)  # refused before any work
    dataset = root if isinstance(root, Dataset) else read_dataset(root)
    if classes:
        dataset = dataset.only(classes)
    check_class_names(dataset.classes, f"{dataset.root}: ")
    world, device = join(options.device)
    options = dataclasses.replace(options, precision=choose_precision(options.precision, device))
    show_progress = show_progress and world.main
    if options.cache is not None:
        dataset.refuse_inside(options.cache, "--cache")
        make_folder(options.cache)
    if resume and run is None:
        raise InputError("no run to go on with: give its folder (run=, --run)")
    # The main process decides: it may have made the run folder that another one is looking at.
    resume = world.on_main(lambda: resume or restarted())
    with ExitStack() as held:
        folder = None if run is None else RunFolder(Path(run))
        checkpoint = None
        if folder is not None:
            dataset.refuse_inside(folder.path, "--run")
            world.on_main(lambda: held.enter_context(RunFolder(folder.path).held()))
            checkpoint = world.on_main(lambda: folder.read_checkpoint(resume))
        if checkpoint is not None:
            options = as_before(options, checkpoint.run, model.method)
        chosen = options.completed(type(model), len(dataset.train))
        schedule = model.schedule(chosen.schedule)
        model.take_up(schedule)
        if model.memory is not None:  # of a former training
            model.remember(None)
        _check_batch(model, chosen, len(dataset.train), world, dataset.root)
        described = describe(model, chosen)
        if folder is not None and checkpoint is not None:
            refuse_other_run(folder.path, checkpoint.run, described)
            if world.main:
                check_epochs(folder.path, checkpoint, chosen, schedule)
        records = dataset.train
        if chosen.skip_damaged:
            records = readable(dataset, model.input_size, chosen, world)
            _check_batch(model, chosen, len(records), world, dataset.root)
        if model.config.memory is not None:
            check_parts([r.class_name for r in records])
        described["data"] = {"classes": list(dataset.classes)}
        if folder is not None:
            described = world.on_main(lambda: take_images(
                folder, checkpoint, described, dataset, records, chosen, show_progress
            ))  # fmt: skip
        # A class on its own keeps the name that the run gave it.
        names = dict(zip(dataset.classes, described["data"]["classes"]))
        records = tuple(dataclasses.replace(r, class_name=names[r.class_name]) for r in records)
        if device.type == "cpu":
            keep_freed_memory()
        trainer = _Trainer(model, schedule, chosen, len(records), described, folder, world, device)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        return _train(trainer, records, tuple(names.values()), show_progress)


def _check_batch(
    model: Trainable, options: CompleteOptions, images: int, world: World, root: Path
) -> None:
    """Refuses batches that cannot be made, or not be trained on, before any work."""
    if images < options.batch_size:
        raise InputError(
            f"{root}: {images} good training images are fewer than one batch of "
            f"{options.batch_size}: choose a batch size of at most {images}"
        )
    if options.batch_size % world.size:
        raise InputError(
            f"a batch of {options.batch_size} images cannot be shared evenly by {world.size} "
            "processes: choose a multiple"
        )
    check_batch(model, options.batch_size)


def _train(
    trainer: _Trainer, records: Sequence[Record], classes: tuple[str, ...], show_progress: bool
) -> TrainingResult:
    """Makes the steps that are left, then the model; a finished one stays as it is."""
    model, folder, world, device = trainer.model, trainer.folder, trainer.world, trainer.device
    options = trainer.options
    result, features = trainer.result(), None
    if not trainer.finished:
        features = open_features(model, records, options, device, show_progress, world)
        result = trainer.run(features, show_progress)
    model.eval().to("cpu")
    kept = folder and world.on_main(lambda: folder.finished_model(model))
    if kept:
        model.classes, model.prototypes, model.thresholds, model.seen = kept
        return result
    model.classes = classes
    halves = None
    if model.config.memory is not None:
        features = features or open_features(model, records, options, device, show_progress, world)
        halves = remember_parts(model.to(device), features, records, options.seed)
        model.to("cpu")
    resized = features is not None and features.resized
    make_ready(model, records, options, world, device, resized, show_progress, halves)
    if folder is not None and world.main:
        folder.draw_curves(trainer.history)
        model.save(folder.model)  # last: with it the run is finished
    world.wait()
    return result


class _Trainer:
    """The loop's state: everything that a checkpoint must bring back."""

    def __init__(
        self,
        model: Trainable,
        schedule: Schedule,
        options: CompleteOptions,
        images: int,
        described: dict[str, Any],
        folder: RunFolder | None,
        world: World,
        device: torch.device,
    ) -> None:
        self.model, self.schedule, self.options = model, schedule, options
        self.described, self.folder = described, folder
        self.world, self.device = world, device
        # Channels last: a training step on the CPU is a tenth faster (measured at 128×128, bf16).
        model.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(model, schedule, options.learning_rate)
        self.reconstruct = training_forward(model, world, device)
        self.images = images
        self.steps_per_epoch = images // options.batch_size
        self.epoch = self.step = 0
        self.epoch_loss = 0.0
        self.history: list[dict] = []

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes on where ``checkpoint`` stands; InputError where it does not fit."""
        try:
            for name, part in self.model.trained_parts().items():
                part.load_state_dict(checkpoint.model[name])
            self.optimizer.load_state_dict(checkpoint.optimizer)
            for parameter, state in self.optimizer.state.items():
                for value in state.values():
                    if isinstance(value, Tensor) and value.shape not in ((), parameter.shape):
                        raise ValueError("the optimizer's tensors have other shapes")
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            assert self.folder is not None
            raise self.folder.not_usable(" ".join(str(error).split())[:200]) from None
        self.epoch, self.step = checkpoint.epoch, checkpoint.step
        self.epoch_loss, self.history = checkpoint.epoch_loss, checkpoint.history

    def checkpoint(self) -> Checkpoint:
        model = {name: part.state_dict() for name, part in self.model.trained_parts().items()}
        return Checkpoint(
            self.described, model, self.optimizer.state_dict(), self.epoch, self.step,
            self.epoch_loss, self.history,
        )  # fmt: skip

    @property
    def finished(self) -> bool:
        return self.epoch >= self.options.epochs

    def result(self, steps: int = 0, seconds: float = 0.0) -> TrainingResult:
        """The result so far, of which this process made ``steps``."""
        losses = [row["loss"] for row in self.history]
        run = self.folder.path if self.folder else None
        rate = steps * self.options.batch_size / max(seconds, 1e-9)
        return TrainingResult(losses, run, seconds, rate, steps)

    def run(self, features: Features, show_progress: bool) -> TrainingResult:
        """Trains to the last epoch, with a checkpoint before the first step and after the last."""
        if self.epoch == self.step == 0:
            self._measure(features)
            self._save()
        self.model.train()
        steps = 0

        def rate() -> float:
            return steps * self.options.batch_size / (time.monotonic() - started)

        with TrainingProgress(
            self.options.epochs, self.steps_per_epoch, show_progress,
            self.epoch * self.steps_per_epoch + self.step, self._seconds_after(features),
        ) as progress:  # fmt: skip
            if show_progress:
                self._say_how_long(features, progress)
            started = saved = time.monotonic()
            while not self.finished:
                for batch in features.batches(self._order(), self.step):
                    loss = self._step(batch)
                    self.step += 1
                    self.epoch_loss += loss
                    steps += 1
                    progress.update(self.epoch, self.step, loss, rate())
                    if self.step < self.steps_per_epoch:
                        saved = self._save_when_due(saved)
                self._end_epoch(rate())
                saved = self._save_when_due(saved)
        self._save()
        return self.result(steps, time.monotonic() - started)

    def _say_how_long(self, features: Features, progress: TrainingProgress) -> None:
        """Before the first step, from a few of a copy, which is thrown away."""
        left = self.options.epochs * self.steps_per_epoch - progress.done
        if self.world.size > 1 or left < _WORTH_SAYING:
            return
        with torch.random.fork_rng():
            copied = _Trainer(
                copy.deepcopy(self.model).train(), self.schedule, self.options, self.images,
                {}, None, self.world, self.device,
            )  # fmt: skip
            step = seconds_of_step(copied._step, features.batches(self._order()[:TRIED]))
        ahead = left * step + self._seconds_after(features)(step)
        progress.say(
            f"about {in_words(ahead)}: {left:,} steps of {self.options.batch_size} images at "
            f"{self.options.batch_size / step:.0f} images/s, then thresholds"
        )

    def _seconds_after(self, features: Features) -> Callable[[float], float]:
        """What the last pass over the training parts will take, by the seconds of a step."""
        images = self.images / self.world.size
        each = features.seconds_per_image

        def seconds(step: float) -> float:
            epoch = step * self.steps_per_epoch
            # Forward only, a third of a step; besides, they are decoded and encoded.
            return epoch if each is None else images * each + epoch / 3

        return seconds

    def _measure(self, features: Features) -> None:
        """Takes the channels' statistics, where the model has its features standardised."""
        if self.model.standardization is not None:
            generator = torch.Generator().manual_seed(self.options.seed)
            chosen = torch.randperm(self.images, generator=generator)[:_MEASURED].tolist()
            size = self.options.batch_size
            order = [chosen[first : first + size] for first in range(0, len(chosen), size)]
            self.model.standardization.measure(features.batches(order))

    def _step(self, features: list[Tensor]) -> float:
        features = self.model.standardize(features)
        done, all_steps = self._set_learning_rate()
        with autocast(self.device, self.options.precision):
            reconstructions = self.reconstruct(features)
        loss = self.model.loss(features, reconstructions, done / all_steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(self.model, self.schedule.clip)
        self.optimizer.step()
        value = self.world.mean(loss.detach()).item()
        if not math.isfinite(value):
            raise InputError(
                f"the loss became {value} in epoch {self.epoch + 1}: lower --learning-rate"
            )
        return value

    def _order(self) -> list[list[int]]:
        """This process's part of this epoch's batches.

        The batches are a function of seed and epoch alone: a resumed run agrees, and so does
        one with another number of processes.
        """
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.images, generator=generator)
        kept = order[: self.steps_per_epoch * self.options.batch_size]
        parts = kept.view(self.steps_per_epoch, self.world.size, -1)
        return parts[:, self.world.rank].tolist()

    def _set_learning_rate(self) -> tuple[int, int]:
        """Of the step that comes; (how many were made, how many there will be)."""
        epochs, each = self.options.epochs, self.steps_per_epoch
        done = self.epoch * each + self.step
        rate = self.schedule.rate_at(done, each, epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * rate
        return done, each * epochs

    def _end_epoch(self, rate: float) -> None:
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "loss": self.epoch_loss / self.steps_per_epoch,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "images_per_second": rate,
            }
        )
        self.epoch, self.step, self.epoch_loss = self.epoch + 1, 0, 0.0
        if self.folder and self.world.main:
            self.folder.write_history(self.history)

    def _save_when_due(self, saved: float) -> float:
        if self.folder is None or time.monotonic() - saved < self.options.checkpoint_seconds:
            return saved
        self._save()
        return time.monotonic()

    def _save(self) -> None:
        if self.folder and self.world.main:
            self.folder.write_checkpoint(self.checkpoint())
