"""What a training did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class TrainingResult:
    """What a training run did.

    Attributes:
        losses: mean loss of every epoch, those before a stop included; none of a method that is
            not trained by gradient.
        run: its folder.
        seconds, images_per_second, steps: of what was trained now; 0 where nothing was left.
    """

    losses: list[float] = field(default_factory=list)
    run: Path | None = None
    seconds: float = 0.0
    images_per_second: float = 0.0
    steps: int = 0
