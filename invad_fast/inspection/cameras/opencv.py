"""USB cameras and RTSP streams through OpenCV.

OpenCV numbers no frames and knows no camera's clock: a frame that was lost on the way leaves no
trace but a pause, so a line that must account for each part wants a GenICam camera.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from invad_fast.errors import InputError, first_line
from invad_fast.inspection.cameras.camera import CameraError, Captured, Found
from invad_fast.inspection.recipe import CameraSettings

_OPENS = 5.0  # seconds that a stream has to begin


def _opencv() -> Any:
    before = dict(os.environ)
    try:
        cv2: Any = import_module("cv2")
    except ImportError:
        raise InputError(
            "USB and RTSP cameras need OpenCV: pip install 'invad-fast[opencv]'"
        ) from None
    for name in os.environ.keys() - before.keys():
        del os.environ[name]  # its own libraries' folders are no matter of programs that we start
    os.environ.update(before)
    if "OPENCV_FFMPEG_LOGLEVEL" not in os.environ:
        os.putenv("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else FFmpeg writes to our standard error
    quiet = cv2.utils.logging  # what fails is said by us, once
    quiet.setLogLevel(quiet.LOG_LEVEL_SILENT)
    return cv2


class OpencvCamera:
    """See :class:`invad_fast.inspection.cameras.camera.Camera`. Frames are BGR8, or Mono8."""

    def __init__(self, settings: CameraSettings) -> None:
        self._cv2, self._settings = _opencv(), settings
        if settings.trigger != "free":
            raise InputError(
                f"cameras of kind {settings.kind!r} run freely: trigger {settings.trigger!r} needs "
                "kind 'genicam'"
            )
        if settings.pixel_format not in (None, "BGR8", "Mono8"):
            raise InputError(f"OpenCV gives BGR8 or Mono8, not {settings.pixel_format}")
        if settings.kind == "rtsp" and not settings.address:
            raise InputError("an rtsp camera needs an address: rtsp://HOST/PATH")
        self._capture: Any = None

    @property
    def _name(self) -> str:
        kind, address = self._settings.kind, self._address
        return address if kind == "rtsp" else f"{kind} camera {address}"

    @property
    def _address(self) -> str:
        return self._settings.address or "0"

    def open(self) -> None:
        """Begins the stream; exposure and gain where the driver takes them."""
        self.close()
        cv2, settings = self._cv2, self._settings
        if settings.kind == "rtsp":
            patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1e3 * _OPENS),
                        cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(settings.timeout_ms)]  # fmt: skip
            self._capture = cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, patience)
        else:
            number = int(self._address) if self._address.isdigit() else self._address
            self._capture = cv2.VideoCapture(number, cv2.CAP_V4L2 if _is_linux() else cv2.CAP_ANY)
        if not self._capture.isOpened():
            self.close()
            raise CameraError(f"{self._name} does not answer")
        for name, value in (("EXPOSURE", settings.exposure_us), ("GAIN", settings.gain)):
            if value is not None and not self._capture.set(getattr(cv2, f"CAP_PROP_{name}"), value):
                raise InputError(f"{self._name} does not take {name.lower()} through OpenCV")

    def trigger(self) -> None:
        """There is none."""
        raise InputError("OpenCV triggers no camera")

    def read(self, timeout: float) -> Captured | None:
        """The next frame; the driver itself waits, for the settings' timeout."""
        if self._capture is None:
            raise CameraError(f"{self._name} is not open")
        try:
            came, pixels = self._capture.read()
        except self._cv2.error as error:
            raise CameraError(f"{self._name}: {first_line(error)}") from None
        if not came:
            raise CameraError(f"{self._name} sends no more")
        name = "BGR8" if pixels.ndim == 3 else "Mono8"
        if self._settings.pixel_format == "Mono8" and name == "BGR8":
            pixels, name = self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2GRAY), "Mono8"
        return Captured(pixels, name, received_at=time.monotonic())

    def close(self) -> None:
        """Ends the stream."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def find() -> list[Found]:
    """USB cameras of this machine, by their device files."""
    _opencv()
    if not _is_linux():
        raise InputError("USB cameras are listed on Linux alone; their numbers start at 0")
    found = []
    for device in sorted(Path("/sys/class/video4linux").glob("video*")):
        # A camera's other device files give no pictures but what is known about them.
        if (device / "index").read_text().strip() == "0":
            name = (device / "name").read_text().strip()
            found.append(Found("usb", f"/dev/{device.name}", name=name))
    return found


def _is_linux() -> bool:
    return sys.platform == "linux"
