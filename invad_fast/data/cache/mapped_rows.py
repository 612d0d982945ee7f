"""Rows of bytes on disk, one for every image of a list, each valid while its image is unchanged.

One file: the rows, then a line of JSON (for every image its path, byte count, modification time
and content hash), then that line's length in 8 bytes. It is mapped into memory: the operating
system keeps what fits there, shared between all processes of the machine.
"""

import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from invad_fast.data.images import load_image
from invad_fast.distributed import ALONE, World
from invad_fast.errors import InputError

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

_FORMAT = 2
_PER_IMAGE = 128  # bytes at most for an image's entry in the line of JSON, besides its path
_MISSING = -1  # the byte count noted of an image that could not be read
_ABANDONED = 24 * 3600  # seconds after which an unfinished file is nobody's any more


class MappedRows:
    """The rows of one list of images, in its order; made by `keep_rows`.

    May hold fewer rows than the list, the first ``kept`` ones (the bound on its bytes), and none
    for the images in ``missing``, which could not be read.
    Other processes open the file themselves, however started.
    """

    def __init__(
        self,
        file: Path,
        row_bytes: int,
        total: int,
        kept: int,
        missing: frozenset[int] = frozenset(),
    ) -> None:
        self.file = file
        self.row_bytes = row_bytes
        self.kept = kept
        self.missing = missing
        self._total = total
        self._rows: np.ndarray | None = None

    def __len__(self) -> int:
        return self._total

    @property
    def rows(self) -> np.ndarray:
        """uint8 kept x row_bytes, read-only."""
        if self._rows is None:
            shape = (self.kept, self.row_bytes)
            empty = not self.kept  # which cannot be mapped
            self._rows = (
                np.empty(shape, np.uint8)
                if empty
                else np.memmap(self.file, np.uint8, "r", 0, shape)
            )
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rows": None}


@dataclass(frozen=True)
class _Entry:
    """What tells whether an image file is still the one that a row was made of."""

    path: str
    byte_count: int
    modified_ns: int
    content: str


@dataclass(frozen=True)
class _Plan:
    """What there is to do: the unfinished file, and the entries whose rows it takes over."""

    unfinished: Path
    known: tuple[_Entry | None, ...]


class RowWriter:
    """Takes the rows that this process makes, from any thread."""

    def __init__(
        self, stream: Any, paths: Sequence[str], row_bytes: int, tell: Callable[[int], None]
    ) -> None:
        self.entries: dict[int, _Entry] = {}
        self._stream, self._paths, self._row_bytes, self._tell = stream, paths, row_bytes, tell
        self._lock = threading.Lock()
        self._stored = 0

    def opening(self, index: int) -> None:
        """To be called before image ``index`` is read: a change in between is then noticed."""
        self.entries[index] = _readable(self._paths[index])

    def store(self, index: int, row: np.ndarray) -> None:
        """Writes the row of image ``index``."""
        os.pwrite(self._stream.fileno(), row.tobytes(), index * self._row_bytes)
        self._done()

    def miss(self, index: int) -> None:
        """Notes that image ``index`` cannot be read: it has no row, and is tried the next time."""
        self.entries[index] = _Entry(self._paths[index], _MISSING, 0, "")
        self._done()

    def _done(self) -> None:
        with self._lock:
            self._stored += 1
            self._tell(self._stored)


