"""Pictures that are kept of a line: rejects, near misses, and a random sample; bounded."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import random
import threading
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from invad_fast.data.levels import Levels
from invad_fast.errors import InputError, first_line
from invad_fast.files import make_folder, written_whole
from invad_fast.inspection.ledger import Ledger
from invad_fast.inspection.part import Result
from invad_fast.inspection.preprocess import frame_size, preprocess
from invad_fast.inspection.recipe import Pictures, Recipe, near
from invad_fast.prediction import Verdict

_WAITING = 32  # parts whose pictures wait to be written; more are counted and let go
_ABANDONED = 3600.0  # seconds after which nobody is still writing a file


@dataclass(frozen=True)
class Original:
    """A frame as the camera gave it, and the range that it is scaled from, as it was scored."""

    pixels: np.ndarray
    pixel_format: str
    levels: Levels | None


@dataclass(frozen=True, eq=False)
class Pictured:
    """A result with the frames of its views, by number, and the recipe that it was decided by."""

    result: Result
    originals: dict[int, Original]
    recipe: Recipe


class PictureStore:
    """Writes pictures by a thread of its own; what it cannot take it counts, and waits for nothing.

    A picture has its row in the ledger before it has its name in the folder, so that no file is
    there that no row knows; a row whose file is not there (of a process that was killed) is told
    to be removed at the start. When the folder is full the oldest go, and their rows say when.
    Files of others, in the same folder, are left alone.

    Attributes:
        let_go: parts whose pictures could not be kept: too many waited, or the disk is full.
        fault: why the last could not be written; empty where it could.

    Args:
        folder: where the files go, one folder a day.
        seed: of the sample; None for another each time.

    Raises:
        InputError: where there can be no such folder.
    """

    def __init__(self, folder: Path, ledger: Ledger, seed: int | None = None) -> None:
        self._folder, self._ledger = folder, ledger
        self._quota = math.inf
        self._random = random.Random(seed)
        self._waiting: queue.Queue[tuple[Result, dict[int, Original], str] | None]
        self._waiting = queue.Queue(_WAITING)
        self.let_go, self.fault = 0, ""
        make_folder(folder)
        # Rows name files as seen from the ledger: both may be moved together.
        self._root = ledger.path.absolute().parent
        self._prefix = Path(os.path.relpath(folder.absolute(), self._root)).as_posix()
        self._find()
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def take(self, settings: Pictures) -> None:
        """The quota of the recipe that was taken up last holds from now on."""
        self._quota = settings.quota_gib * 2**30

    def offer(self, result: Result, originals: dict[int, Original], settings: Pictures) -> None:
        """Keeps a decided part's pictures where its recipe's settings say so."""
        why = self._why(result, settings)
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

    def _why(self, result: Result, settings: Pictures) -> str | None:
        # Drawn for every part, whatever became of it: the sample must be one of all parts.
        every = settings.sample
        if every and self._random.randrange(every) == 0:
            return "sample"
        if result.verdict is Verdict.REJECT:
            return "reject"
        if result.verdict is not Verdict.PASS or result.score is None or result.threshold is None:
            return None
        return "near miss" if near(result.score, result.threshold, settings.near_miss) else None

    def _run(self) -> None:
        while (held := self._waiting.get()) is not None:
            result, originals, why = held
            try:
                for view, original in originals.items():
                    self._keep(result.id, view, why, original)
                self.fault = ""
            except Exception as error:  # whatever it is, the next part's are another matter
                self.let_go += 1
                self.fault = first_line(error)

    def _keep(self, part: int, view: int, why: str, original: Original) -> None:
        from PIL import Image

        size = frame_size(original.pixels, original.pixel_format)
        pixels = preprocess(original.pixels, original.pixel_format, size, levels=original.levels)
        day = self._folder / time.strftime("%Y-%m-%d", time.gmtime())
        make_folder(day)
        stem = f"{part:010d}-{view}"
        file = day / f"{stem}.png"
        for again in count(2):  # another ledger may keep its pictures here
            if not file.exists():
                break
            file = day / f"{stem}-{again}.png"
        name = f"{self._prefix}/{day.name}/{file.name}"
        with written_whole(file) as partial:
            Image.fromarray(pixels).save(partial, format="PNG", compress_level=1)
            held = partial.stat().st_size
            row = self._ledger.keep_picture(part, view, why, name, held)
            if row is None:
                raise InputError("the ledger cannot be written")
        self._files.append((row, name, held))
        self._held += held
        self._make_room()

    def _make_room(self) -> None:
        gone = []
        while self._held > self._quota and self._files:
            row, name, count = self._files.pop(0)
            (self._root / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self._root / name).parent.rmdir()  # a day of which nothing is left
            self._held -= count
            gone.append(row)
        if gone:
            self._ledger.remove_pictures(gone)

    def _find(self) -> None:
        """What is kept here by its rows; rows whose file is gone are told so."""
        for left in self._folder.glob("[0-9]*-[0-9]*-[0-9]*/.*.partial"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()
        rows = [row for row in self._ledger.kept_pictures() if self._is_here(row[1])]
        lost = {row for row, name, _ in rows if not (self._root / name).exists()}
        if lost:
            self._ledger.remove_pictures(sorted(lost))
        self._files = [row for row in rows if row[0] not in lost]  # the oldest first
        self._held = sum(size for _, _, size in self._files)

    def _is_here(self, name: str) -> bool:
        return name.startswith(self._prefix + "/")
