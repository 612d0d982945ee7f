"""An RTSP stream through OpenCV, against GStreamer's server on loopback."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from camera_servers import RtspServer, need_opencv, need_rtsp
from line_recipe import MAKER, recipe
from refusals import one_line

from invad_fast.inspection import Inspector
from invad_fast.inspection.cameras.capture import Capture
from invad_fast.inspection.recipe import CameraSettings
from invad_fast.inspection.run_source import run_source
from invad_fast.inspection.sources.camera_source import CameraSource


@pytest.fixture
def server() -> Iterator[RtspServer]:
    need_rtsp()
    made = RtspServer()
    made.start()
    yield made
    made.stop()


def settings(url: str, **changes: object) -> CameraSettings:
    return CameraSettings(**{"kind": "rtsp", "address": url, **changes})  # type: ignore[arg-type]


def capture(given: CameraSettings, **more: object) -> Capture:
    from invad_fast.inspection.cameras.opencv import OpencvCamera

    return Capture(OpencvCamera(given), keeps=given.keeps, **more)  # type: ignore[arg-type]


def test_a_stream_that_goes_and_comes_back(server: RtspServer) -> None:
    told: list[str] = []
    with capture(settings(server.url, timeout_ms=1000), tell=told.append) as running:
        assert running.wait_until_connected(10)
        for _ in range(20):
            frame = running.next(3)
            assert frame is not None and frame.pixels is not None
            assert frame.pixels.shape == (120, 160, 3) and frame.pixel_format == "BGR8"
            assert frame.number is None  # OpenCV numbers none
        server.stop()
        until = time.monotonic() + 10
        while running.connected and time.monotonic() < until:
            running.next(0.2)
        assert not running.connected and running.fault
        server.start()
        assert running.wait_until_connected(15)
        assert running.next(5) is not None
        assert running.reconnects == 1 and running.gaps >= 1
    assert told[0].startswith("lost: ") and any("it is back after" in line for line in told)


def test_the_newest_frame_wins(server: RtspServer) -> None:
    with capture(settings(server.url, keeps="newest", pixel_format="Mono8")) as running:
        assert running.wait_until_connected(10)
        assert running.next(3) is not None
        time.sleep(1)
        frame = running.next(1)
        assert frame is not None and frame.pixel_format == "Mono8"
        assert time.monotonic() - frame.received_at < 0.5
        assert running.displaced > 10


def test_a_line_on_a_stream(server: RtspServer, tmp_path: Path, invad) -> None:
    source = CameraSource([settings(server.url)])
    with Inspector(recipe(tmp_path), tmp_path / "l.db", in_process=True, engine=MAKER) as inspector:
        assert run_source(inspector, source, 10) == 10
        inspector.close()
        assert inspector.accounts.close and not inspector.accounts.reasons
    done = invad("camera", "grab", tmp_path / "one.png", "--kind", "rtsp", "--address", server.url)
    assert done.status == 0 and "160×120, from BGR8" in done.stdout, done.stderr


def test_what_opencv_cannot_is_one_line() -> None:
    need_opencv()
    for wrong, line in (
        ({"trigger": "software"}, "cameras of kind 'rtsp' run freely: trigger 'software' needs"),
        ({"pixel_format": "Mono12p"}, "OpenCV gives BGR8 or Mono8, not Mono12p"),
        ({"address": None}, "an rtsp camera needs an address"),
    ):
        one_line(
            line, lambda wrong=wrong: CameraSource([settings("rtsp://127.0.0.1:1/x", **wrong)])
        )
    one_line("no kind of camera 'genicma': did you mean 'genicam'",
             lambda: CameraSource([CameraSettings(kind="genicma")]))  # fmt: skip
    one_line("the recipe has no cameras", lambda: CameraSource([]))


def test_nobody_answers() -> None:
    need_opencv()
    with capture(settings("rtsp://127.0.0.1:1/x")) as running:
        assert not running.wait_until_connected(2)
        assert running.next(0.1) is None
        assert running.fault == "rtsp://127.0.0.1:1/x does not answer"
