"""What became of the parts of a run: counts that add up, and how long the verdicts took."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from invad_fast.inspection.part import Reason, Result
from invad_fast.prediction import Verdict

_LATENCIES = 100_000  # the newest; a day's parts of a fast line would fill the memory


@dataclass
class Accounts:
    """Counts of one run, from its start.

    Attributes:
        triggered: parts.
        open_parts: of these, without a verdict yet.
        verdicts: verdict → parts.
        reasons: why parts were not inspected → parts.
        engine_restarts: how often an engine was stopped and started again.
    """

    triggered: int = 0
    open_parts: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    engine_restarts: int = 0
    _latencies: np.ndarray = field(default_factory=lambda: np.zeros(_LATENCIES), repr=False)
    _decided: int = 0

    def add(self, result: Result) -> None:
        """Counts a part that has its verdict."""
        self.verdicts[result.verdict] += 1
        if result.reason is not None:
            self.reasons[result.reason] += 1
        self._latencies[self._decided % _LATENCIES] = result.latency_ms
        self._decided += 1

    @property
    def decided(self) -> int:
        """Parts that have a verdict."""
        return self.verdicts.total()

    @property
    def close(self) -> bool:
        """Whether every part that was triggered has one verdict, or is still open."""
        return self.triggered == self.decided + self.open_parts

    def latency_ms(self, share: float) -> float:
        """The latency that this share of the newest 100,000 parts did not exceed; NaN for none."""
        known = self._latencies[: min(self._decided, _LATENCIES)]
        return float(np.quantile(known, share)) if len(known) else float("nan")

    def copy(self, open_parts: int) -> Accounts:
        """These counts as they are now, with so many parts open."""
        copied = copy.copy(self)
        copied.verdicts, copied.reasons = Counter(self.verdicts), Counter(self.reasons)
        copied._latencies = self._latencies[: min(self._decided, _LATENCIES)].copy()
        copied.open_parts = open_parts
        return copied
