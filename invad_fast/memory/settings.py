"""What a memory keeps of the good parts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from invad_fast.checked import Real, Whole, checked

_Count = Annotated[Whole, Field(ge=1, le=1_000_000)]
_Scale = Annotated[Whole, Field(ge=0, le=63)]


@checked
class MemorySettings:
    """Sizes of the memory banks.

    Attributes:
        patches: of each class, at most.
        scales: indices of the feature scales that are joined, finest first, on the grid of the
            first; empty for all but the finest, where there are several.
        weight: of the memory's map beside a reconstruction's, each in deviations of good parts.
        counts: patches of each class, in the order of the model's classes; empty before training.
    """

    patches: _Count = 2000
    scales: Annotated[tuple[_Scale, ...], Field(max_length=64)] = ()
    weight: Annotated[Real, Field(gt=0, le=1e6)] = 1.0
    counts: Annotated[tuple[_Count, ...], Field(max_length=65536)] = ()

    def scales_of(self, count: int) -> tuple[int, ...]:
        """The scales that are joined, of ``count``."""
        return self.scales or tuple(range(1 if count > 1 else 0, count))
