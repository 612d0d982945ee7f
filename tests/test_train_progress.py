"""The time that is said to be left, with a clock of our own: right within 30 % from a tenth on."""

import random
import re
from pathlib import Path

import pytest
from tiny_training import fit, tiny

from invad_fast.progress import TimeLeft, TrainingProgress
from invad_fast.training import time_ahead


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def step_seconds(step: int, kind: str, dice: random.Random) -> float:
    """One step: the first are slow, and what comes again and again does."""
    slow = {0: 20.0, 1: 6.0, 2: 3.0}.get(step, 1.0)
    noise = dice.uniform(0.7, 1.3)
    if kind == "checkpoints" and step % 12 == 11:
        return slow * noise + 5.0
    if kind == "bursts" and step % 8 == 7:  # batches that wait for eight to be decoded
        return 8 * slow * noise
    if kind == "bursts":
        return 0.1
    return slow * noise


@pytest.mark.parametrize(
    ("kind", "steps", "known"),  # known: by then, what comes again has come at least once
    [
        ("even", 60, 6),
        ("even", 5000, 500),
        ("checkpoints", 60, 30),
        ("checkpoints", 400, 40),
        ("bursts", 400, 40),
        ("bursts", 5000, 500),
    ],
)
def test_a_list_of_things(kind: str, steps: int, known: int) -> None:
    dice, clock = random.Random(steps), Clock()
    left = TimeLeft(clock)
    told = []
    left.update(0, steps)
    assert left.seconds is None and str(left) == "-:--:--"
    for step in range(steps):
        clock.now += step_seconds(step, kind, dice)
        left.update(step + 1, steps)
        told.append((clock.now, left.seconds))
    end = clock.now
    assert told[-1][1] == 0
    for now, seconds in told[known : -steps // 10]:
        assert seconds == pytest.approx(end - now, rel=0.3), f"{(now - 1000) / (end - 1000):.0%}"


def test_it_counts_down_between_two_reports() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    for done in range(11):
        left.update(done, 100)
        clock.now += 2
    assert left.seconds == pytest.approx(178)
    clock.now += 100
    assert left.seconds == pytest.approx(78)
    clock.now += 1000
    assert left.seconds == 0


@pytest.mark.parametrize("done", [0, 120])
def test_a_training_counts_what_follows_the_last_step(done: int) -> None:
    """12 epochs of 20 steps of a second, then a pass over the training parts of 50 seconds."""
    clock = Clock()
    bar = TrainingProgress(
        12, 20, show=False, done=done, after=lambda step: 30.0 + 20 * step, clock=clock
    )
    end = clock.now + sum(step_seconds(i, "even", random.Random(i)) for i in range(240 - done)) + 50
    begun, told = clock.now, []
    with bar as progress:
        for i in range(240 - done):
            clock.now += step_seconds(i, "even", random.Random(i))
            progress.update((done + i) // 20, (done + i) % 20 + 1, 0.5, 1.0)
            told.append((clock.now, progress.left.seconds))
    for now, seconds in told:
        if now - begun >= (end - begun) / 10 and (now - begun) > 40:
            assert seconds == pytest.approx(end - now, rel=0.3)
    assert told[-1][1] == pytest.approx(50, rel=0.3)


def test_a_step_is_as_long_as_its_shortest_try(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = Clock(), iter([5.0, 1.0, 1.5, 1.25, 100.0])
    monkeypatch.setattr(time_ahead.time, "monotonic", clock)

    def step(seconds: float) -> None:
        clock.now += seconds

    assert time_ahead.seconds_of_step(step, asked) == 1.0
    assert next(asked) == 100.0  # not tried
    slow = iter([50.0, 1.0])
    assert time_ahead.seconds_of_step(step, slow) == 50.0 and next(slow) == 1.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (17.4, "17 s"), (44, "40 s"), (89, "90 s"), (200, "3 min"), (5100, "85 min"),
     (7200, "2 h"), (12100, "3 h 20 min"), (57600, "16 h")],
)  # fmt: skip
def test_how_long_in_words(seconds: float, words: str) -> None:
    assert time_ahead.in_words(seconds) == words


def test_a_training_says_how_long_before_it_begins(
    training_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is the same one as without that."""
    silent, told = tiny(), tiny()
    fit(silent, training_set, epochs=30)
    fit(told, training_set, epochs=30, show_progress=True)
    assert silent.digest == told.digest
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("about")]
    assert len(said) == 1
    assert re.fullmatch(
        r"about \d+ (s|min): 60 steps of 4 images at \d+ images/s, then thresholds",
        said[0].rstrip(),
    )
