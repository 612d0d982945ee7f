"""Progress on a terminal: what is under way, how fast, and how long it will take."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from invad_fast.names import visible

T = TypeVar("T")


class TimeLeft:
    """How long it will take: by the mean pace so far, but for the slow start.

    The first steps fill caches and wait for the first images: the first tenth of what was done
    does not count, nor do the first three reports (half of them, while there are few). All the
    rest does, so that pauses that come again and again (checkpoints, ends of epochs) count by
    their share.

    Args:
        clock: seconds.
    """

    _MARKS = 400  # kept at most; every other one goes when there are more

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: list[tuple[float, float]] = []  # (done, when)
        self._first = 0.0
        self._left = self._after = 0.0

    def update(self, done: float, total: float, after: float = 0.0) -> None:
        """So much of ``total`` is done now; ``after`` seconds of other work will follow."""
        if not self._marks:
            self._first = done
        self._marks.append((done, self._clock()))
        if len(self._marks) > self._MARKS:
            del self._marks[4:-1:2]
        self._left, self._after = total - done, after

    @property
    def pace(self) -> float | None:
        """Seconds for one more; None before there is a pace."""
        if len(self._marks) < 2:
            return None
        done, now = self._marks[-1]
        few = min(3, (len(self._marks) - 1) // 2)
        slow = bisect_left(self._marks, (self._first + 0.1 * (done - self._first),))
        start = self._marks[min(max(few, slow), len(self._marks) - 2)]
        return (now - start[1]) / max(done - start[0], 1e-9)

    @property
    def seconds(self) -> float | None:
        """Seconds to go; None before there is a pace."""
        pace = self.pace
        if pace is None:
            return None
        since = self._clock() - self._marks[-1][1]
        return max(self._left * pace + self._after - since, 0.0)

    def __str__(self) -> str:
        seconds = self.seconds
        return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


def track(items: Iterable[T], total: int, what: str, show: bool = True) -> Iterator[T]:
    """Yields ``items`` under a bar named ``what``."""
    with counter(what, show) as progress:
        progress(0, total)
        for done, item in enumerate(items, 1):
            yield item
            progress(done, total)


@contextmanager
def counter(what: str, show: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar named ``what`` for a function that reports (done, total); hidden until it does."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left {task.fields[left]}"),
    )
    left = TimeLeft()
    with Progress(*columns, disable=not show) as progress:
        task = progress.add_task(visible(what), total=None, visible=False, left=left)

        def report(done: int, total: int) -> None:
            left.update(done, total)
            progress.update(task, completed=done, total=total, visible=True)

        yield report


class TrainingProgress:
    """Epoch, loss, images a second and the time left of a training run.

    Args:
        epochs, steps: how many epochs, of how many steps each.
        done: steps that an earlier part of the run has made.
        after: from the seconds of a step, those of the work that follows the last one.
    """

    def __init__(
        self,
        epochs: int,
        steps: int,
        show: bool = True,
        done: int = 0,
        after: Callable[[float], float] = lambda step: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epochs, self.steps, self.done, self.after = epochs, steps, done, after
        self.left = TimeLeft(clock)
        self.left.update(done, epochs * steps)
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.1f} images/s"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            disable=not show,
        )
        self.task = self.progress.add_task(
            "", total=epochs * steps, epoch=0, loss=0.0, rate=0.0, left=self.left
        )

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(self, epoch: int, step: int, loss: float, rate: float) -> None:
        """After every step: ``step`` of them in the epoch that follows ``epoch`` whole ones."""
        done, total = epoch * self.steps + step, self.epochs * self.steps
        self.left.update(done, total, self.after(self.left.pace or 0.0))
        self.progress.update(
            self.task,
            completed=done,
            epoch=f"{min(epoch + 1, self.epochs)}/{self.epochs}",
            loss=loss,
            rate=rate,
        )

    def __enter__(self) -> TrainingProgress:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
