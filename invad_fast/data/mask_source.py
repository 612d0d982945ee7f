"""Where the mask of a defect comes from, when it is not simply one image file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invad_fast.errors import InputError


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """Several mask images of one part; a pixel is anomalous where any of them says so."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class MaskRuns:
    """A mask as COCO's compressed run lengths, column by column, decoded when it is needed.

    ``counts`` is the string that pycocotools writes: the lengths of alternating runs of 0 and 1
    down the columns, each (from the fourth on) less the one two before it, in groups of five
    bits with a continuation bit, offset by 48 to be printable.
    """

    height: int
    width: int
    counts: str

    @property
    def empty(self) -> bool:
        """Whether no pixel is anomalous."""
        return not any(run_lengths(self.counts)[1::2])

    def decode(self) -> np.ndarray:
        """The mask, uint8 ``height`` x ``width`` of 0 and 1; `InputError` where it is damaged."""
        runs = run_lengths(self.counts)
        if min(runs, default=0) < 0 or sum(runs) != self.height * self.width:
            raise InputError(
                f"damaged run-length mask: its runs do not add up to {self.width}x{self.height}"
            )
        values = np.arange(len(runs), dtype=np.uint8) & 1
        return np.repeat(values, runs).reshape(self.width, self.height).T


def run_lengths(counts: str) -> list[int]:
    """The lengths of the runs that ``counts`` holds, a run of 0 first."""
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii", "replace"):
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs
