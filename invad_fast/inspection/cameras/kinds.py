"""Which kinds of cameras there are: three, and those that installed packages add.

A package adds one by an entry point of the group ``invad_fast.cameras``: the name is the recipe's
``kind``, the object takes the settings and returns a Camera: ``examples/vendor_camera.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from invad_fast.checked import unknown_name
from invad_fast.errors import InputError
from invad_fast.inspection.cameras.camera import Camera, Found
from invad_fast.inspection.recipe import CameraSettings

GROUP = "invad_fast.cameras"
OWN = ("genicam", "rtsp", "usb")


def make_camera(settings: CameraSettings) -> Camera:
    """A camera of the settings' kind, not yet opened.

    Raises:
        InputError: for a kind that there is not, or whose library is not installed.
    """
    if settings.kind == "genicam":
        from invad_fast.inspection.cameras.genicam import GenicamCamera

        return GenicamCamera(settings)
    if settings.kind in OWN:
        from invad_fast.inspection.cameras.opencv import OpencvCamera

        return OpencvCamera(settings)
    added = {point.name: point for point in entry_points(group=GROUP)}
    if settings.kind not in added:
        raise InputError(unknown_name("kind of camera", settings.kind, (*OWN, *added)))
    made: Camera = added[settings.kind].load()(settings)
    return made


def find_cameras() -> tuple[list[Found], dict[str, str]]:
    """(the cameras that are there; kind → why it could not be looked for). RTSP has no list."""
    from invad_fast.inspection.cameras import genicam, opencv

    ways: dict[str, Callable[[], list[Found]]] = {"genicam": genicam.find, "usb": opencv.find}
    for point in entry_points(group=GROUP):
        finder: Any = getattr(point.load(), "find", None)
        if finder is not None:
            ways[point.name] = finder
    found, faults = [], {}
    for kind, find in ways.items():
        try:
            found += find()
        except InputError as error:
            faults[kind] = str(error)
    return found, faults
