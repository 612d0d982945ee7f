"""Figures and counts that are known between two bounds; the bounds of an exact one are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Bounds(NamedTuple):
    """A number that lies in low … high."""

    low: float
    high: float

    @property
    def value(self) -> float:
        """The middle: no other value has a smaller worst error."""
        return self.low + (self.high - self.low) / 2

    @property
    def error(self) -> float:
        """How far the number can be from ``value``."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class BoundedArray:
    """Numbers of which each lies between the entries of low and high; one array if exact."""

    low: np.ndarray
    high: np.ndarray

    def __getitem__(self, index: slice | np.ndarray) -> BoundedArray:
        return BoundedArray(self.low[index], self.high[index])


UNDEFINED = Bounds(float("nan"), float("nan"))
