"""The same parts several times ─> how far scores and verdicts repeat (attribute agreement).

Repeatability is the pooled standard deviation of a part's scores (one-way analysis of variance).
Intervals of shares are Clopper and Pearson's (Biometrika 26, 1934). Fleiss' kappa is agreement
beyond chance of several trials (Psychological Bulletin 76, 1971), of any number of trials a part;
Cohen's (Educational and Psychological Measurement 20, 1960) is that with the known verdicts. Their
intervals are percentiles of 2,000 bootstrap samples of the parts.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invad_fast.errors import InputError, first_line
from invad_fast.files import check_file
from invad_fast.inspection.ledger.reading import reading

VERDICTS = ("PASS", "REJECT", "NOT_INSPECTED")
LEAST_PARTS = 2
_Z = 2.576  # of a normal distribution .5 % lie above
_SAMPLES = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Part:
    """One part in all of its trials.

    Attributes:
        verdicts: of each trial.
        scores: of those that have one.
        thresholds: of the same.
        known: its true verdict, where that was given.
    """

    part_id: str
    class_name: str
    verdicts: tuple[str, ...]
    scores: tuple[float, ...]
    thresholds: tuple[float, ...]
    known: str | None = None

    @property
    def mean(self) -> float:
        """Of the scores; NaN for none."""
        return float(np.mean(self.scores)) if self.scores else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the scores; NaN for fewer than two."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else math.nan

    @property
    def threshold(self) -> float:
        """The last; NaN for none."""
        return self.thresholds[-1] if self.thresholds else math.nan

    @property
    def agrees(self) -> bool:
        """Whether all verdicts are the same."""
        return len(set(self.verdicts)) == 1

    @property
    def right(self) -> bool | None:
        """Whether all verdicts are the known one; None where that is not known."""
        return None if self.known is None else set(self.verdicts) == {self.known}

    def too_close(self, deviation: float) -> bool:
        """Whether more than 1 in 200 trials would come out otherwise."""
        return abs(self.mean - self.threshold) < _Z * deviation


@dataclass(frozen=True)
class Share:
    """``count`` of ``whole``, with the interval that holds the true share with 95 %."""

    count: int
    whole: int

    @property
    def value(self) -> float:
        """NaN of none."""
        return self.count / self.whole if self.whole else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's."""
        from scipy.special import betaincinv

        tail = (1 - _CONFIDENCE) / 2
        k, n = self.count, self.whole
        low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
        high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
        return low, high


