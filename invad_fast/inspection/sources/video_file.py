"""The frames of a video file as pictures, one a frame or one in n."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from invad_fast.errors import InputError, first_line
from invad_fast.files import check_file
from invad_fast.inspection.part import Reason
from invad_fast.inspection.sources.picture import Picture


class VideoFile:
    """Every ``step``-th frame, called ``<file>#<number of the frame>``.

    A part of the file that cannot be decoded is one damaged frame, the last one.

    Raises:
        InputError: where PyAV is not installed, or the file holds no video.
    """

    at_once: int | None = 2

    def __init__(self, file: Path, step: int = 1) -> None:
        check_file(file, "no video {}")
        try:
            import av
        except ImportError:
            raise InputError("video files need PyAV: pip install 'invad-fast[line]'") from None
        self._error = av.error.FFmpegError
        try:
            with av.open(str(file)) as container:
                if not container.streams.video:
                    raise InputError(f"{file} holds no video")
        except self._error as error:
            raise InputError(f"{file} is no video that can be read: {first_line(error)}") from None
        self._file, self._step, self._stopped = file, step, False

    def __iter__(self) -> Iterator[Picture]:
        import av

        number = 0
        try:
            with av.open(str(self._file)) as container:
                container.streams.video[0].thread_type = "AUTO"
                for number, frame in enumerate(container.decode(video=0)):
                    if self._stopped:
                        return
                    if number % self._step == 0:
                        pixels = frame.to_ndarray(format="rgb24")
                        yield Picture(self._name(number), pixels, image=str(self._file))
        except self._error as error:
            yield Picture(
                self._name(number + 1), None, reason=Reason.DAMAGED_FRAME,
                detail=first_line(error), image=str(self._file),
            )  # fmt: skip

    def _name(self, number: int) -> str:
        return f"{self._file.stem}#{number}"

    def stop(self) -> None:
        """No further frame is inspected."""
        self._stopped = True
