"""``invad-fast coco-ad``: the paper's benchmark, built from COCO 2017's annotation files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invad_fast.cli.console import say
from invad_fast.cli.options import Quiet


def coco_ad(
    root: Annotated[Path, typer.Argument(help="COCO 2017: annotations, train2017, val2017.")],
    split: Annotated[str, typer.Option(help="0, 1, 2, 3, or all.")] = "all",
    output: Annotated[Path, typer.Option(help="Folder for split0, split1, ...")] = Path("coco_ad"),
    masks: Annotated[
        str, typer.Option(help="png, or none: decoded from meta.json when needed.")
    ] = "png",
    quiet: Quiet = False,
) -> None:
    """Builds the COCO-AD benchmark from COCO 2017's annotation files; goes on where it stopped."""
    from invad_fast.data.coco_ad import build_coco_ad
    from invad_fast.progress import counter

    with counter("masks", not quiet) as progress:
        reports = build_coco_ad(root, split, output, masks, progress)
    for report in reports:
        say(report.summary())
    say(f"class frequencies: {output / 'classes.csv'}")
    say(f"train on one: invad-fast train {reports[0].folder} --run RUN")
