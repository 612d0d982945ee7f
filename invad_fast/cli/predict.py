"""``invad-fast predict``: a JSON line an image."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from invad_fast.cli.console import note
from invad_fast.cli.options import (
    BatchSize,
    Device,
    LeastArea,
    Levels,
    Mode,
    Model,
    Pooling,
    Precision,
    Region,
    Sigma,
    Workers,
    chosen,
)
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.prediction import AUTO

_DEFAULTS = ScoringOptions()


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    model: Model,
    output: Annotated[
        Path | None, typer.Option(help="Folder for a map and an overlay of each image.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the rows to this CSV file.")] = None,
    class_name: Annotated[
        str, typer.Option("--class", help="The product; auto: the model tells.")
    ] = AUTO,
    threshold: Annotated[float | None, typer.Option(help="Instead of the model's own.")] = None,
    precision: Precision = _DEFAULTS.precision,
    mode: Mode = None,
    sigma: Sigma = None,
    pooling: Pooling = None,
    least_area: LeastArea = None,
    region: Region = None,
    batch_size: BatchSize = _DEFAULTS.batch_size,
    workers: Workers = _DEFAULTS.workers,
    levels: Levels = None,
    device: Device = _DEFAULTS.device,
) -> None:
    """Prints one JSON line for each image: class, score, threshold, verdict, regions, files.

    Status 1 where an image got no verdict: damaged, no number for a score, or no threshold.
    """
    options = chosen(ScoringOptions, locals())
    from invad_fast.inspection.predict import find_images, predict_files
    from invad_fast.inspection.result_table import ResultTable, check_replaceable
    from invad_fast.method_names import load_model

    files = find_images(images)
    if csv is not None:
        check_replaceable(csv)
    rows = predict_files(
        load_model(model),
        files,
        output=output,
        class_name=class_name,
        threshold=threshold,
        options=options,
    )
    reasons: dict[str, int] = {}
    provisional = False
    with ExitStack() as stack:
        table = None if csv is None else stack.enter_context(ResultTable(csv))
        for row in rows:
            print(json.dumps(row, allow_nan=False), flush=True)
            if table is not None:
                table.add(row)
            provisional |= row.get("provisional", False)
            if row["reason"] is not None:
                reason = row["reason"] if "score" in row else row["reason"].partition(":")[0]
                reasons[reason] = reasons.get(reason, 0) + 1
    if provisional:
        note(
            "note: the thresholds are provisional, set on the training parts: `invad-fast "
            "calibrate` sets them on parts that the model has not seen"
        )
    for reason, count in reasons.items():
        note(f"note: {count} of {len(files)} not inspected: {reason}")
    if reasons:
        raise typer.Exit(1)
