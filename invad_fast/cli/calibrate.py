"""``invad-fast calibrate``: thresholds from good parts that the model has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invad_fast.cli.console import note, say
from invad_fast.cli.options import (
    BatchSize,
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
from invad_fast.errors import InputError
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.frame_figures import LEAST_PICTURES
from invad_fast.prediction import ALL_CLASSES, Thresholds, shown_class
from invad_fast.training.options import TrainingOptions

if TYPE_CHECKING:
    from invad_fast.data import Dataset

_DEFAULTS = ScoringOptions()


def calibrate(
    root: Root,
    model: Model,
    false_alarm_rate: Annotated[
        float,
        typer.Option(
            help="That a good part may be rejected with; 0: the lowest that the parts allow."
        ),
    ] = TrainingOptions().false_alarm_rate,
    bound: Annotated[
        bool,
        typer.Option("--bound", help="Hold the rate with 95 % confidence, not in the mean."),
    ] = False,
    extrapolate: Annotated[
        bool,
        typer.Option("--extrapolate", help="With too few parts: a fitted tail, without a promise."),
    ] = False,
    unknown_products: Annotated[
        bool,
        typer.Option(
            "--unknown-products/--no-unknown-products",
            help="Turn away parts that are like none of the classes; default: where parts do.",
        ),
    ] = True,
    unknown_product_rate: Annotated[
        float | None,
        typer.Option(
            help="That a good part may be turned away with; default: 0.01 where the parts are "
            "enough; 0: the lowest that they allow."
        ),
    ] = None,
    good: Annotated[
        bool,
        typer.Option("--good", help="ROOT holds pictures of good parts alone, of --class."),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            help="Several pictures of one part: what of their names is its own, (.*)_[0-9]."
        ),
    ] = None,
    classes: Classes = None,
    layout: Layout = None,
    outside: Outside = False,
    precision: Precision = _DEFAULTS.precision,
    mode: Mode = None,
    sigma: Sigma = None,
    pooling: Pooling = None,
    least_area: LeastArea = None,
    region: Region = None,
    batch_size: BatchSize = _DEFAULTS.batch_size,
    workers: Workers = _DEFAULTS.workers,
    levels: Levels = None,
    skip_damaged: SkipDamaged = _DEFAULTS.skip_damaged,
    device: Device = _DEFAULTS.device,
    quiet: Quiet = False,
) -> None:
    """Sets the model's thresholds from good parts below ROOT, which it was not trained on.

    They are those of each class's validation/good; where there are none, those of its test set.
    What is promised holds for parts that are made and pictured as these were. The form, precision
    and score rule that are used here are stored with the thresholds; predict
    and evaluate take the same. --precision auto takes bf16 where the processor has it and every
    part is judged as in fp32. Classes that are not below ROOT keep theirs.
    """
    from invad_fast.evaluation.conformal import check_rate
    from invad_fast.evaluation.unknown_products import will_not_pass

    check_rate(false_alarm_rate)
    if unknown_product_rate is not None:
        if not unknown_products:
            raise InputError("--no-unknown-products and --unknown-product-rate: choose one")
        check_rate(unknown_product_rate)
    options = chosen(ScoringOptions, locals())
    from invad_fast.evaluation.good_parts import calibrate_model
    from invad_fast.method_names import load_model

    loaded = load_model(model)
    if good:
        dataset = _good_pictures(root, classes, loaded.classes)
    else:
        from invad_fast.data import read_dataset

        dataset = read_dataset(root, layout, outside, calibrates=True)
        dataset = dataset.only(classes) if classes else dataset
    fresh = calibrate_model(
        loaded, dataset, false_alarm_rate, options, not quiet,
        bound=bound, extrapolate=extrapolate, part=part,
        unknown_products=unknown_products, unknown_product_rate=unknown_product_rate,
    )  # fmt: skip
    loaded.save(model)
    limits = Thresholds() if loaded.prototypes is None else loaded.prototypes.limits
    if fresh.rule is not None:
        say(f"precision: {fresh.rule.precision}")
    for name, value in fresh.items():
        say(f"{shown_class(name)}: threshold {value:.6g}, {fresh.origins[name]}")
        if name in loaded.frame_limits:
            say(frame_checks_line(name, loaded.frame_limits[name]))
        if name in limits:
            away = str(limits.origins[name]).replace("a false-alarm rate of", "turning away")
            say(f"{name}: unknown beyond a distance of {limits[name]:.3g}, {away}")
        told = will_not_pass(fresh, limits, name)
        if told is not None:
            say(f"{name}: {told}")
    for name in sorted(set(loaded.thresholds) - set(fresh)):
        kept, origin = loaded.thresholds[name], loaded.thresholds.origins[name]
        say(f"{shown_class(name)}: kept {kept:.6g}, {origin}")
    if any(origin.source == "test parts" for origin in fresh.origins.values()):
        note(
            "note: these were the test set's good parts: its figures at these thresholds are "
            "marked from now on; put parts for calibration into validation/good"
        )
    few = sorted(set(fresh) - set(loaded.frame_limits) - {ALL_CLASSES})
    if few:
        say(f"{', '.join(few)}: no frame checks; they take {LEAST_PICTURES} good pictures")
    say("The rates hold for parts that are made and pictured as these were.")


def frame_checks_line(whose: str, limits: Any) -> str:
    """How many good pictures the checks before the model will turn away."""
    from invad_fast.evaluation.conformal import bound_rate

    n, away = limits.pictures, limits.turned_away
    most = bound_rate(n, n - away) if away < n else 1.0
    return (
        f"{whose}: frame checks turned away {away} of {n} good pictures, each held against limits "
        f"of the others: {100 * away / n:.3g} %, with 95 % confidence at most {100 * most:.3g} %"
    )


def _good_pictures(folder: Path, classes: list[str] | None, known: tuple[str, ...]) -> Dataset:
    """The pictures directly in a folder, as held-out good parts of the one class."""
    from invad_fast.data import Dataset, Record
    from invad_fast.inspection.predict import find_images

    names = classes or list(known)
    if len(names) != 1:
        raise InputError("--good is for one product: name it with --class")
    if not folder.is_dir():
        raise InputError(f"no folder {folder}")
    records = tuple(
        Record(file, names[0], "validation", "good", False, None) for file in find_images([folder])
    )
    return Dataset(folder, "good pictures", (), records)
