"""Rejects as pictures: the photo with its map, what was found outlined, verdict and score.

A file for each view that rejects, FOLDER/2026-11-27/0000000123-0.jpg, under a quota: the oldest go
first. Files of others in the folder are left alone.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from invad_fast.files import make_folder, written_whole
from invad_fast.inspection.part import View
from invad_fast.inspection.pictures import Original, Pictured
from invad_fast.inspection.preprocess import frame_size, preprocess
from invad_fast.prediction import Verdict

if TYPE_CHECKING:
    from PIL import Image

    from invad_fast.prediction import ScoreRule

QUEUE = 16  # parts that may wait: each holds its frames
_GIB = 1.0
_LONGEST_SIDE = 1280  # pixels of a picture: it is to be looked at
_QUALITY = 90
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_NAME = re.compile(r"\d{10,}-\d+\.jpg")


class Overlays:
    """Keeps what rejects.

    Args:
        folder: made where there is none.
        gib: how much the pictures may take, in units of 2³⁰ bytes.

    Raises:
        InputError: where there can be no such folder.
    """

    kind = "overlay pictures"
    unconfirmed = 0

    def __init__(self, folder: Path, gib: float = _GIB) -> None:
        make_folder(folder)
        self.where, self.fault = str(folder), ""
        self._folder, self._quota = folder, gib * 2**30
        found = sorted(
            path
            for day in folder.iterdir()
            if _DAY.fullmatch(day.name) and day.is_dir()
            for path in day.iterdir()
            if _NAME.fullmatch(path.name)
        )
        self._files = deque((path, path.stat().st_size) for path in found)  # the oldest first
        self._held = sum(size for _, size in self._files)

    def send(self, result: Pictured, stop: threading.Event) -> None:
        """Draws and writes the views that reject."""
        part = result.result
        day = self._folder / time.strftime("%Y-%m-%d", time.gmtime(part.decided_at / 1e6))
        for view in part.views:
            original = result.originals.get(view.number)
            if view.verdict is not Verdict.REJECT or view.map is None or original is None:
                continue
            picture = _drawn(view, original, result.recipe.score)
            self._keep(picture, day / f"{part.id:010d}-{view.number}.jpg")

    def close(self, patience: float) -> None:
        """Nothing is left to do."""

    def _keep(self, picture: Image.Image, path: Path) -> None:
        make_folder(path.parent)
        with written_whole(path) as partial:
            picture.save(partial, format="JPEG", quality=_QUALITY)
            size = partial.stat().st_size
        self._files.append((path, size))
        self._held += size
        while self._held > self._quota and self._files:
            oldest, size = self._files.popleft()
            oldest.unlink(missing_ok=True)
            self._held -= size
            with contextlib.suppress(OSError):
                oldest.parent.rmdir()  # a day of which nothing is left


def _drawn(view: View, original: Original, rule: ScoreRule) -> Image.Image:
    from invad_fast.pictures import overlay

    assert view.map is not None and view.score is not None and view.threshold is not None
    height, width = frame_size(original.pixels, original.pixel_format)
    share = min(1.0, _LONGEST_SIDE / max(height, width))
    size = max(1, round(share * height)), max(1, round(share * width))
    photo = preprocess(original.pixels, original.pixel_format, size, levels=original.levels)
    return overlay(
        photo, view.map, 2 * view.threshold, view.threshold, view.verdict.value, view.score, rule
    )


def rejects(result: Pictured) -> bool:
    """Whether there is something to draw."""
    return result.result.verdict is Verdict.REJECT