def keep_rows(
    folder: Path,
    name: str,
    paths: Sequence[str],
    row_bytes: int,
    compute: Callable[[list[int], RowWriter], None],
    *,
    max_bytes: int,
    progress: Progress | None = None,
    verify: bool = False,
    world: World = ALONE,
) -> MappedRows:
    """The rows of the images at ``paths`` in ``folder``, made or brought up to date as needed.

    A row is taken from the earlier file where its image's byte count and modification time are
    the same (``verify`` distrusts them and reads every file), or else where its content is.
    ``compute`` makes the others: it is called with their indices, and for each calls
    ``opening``, reads the image, and calls ``store``, or ``miss`` to go on without it. The
    processes of a machine share them. The new file replaces the old one in one step: a kill at
    any moment leaves a whole file or none. Images beyond ``max_bytes`` are left out, and other
    caches in the folder are removed, the longest unused first, until all fit into it.

    Args:
        name: of the kind of rows, and of all that fixes them besides the images:
            ``kind-and-what-fixes-it``.

    Raises:
        InputError: naming an unreadable image, or a folder that cannot be written.
    """
    kind = name.partition("-")[0]
    told = "\n".join([f"{_FORMAT} {name} {row_bytes}", *paths])
    key = blake2b(told.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()
    file = folder / f"{kind}-{key}.rows"
    fitting = fitting_rows(paths, row_bytes, max_bytes)
    try:
        plan = world.on_machine(lambda: _plan(file, paths[:fitting], row_bytes, verify))
        if plan is not None:
            _write(file, paths[:fitting], row_bytes, plan, compute, progress, world)
        elif progress is not None:
            progress(fitting, fitting)
        if world.leads_machine:
            os.utime(file)
            _remove_others(folder, file, max_bytes)
    except OSError as error:
        raise InputError(f"{folder}: the cache cannot be written ({error})") from None
    world.wait()
    # A file with rows missing is never up to date, so that there was a plan.
    written = [] if plan is None else _read_entries(file, row_bytes)
    missing = (i for i, entry in enumerate(written) if entry.byte_count == _MISSING)
    return MappedRows(file, row_bytes, len(paths), fitting, frozenset(missing))


def fitting_rows(paths: Sequence[str], row_bytes: int, max_bytes: int) -> int:
    """How many of the first images' rows fit into ``max_bytes``, their entries included."""
    # JSON writes a character outside ASCII as up to twelve
    entry_bytes = np.array([12 * len(path) + _PER_IMAGE for path in paths], dtype=np.int64)
    return int(np.searchsorted(np.cumsum(entry_bytes + row_bytes), max_bytes, "right"))


def _plan(file: Path, paths: Sequence[str], row_bytes: int, verify: bool) -> _Plan | None:
    """What has to be written; None where the file is up to date."""
    old = _read_entries(file, row_bytes)
    pairs = itertools.zip_longest(paths, old[: len(paths)])
    known = [_still_valid(path, entry, verify) for path, entry in pairs]
    if known == old and file.exists():
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in file.parent.glob(".*.unfinished"):
        if abandoned.stat().st_mtime < time.time() - _ABANDONED:
            abandoned.unlink(missing_ok=True)
    _require_room(file.parent, len(paths) * row_bytes)
    handle, unfinished = tempfile.mkstemp(".unfinished", f".{file.stem}-", file.parent)
    os.close(handle)
    return _Plan(Path(unfinished), tuple(known))


def _read_entries(file: Path, row_bytes: int) -> list[_Entry]:
    """The entries of an earlier file; none where there is no file, or not a whole one."""
    try:
        with open(file, "rb") as stream:
            end = stream.seek(-8, os.SEEK_END)
            length = int.from_bytes(stream.read(8), "little")
            stream.seek(end - length)
            entries = [_Entry(*fields) for fields in json.loads(stream.read(length))]
        return entries if end - length == len(entries) * row_bytes else []
    except (OSError, ValueError, TypeError):
        return []


def _still_valid(path: str, entry: _Entry | None, verify: bool) -> _Entry | None:
    """The entry to keep for the image at ``path``; None where its row must be made."""
    if entry is None:
        return None
    try:
        now = os.stat(path)
        if not verify and (entry.byte_count, entry.modified_ns) == (now.st_size, now.st_mtime_ns):
            return entry
        fresh = _entry(path)
    except OSError:
        return None  # reading the image tells the user
    return fresh if fresh.content == entry.content else None


def _entry(path: str) -> _Entry:
    with open(path, "rb") as stream:
        about = os.fstat(stream.fileno())
        content = blake2b(stream.read(), digest_size=16).hexdigest()
    return _Entry(path, about.st_size, about.st_mtime_ns, content)


def _readable(path: str) -> _Entry:
    try:
        return _entry(path)
    except OSError:
        load_image(path)  # raises the line that names the file
        raise


def _write(
    file: Path,
    paths: Sequence[str],
    row_bytes: int,
    plan: _Plan,
    compute: Callable[[list[int], RowWriter], None],
    progress: Progress | None,
    world: World,
) -> None:
    """Writes the new file beside the old one, each process its share, then puts it in place."""
    missing = [index for index, entry in enumerate(plan.known) if entry is None]
    taken = len(paths) - len(missing)

    def tell(stored: int) -> None:
        if progress is not None:
            progress(min(taken + stored * world.local_size, len(paths)), len(paths))

    try:
        with open(plan.unfinished, "r+b") as stream:
            if world.leads_machine and taken:
                _take_over(file, stream, row_bytes, plan.known)
            writer = RowWriter(stream, paths, row_bytes, tell)
            compute(missing[world.local_rank :: world.local_size], writer)
            stream.flush()
            made = world.gather_on_machine(writer.entries)
            if world.leads_machine:
                entries = dict(enumerate(plan.known)) | {i: e for m in made for i, e in m.items()}
                listed = [list(vars(entries[i]).values()) for i in range(len(paths))]
                line = json.dumps(listed).encode()
                stream.seek(len(paths) * row_bytes)
                stream.write(line + len(line).to_bytes(8, "little"))
                stream.flush()
                os.fsync(stream.fileno())
                os.replace(plan.unfinished, file)
    except BaseException:
        if world.leads_machine:
            plan.unfinished.unlink(missing_ok=True)
        raise


def _take_over(file: Path, stream: Any, row_bytes: int, known: Sequence[_Entry | None]) -> None:
    """Copies the rows that are still valid from the earlier file."""
    count = len(_read_entries(file, row_bytes))
    earlier = MappedRows(file, row_bytes, count, count).rows
    for index, entry in enumerate(known):
        if entry is not None:
            os.pwrite(stream.fileno(), earlier[index].tobytes(), index * row_bytes)


def _require_room(folder: Path, needed: int) -> None:
    """Tells of a disk too full before the hours of decoding, not after."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: the cache needs {needed / 2**30:.1f} GiB, but only "
            f"{free / 2**30:.1f} GiB are free; give another folder or a smaller bound"
        )


def _remove_others(folder: Path, kept: Path, max_bytes: int) -> None:
    files = sorted(folder.glob("*-*.rows"), key=lambda f: f.stat().st_mtime, reverse=True)
    room = max_bytes - kept.stat().st_size
    for file in files:
        if file != kept:
            room -= file.stat().st_size
            if room < 0:
                file.unlink()
