"""The drift watch: quiet while nothing changes, soon where something moves, and it says what."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import stub_engine as stub
from line_recipe import MAKER, content, recipe
from refusals import one_line
from scipy import stats

from invad_fast.inspection import Inspector, Recipe
from invad_fast.inspection.drift.charts import (
    BLOCKS,
    LEAST_REFERENCE,
    RATE,
    SLACK,
    block_limits,
    cusum,
    normal_scores,
)
from invad_fast.inspection.drift.history import earlier_parts
from invad_fast.inspection.drift.run_lengths import run_length
from invad_fast.inspection.drift.watch import Alarm, DriftWatch, Observation
from invad_fast.inspection.recipe import Drift

RGB = {"pixel_format": "RGB8"}


def test_ranks_are_normal_scores() -> None:
    rng = np.random.default_rng(0)
    known = np.sort(rng.gamma(2, size=999))
    scores = normal_scores(known, np.concatenate([known - 1e-9, [known[499], -5, 1e9]]))
    assert abs(scores[:-3].mean()) < 1e-2 and abs(scores[:-3].std() - 1) < 2e-2
    assert scores[-3] == pytest.approx(0, abs=1e-9)  # equal to the middle one
    assert (
        -3.3 < scores[-2] == pytest.approx(-scores[-1])
    )  # a monstrous defect is a high score, and no more


def test_the_cusum_is_pages() -> None:
    scores = np.random.default_rng(0).normal(0.3, 1, 2000)
    held, expected = 0.0, []
    for score in scores:
        held = max(0.0, held + score - SLACK)
        expected.append(held)
    assert cusum(scores) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize(("rejects", "count"), [(0, 300), (6, 300), (15, 300), (200, 2000)])
def test_blocks_are_held_against_what_the_reference_predicts(
    rejects: int, count: int, size: int
) -> None:
    low, high = block_limits(rejects, count, size)
    predicted = stats.betabinom(size, rejects + 0.5, count - rejects + 0.5)
    assert predicted.sf(high) <= size * RATE < predicted.sf(high - 1)
    assert low == 0 or predicted.cdf(low - 1) <= size * RATE < predicted.cdf(low)
    assert low <= size * rejects / count <= high


def test_quiet_while_nothing_changes() -> None:
    """The short form; tests/soak/test_drift.py has the thousand runs."""
    rng = np.random.default_rng(2)
    found = [run_length(rng, LEAST_REFERENCE, 150_000) for _ in range(30)]
    assert np.mean(found) > 100_000  # though no run counts for more than 150,000


def test_shifts_are_told() -> None:
    rng = np.random.default_rng(3)

    def median(**given) -> float:
        told = [run_length(rng, LEAST_REFERENCE, 20_000, after=600, **given) for _ in range(25)]
        return np.median([length - 600 for length in told if length > 600])

    assert median(shift=2.0) < 15 and median(shift=1.0) < 45 and median(shift=0.5) < 600
    assert median(new_reject_rate=0.1) <= 2 * BLOCKS[0]


def observations(rng: np.random.Generator, count: int, first: int, name: str = "bolt", **shift):
    for number in range(count):
        values = {"score": rng.normal(0.3, 0.05), "brightness, view 0": rng.normal(120, 2)}
        rejected = rng.random() < shift.get("rejects", 0.02)
        moved = {key: value + shift.get(key[:5], 0) for key, value in values.items()}
        yield Observation(first + number, name, rejected, moved)


def alarms_of(watch: DriftWatch, parts) -> list[Alarm]:
    return [alarm for seen in parts for alarm in watch.add(seen)]


def test_an_alarm_says_what_moved_and_since_when() -> None:
    rng = np.random.default_rng(4)
    watch = DriftWatch(500)
    assert not alarms_of(watch, observations(rng, 2000, 1))
    assert watch.watched == {"bolt": True}
    (alarm,) = alarms_of(watch, observations(rng, 150, 2001, brigh=-4))
    assert alarm.what == "brightness, view 0" and alarm.class_name == "bolt"
    assert 1990 <= alarm.since <= 2010 and 2003 <= alarm.part <= 2025
    assert alarm.before == pytest.approx(120, abs=0.5) and alarm.now == pytest.approx(116, abs=1.5)
    assert str(alarm).startswith("brightness, view 0 has fallen from 1")
    # It is told once; another chart tells for itself.
    (other,) = alarms_of(watch, observations(rng, 300, 2151, brigh=-4, score=0.05))
    assert other.what == "score" and "has risen from 0.3" in str(other)
    (rejects,) = alarms_of(watch, observations(rng, 400, 2451, rejects=0.2))
    assert rejects.what == "reject rate" and rejects.count == BLOCKS[0]
    assert "the reject rate has risen from" in str(rejects)


def test_classes_do_not_wait_for_each_other() -> None:
    rng = np.random.default_rng(5)
    watch = DriftWatch(300)
    alarms_of(watch, observations(rng, 301, 1))
    alarms_of(watch, observations(rng, 299, 302, "nut"))
    assert watch.watched == {"bolt": True, "nut": False}
    again = DriftWatch(300, observations(rng, 300, 1))
    assert again.watched == {"bolt": True}


def test_a_lamp_that_ages_is_told_before_it_costs_parts() -> None:
    """Scores that fall away with the brightness, as a model's do: by then one in a hundred good
    parts is rejected, and not yet two."""
    rng = np.random.default_rng(6)
    for _ in range(20):
        watch = DriftWatch(300, observations(rng, 300, 1))
        for number in range(500):
            lamp = 1 - 0.3 * number / 500
            values = {"score": 0.3, "brightness, view 0": lamp * rng.normal(120, 4)}
            told = watch.add(Observation(number + 301, "bolt", False, values))
            if any(alarm.what.startswith("brightness") for alarm in told):
                break
        assert lamp > 0.95


def line_of(folder: Path, parts: int, grey: float, start: int = 0, **changes) -> list[Alarm]:
    """Inspects parts whose grey is near ``grey``, and scores are with it."""
    rng = np.random.default_rng(start)
    made = recipe(folder, drift={"reference": 300}, **changes)
    with Inspector(made, folder / "line.db", engine=MAKER, in_process=True) as line:
        for _ in range(parts):
            picture = stub.picture(int(np.clip(rng.normal(grey, 4), 0, 120)), stub.NOTHING)
            line.submit(picture, **RGB)
            line.wait_for_room(8)
        line.close()
        return line.alarms


def test_on_a_line_and_after_a_restart(tmp_path: Path) -> None:
    assert not line_of(tmp_path, 320, 60)
    # Another process, and a recipe in which nothing changed that scores depend on.
    found = line_of(tmp_path, 40, 70, 1, deadline_ms=20_000)
    assert {alarm.what for alarm in found} == {"score", "brightness, view 0"}
    assert all(318 <= alarm.since <= 330 for alarm in found)
    with sqlite3.connect(tmp_path / "line.db") as connection:
        rows = connection.execute("SELECT kind, class_name, part, since FROM alarms").fetchall()
    connection.close()
    assert len(rows) == 2 and {row[:2] for row in rows} == {("drift", "a")}
    # Where the reference is said to be of later parts, there is none yet.
    later = recipe(tmp_path, drift={"since": "2100-01-01T00:00:00"})
    assert not list(earlier_parts(tmp_path / "line.db", later))
    same = recipe(tmp_path, drift={"reference": 300})
    seen = list(earlier_parts(tmp_path / "line.db", same))
    assert len(seen) == 300 and seen[0].part == 1 and "sharpness, view 0" in seen[0].values
    other = content(drift={}, score={"mode": "per_scale"})
    other["thresholds"]["set_for"] = {"mode": "per_scale"}
    assert not list(earlier_parts(tmp_path / "line.db", Recipe.of(other, tmp_path / "r")))


def test_a_reference_that_is_too_small_is_refused(tmp_path: Path) -> None:
    one_line("drift.reference: must be greater than or equal to 300", lambda: recipe(
        tmp_path, drift={"reference": 299}))  # fmt: skip
    assert Drift(reference=LEAST_REFERENCE).reference == LEAST_REFERENCE
