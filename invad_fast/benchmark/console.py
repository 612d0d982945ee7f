"""What `invad-fast benchmark` prints: the plan with its time, and the table as it grows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from invad_fast.benchmark.configuration import BenchmarkConfig
from invad_fast.benchmark.estimate import estimate
from invad_fast.benchmark.plan import Run
from invad_fast.benchmark.results import ModelResults
from invad_fast.benchmark.tables import HEADS, made, table_rows
from invad_fast.names import visible


def print_plan(out: Console, runs: Sequence[Run]) -> None:
    """Counts of images, then every run with its schedule and time, measured here and now."""
    images = Table("data set", "class", title="images", pad_edge=False)
    for head in ("train", "test good", "test anomalous", "masks"):
        images.add_column(head, justify="right")
    seen = set()
    for run in runs:
        for name, count in run.dataset.counts().items():
            if (run.data_name, name) not in seen:
                seen.add((run.data_name, name))
                numbers = (count.train, count.test_normal, count.test_anomalous)
                masks = "yes" if count.has_masks else "no"
                images.add_row(
                    _name(run.data_name), _name(name), *(f"{n:,}" for n in numbers), masks
                )
    out.print(images)
    total, rows = estimate(runs)
    plan = Table("run", "epochs", "batch", "images seen", "time", title="plan", pad_edge=False)
    for run, _, seconds in rows:
        if run.checkpoint is not None:
            plan.add_row(_name(run.title), "–", "–", _name(f"checkpoint {run.checkpoint}"),
                         duration(seconds))  # fmt: skip
            continue
        options = run.training
        plan.add_row(_name(run.title), str(options.epochs), str(options.batch_size),
                     f"{run.images_seen:,}", duration(seconds))  # fmt: skip
    out.print(plan)
    for how in dict.fromkeys(costs.how for _, costs, _ in rows):
        out.print(f"time: from {how}; the figures' own is not in it", soft_wrap=True)
    out.print(f"{len(runs)} runs, about {duration(total)} in all; nothing was written")


def print_results(out: Console, config: BenchmarkConfig, models: Sequence[ModelResults]) -> None:
    """Classes, means, published figures and differences in percent, then how they were made."""
    table = Table(title=_name(f"{config.name}, percent"), padding=(0, 0), pad_edge=False)
    table.add_column("model")
    for head in HEADS.values():
        table.add_column(head, justify="right")
    for label, cells in table_rows(models, classes=True):
        table.add_row(_name(label), *cells)
    # A terminal narrower than the table would cut figures off: let it wrap instead.
    Console(file=out.file, width=max(out.width, 130)).print(table)
    for model in models:
        out.print(_name(f"{model.settings.name}: {made(model)}"), soft_wrap=True)


def _name(text: str) -> Text:
    """Text that rich takes for no markup."""
    return Text(visible(text), overflow="fold")


def duration(seconds: float) -> str:
    """Seconds as days, hours, minutes or seconds."""
    for name, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.0f} s"
