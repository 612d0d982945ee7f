"""``invad-fast recipe``: the file that says how a line inspects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invad_fast.cli.calibrate import frame_checks_line
from invad_fast.cli.console import note, say
from invad_fast.prediction import shown_class


def recipe(
    model: Annotated[Path, typer.Argument(help="Calibrated model file.")],
    output: Annotated[Path, typer.Option(help="The recipe's file, as line.yaml.")],
    name: Annotated[str | None, typer.Option(help="Of the recipe; default: the file's.")] = None,
    station: Annotated[str | None, typer.Option(help="Where it runs; default: line.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    update: Annotated[
        bool, typer.Option("--update", help="Take only model and thresholds anew; keep the rest.")
    ] = False,
) -> None:
    """Writes a recipe for `inspect` of a calibrated model: thresholds, deadline, queue, ledger."""
    from invad_fast.model_engine import make_recipe

    made = make_recipe(model, output, name=name, station=station, device=device, update=update)
    for name_, held in made.thresholds.values.items():
        say(f"{shown_class(name_)}: threshold {held.value:.6g}, {held.origin}")
    if made.frame_checks is not None and made.frame_checks.pictures:
        say(frame_checks_line("all classes", made.frame_checks))
    if any(held.origin.provisional for held in made.thresholds.values.values()):
        note(
            "note: the thresholds are provisional, set on the training parts: `invad-fast "
            "calibrate` sets them on parts that the model has not seen; then `recipe --update`"
        )
    say(f"wrote {output}")
