"""The folder that an evaluation writes: an earlier one's results give way, nothing else does."""

from __future__ import annotations

import os
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


def remove_earlier_pictures(folder: Path) -> None:
    """Those that the earlier evaluation drew: beside new figures they would be taken for new."""
    inside = Path(os.path.realpath(folder / PICTURES))
    for name in (read_own(folder / FIGURES_FILE, _KEYS) or {}).get(PICTURES) or ():
        path = Path(os.path.realpath(folder / str(name)))
        if path.is_relative_to(inside) and path.is_file():
            path.unlink()
            if path.parent != inside and not any(path.parent.iterdir()):
                path.parent.rmdir()
