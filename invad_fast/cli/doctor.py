"""``invad-fast doctor``: which backends are there, why others are not, what a model costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from invad_fast.cli.console import out, say
from invad_fast.cli.options import Device


def doctor(
    benchmark: Annotated[
        Path | None,
        typer.Option(help="Time every form of this model file, for a minute, and recommend one."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Says which backends are there, and why the others are not."""
    from invad_fast.doctor import reasons, report

    facts, table = report()
    for name, value in facts.items():
        say(f"{name}: {value}")
    if benchmark is not None:
        _benchmark(benchmark, device)
        return
    shown = Table("op", *next(iter(table.values())))
    for op, row in table.items():
        shown.add_row(op, *("yes" if reason is None else "no" for reason in row.values()))
    out.print(shown)
    for name, reason in reasons(table).items():
        say(f"{name}: {reason}")


def _benchmark(path: Path, device: str) -> None:
    from invad_fast.form_times import BATCHES, made_images, recommended, time_forms
    from invad_fast.method_names import load_model

    model = load_model(path)
    times = time_forms(model, made_images(model.input_size), device)
    best = recommended(times)
    shown = Table(
        "form", *(f"batch {b}, ms an image" for b in BATCHES), "times fp32", "scores differ"
    )
    for each in times:
        ratio = times[0].milliseconds[1] / each.milliseconds[1]
        cells = (f"{each.milliseconds[batch]:.1f}" for batch in BATCHES)
        shown.add_row(each.name, *cells, f"{ratio:.2f}", f"{100 * each.difference:.2g} %")
    out.print(shown)
    if best is times[0]:
        say("recommended: fp32, which calibrate settles with --precision fp32")
    else:
        say(
            f"recommended: {best.name}; calibrate takes it by itself where it judges the "
            "calibration parts as fp32 does"
        )
