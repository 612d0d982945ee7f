"""Options that several verbs share; their defaults are those of the options' classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from invad_fast.errors import InputError

T = TypeVar("T")

Root = Annotated[Path, typer.Argument(help="Data set folder; its layout is found out.")]
Model = Annotated[Path, typer.Option(help="Model file that `train` wrote.")]
Classes = Annotated[
    list[str] | None, typer.Option("--class", help="Only this class; may be repeated.")
]
Layout = Annotated[
    str | None, typer.Option(help="Layout of the data set, where it is not found out.")
]
Outside = Annotated[
    bool, typer.Option("--outside", help="Let an index file list images outside its folder.")
]
Levels = Annotated[
    str | None,
    typer.Option(
        "--levels", help="Range of images of more than 8 bits, as 0:4095; default: the full one."
    ),
]
SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read; count them.")
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps resized images, or the encoder's features, for reuse."),
]
CacheGib = Annotated[float, typer.Option(help="Bound on what the cache folder holds.")]
Workers = Annotated[int, typer.Option(help="Threads that decode images.")]
BatchSize = Annotated[int, typer.Option(help="Images at once.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[
    str,
    typer.Option(help="fp32, bf16 or fp16; auto: as when the thresholds were set, or fp32."),
]
Mode = Annotated[str | None, typer.Option(help="unified or per_scale; default: the model's own.")]
Sigma = Annotated[
    float | None, typer.Option(help="Of the map's Gaussian, pixels; default: the model's own.")
]
Pooling = Annotated[
    int | None, typer.Option(help="Image score of the map averaged over this window.")
]
LeastArea = Annotated[
    int | None, typer.Option(help="Pixels of the map that a defect has at least; default: one.")
]
Region = Annotated[
    str | None,
    typer.Option(help="Where defects count: corners as shares, '0.1,0.1 0.9,0.1 0.9,0.9; ...'."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress display.")]


def chosen(options: type[T], given: Mapping[str, Any]) -> T:
    """The options of a verb, of those of its arguments (its ``locals()``) that they have."""
    fields = dataclasses.fields(options)  # type: ignore[arg-type]
    return options(**{field.name: given[field.name] for field in fields if field.name in given})


def numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers such as 3,7,11; None stays None."""
    if text is None:
        return None
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"{option} takes numbers such as 3,7,11, not {text!r}") from None
