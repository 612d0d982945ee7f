"""The compiled engine, csrc/scores, behind the interface of pixel_scores.py."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from invad_fast.metrics.pixel_scores import FPR_LIMIT, PixelRanking


def native_module() -> Any | None:
    """The compiled core; None where it was not built."""
    try:
        return importlib.import_module("invad_fast._scores")
    except ImportError:
        return None


def threads() -> int:
    """As many as torch uses where it runs; else as many as it would: it is not loaded to be asked.

    OMP_NUM_THREADS, or one for every processor that this process may use.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        return torch.get_num_threads()
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    own = getattr(os, "sched_getaffinity", None)
    return len(own(0)) if own else os.cpu_count() or 1


class NativeScores:
    """Pixels that the core holds or has borrowed, and how it is asked to rank them."""

    def __init__(self, scores: Any, rank: Callable[..., dict[str, Any]]) -> None:
        self.scores = scores
        self._rank = rank

    @property
    def anomalous(self) -> int:
        return self.scores.anomalous

    @property
    def normal(self) -> int:
        return self.scores.normal

    @property
    def regions(self) -> int:
        return self.scores.regions

    @property
    def low(self) -> float:
        return self.scores.low

    @property
    def high(self) -> float:
        return self.scores.high

    def ranking(self, boundaries: np.ndarray, normal_ranks: np.ndarray) -> PixelRanking:
        limit = FPR_LIMIT * self.normal
        found = self._rank(boundaries.tolist(), normal_ranks.tolist(), limit)
        both = bool(self.normal and self.anomalous)
        nan = float("nan")
        return PixelRanking.exact(
            auroc=found["wins"] / (self.anomalous * self.normal) if both else nan,
            average_precision=found["precision_sum"] / self.anomalous if both else nan,
            f1_max=found["best_f1"] if both else nan,
            f1_score=found["best_score"] if both else nan,
            aupro=found["overlap_area"] / limit if both else nan,
            anomalous_above=found["anomalous_above"],
            normal_above=found["normal_above"],
            overlap_above=found["overlap_above"],
            normal_scores=found["normal_scores"],
        )


class NativeHeld:
    """What comes batch by batch, into the core's ExactScores or CellScores."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores

    def add(self, maps: Any, masks: Any | None) -> tuple[np.ndarray, np.ndarray]:
        return self.scores.add(maps, masks, threads())

    def state(self) -> dict[str, Any]:
        return self.scores.state()

    def add_state(self, state: dict[str, Any]) -> None:
        self.scores.add_state(state)


class NativeHeldScores(NativeHeld, NativeScores):
    """All pixels, ready to be ranked: two bytes a normal one, six an anomalous one."""

    def __init__(self, scores: Any) -> None:
        NativeScores.__init__(self, scores, lambda *a: scores.rank(*a, threads()))
