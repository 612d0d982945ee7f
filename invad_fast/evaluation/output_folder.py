"""The folder that an evaluation writes: an earlier one's results give way, nothing else does."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from invad_fast.files import read_own, refuse_foreign

FIGURES_FILE = "figures.json"
PICTURES = "pictures"
_WRITTEN = (FIGURES_FILE, "figures.csv", "images.csv", "histogram.png", "report.html")
_KEYS = {"protocol", "figures", "mean"}


def take_folder(folder: Path) -> None:
    """Makes the folder, before hours are spent.

    Raises:
        InputError: where it cannot be made, or holds a file of a name that will be written and
            no earlier evaluation wrote it.
    """
    refuse_foreign(folder, _WRITTEN, _KEYS, "--output")


def earlier_pictures(folder: Path) -> set[Path]:
    """Those that the earlier evaluation drew: new ones take their places."""
    inside = Path(os.path.realpath(folder / PICTURES))
    names = (read_own(folder / FIGURES_FILE, _KEYS) or {}).get(PICTURES) or ()
    paths = {Path(os.path.realpath(folder / str(name))) for name in names}
    return {path for path in paths if path.is_relative_to(inside) and path.is_file()}


def remove_pictures(folder: Path, paths: Iterable[Path]) -> None:
    """And their folders, once empty: beside new figures they would be taken for new."""
    inside = Path(os.path.realpath(folder / PICTURES))
    for path in paths:
        path.unlink()
        if path.parent != inside and not any(path.parent.iterdir()):
            path.parent.rmdir()
