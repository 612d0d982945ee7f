"""What a person may choose about a training; the schedule fills in what is left open."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from invad_fast.checked import Gib, checked
from invad_fast.data.levels import LevelsOption

if TYPE_CHECKING:
    from invad_fast.training.trainable import Trainable


@checked
class TrainingOptions:
    """Options of a training (method.md §1 "Training").

    Attributes:
        schedule: name of a schedule of the method's; None for its default. "paper" is the
            published one.
        epochs: passes over the good training images; None for the schedule's.
        batch_size: images a step, over all processes; an incomplete last batch is dropped; None
            for the schedule's.
        learning_rate: None for the schedule's at this batch size.
        precision: "fp32", "bf16" (autocast; weights and optimiser stay float32), or "auto": bf16
            where the device has it.
        seed: of the order of training images, and of the weights where the command line makes
            the model; the same seed gives the same weights.
        workers: threads that decode images; 0 decodes between the steps.
        device: "auto", "cpu" or "cuda".
        feature_cache_gib: memory in which the frozen encoder's features may be kept, in half
            precision, so that later epochs skip it; 0 computes them anew in every epoch.
        cache: folder for the features instead of memory, or for resized images where features
            do not fit, shared with later runs and the machine's other processes; None for none.
        cache_gib: bound on what is kept there.
        checkpoint_seconds: time between checkpoints.
        false_alarm_rate: of the provisional thresholds set at the end, on the training parts.
        levels: (low, high) that images of more than 8 bits are scaled from to 0..255; None for
            the full range.
        skip_damaged: leave out images that cannot be read, and say how many; else they are listed
            and nothing is trained.
    """

    schedule: str | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1e3)] | None = None
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    workers: Annotated[int, Field(ge=0, le=1024)] = 2
    device: str = "auto"
    feature_cache_gib: Gib = 4.0
    cache: Path | None = None
    cache_gib: Gib = 20.0
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    false_alarm_rate: Annotated[float, Field(ge=0, lt=1)] = 0.01
    levels: LevelsOption = None
    skip_damaged: bool = False

    def completed(self, method: type[Trainable], images: int) -> CompleteOptions:
        """These options with what the schedule says where they are open.

        Args:
            images: how many are trained on.
        """
        name = self.schedule or method.default_schedule
        schedule = method.schedule(name)
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        batch_size = self.batch_size or schedule.batch_size
        return CompleteOptions(**given | {
            "schedule": name,
            "epochs": self.epochs or schedule.epochs_of(images),
            "batch_size": batch_size,
            "learning_rate": self.learning_rate or schedule.learning_rate_of(batch_size),
        })  # fmt: skip


@checked
class CompleteOptions(TrainingOptions):
    """The same, nothing left open."""

    schedule: str = Field()
    epochs: int = Field()
    batch_size: int = Field()
    learning_rate: float = Field()
