"""What the frame checks cost a part: figures of the model's input, limits, and the frame before.

Beside the resizing of a frame of 1 megapixel, which every part pays.
"""

from __future__ import annotations

import numpy as np
import pytest
from timing import Rounds, timed

from invad_fast.inspection.frame_checks import FrameCheck
from invad_fast.inspection.preprocess import preprocess
from invad_fast.inspection.recipe import FrameChecks

WAYS = ("resize a frame of 1 MP", "frame checks")


@pytest.mark.parametrize("way", WAYS)
def test_frame_checks(way: str, benchmark) -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (1024, 1024, 3), np.uint8)
    pictures = [rng.integers(0, 256, (256, 256, 3), np.uint8) for _ in range(2)]
    check, number = FrameCheck(FrameChecks(too_dark=0, empty=0, blurred=0)), 0

    def look() -> None:
        nonlocal number
        number += 1
        check.hold(check.figures(pictures[number % 2]))
        check.refuse_frozen(pictures[number % 2], 0)

    run = look if way == WAYS[1] else lambda: preprocess(frame, "RGB8", (256, 256))
    run()
    timed(benchmark, "frame checks", way, WAYS[0], run, Rounds(2, 20, 500))
