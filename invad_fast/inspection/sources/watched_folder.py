"""A folder that files are dropped into: each is a picture as soon as it is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from invad_fast.data.levels import Levels
from invad_fast.errors import InputError
from invad_fast.inspection.sources.image_files import read_picture
from invad_fast.inspection.sources.picture import Picture

SETTLED = 0.15
"""Seconds that a file must be left alone before it is read."""

PATIENCE = 5.0
"""Seconds after its last change that a file which cannot be read is still waited for: whoever
writes it may pause. Then it is a damaged frame."""


_GONE = 100_000  # files that were taken away, and are known all the same: a share may come back


@dataclass
class _Change:
    """A file that was not yet the same for long enough: as it is now, and since when."""

    state: tuple[int, int]
    since: float


class WatchedFolder:
    """The images directly in a folder: those that come, and first those that are there.

    A file that is still being written is waited for. One that is written again under the same
    name is a picture of its own. Names that begin with a dot are left alone: programs write
    under them what they rename in the end.

    Args:
        folder: must be there.
        levels: of images of more than 8 bits.
        existing: whether to begin with the files that are there.

    Raises:
        InputError: where there is no such folder, or watchfiles is not installed.
    """

    at_once: int | None = 2

    def __init__(self, folder: Path, levels: Levels | None = None, existing: bool = True) -> None:
        if not folder.is_dir():
            raise InputError(f"no folder {folder} to watch: make it first")
        try:
            import watchfiles  # noqa: F401
        except ImportError:
            raise InputError(
                "watching a folder needs watchfiles: pip install 'invad-fast[line]'"
            ) from None
        self._folder, self._levels, self._existing = folder, levels, existing
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends the watch; files that are being written are left."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Picture]:
        from watchfiles import watch

        changed: dict[Path, _Change] = {}
        done: dict[Path, tuple[int, int]] = {}
        for file in self._files():
            if self._existing:
                changed[file] = _Change(_state(file), time.monotonic())
            else:
                done[file] = _state(file)
        # The first turn comes at once, so that files from before the watch are not missed.
        events = watch(
            self._folder, recursive=False, stop_event=self._stopped, debounce=50, step=20,
            rust_timeout=50, yield_on_timeout=True, raise_interrupt=False,
        )  # fmt: skip
        looked = 0.0
        for found in events:
            now = time.monotonic()
            names = {Path(name) for _, name in found}
            if now - looked > 1:  # the system may drop events under load
                there = self._files()
                looked, names = now, names.union(there)
                _forget(done, there)
            for file in names:
                if _is_image_name(file) and file.is_file() and done.get(file) != _state(file):
                    changed.setdefault(file, _Change(_state(file), now))
            for file, picture in self._written(changed, now):
                done[file] = changed.pop(file).state
                yield picture

    def _written(self, changed: dict[Path, _Change], now: float) -> Iterator[tuple[Path, Picture]]:
        for file in sorted(changed):
            change, state = changed[file], _state(file)
            if state == _NONE:  # it was taken away again
                del changed[file]
                continue
            # Times of files are compared with each other alone: the clock of a share, or one that
            # was set, makes ages of any size.
            if state != change.state:
                change.state, change.since = state, now
            quiet = now - change.since
            if quiet < SETTLED:
                continue
            picture = read_picture(file, self._levels)
            if picture.frame is None and quiet < PATIENCE:
                continue
            yield file, picture

    def _files(self) -> list[Path]:
        return sorted(f for f in self._folder.iterdir() if _is_image_name(f) and f.is_file())


def _is_image_name(file: Path) -> bool:
    from invad_fast.data.layouts.listing import is_document

    return not file.name.startswith(".") and not is_document(file.name)


_NONE = (0, 0)


def _forget(done: dict[Path, tuple[int, int]], there: list[Path]) -> None:
    """Bounds what is kept of files that were taken away: the oldest go first."""
    excess = len(done) - len(there) - _GONE
    if excess > 0:
        kept = set(there)
        for file in [file for file in done if file not in kept][:excess]:
            del done[file]


def _state(file: Path) -> tuple[int, int]:
    """What changes when a file is written again."""
    try:
        found = file.stat()
    except OSError:
        return _NONE
    return found.st_mtime_ns, found.st_size
