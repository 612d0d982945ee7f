"""A thousand lines on which nothing changes: how long the drift watch is quiet."""

import numpy as np
import pytest

from invad_fast.inspection.drift.charts import LEAST_REFERENCE
from invad_fast.inspection.drift.run_lengths import run_length
from soak.rounds import Rounds

PARTS = 400_000


@pytest.mark.soak("lines on which nothing changes, until the drift watch alarms", weight=4)
def test_run_lengths(rounds: Rounds) -> None:
    """On average 100,000 parts or more, with a reference of as few parts as are in use.

    A run without an alarm counts as 400,000.
    """
    found: list[int] = []
    for number, _ in enumerate(rounds):
        rng = np.random.default_rng((number, 17))
        found += [run_length(rng, LEAST_REFERENCE, PARTS) for _ in range(10)]
        if len(found) >= 50:
            assert np.mean(found) > 100_000, found
