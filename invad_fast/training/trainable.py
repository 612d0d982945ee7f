"""What training asks of a method: it knows nothing else of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from invad_fast.checked import unknown_name
from invad_fast.errors import InputError
from invad_fast.feature_predictor import FeaturePredictor
from invad_fast.training.schedule import Schedule

if TYPE_CHECKING:
    from typing_extensions import Self


class Learner(FeaturePredictor):
    """What learns from good parts and is kept in a file.

    Attributes:
        method: the method's name, on the command line and in files.
    """

    method: ClassVar[str]

    @abstractmethod
    def for_inference(self, precision: str = "auto", device: str = "auto") -> Any:
        """The form that predictions take."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Writes the model file."""

    @classmethod
    @abstractmethod
    def load(cls, path: str | Path) -> Self:
        """Reads the model file; InputError names one that is missing, damaged or another's."""


class Trainable(Learner):
    """A network over a frozen encoder's features that can be trained to reconstruct them.

    Attributes:
        schedules: name → schedule; "paper" is the published one.
        default_schedule: the name of the one that is taken where none is given.
    """

    schedules: ClassVar[Mapping[str, Schedule]]
    default_schedule: ClassVar[str] = "paper"

    @classmethod
    def schedule(cls, name: str | None) -> Schedule:
        """The schedule of that name, or the default; InputError names those that there are."""
        name = cls.default_schedule if name is None else name
        if name not in cls.schedules:
            raise InputError(unknown_name("schedule", name, cls.schedules))
        return cls.schedules[name]

    def take_up(self, schedule: Schedule) -> None:
        """Becomes what the schedule trains: its fields of the configuration. No weight changes."""

    @abstractmethod
    def loss(
        self, features: Sequence[Tensor], reconstructions: Sequence[Tensor], progress: float = 1.0
    ) -> Tensor:
        """What training lowers: a scalar in float32.

        Args:
            features: as ``standardize`` gives them.
            progress: how much of the training is done, 0 to 1.
        """

    def trained_parts(self) -> dict[str, nn.Module]:
        """The parts that training changes, by name: all but the encoder."""
        return {name: part for name, part in self.named_children() if name != "encoder"}


def encoder_digest(model: FeaturePredictor) -> str:
    """A hash of the encoder's weights, in hexadecimal."""
    if model.encoder is None:
        raise InputError(
            "a model with encoder=None is given features: it has no images to train on; name an "
            "encoder"
        )
    weights = blake2b(digest_size=16)
    for name, value in model.encoder.state_dict().items():
        weights.update(name.encode())
        weights.update(value.cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return weights.hexdigest()
