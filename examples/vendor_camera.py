"""A vendor's SDK as a camera: Basler's pypylon. NOT RUN by this project's tests, which have none.

In a package of yours, with this in its pyproject.toml:

    [project.entry-points."invad_fast.cameras"]
    basler = "vendor_camera:BaslerCamera"

a recipe may say ``kind: basler``.
"""

from __future__ import annotations

import time
from typing import Any

from invad_fast.inspection.cameras.camera import CameraError, Captured
from invad_fast.inspection.part import Reason
from invad_fast.inspection.recipe import CameraSettings


class BaslerCamera:
    """The four calls of `invad_fast.inspection.cameras.camera.Camera`."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._camera: Any = None

    def open(self) -> None:
        """Connects, sets and starts; CameraError is tried again, InputError is not."""
        from pypylon import genicam, pylon

        self.close()
        wanted = pylon.DeviceInfo()
        if self._settings.serial:
            wanted.SetSerialNumber(self._settings.serial)
        try:
            device = pylon.TlFactory.GetInstance().CreateFirstDevice(wanted)
            self._camera = pylon.InstantCamera(device)
            self._camera.Open()
            if self._settings.pixel_format:
                self._camera.PixelFormat.Value = self._settings.pixel_format
            if self._settings.exposure_us:
                self._camera.ExposureTime.Value = self._settings.exposure_us
            self._camera.TriggerMode.Value = "Off" if self._settings.trigger == "free" else "On"
            if self._settings.trigger == "software":
                self._camera.TriggerSource.Value = "Software"
            self._camera.StartGrabbing(pylon.GrabStrategy_OneByOne)
        except genicam.GenericException as error:
            raise CameraError(str(error)) from None

    def trigger(self) -> None:
        """Takes a picture."""
        self._camera.TriggerSoftware.Execute()

    def read(self, timeout: float) -> Captured | None:
        """The next frame; it is on loan until it is released."""
        from pypylon import genicam, pylon

        try:
            result = self._camera.RetrieveResult(
                int(1e3 * timeout), pylon.TimeoutHandling_Return
            )  # fmt: skip
        except genicam.GenericException as error:
            raise CameraError(str(error)) from None
        if not result.IsValid():
            return None
        number = result.BlockID
        if not result.GrabSucceeded():
            why = result.ErrorDescription
            result.Release()
            return Captured(None, number=number, reason=Reason.DAMAGED_FRAME, detail=why)
        return Captured(
            result.GetArray(),  # GetArrayZeroCopy() lends it, as a context manager
            self._settings.pixel_format or "Mono8",
            number,
            result.TimeStamp,
            time.monotonic(),
            release=result.Release,
        )

    def close(self) -> None:
        """Gives the camera back."""
        if self._camera is not None:
            self._camera.Close()
            self._camera = None
