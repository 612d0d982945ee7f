"""Training on good parts only by the method's recipe, resumable after a kill at any moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invad_fast.allocator import keep_freed_memory
from invad_fast.calibrate import calibrate, check_rate
from invad_fast.data import Dataset, read_dataset
from invad_fast.device import autocast, choose_device, choose_precision
from invad_fast.distributed import World, join, restarted, training_forward
from invad_fast.errors import InputError
from invad_fast.features import Features, open_features
from invad_fast.progress import TrainingProgress
from invad_fast.run_folder import Checkpoint, RunFolder

if TYPE_CHECKING:
    from invad_fast.method import Method


@dataclass(frozen=True)
class TrainingOptions:
    """SPEC §1 "Training"; the defaults are InvAD's for MVTec AD and VisA.

    Attributes:
        epochs: passes over the good training images.
        batch_size: images a step, over all processes; an incomplete last batch is dropped.
        learning_rate: None for 0.001·batch_size/8.
        precision: "fp32", "bf16" (autocast; weights and optimiser stay float32), or "auto": bf16
            where the device has it.
        seed: of the weights' order of training images; the same seed gives the same weights.
        workers: processes that decode images; 0 decodes in this one.
        device: "auto", "cpu" or "cuda".
        feature_cache_gib: memory in which the frozen encoder's features may be kept, in half
            precision, so that later epochs skip it; 0 computes them anew in every epoch.
        cache: folder for the features instead of memory, or for resized images where features
            do not fit, shared with later runs and the machine's other processes; None for none.
        cache_gib: bound on what is kept there.
        checkpoint_seconds: time between checkpoints.
        false_alarm_rate: of the thresholds calibrated at the end, on the training parts.
    """

    epochs: int = 300
    batch_size: int = 32
    learning_rate: float = None  # type: ignore[assignment]  # filled in by __post_init__
    precision: str = "fp32"
    seed: int = 0
    workers: int = 2
    device: str = "auto"
    feature_cache_gib: float = 4.0
    cache: str | Path | None = None
    cache_gib: float = 20.0
    checkpoint_seconds: float = 60.0
    false_alarm_rate: float = 0.01

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        check_rate(self.false_alarm_rate)
        if self.cache is not None:
            object.__setattr__(self, "cache", str(self.cache))
        precision = choose_precision(self.precision, choose_device(self.device))
        object.__setattr__(self, "precision", precision)
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", 0.001 * self.batch_size / 8)


@dataclass
class TrainingResult:
    """What a training run did: losses by epoch, its folder, its speed."""

    losses: list[float] = field(default_factory=list)
    run: Path | None = None
    seconds: float = 0.0
    images_per_second: float = 0.0


def make_optimizer(model: Method, learning_rate: float) -> torch.optim.Adam:
    """Adam over all but the encoder, with the recipe's betas, without weight decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.Adam(trainable, lr=learning_rate, betas=model.recipe.betas)


def clip_gradients(model: Method, limit: float | None) -> None:
    """Scales all gradients so that their common norm is at most ``limit``; None does nothing."""
    if limit is not None:
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], limit)


