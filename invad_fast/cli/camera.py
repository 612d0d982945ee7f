"""``invad-fast camera``: which cameras there are, one picture, and what a camera sends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invad_fast.cli.console import note, say
from invad_fast.errors import InputError

if TYPE_CHECKING:
    from invad_fast.inspection.recipe import CameraSettings

camera = typer.Typer(
    help="Cameras: which there are, one picture, what they send.", no_args_is_help=True
)

Kind = Annotated[str, typer.Option(help="genicam, rtsp, usb, or a package's.")]
Address = Annotated[str | None, typer.Option(help="IP address, URL, number or device file.")]
Serial = Annotated[str | None, typer.Option(help="Serial number, in place of the address.")]
Format = Annotated[str | None, typer.Option(help="Pixel format, as Mono8.")]
Exposure = Annotated[float | None, typer.Option(help="Exposure in microseconds.")]
Gain = Annotated[float | None, typer.Option(help="As the camera counts it.")]
Trigger = Annotated[str, typer.Option(help="free, software or hardware.")]
Timeout = Annotated[float, typer.Option(help="Milliseconds that a picture may take.")]
Recipe_ = Annotated[Path | None, typer.Option("--recipe", help="Take the recipe's camera.")]
ViewOption = Annotated[int, typer.Option(min=0, help="Which of the recipe's cameras.")]


@camera.command("list")
def list_() -> None:
    """The cameras that answer, as a recipe names them. RTSP streams cannot be looked for."""
    from invad_fast.inspection.cameras.kinds import find_cameras

    found, faults = find_cameras()
    for each in found:
        serial = f"  serial {each.serial}" if each.serial else ""
        say(f"{each.kind}  address {each.address}{serial}  {each.name}")
    for kind, fault in faults.items():
        note(f"note: {kind}: {fault}")
    if not found:
        note("no camera was found")


@camera.command()
def grab(
    output: Annotated[Path, typer.Argument(help="PNG file.")],
    kind: Kind = "genicam",
    address: Address = None,
    serial: Serial = None,
    pixel_format: Format = None,
    exposure: Exposure = None,
    gain: Gain = None,
    trigger: Trigger = "free",
    timeout: Timeout = 1000.0,
    recipe: Recipe_ = None,
    view: ViewOption = 0,
) -> None:
    """One picture to a file, in 8 bits of RGB or grey, as the model would get it, but unscaled."""
    from PIL import Image

    from invad_fast.files import written_whole
    from invad_fast.inspection.preprocess import frame_size, preprocess

    settings = _settings(locals())
    with _capture(settings) as capture:
        _connected(capture)
        wait = settings.timeout_ms / 1e3
        frame = capture.grab() if settings.trigger == "software" else capture.next(wait)
        if frame is None or frame.pixels is None:
            why = capture.fault or (frame.detail if frame else f"no frame within {wait:g} s")
            raise InputError(why)
        size = frame_size(frame.pixels, frame.pixel_format)
        pixels = preprocess(frame.pixels, frame.pixel_format, size)
        given = frame.pixel_format
        frame.release()
    with written_whole(output) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")
    say(f"wrote {output}: {size[1]}×{size[0]}, from {given}, {_shown(pixels)}")


@camera.command()
def watch(
    kind: Kind = "genicam",
    address: Address = None,
    serial: Serial = None,
    pixel_format: Format = None,
    exposure: Exposure = None,
    gain: Gain = None,
    trigger: Trigger = "free",
    timeout: Timeout = 1000.0,
    recipe: Recipe_ = None,
    view: ViewOption = 0,
    seconds: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
) -> None:
    """A line a second: rate, missing and damaged frames, gaps, brightness, sharpness."""
    from invad_fast.inspection.preprocess import preprocess

    settings = _settings(locals())
    with _capture(settings) as capture:
        if not capture.wait_until_connected(_CONNECTS):
            note(f"note: not connected: {capture.fault}")
        until, lines = time.monotonic() + 1, 0
        last: Any = None
        before = capture.frames
        while seconds is None or lines < seconds:
            left = until - time.monotonic()
            if left > 0:
                software = settings.trigger == "software"
                frame = capture.grab() if software else capture.next(left)
                if frame is not None:
                    if frame.pixels is not None:
                        last = preprocess(frame.pixels, frame.pixel_format, (256, 256))
                    frame.release()
                if software and not capture.connected:
                    time.sleep(max(0.0, min(left, 0.1)))
                continue
            came, before = capture.frames - before, capture.frames
            told = "no picture" if last is None or not came else _shown(last)
            say(
                f"{came} frames/s, {capture.missing} missing, {capture.damaged} damaged, "
                f"{capture.displaced} displaced, {capture.gaps} gaps, {told}"
                + (f"; {capture.fault}" if capture.fault else "")
            )
            until, lines = until + 1, lines + 1


_CONNECTS = 10.0  # seconds


def _settings(given: dict[str, Any]) -> CameraSettings:
    from pydantic import ValidationError

    from invad_fast.checked import one_line
    from invad_fast.inspection.recipe import CameraSettings, Recipe

    if given["recipe"] is not None:
        cameras, view = Recipe.load(given["recipe"]).cameras, given["view"]
        if view >= len(cameras):
            raise InputError(f"{given['recipe']} has {len(cameras)} cameras, and no view {view}")
        return cameras[view]
    names = ("kind", "address", "serial", "pixel_format", "gain", "trigger")
    chosen = {name: given[name] for name in names}
    try:
        return CameraSettings(
            **chosen, exposure_us=given["exposure"], timeout_ms=given["timeout"], keeps="newest"
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from None


def _capture(settings: CameraSettings) -> Any:
    from invad_fast.inspection.cameras.capture import Capture
    from invad_fast.inspection.cameras.kinds import make_camera

    return Capture(
        make_camera(settings), software=settings.trigger == "software", keeps=settings.keeps,
        timeout=settings.timeout_ms / 1e3, tell=lambda line: note(f"note: {line}"),
    )  # fmt: skip


def _connected(capture: Any) -> None:
    if not capture.wait_until_connected(_CONNECTS):
        raise InputError(capture.fault)


def _shown(pixels: Any) -> str:
    from invad_fast.frame_figures import frame_figures

    brightness, _, sharpness, *_ = frame_figures(pixels)
    return f"brightness {brightness:.1f}, sharpness {sharpness:.3f}"
