"""Pictures that are kept of a line: rejects, near misses, and a random sample; bounded."""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invad_fast.data.levels import Levels
from invad_fast.errors import InputError
from invad_fast.files import make_folder, written_whole
from invad_fast.inspection.ledger import Ledger
from invad_fast.inspection.part import Result
from invad_fast.inspection.preprocess import frame_size, preprocess
from invad_fast.inspection.recipe import Pictures, near
from invad_fast.prediction import Verdict

_WAITING = 32  # parts whose pictures wait to be written; more are counted and let go
_PATTERN = "*/[0-9]*-*.png"


@dataclass(frozen=True)
class Original:
    """A frame as the camera gave it, and the range that it is scaled from, as it was scored."""

    pixels: np.ndarray
    pixel_format: str
    levels: Levels | None


class PictureStore:
    """Writes pictures by a thread of its own; what it cannot take it counts, and waits for nothing.

    A picture's row in the ledger is written after its file; when the folder is full the oldest
    files go, and their rows say when. Files that no row knows (of a process that was killed) are
    removed at the start.

    Attributes:
        let_go: parts whose pictures could not be kept: too many waited, or the disk is full.
        fault: why the last could not be written; empty where it could.

    Args:
        settings: of the recipe.
        folder: where the files go, one folder a day.
        seed: of the sample; None for another each time.

    Raises:
        InputError: where there can be no such folder.
    """

    def __init__(
        self, settings: Pictures, folder: Path, ledger: Ledger, seed: int | None = None
    ) -> None:
        self._settings, self._folder, self._ledger = settings, folder, ledger
        self._quota = int(settings.quota_gib * 2**30)
        self._random = random.Random(seed)
        self._waiting: queue.Queue[tuple[Result, dict[int, Original], str] | None]
        self._waiting = queue.Queue(_WAITING)
        self.let_go, self.fault = 0, ""
        make_folder(folder)
        self._files = ledger.kept_pictures()  # the oldest first: (row, file, bytes)
        self._held = sum(size for _, _, size in self._files)
        self._remove_strays()
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def offer(self, result: Result, originals: dict[int, Original]) -> None:
        """Keeps a decided part's pictures where it is one to keep."""
        why = self._why(result)
        if why is None or not originals:
            return
        try:
            self._waiting.put_nowait((result, originals, why))
        except queue.Full:
            self.let_go += 1

    def close(self) -> None:
        """Returns when what waits is written."""
        self._waiting.put(None)
        self._thread.join()

    def _why(self, result: Result) -> str | None:
        # Drawn for every part, whatever became of it: the sample must be one of all parts.
        every = self._settings.sample
        if every and self._random.randrange(every) == 0:
            return "sample"
        if result.verdict is Verdict.REJECT:
            return "reject"
        if result.verdict is not Verdict.PASS or result.score is None or result.threshold is None:
            return None
        return (
            "near miss" if near(result.score, result.threshold, self._settings.near_miss) else None
        )

    def _run(self) -> None:
        while (held := self._waiting.get()) is not None:
            result, originals, why = held
            try:
                for view, original in originals.items():
                    self._keep(result.id, view, why, original)
                self.fault = ""
            except (InputError, OSError, MemoryError) as error:
                self.let_go += 1
                self.fault = str(error)

    def _keep(self, part: int, view: int, why: str, original: Original) -> None:
        from PIL import Image

        size = frame_size(original.pixels, original.pixel_format)
        pixels = preprocess(original.pixels, original.pixel_format, size, levels=original.levels)
        name = f"{time.strftime('%Y-%m-%d', time.gmtime())}/{part:010d}-{view}.png"
        file = self._folder / name
        make_folder(file.parent)
        with written_whole(file) as partial:
            Image.fromarray(pixels).save(partial, format="PNG", compress_level=1)
        count = file.stat().st_size
        row = self._ledger.keep_picture(part, view, why, name, count)
        if row is None:
            file.unlink(missing_ok=True)
            raise InputError("the ledger cannot be written")
        self._files.append((row, name, count))
        self._held += count
        self._make_room()

    def _make_room(self) -> None:
        gone = []
        while self._held > self._quota and self._files:
            row, name, count = self._files.pop(0)
            (self._folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self._folder / name).parent.rmdir()  # a day of which nothing is left
            self._held -= count
            gone.append(row)
        if gone:
            self._ledger.remove_pictures(gone)

    def _remove_strays(self) -> None:
        known = {name for _, name, _ in self._files}
        for file in self._folder.glob(_PATTERN):
            if file.relative_to(self._folder).as_posix() not in known:
                file.unlink(missing_ok=True)
        for left in self._folder.glob("*/.*.partial"):
            left.unlink(missing_ok=True)
        lost = [row for row, name, _ in self._files if not (self._folder / name).exists()]
        if lost:
            self._ledger.remove_pictures(lost)
            self._files = self._ledger.kept_pictures()
            self._held = sum(size for _, _, size in self._files)
        self._make_room()