@dataclass(frozen=True)
class Kappa:
    """NaN where every verdict is the same: agreement that chance had given too."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Repeatability:
    """Of one class, in units of the score.

    Attributes:
        deviation: of a part's score, pooled over the parts.
        between: standard deviation between parts, that of their scores' noise taken out.
        threshold: of the class; the last.
        too_close: parts too close to the threshold.
    """

    deviation: float
    between: float
    threshold: float
    too_close: Share


@dataclass(frozen=True)
class GaugeFigures:
    """What a gauge study finds.

    Attributes:
        parts: each with two trials or more; the nearest to its threshold first.
        repeatability: class → of its scores.
        agreement: parts whose verdicts are all the same.
        right: parts whose verdicts are all the known one; None where none is known.
        kappa, kappa_truth: Fleiss'; Cohen's, None where no verdict is known.
        same_pictures: no score of any part ever differed: no gauge study, but a replay.
    """

    parts: tuple[Part, ...]
    repeatability: dict[str, Repeatability]
    agreement: Share
    right: Share | None
    kappa: Kappa
    kappa_truth: Kappa | None
    same_pictures: bool

    @property
    def trials(self) -> tuple[int, int]:
        """(fewest, most) of a part."""
        counts = [len(part.verdicts) for part in self.parts]
        return min(counts), max(counts)


def gauge_figures(
    ledger: Path,
    since: int | None = None,
    until: int | None = None,
    known: Mapping[str, str] | None = None,
    seed: int = 0,
) -> GaugeFigures:
    """Of the parts of a ledger whose ``part_id`` came more than once.

    Args:
        since, until: of the triggers, microseconds of UTC; the second is not included.
        known: part_id → its true verdict, PASS or REJECT.
        seed: of the bootstrap.

    Raises:
        InputError: for what is no ledger, and where fewer than two parts came twice.
    """
    parts = _parts(ledger, since, until, known or {})
    if len(parts) < LEAST_PARTS:
        raise InputError(
            f"{ledger}: a gauge study takes at least {LEAST_PARTS} parts that came twice or more "
            f"under the same name, and {len(parts)} did: inspect the same parts again, in a ledger "
            "of their own"
        )
    missing = sorted(set(known or {}) - {part.part_id for part in parts})
    if missing:
        raise InputError(
            f"{ledger}: the known verdicts name {missing[0]!r}, which did not come twice"
        )
    table = np.array([[part.verdicts.count(v) for v in VERDICTS] for part in parts], float)
    told = [part for part in parts if part.known is not None]
    classes = sorted({part.class_name for part in parts})
    found = {name: _repeatability([p for p in parts if p.class_name == name]) for name in classes}
    scored = [part for part in parts if len(part.scores) > 1]
    return GaugeFigures(
        parts=tuple(sorted(parts, key=lambda p: (abs(p.mean - p.threshold), p.part_id))),
        repeatability={name: held for name, held in found.items() if held is not None},
        agreement=Share(sum(part.agrees for part in parts), len(parts)),
        right=Share(sum(bool(part.right) for part in told), len(told)) if told else None,
        kappa=_with_interval(table, fleiss_kappa, seed),
        kappa_truth=_with_interval(_against_known(told), cohen_kappa, seed) if told else None,
        same_pictures=bool(scored) and all(len(set(part.scores)) == 1 for part in scored),
    )


def read_known(file: Path) -> dict[str, str]:
    """The verdicts of a CSV file with the columns ``part_id`` and ``verdict``.

    Raises:
        InputError: for another file.
    """
    check_file(file, "no file {} of known verdicts: a CSV with the columns part_id, verdict")
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no CSV file of UTF-8: {first_line(error)}") from None
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        name, verdict = row.get("part_id"), row.get("verdict")
        if not name or verdict not in ("PASS", "REJECT"):
            raise InputError(
                f"{file}, line {number}: it needs a part_id, and a verdict PASS or REJECT"
            )
        if found.setdefault(name, verdict) != verdict:
            raise InputError(f"{file}, line {number}: {name!r} had another verdict before")
    return found


def fleiss_kappa(table: np.ndarray) -> float:
    """Of N×K counts, how often a part got each verdict; NaN where only one was ever given."""
    trials = table.sum(1)
    pairs = (table * (table - 1)).sum(1) / (trials * (trials - 1))
    chance = ((table.sum(0) / trials.sum()) ** 2).sum()
    return float((pairs.mean() - chance) / (1 - chance)) if chance < 1 else math.nan


def cohen_kappa(table: np.ndarray) -> float:
    """Of N×K×2 counts, each trial's verdict and its part's known one, as (found, known) sums."""
    found, known = table[..., 0], table[..., 1]
    whole = found.sum()
    observed = np.minimum(found, known).sum() / whole
    chance = (found.sum(0) * known.sum(0)).sum() / whole**2
    return float((observed - chance) / (1 - chance)) if chance < 1 else math.nan


def _parts(
    ledger: Path, since: int | None, until: int | None, known: Mapping[str, str]
) -> list[Part]:
    rows: dict[str, list[tuple[str, str, float | None, float | None]]] = {}
    span = (since if since is not None else -(2**62), until if until is not None else 2**62)
    with reading(ledger) as connection:
        for name, *row in connection.execute(
            "SELECT part_id, ifnull(class_name, ''), verdict, score, threshold FROM parts "
            "WHERE verdict IS NOT NULL AND triggered_at >= ? AND triggered_at < ? ORDER BY id",
            span,
        ):
            rows.setdefault(name, []).append((row[0], row[1], row[2], row[3]))
    found = []
    for name, trials in rows.items():
        if len(trials) < 2:
            continue
        scored = [(score, limit) for _, _, score, limit in trials if None not in (score, limit)]
        owner = Counter(owner for owner, *_ in trials if owner).most_common(1)
        found.append(
            Part(
                name,
                owner[0][0] if owner else "",
                tuple(verdict for _, verdict, _, _ in trials),
                tuple(float(score or 0.0) for score, _ in scored),
                tuple(float(limit or 0.0) for _, limit in scored),
                known.get(name),
            )
        )
    return found


def _repeatability(parts: Sequence[Part]) -> Repeatability | None:
    """None where no part was scored twice."""
    parts = [part for part in parts if len(part.scores) > 1]
    if not parts:
        return None
    counts = np.array([len(part.scores) for part in parts])
    # From the first on: scores that are equal have no deviation, not one of a rounding.
    apart = [np.array(part.scores) - part.scores[0] for part in parts]
    within = sum(float(np.var(own)) * len(own) for own in apart)
    variance = within / float((counts - 1).sum())
    means = np.array([part.mean for part in parts])
    noise = variance * float((1 / counts).mean())
    between = max(0.0, float(np.var(means, ddof=1)) - noise) if len(parts) > 1 else math.nan
    deviation = math.sqrt(variance)
    close = Share(sum(part.too_close(deviation) for part in parts), len(parts))
    return Repeatability(deviation, math.sqrt(between), parts[-1].threshold, close)


def _against_known(parts: Sequence[Part]) -> np.ndarray:
    found = [[part.verdicts.count(v) for v in VERDICTS] for part in parts]
    known = [[len(part.verdicts) * (part.known == v) for v in VERDICTS] for part in parts]
    return np.stack([np.array(found, float), np.array(known, float)], -1)


def _with_interval(table: np.ndarray, kappa, seed: int) -> Kappa:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    drawn = [kappa(table[rng.integers(len(table), size=len(table))]) for _ in range(_SAMPLES)]
    finite = [value for value in drawn if math.isfinite(value)]
    if not finite:
        return Kappa(kappa(table), (math.nan, math.nan))
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(finite, (tail, 1 - tail))
    return Kappa(kappa(table), (float(low), float(high)))
