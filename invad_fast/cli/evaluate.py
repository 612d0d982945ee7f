"""``invad-fast evaluate``: every figure of a test set, pictures and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invad_fast.cli.console import RANK, out, say
from invad_fast.cli.options import (
    BatchSize,
    Cache,
    CacheGib,
    Classes,
    Device,
    Layout,
    LeastArea,
    Levels,
    Mode,
    Model,
    Outside,
    Pooling,
    Precision,
    Quiet,
    Region,
    Root,
    Sigma,
    SkipDamaged,
    Workers,
    chosen,
)
from invad_fast.evaluation.options import ScoringOptions

_DEFAULTS = ScoringOptions()


def evaluate(
    root: Root,
    model: Model,
    output: Annotated[
        Path, typer.Option(help="Folder for figures.json, the CSV files, pictures, report.html.")
    ] = Path("evaluation"),
    classes: Classes = None,
    layout: Layout = None,
    outside: Outside = False,
    protocol: Annotated[str, typer.Option(help="paper or exact.")] = "paper",
    pooling: Pooling = None,
    least_area: LeastArea = None,
    region: Region = None,
    mode: Mode = None,
    sigma: Sigma = None,
    pictures: Annotated[
        int, typer.Option(help="Pictures of each class: misses, false alarms, rejects.")
    ] = 6,
    precision: Precision = _DEFAULTS.precision,
    batch_size: BatchSize = _DEFAULTS.batch_size,
    workers: Workers = _DEFAULTS.workers,
    levels: Levels = None,
    skip_damaged: SkipDamaged = _DEFAULTS.skip_damaged,
    cache: Cache = None,
    cache_gib: CacheGib = _DEFAULTS.cache_gib,
    device: Device = _DEFAULTS.device,
    quiet: Quiet = False,
) -> None:
    """Scores the test images below ROOT: all figures, verdicts, pictures, and a report."""
    options = chosen(ScoringOptions, locals())
    from invad_fast.data import read_dataset
    from invad_fast.evaluation.evaluate import evaluate_model
    from invad_fast.evaluation.report import print_results, write_report
    from invad_fast.method_names import load_model

    loaded = load_model(model)  # before a large data set is listed
    dataset = read_dataset(root, layout, outside)
    result = evaluate_model(
        loaded,
        dataset,
        output=output,
        classes=classes,
        protocol=protocol,
        pictures=pictures,
        show_progress=not quiet,
        options=options,
    )
    if RANK != "0":
        return
    notes = [f"Protocol: {protocol}. Model: {model.name}. Data: {dataset.root.name}."]
    write_report(output / "report.html", f"Defects found in {dataset.root.name}", notes, result)
    print_results(out, result)
    say(f"report: {output / 'report.html'}")
