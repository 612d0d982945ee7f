"""Image files as pictures, decoded ahead; a file that cannot be read is a damaged frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from invad_fast.data.levels import Levels
from invad_fast.errors import InputError
from invad_fast.inspection.part import Reason
from invad_fast.inspection.sources.picture import Picture

_AHEAD = 2  # files that are decoded while one is inspected; each may have 100 MB


def read_picture(file: Path, levels: Levels | None) -> Picture:
    """The picture of a file; its part is called as the file is."""
    from invad_fast.data.images import load_image  # imports PIL, which takes its time

    try:
        return Picture(file.stem, load_image(file, None, levels), image=str(file))
    except InputError as error:
        reason = Reason.DAMAGED_FRAME
        return Picture(file.stem, None, reason=reason, detail=str(error), image=str(file))


class ImageFiles:
    """The files, in the order given.

    Args:
        levels: of images of more than 8 bits, see :class:`invad_fast.prediction.ScoreRule`.
    """

    at_once: int | None = 2

    def __init__(self, files: Iterable[Path], levels: Levels | None = None) -> None:
        self._files, self._levels, self._stopped = files, levels, False

    def __iter__(self) -> Iterator[Picture]:
        coming: deque[Future[Picture]] = deque()
        with ThreadPoolExecutor(_AHEAD, "decode") as pool:
            for file in self._files:
                coming.append(pool.submit(read_picture, file, self._levels))
                if len(coming) > _AHEAD:
                    yield coming.popleft().result()
                if self._stopped:
                    break
            while coming and not self._stopped:
                yield coming.popleft().result()

    def stop(self) -> None:
        """No further file is inspected."""
        self._stopped = True
