"""Options that several verbs share; their defaults are those of the options' classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invad_fast.errors import InputError

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
    str | None,
    typer.Option(help="fp32, bf16 or fp16; default: as when the thresholds were set, or fp32."),
]
Mode = Annotated[str | None, typer.Option(help="unified or per_scale; default: the model's own.")]
Sigma = Annotated[
    float | None, typer.Option(help="Of the map's Gaussian, pixels; default: the model's own.")
]
Pooling = Annotated[
    int | None, typer.Option(help="Image score of the map averaged over this window.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress display.")]


def numbers(option: str, text: str | None, separator: str = ",") -> tuple[int, ...] | None:
    """Whole numbers such as 3,7,11; None stays None."""
    if text is None:
        return None
    try:
        return tuple(int(number) for number in text.split(separator))
    except ValueError:
        example = separator.join(("0", "4095") if separator == ":" else ("3", "7", "11"))
        raise InputError(f"{option} takes numbers such as {example}, not {text!r}") from None


def parsed_levels(text: str | None) -> tuple[int, int] | None:
    """``--levels LOW:HIGH``."""
    found = numbers("--levels", text, ":")
    if found is None:
        return None
    if len(found) != 2 or not 0 <= found[0] < found[1]:
        raise InputError(f"--levels takes a low and a higher number, as 0:4095, not {text!r}")
    return found[0], found[1]
