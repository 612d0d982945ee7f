"""Parts whose verdict is known: a line starts only where they come out so.

They are checked by the line when it starts, at every change of recipe and when it is asked to; and
by every engine before it says that it is ready, one that is started again after a fault included.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from invad_fast.errors import InputError
from invad_fast.inspection.part import Result, View
from invad_fast.inspection.recipe import Recipe

GOLDEN_PART = "the golden part"
"""How every line begins that says that one came out otherwise."""


def check_golden_parts(recipe: Recipe, judge: Callable[[str, np.ndarray], Result | View]) -> None:
    """Judges each, by the line itself before it starts, by an engine before it is ready.

    Args:
        judge: takes a part's name and its picture, H×W×3 uint8 RGB.

    Raises:
        InputError: for one that comes out otherwise, or whose picture cannot be read.
    """
    from invad_fast.data.images import load_image  # imports PIL, which takes its time

    for golden in recipe.golden_parts:
        file = recipe.path_of(golden.image)
        result = judge(golden.image, load_image(file, None, recipe.score.levels))
        if result.verdict.value != golden.verdict:
            told = "" if result.reason is None else f", {result.reason.value}"
            told += f": {result.detail}" if result.detail else ""
            told += "" if result.score is None else f", its score {result.score:.6g}"
            raise InputError(
                f"{GOLDEN_PART} {file} must come out as {golden.verdict} and came out as "
                f"{result.verdict.value}{told}: the line does not start"
            )
        if golden.class_name not in (None, result.class_name):
            raise InputError(
                f"{GOLDEN_PART} {file} is of class {golden.class_name!r} and was taken for "
                f"{result.class_name!r}: the line does not start"
            )
