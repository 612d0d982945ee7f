"""Resized images kept on disk, so that every epoch but the first is free of decoding.

One file a list of images and a size: the uint8 pixels of every image, then a line of JSON (for
every image its path, byte count, modification time and content hash), then that line's length
in 8 bytes. It is mapped into memory: the operating system keeps what fits there, shared between
worker processes.
"""

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from invad_fast.data.images import Size, load_image
from invad_fast.data.record import Record
from invad_fast.errors import InputError

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

_FORMAT = 1
_PER_IMAGE = 128  # bytes at most for an image's entry in the line of JSON, besides its path


class ResizedCache:
    """The resized images of one list of records, in its order; made by `build_cache`.

    May hold fewer images than the list, the first ``cached`` ones (the bound on its bytes):
    `get` is None for the others. Worker processes open the file themselves, however started.
    """

    def __init__(self, file: Path, size: Size, total: int, cached: int) -> None:
        self.file = file
        self.size = size
        self.cached = cached
        self._total = total
        self._pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return self._total

    def get(self, index: int) -> np.ndarray | None:
        """uint8 H x W x 3 of image ``index``, read-only; None where it is not in the cache."""
        if not 0 <= index < self.cached:
            return None
        if self._pixels is None:
            self._pixels = np.memmap(self.file, np.uint8, "r", 0, (self.cached, *self.size, 3))
        row: np.ndarray = self._pixels[index]
        return row

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pixels": None}


@dataclass(frozen=True)
class _Entry:
    """What tells whether an image file is still the one that was decoded."""

    path: str
    byte_count: int
    modified_ns: int
    content: str


def build_cache(
    records: Iterable[Record],
    size: Size,
    folder: str | Path,
    max_bytes: int = 20 * 2**30,
    progress: Progress | None = None,
    workers: int | None = None,
    verify: bool = False,
) -> ResizedCache:
    """The cache of these images in ``folder``, made or brought up to date as needed.

    An image is taken from the earlier file where its byte count and modification time are the
    same (``verify`` distrusts them and reads every file), or else where its content is; the
    others are decoded by ``workers`` threads. The new file replaces the old one in one step: a
    kill at any moment leaves a whole file or none. Images beyond ``max_bytes`` are left out, and
    other caches in the folder are removed, the longest unused first, until all fit into it.
    Raises `InputError` naming an unreadable image, or a folder that cannot be written.
    """
    paths = [os.path.abspath(record.image) for record in records]
    folder = Path(folder)
    file = folder / f"resized-{_key(paths, size)}.u8"
    fitting = _fitting(paths, size, max_bytes)
    old = _read_entries(file, size)
    known = [
        _still_valid(path, entry, verify)
        for path, entry in itertools.zip_longest(paths[:fitting], old[:fitting])
    ]
    if known != old or not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _require_room(folder, fitting * _row_bytes(size))
            _write(file, paths[:fitting], size, known, progress, workers)
        except OSError as error:
            raise InputError(f"{folder}: the image cache cannot be written ({error})") from None
    elif progress is not None:
        progress(fitting, fitting)
    os.utime(file)
    _remove_others(folder, file, max_bytes)
    return ResizedCache(file, size, len(paths), fitting)


def _key(paths: Sequence[str], size: Size) -> str:
    told = "\n".join([f"{_FORMAT} {PIL.__version__} {size[0]}x{size[1]}", *paths])
    return blake2b(told.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()


def _row_bytes(size: Size) -> int:
    return size[0] * size[1] * 3


def _fitting(paths: Sequence[str], size: Size, max_bytes: int) -> int:
    """How many of the first images fit into ``max_bytes``, their entries included."""
    # JSON writes a character outside ASCII as up to twelve
    entry_bytes = np.array([12 * len(path) + _PER_IMAGE for path in paths], dtype=np.int64)
    return int(np.searchsorted(np.cumsum(entry_bytes + _row_bytes(size)), max_bytes, "right"))


def _read_entries(file: Path, size: Size) -> list[_Entry]:
    """The entries of an earlier cache file; none where there is no file, or not a whole one."""
    try:
        with open(file, "rb") as stream:
            end = stream.seek(-8, os.SEEK_END)
            length = int.from_bytes(stream.read(8), "little")
            stream.seek(end - length)
            entries = [_Entry(*fields) for fields in json.loads(stream.read(length))]
        return entries if end - length == len(entries) * _row_bytes(size) else []
    except (OSError, ValueError, TypeError):
        return []


def _still_valid(path: str, entry: _Entry | None, verify: bool) -> _Entry | None:
    """The entry to keep for the image at ``path``; None where it must be decoded."""
    if entry is None:
        return None
    try:
        now = os.stat(path)
        if not verify and (entry.byte_count, entry.modified_ns) == (now.st_size, now.st_mtime_ns):
            return entry
        fresh = _entry(path)
    except OSError:
        return None  # decoding it tells the user
    return fresh if fresh.content == entry.content else None


def _entry(path: str) -> _Entry:
    with open(path, "rb") as stream:
        about = os.fstat(stream.fileno())
        content = blake2b(stream.read(), digest_size=16).hexdigest()
    return _Entry(path, about.st_size, about.st_mtime_ns, content)


def _write(
    file: Path,
    paths: Sequence[str],
    size: Size,
    known: Sequence[_Entry | None],
    progress: Progress | None,
    workers: int | None,
) -> None:
    """Writes the new file beside the old one, then puts it in its place."""
    row_bytes = _row_bytes(size)
    entries = list(known)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".resized-", delete=False) as new:
        try:
            previous = ResizedCache(file, size, len(paths), len(_read_entries(file, size)))

            def fill(index: int) -> None:
                entry = entries[index] = known[index] or _decodable(paths[index])
                pixels = previous.get(index) if known[index] else load_image(entry.path, size)
                assert pixels is not None, "a known entry is one of the earlier file's"
                os.pwrite(new.fileno(), pixels.tobytes(), index * row_bytes)

            with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
                try:
                    for done, _ in enumerate(pool.map(fill, range(len(paths))), 1):
                        if progress is not None:
                            progress(done, len(paths))
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
            line = json.dumps([list(vars(entry).values()) for entry in entries if entry]).encode()
            new.seek(len(paths) * row_bytes)
            new.write(line + len(line).to_bytes(8, "little"))
            new.truncate()
            new.flush()
            os.fsync(new.fileno())
            os.replace(new.name, file)
        except BaseException:
            os.unlink(new.name)
            raise


def _require_room(folder: Path, needed: int) -> None:
    """Tells of a disk too full before the hours of decoding, not after."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: the image cache needs {needed / 2**30:.1f} GiB, but only "
            f"{free / 2**30:.1f} GiB are free; give another folder or a smaller bound"
        )


def _decodable(path: str) -> _Entry:
    try:
        return _entry(path)
    except OSError:
        load_image(path)  # raises the line that names the file
        raise


def _remove_others(folder: Path, kept: Path, max_bytes: int) -> None:
    files = sorted(folder.glob("resized-*.u8"), key=lambda f: f.stat().st_mtime, reverse=True)
    room = max_bytes - kept.stat().st_size
    for file in files:
        if file != kept:
            room -= file.stat().st_size
            if room < 0:
                file.unlink()
