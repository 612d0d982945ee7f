"""What an evaluation found, class by class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from invad_fast.data.record import Record
from invad_fast.prediction import ScoreRule, Verdict, exceeds

Outcome = Literal["miss", "false alarm", "reject", "pass", "defect", "good"]
VERDICTS: dict[Outcome, Verdict] = {
    "miss": Verdict.PASS,
    "pass": Verdict.PASS,
    "false alarm": Verdict.REJECT,
    "reject": Verdict.REJECT,
    "defect": Verdict.NOT_INSPECTED,
    "good": Verdict.NOT_INSPECTED,
}


@dataclass(frozen=True)
class Picture:
    """One part drawn with its map.

    Attributes:
        outcome: "miss" (a defect that passes), "false alarm", "reject" (a defect found), or
            "pass"; "defect" or "good" where there is no threshold.
    """

    path: Path
    record: Record
    score: float
    threshold: float | None
    outcome: Outcome

    @property
    def verdict(self) -> Verdict:
        """What became of the part; NOT_INSPECTED where there is no threshold."""
        return VERDICTS[self.outcome]


@dataclass
class ClassResult:
    """One class's test set.

    Attributes:
        figures: name → value, see `invad_fast.metrics.FIGURES`.
        scores: N image scores of the images that could be read.
        anomalous: N, whether each has a defect.
        records: N.
        threshold: the model's, else the one of the best F1 on this test set; None without either.
        origin: where the threshold comes from, in words.
        provisional: whether the threshold is only for a first look: set on parts that the model
            was trained on, or on the test parts themselves.
        parts: on how many good parts it was set; None where that is not known.
        set_here: how many of these very parts set the threshold: then its false alarms are not
            those of unknown parts.
        drawn: pictures of misses, false alarms and found defects.
    """

    figures: dict[str, float]
    scores: np.ndarray
    anomalous: np.ndarray
    records: list[Record]
    threshold: float | None
    origin: str
    provisional: bool = False
    parts: int | None = None
    set_here: int = 0
    drawn: list[Picture] = field(default_factory=list)

    @property
    def pictures(self) -> list[Path]:
        """The files drawn."""
        return [picture.path for picture in self.drawn]

    @property
    def rejected(self) -> np.ndarray:
        """N, whether each image is rejected at the threshold; none without one."""
        if self.threshold is None:
            return np.zeros(len(self.scores), bool)
        return exceeds(self.scores, self.threshold)

    @property
    def outcomes(self) -> list[Outcome]:
        """N, what became of each image, see `Picture`."""
        names: tuple[Outcome, ...] = ("pass", "miss", "false alarm", "reject")
        if self.threshold is None:
            names = ("good", "defect", "good", "defect")
        kinds = self.anomalous.astype(int) + 2 * self.rejected
        return [names[kind] for kind in kinds.tolist()]

    @property
    def missed(self) -> int:
        """Defective parts that pass."""
        return int((self.anomalous & ~self.rejected).sum())

    @property
    def false_alarms(self) -> int:
        """Good parts that are rejected."""
        return int((~self.anomalous & self.rejected).sum())

    @property
    def defective(self) -> int:
        """Parts with a defect."""
        return int(self.anomalous.sum())

    @property
    def good(self) -> int:
        """Parts without."""
        return len(self.anomalous) - self.defective


@dataclass
class Evaluation:
    """Results by class, their mean, and where they were written.

    Attributes:
        rule: by which the scores were made.
        unreadable: how many images could not be read and were left out.
    """

    classes: dict[str, ClassResult]
    mean: dict[str, float]
    rule: ScoreRule
    folder: Path | None = None
    unreadable: int = 0

    @property
    def histogram(self) -> Path | None:
        return self.folder / "histogram.png" if self.folder else None
