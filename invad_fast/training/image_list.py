"""The images of a run: which they are, and whether they are still the same.

An image is known by its path below the data set's folder and by a hash of its file. Reading all
files costs little beside decoding them, and is done once: a file whose size and times are those of
the list has the content of the list. A data set that was moved or copied is read once more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from hashlib import blake2b
from pathlib import Path

from invad_fast.data import Record
from invad_fast.names import visible

_CHUNK = 2**20


@dataclass(frozen=True)
class ListedImage:
    """One image as the run took it.

    Attributes:
        path: below the data set's folder, with forward slashes.
        byte_count, modified_ns, changed_ns: of the file, as the operating system has them.
        content: a hash of the file, in hexadecimal; empty where it cannot be read.
    """

    path: str
    byte_count: int
    modified_ns: int
    changed_ns: int
    content: str


@dataclass(frozen=True)
class ImageList:
    """All images of a run in the order of their records."""

    images: tuple[ListedImage, ...] = ()

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        root: Path,
        earlier: ImageList,
        workers: int,
        progress: Callable[[int, int], None],
    ) -> ImageList:
        """Lists the images of ``records``; those that ``earlier`` knows unchanged are not read.

        Args:
            root: of the data set.
            workers: threads that read.
            progress: called with (images done, images in all).
        """
        known = {image.path: image for image in earlier.images}

        def listed(record: Record) -> ListedImage:
            path = path_below(record.image, root)
            return _listed(record.image, path, known.get(path))

        images = []
        with ThreadPoolExecutor(max(1, workers)) as pool:
            try:
                for image in pool.map(listed, records):
                    images.append(image)
                    progress(len(images), len(records))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return cls(tuple(images))

    @property
    def digest(self) -> str:
        """A hash of all paths and contents, in hexadecimal."""
        what = [(image.path, image.content) for image in self.images]
        return blake2b(json.dumps(what).encode(), digest_size=16).hexdigest()

    def difference(self, other: ImageList) -> str:
        """How ``other`` differs, in words: how many images, and the first of them."""
        mine = {image.path: image.content for image in self.images}
        theirs = {image.path: image.content for image in other.images}
        found = {
            "changed": [p for p in mine if p in theirs and theirs[p] != mine[p]],
            "gone": [p for p in mine if p not in theirs],
            "new": [p for p in theirs if p not in mine],
        }
        told = [
            f"{len(paths)} {what} ({visible(paths[0])}{', …' if len(paths) > 1 else ''})"
            for what, paths in found.items()
            if paths
        ]
        return f"of {len(self.images)} images " + (", ".join(told) or "the order is another")

    def to_json(self) -> str:
        return json.dumps([astuple(image) for image in self.images])

    @classmethod
    def from_json(cls, text: str) -> ImageList:
        """What `to_json` wrote; an empty list for anything else: it only saves time and words."""
        try:
            images = tuple(ListedImage(*fields) for fields in json.loads(text))
            return cls(images) if all(isinstance(i.path, str) for i in images) else cls()
        except (ValueError, TypeError):
            return cls()


def path_below(image: Path, root: Path) -> str:
    """The image's path below the folder, with forward slashes."""
    try:
        return Path(os.path.relpath(image, root)).as_posix()
    except ValueError:  # on another drive
        return image.as_posix()


def _listed(file: Path, path: str, known: ListedImage | None) -> ListedImage:
    try:
        with open(file, "rb") as stream:
            now = os.fstat(stream.fileno())
            times = (now.st_size, now.st_mtime_ns, now.st_ctime_ns)
            if known and times == (known.byte_count, known.modified_ns, known.changed_ns):
                return known
            content = blake2b(digest_size=16)
            while chunk := stream.read(_CHUNK):
                content.update(chunk)
    except OSError:
        return ListedImage(path, 0, 0, 0, "")  # decoding it tells the user
    return ListedImage(path, *times, content.hexdigest())
