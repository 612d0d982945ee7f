"""``invad-fast calibrate``: thresholds from good parts that the model has not seen."""

from __future__ import annotations

from typing import Annotated

import typer

from invad_fast.cli.console import say
from invad_fast.cli.options import (
    BatchSize,
    Classes,
    Device,
    Layout,
    Levels,
    Mode,
    Model,
    Outside,
    Pooling,
    Precision,
    Quiet,
    Root,
    Sigma,
    SkipDamaged,
    Workers,
    chosen,
)
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.prediction import shown_class
from invad_fast.training.options import TrainingOptions

_DEFAULTS = ScoringOptions()


def calibrate(
    root: Root,
    model: Model,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of good parts that may be called anomalous.")
    ] = TrainingOptions().false_alarm_rate,
    classes: Classes = None,
    layout: Layout = None,
    outside: Outside = False,
    precision: Precision = None,
    mode: Mode = None,
    sigma: Sigma = None,
    pooling: Pooling = None,
    batch_size: BatchSize = _DEFAULTS.batch_size,
    workers: Workers = _DEFAULTS.workers,
    levels: Levels = None,
    skip_damaged: SkipDamaged = _DEFAULTS.skip_damaged,
    device: Device = _DEFAULTS.device,
    quiet: Quiet = False,
) -> None:
    """Sets the model's thresholds from good test parts below ROOT, which it has not seen.

    The form, precision and score rule that are used here are stored with the thresholds; predict
    and evaluate take the same. Classes that are not below ROOT keep theirs.
    """
    from invad_fast.evaluation.calibrate import check_rate

    check_rate(false_alarm_rate)
    options = chosen(ScoringOptions, locals())
    from invad_fast.data import read_dataset
    from invad_fast.evaluation.good_parts import calibrate_model
    from invad_fast.method_names import load_model

    dataset = read_dataset(root, layout, outside)
    loaded = load_model(model)
    fresh = calibrate_model(
        loaded, dataset.only(classes) if classes else dataset, false_alarm_rate, options,
        not quiet,
    )  # fmt: skip
    loaded.save(model)
    for name, value in fresh.items():
        say(f"{shown_class(name)}: threshold {value:.6g}, {fresh.origins[name]}")
    for name in sorted(set(loaded.thresholds) - set(fresh)):
        kept, origin = loaded.thresholds[name], loaded.thresholds.origins[name]
        say(f"{shown_class(name)}: kept {kept:.6g}, {origin}")
