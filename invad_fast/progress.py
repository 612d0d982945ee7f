"""Progress on a terminal: what is under way, how fast, and how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def track(items: Iterable[T], total: int, what: str, show: bool = True) -> Iterator[T]:
    """Yields ``items`` under a bar named ``what``."""
    with counter(what, show) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress(done, total)


@contextmanager
def counter(what: str, show: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar named ``what`` for a function that reports (done, total); hidden until it does."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not show) as progress:
        task = progress.add_task(what, total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


class TrainingProgress:
    """Epoch, loss, images a second and the time left of a training run."""

    def __init__(self, epochs: int, steps: int, show: bool = True) -> None:
        self.steps = steps
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.1f} images/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            disable=not show,
        )
        self.epochs = epochs
        self.task = self.progress.add_task("", total=epochs * steps, epoch=0, loss=0.0, rate=0.0)

    def update(self, epoch: int, step: int, loss: float, rate: float) -> None:
        self.progress.update(
            self.task,
            completed=epoch * self.steps + step,
            epoch=f"{epoch + 1}/{self.epochs}",
            loss=loss,
            rate=rate,
        )

    def __enter__(self) -> TrainingProgress:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
