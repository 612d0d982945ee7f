"""How long, in which steps and by which rule a method is trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Adam without weight decay; the paper's is "paper" in every method.

    Attributes:
        epochs, batch_size: where the options do not give them.
        learning_rate: of Adam, for batches of ``rate_batch`` images.
        rate_batch: other batch sizes scale the learning rate linearly; None for one learning rate
            whatever the batch.
        betas: Adam's.
        clip: the gradient's norm is scaled down to this; None for no limit.
        drop_after: share of the epochs after which the learning rate falls to a tenth; None: never.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    rate_batch: int | None
    betas: tuple[float, float]
    clip: float | None = None
    drop_after: float | None = None

    def learning_rate_of(self, batch_size: int) -> float:
        """The learning rate of a step of ``batch_size`` images."""
        return self.learning_rate * (batch_size / self.rate_batch if self.rate_batch else 1.0)
