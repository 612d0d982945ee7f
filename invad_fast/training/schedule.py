"""How long, in which steps and by which rule a method is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LAST = 0.01  # of the learning rate, at the end of a cosine


@dataclass(frozen=True)
class Schedule:
    """Adam without weight decay; the paper's is "paper" in every method.

    Attributes:
        epochs, batch_size: where the options do not give them;
        least_images: then there are as many epochs more as it takes to see so many images.
        learning_rate: of Adam, for batches of ``rate_batch`` images.
        rate_batch: other batch sizes scale the learning rate linearly; None for one learning rate
            whatever the batch.
        betas: Adam's.
        clip: the gradient's norm is scaled down to this; None for no limit.
        drop_after: share of the epochs after which the learning rate falls to a tenth; None: never.
        warm_up: share of the steps over which the learning rate rises, to fall from then on by a
            cosine to a hundredth; None for neither.
        config: fields of the method's configuration that belong to it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    rate_batch: int | None
    betas: tuple[float, float]
    clip: float | None = None
    drop_after: float | None = None
    warm_up: float | None = None
    least_images: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)

    def epochs_of(self, images: int) -> int:
        """Passes over so many training images."""
        return max(self.epochs, math.ceil(self.least_images / max(images, 1)))

    def rate_at(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The share of the learning rate that a step takes, counted over all epochs."""
        if self.warm_up is not None:
            steps = steps_per_epoch * epochs
            rising = min((step + 1) / max(self.warm_up * steps, 1), 1.0)
            return rising * (_LAST + (1 - _LAST) * (1 + math.cos(math.pi * step / steps)) / 2)
        late = self.drop_after is not None and step // steps_per_epoch >= self.drop_after * epochs
        return 0.1 if late else 1.0

    def learning_rate_of(self, batch_size: int) -> float:
        """The learning rate of a step of ``batch_size`` images."""
        return self.learning_rate * (batch_size / self.rate_batch if self.rate_batch else 1.0)
