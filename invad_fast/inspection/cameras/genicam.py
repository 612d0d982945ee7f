"""GenICam cameras, GigE Vision and USB3 Vision, through Aravis (Debian: gir1.2-aravis-0.8).

Frames lie in memory that is ours and that Aravis fills: they are handed over without a copy.
Sources: the Aravis reference, https://aravisproject.github.io/aravis/aravis-stable, and the GenICam
Standard Features Naming Convention (EMVA).
"""

from __future__ import annotations

import contextlib
import time
from functools import lru_cache
from typing import Any

import numpy as np

from invad_fast.errors import InputError
from invad_fast.inspection.cameras.camera import CameraError, Captured, Found
from invad_fast.inspection.part import Reason
from invad_fast.inspection.pixel_formats import PIXEL_FORMATS
from invad_fast.inspection.recipe import CameraSettings

_BUFFERS = 8  # frames that may be under way; when all are, the camera's count shows what was lost
_VERSION_REGISTER = 0  # of GigE Vision; read to see whether the camera is there
_QUIET = 1.0  # seconds without a frame after which it is asked
_WARM_UP = 3  # triggers whose frame may be missing after a start (aravis #818)


@lru_cache(maxsize=1)
def _aravis() -> Any:
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ImportError, ValueError):
        raise InputError(
            "GenICam cameras need Aravis: apt-get install python3-gi gir1.2-aravis-0.8, and an "
            "environment that sees Debian's packages (docs/cameras.md)"
        ) from None
    Aravis.disable_interface("Fake")
    return Aravis


def _errors() -> type[Exception]:
    from gi.repository import GLib

    error: type[Exception] = GLib.Error
    return error


def _said(error: Any) -> str:
    """The library's sentence, without the name and the number of its error."""
    return str(error.message).splitlines()[0] if error.message else str(error)


class _Stream:
    """A stream and the memory that it fills: whoever holds a frame holds this.

    Attributes:
        memory: buffer → its bytes.
    """

    def __init__(self, aravis: Any, camera: Any, size: int) -> None:
        self.stream = camera.create_stream(None, None)
        self.memory: dict[Any, np.ndarray] = {}
        for _ in range(0 if self.stream is None else _BUFFERS):
            memory = np.empty(size, np.uint8)
            buffer = aravis.Buffer.new(size, memory.ctypes.data)
            self.memory[buffer] = memory
            self.stream.push_buffer(buffer)

    def __del__(self) -> None:
        self.stream = None  # ends the thread that writes to the memory, which goes after it


