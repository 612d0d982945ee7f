"""What a call of an op costs, and how an op's file in ``ops/`` counts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What one call costs on any machine.

    Attributes:
        read: bytes of the inputs, each counted once.
        read_again: bytes that have to be read a second time where a cache does not hold them: a
            sample's statistics must be complete before its first result.
        written: bytes of the outputs.
        flops: additions and multiplications, a fused pair counted as two; those of 3×3
            convolutions included.
    """

    read: int = 0
    read_again: int = 0
    written: int = 0
    flops: int = 0

    @property
    def bytes(self) -> int:
        """Traffic where nothing is cached between the passes over a sample."""
        return self.read + self.read_again + self.written

    @property
    def least_bytes(self) -> int:
        """Traffic where the second pass finds its sample in a cache."""
        return self.read + self.written

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.read + other.read,
            self.read_again + other.read_again,
            self.written + other.written,
            self.flops + other.flops,
        )

    def __mul__(self, count: int) -> Cost:
        return Cost(*(count * n for n in (self.read, self.read_again, self.written, self.flops)))


def each_once(*sizes: int) -> tuple[int, int]:
    return sum(sizes), 0


def first_again(*sizes: int) -> tuple[int, int]:
    """Of an op that normalises: x once more for the result."""
    return sum(sizes), sizes[0]


@dataclass(frozen=True)
class Count:
    """How an op's cost is counted.

    Attributes:
        flops: the op's arguments → FLOPs.
        read: the arguments' bytes → bytes that are read, and read again.
    """

    flops: Callable[..., int]
    read: Callable[..., tuple[int, int]] = each_once
