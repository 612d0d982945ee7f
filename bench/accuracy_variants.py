"""The table of what `bench/accuracy.py` tries: one row, one way to train; one change at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Variant:
    """How a model is trained.

    Attributes:
        standardized: features have their channels' mean taken out and deviation divided by.
        loss: "squared", "cosine" (of every point, easy ones counting a tenth) or "plain cosine".
        betas: Adam's.
        cosine_decay: warm-up over 5 % of the steps, then a cosine down to 1 %; else a tenth of
            the rate from 80 % on, as the paper has it.
        learning_rate: at batch 16.
        dropout: share of the merged features' values that are dropped in training.
        noise: deviation of Gaussian noise on the fuser's features, in their own deviations.
        average: decay of the exponential mean of the weights that is scored; 0 for the last ones.
    """

    standardized: bool = False
    loss: str = "squared"
    betas: tuple[float, float] = (0.0, 0.99)
    cosine_decay: bool = False
    learning_rate: float = 0.002
    dropout: float = 0.0
    noise: float = 0.0
    average: float = 0.0


PAPER = Variant()
FAST = Variant(standardized=True, loss="cosine", betas=(0.9, 0.99), cosine_decay=True)

VARIANTS = {
    "paper": PAPER,
    "fast": FAST,
    # The paper's with one of the changes.
    "paper, optimiser": replace(PAPER, betas=(0.9, 0.99), cosine_decay=True),
    # Fast without one of the changes.
    "fast, squared error": replace(FAST, loss="squared"),
    "fast, plain features": replace(FAST, standardized=False),
    "fast, all points alike": replace(FAST, loss="plain cosine"),
    "fast, betas 0 and .99": replace(FAST, betas=(0.0, 0.99)),
    # Fast with one more.
    "fast, dropout .2": replace(FAST, dropout=0.2),
    "fast, noise .5": replace(FAST, noise=0.5),
    "fast, rate .005": replace(FAST, learning_rate=0.005),
    "fast, averaged": replace(FAST, average=0.99),
}