class GenicamCamera:
    """See :class:`invad_fast.inspection.cameras.camera.Camera`."""

    def __init__(self, settings: CameraSettings) -> None:
        self._aravis, self._settings = _aravis(), settings
        self._error = _errors()
        self._camera: Any = None
        self._stream: _Stream | None = None
        self._heard = 0.0

    @property
    def _name(self) -> str:
        return self._settings.serial or self._settings.address or "the first GenICam camera"

    def open(self) -> None:
        """Connects by address (at once) or serial number (looks for it, some seconds)."""
        self.close()
        try:
            self._camera = self._aravis.Camera.new(self._address())
        except self._error as error:
            raise CameraError(f"{self._name}: {_said(error)}") from None
        try:
            self._set()
            self._start()
        except self._error as error:  # of the library; ours say by themselves what they are
            raise CameraError(f"{self._name}: {_said(error)}") from None

    def _address(self) -> str | None:
        serial = self._settings.serial
        if serial is None:
            return self._settings.address
        for each in find():
            if each.serial == serial:
                return each.address
        raise CameraError(f"no GenICam camera with the serial number {serial!r} answers")

    def _set(self) -> None:
        camera, settings = self._camera, self._settings
        if settings.pixel_format is not None:
            offered = camera.dup_available_pixel_formats_as_strings()
            if settings.pixel_format not in offered:
                raise InputError(
                    f"{self._name} has no pixel format {settings.pixel_format}: choose "
                    f"{', '.join(sorted(set(offered) & set(PIXEL_FORMATS)))}"
                )
            camera.set_pixel_format_from_string(settings.pixel_format)
        self._format = camera.get_pixel_format_as_string()
        if self._format not in PIXEL_FORMATS:
            raise InputError(f"{self._name} sends {self._format}, which is not read: set another")
        if settings.exposure_us is not None:
            self._within("exposure_us", settings.exposure_us, camera.get_exposure_time_bounds())
            camera.set_exposure_time(settings.exposure_us)
        if settings.gain is not None:
            self._within("gain", settings.gain, camera.get_gain_bounds())
            camera.set_gain(settings.gain)
        if settings.trigger == "free":
            camera.clear_triggers()
        else:
            camera.set_trigger("Software" if settings.trigger == "software" else "Line0")
        camera.set_acquisition_mode(self._aravis.AcquisitionMode.CONTINUOUS)

    def _within(self, name: str, value: float, bounds: Any) -> None:
        low, high = bounds
        if not low <= value <= high:
            raise InputError(f"{self._name}: {name} lies from {low:g} to {high:g}, not {value:g}")

    def _start(self) -> None:
        camera = self._camera
        self._stream = _Stream(self._aravis, camera, camera.get_payload())
        if self._stream.stream is None:
            raise CameraError(f"{self._name} gives no stream: another program may have it")
        camera.start_acquisition()
        self._heard = time.monotonic()
        if self._settings.trigger == "software":
            self._warm_up()

    def _warm_up(self) -> None:
        """Cameras may drop the first picture after a pause: it shall be no part's."""
        for _ in range(_WARM_UP):
            self._camera.software_trigger()
            frame = self._pop(self._settings.timeout_ms / 1e3)
            if frame is not None:
                frame.release()
                return
        raise CameraError(f"{self._name} sends no picture when it is triggered")

    def trigger(self) -> None:
        """By the camera's command TriggerSoftware."""
        try:
            self._camera.software_trigger()
        except self._error as error:
            raise CameraError(f"{self._name}: {_said(error)}") from None

    def read(self, timeout: float) -> Captured | None:
        """The next frame; one with missing packets is a damaged frame."""
        if self._stream is None:
            raise CameraError(f"{self._name} is not open")
        frame = self._pop(timeout)
        if frame is None and time.monotonic() - self._heard > _QUIET:
            self._ask()
        return frame

    def _pop(self, timeout: float) -> Captured | None:
        held = self._stream
        assert held is not None
        buffer = held.stream.timeout_pop_buffer(max(1, int(1e6 * timeout)))
        if buffer is None:
            return None
        self._heard = now = time.monotonic()

        def release() -> None:
            held.stream.push_buffer(buffer)

        number, status = buffer.get_frame_id(), buffer.get_status()
        if status != self._aravis.BufferStatus.SUCCESS:
            release()
            return Captured(
                None, number=number, taken_at=buffer.get_timestamp() or None, received_at=now,
                reason=Reason.DAMAGED_FRAME,
                detail=f"frame {number} of {self._name}: {_words(status)}",
            )  # fmt: skip
        height, width = buffer.get_image_height(), buffer.get_image_width()
        return Captured(
            _shaped(held.memory[buffer], self._format, height, width), self._format, number,
            buffer.get_timestamp() or None, now, release=release,
        )  # fmt: skip

    def _ask(self) -> None:
        """Nothing came for a while: is the camera there?"""
        self._heard = time.monotonic()
        if not self._camera.is_gv_device():
            return
        try:
            self._camera.get_device().read_register(_VERSION_REGISTER)
        except self._error as error:
            raise CameraError(f"{self._name}: {_said(error)}") from None

    def close(self) -> None:
        """Lets go of the camera: another program may have it."""
        if self._camera is not None and self._stream is not None:
            with contextlib.suppress(self._error):  # it is gone
                self._camera.stop_acquisition()
        self._stream = self._camera = None


def _shaped(memory: np.ndarray, name: str, height: int, width: int) -> np.ndarray:
    """The buffer as the pixel format says, without a copy."""
    found = PIXEL_FORMATS[name]
    if found.layout == "packed":
        return memory[: height * width * found.bits // 8].reshape(height, -1)
    channels = {"colours": len(found.order), "yuv": 2}.get(found.layout, 1)
    count = height * width * channels * found.dtype.itemsize
    pixels = memory[:count].view(found.dtype)
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def _words(status: Any) -> str:
    return str(status.value_nick).replace("-", " ").lower() + " (incomplete)"


def find() -> list[Found]:
    """Cameras that answer within a second or so, on any of this machine's networks and USB."""
    aravis = _aravis()
    aravis.update_device_list()
    return [
        Found(
            "genicam", aravis.get_device_address(i) or aravis.get_device_id(i),
            aravis.get_device_serial_nbr(i) or "",
            f"{aravis.get_device_vendor(i)} {aravis.get_device_model(i)}",
        )
        for i in range(aravis.get_n_devices())
    ]  # fmt: skip