def train(
    model: Method,
    root: str | Path | Dataset,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    classes: Sequence[str] | None = None,
    show_progress: bool = True,
    **options: Any,
) -> TrainingResult:
    """Trains ``model`` in place on the good training images below ``root``.

    Under torchrun (see `invad_fast.distributed`) all processes call it alike and end with the
    same model; the main one alone writes, and a restarted one goes on by itself.

    Args:
        root: a data set of any layout that `invad_fast.data.read_dataset` takes, or one read.
        run: folder for checkpoints, figures and the model; None writes nothing.
        resume: go on from the run folder's last checkpoint.
        classes: only these product classes.
        **options: fields of :class:`TrainingOptions`; epochs, batch size and learning rate are
            the method's recipe where they are not given.

    Raises:
        InputError: where the images, the run folder or the options do not allow it.
    """
    chosen = TrainingOptions(**model.recipe.complete(options))
    dataset = root if isinstance(root, Dataset) else read_dataset(root)
    if classes:
        dataset = dataset.only(classes)
    records = dataset.train
    if len(records) < chosen.batch_size:
        raise InputError(
            f"{dataset.root}: {len(records)} good training images are fewer than one batch of "
            f"{chosen.batch_size}: choose a batch size of at most {len(records)}"
        )
    world, device = join(chosen.device)
    if chosen.batch_size % world.size:
        raise InputError(
            f"a batch of {chosen.batch_size} images cannot be shared evenly by {world.size} "
            "processes: choose a multiple"
        )
    if device.type == "cpu":
        keep_freed_memory()
    show_progress = show_progress and world.main
    # The main process decides: it may have made the run folder that another one is looking at.
    resume = world.on_main(lambda: resume or restarted())
    folder = None
    if run is not None:
        path = Path(run)
        folder = world.on_main(lambda: RunFolder.open(path, model.config, chosen, resume))
    trainer = _Trainer(model, chosen, len(records), folder, world, device)
    if resume:
        trainer.restore()
    features = open_features(model, records, chosen, device, show_progress, world)
    result = trainer.run(features, show_progress)
    model.classes = dataset.classes
    model.eval()
    scores = features.scores(model, world)
    model.thresholds = calibrate(scores, [r.class_name for r in records], chosen.false_alarm_rate)
    model.to("cpu")
    if folder is not None and world.main:
        model.save(folder.model)
        folder.draw_curves(trainer.history)
    world.wait()
    return result


class _Trainer:
    """The loop's state: everything that a checkpoint must bring back."""

    def __init__(
        self,
        model: Method,
        options: TrainingOptions,
        images: int,
        folder: RunFolder | None,
        world: World,
        device: torch.device,
    ) -> None:
        self.model, self.options, self.folder = model, options, folder
        self.world, self.device = world, device
        # Channels last: a training step on the CPU is a tenth faster (measured at 128×128, bf16).
        model.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(model, options.learning_rate)
        self.reconstruct = training_forward(model, world, device)
        self.images = images
        self.steps_per_epoch = images // options.batch_size
        self.epoch = self.step = 0
        self.epoch_loss = 0.0
        self.history: list[dict] = []

    def restore(self) -> None:
        checkpoint = self.world.on_main(self.folder.read_checkpoint) if self.folder else None
        if checkpoint is None:
            return
        for name, part in self.model.trained_parts().items():
            part.load_state_dict(checkpoint.model[name])
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.epoch, self.step = checkpoint.epoch, checkpoint.step
        self.epoch_loss, self.history = checkpoint.epoch_loss, checkpoint.history

    def checkpoint(self) -> Checkpoint:
        model = {name: part.state_dict() for name, part in self.model.trained_parts().items()}
        return Checkpoint(
            model, self.optimizer.state_dict(), self.epoch, self.step, self.epoch_loss, self.history
        )

    def run(self, features: Features, show_progress: bool) -> TrainingResult:
        started = saved = time.monotonic()
        if self.epoch == self.step == 0:
            self._save()
        trained = 0
        self.model.train()
        with TrainingProgress(self.options.epochs, self.steps_per_epoch, show_progress) as progress:
            while self.epoch < self.options.epochs:
                self._set_learning_rate()
                for batch in features.batches(self._order(), self.step):
                    loss = self._step(batch)
                    self.step += 1
                    self.epoch_loss += loss
                    trained += self.options.batch_size
                    rate = trained / (time.monotonic() - started)
                    progress.update(self.epoch, self.step, loss, rate)
                    if self.step < self.steps_per_epoch:
                        saved = self._save_when_due(saved)
                self._end_epoch(trained / (time.monotonic() - started))
                saved = self._save_when_due(saved)
        seconds = time.monotonic() - started
        self._save()
        losses = [row["loss"] for row in self.history]
        run = self.folder.path if self.folder else None
        return TrainingResult(losses, run, seconds, trained / max(seconds, 1e-9))

    def _step(self, features: list[Tensor]) -> float:
        with autocast(self.device, self.options.precision):
            reconstructions = self.reconstruct(features)
        loss = self.model.loss(features, reconstructions)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(self.model, self.model.recipe.clip)
        self.optimizer.step()
        value = self.world.mean(loss.detach()).item()
        if value != value or value == float("inf"):
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

    def _set_learning_rate(self) -> None:
        drop_after = self.model.recipe.drop_after
        late = drop_after is not None and self.epoch >= drop_after * self.options.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * (0.1 if late else 1.0)

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
