"""A GenICam camera through Aravis, against its simulated GigE Vision camera on loopback."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from camera_servers import GigeCamera, gige_camera, need_aravis
from line_recipe import MAKER, content, recipe
from PIL import Image
from refusals import one_line

from invad_fast.inspection import Inspector, Reason, Recipe
from invad_fast.inspection.cameras.capture import Capture
from invad_fast.inspection.recipe import CameraSettings
from invad_fast.inspection.run_source import run_source
from invad_fast.inspection.sources.camera_source import CameraSource
from invad_fast.prediction import Verdict

ADDRESS = "127.0.0.1"


@pytest.fixture(autouse=True)
def aravis() -> None:
    need_aravis()


@pytest.fixture
def camera() -> Iterator[GigeCamera]:
    with gige_camera("T1") as made:
        yield made


def settings(**changes: object) -> CameraSettings:
    return CameraSettings(**{"kind": "genicam", "address": ADDRESS, **changes})  # type: ignore[arg-type]


def made(given: CameraSettings):
    from invad_fast.inspection.cameras.genicam import GenicamCamera

    return GenicamCamera(given)


def capture(given: CameraSettings, **more: object) -> Capture:
    software = given.trigger == "software"
    return Capture(made(given), software=software, timeout=given.timeout_ms / 1e3, **more)  # type: ignore[arg-type]


def test_software_triggers_one_picture_each(camera: GigeCamera) -> None:
    given = settings(trigger="software", pixel_format="Mono8", exposure_us=5000)
    with capture(given) as running:
        assert running.wait_until_connected(5)
        numbers, stamps = [], []
        for _ in range(6):
            frame = running.grab()
            assert frame.pixels is not None, frame.detail
            assert frame.pixels.shape == (512, 512) and frame.pixels.std() > 10
            numbers.append(frame.number)
            stamps.append(frame.taken_at)
            frame.release()
        assert np.diff(numbers).tolist() == [1] * 5 and (np.diff(stamps) > 0).all()
        time.sleep(1.5)  # the first frame after a pause
        frame = running.grab()
        assert frame.pixels is not None and frame.number == numbers[-1] + 1
        assert running.missing == running.damaged == running.gaps == 0


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("Mono8", (512, 512), np.uint8),
        ("Mono16", (512, 512), np.uint16),
        ("BayerRG8", (512, 512), np.uint8),
        ("RGB8", (512, 512, 3), np.uint8),
    ],
)
def test_settings_reach_the_camera(camera: GigeCamera, name: str, shape, dtype) -> None:
    opened = made(settings(trigger="software", pixel_format=name, exposure_us=20_000, gain=3))
    opened.open()
    try:
        assert opened._camera.get_exposure_time() == 20_000
        assert opened._camera.get_gain() == 3
        opened.trigger()
        frame = opened.read(2)
        assert (frame.pixels.shape, frame.pixels.dtype, frame.pixel_format) == (shape, dtype, name)
        # What Aravis has received, in memory that is ours.
        held = next(
            b for b, m in opened._stream.memory.items() if np.shares_memory(m, frame.pixels)
        )
        assert held.get_data() == frame.pixels.tobytes()
        frame.release()
    finally:
        opened.close()
        opened.close()


def test_settings_that_it_has_not_are_one_line(camera: GigeCamera) -> None:
    for wrong, line in (
        ({"pixel_format": "Mono12p"}, "has no pixel format Mono12p: choose BayerBG8, "),
        ({"exposure_us": 1e9}, "exposure_us lies from .* to .*, not 1e\\+09"),
        ({"gain": 900}, "gain lies from"),
    ):
        with capture(settings(**wrong)) as running:
            one_line(line, lambda running=running: running.wait_until_connected(5))
            one_line(line, lambda running=running: running.next(1))


def test_a_camera_is_found_by_its_serial_number(camera: GigeCamera) -> None:
    with capture(settings(address=None, serial="T1", trigger="software")) as running:
        assert running.wait_until_connected(10)
        assert running.grab().pixels is not None
    with capture(settings(address=None, serial="T2")) as running:
        assert not running.wait_until_connected(3)
        assert "no GenICam camera with the serial number 'T2' answers" in running.fault


def test_free_running(camera: GigeCamera) -> None:
    with capture(settings()) as running:
        assert running.wait_until_connected(5)
        numbers = []
        for _ in range(40):
            frame = running.next(2)
            assert frame is not None
            numbers.append(frame.number)
            frame.release()
        assert running.frames >= 40
        assert running.missing == 0
        # Nobody reads for a while: what found no room is counted.
        time.sleep(1)
        frame = running.next(2)
        assert frame is not None and frame.number is not None
        assert running.displaced > 5
        assert frame.number > numbers[-1] + 1


def test_lost_packets_are_damaged_frames(tmp_path: Path) -> None:
    given = settings(trigger="software")
    with gige_camera("T1", lost=4):
        source = CameraSource([given], tell=lambda line: None)
        held = recipe(tmp_path, deadline_ms=60_000)
        with Inspector(held, tmp_path / "l.db", in_process=True, engine=MAKER) as inspector:
            run_source(inspector, source, 15)
            inspector.close()
            accounts = inspector.accounts
    assert accounts.close and accounts.triggered == 15
    damaged = accounts.reasons[Reason.DAMAGED_FRAME]
    assert 0 < damaged < 15, accounts.reasons
    assert source.captures[0].damaged >= damaged


def test_unplugged_and_back(camera: GigeCamera, tmp_path: Path) -> None:
    """Every part that is triggered meanwhile is a counted fault; then it goes on by itself."""
    told: list[str] = []
    source = CameraSource([settings(trigger="software", timeout_ms=300)], rate=4, tell=told.append)
    results = []
    held = recipe(tmp_path, deadline_ms=60_000)

    def pull() -> None:
        time.sleep(2)
        camera.unplug()
        time.sleep(4)
        camera.plug()

    with Inspector(held, tmp_path / "l.db", in_process=True, engine=MAKER) as inspector:
        thread = threading.Thread(target=pull)
        thread.start()

        def note(_, result) -> None:
            results.append(result)
            passed = [r for r in results if r.reason is None]
            if len(results) - len(passed) > 3 and results[-1].reason is None:
                source.stop()

        threading.Timer(40, source.stop).start()
        run_source(inspector, source, None, note)
        thread.join()
        inspector.close()
        accounts = inspector.accounts
    reasons = [result.reason for result in results]
    first, last = reasons.index(Reason.CAMERA), len(reasons) - reasons[::-1].index(Reason.CAMERA)
    assert reasons[0] is None and reasons[-1] is None and last - first >= 4, told
    assert set(reasons) == {None, Reason.CAMERA}
    assert accounts.close and accounts.triggered == len(results)
    assert source.captures[0].reconnects == 1
    assert any("127.0.0.1: lost: " in line for line in told), told
    assert any("it is back after" in line for line in told), told
    assert results[first].detail


def test_hardware_trigger_waits(camera: GigeCamera) -> None:
    """Nothing raises the simulated camera's Line0: no frame, and it is there all the same."""
    with capture(settings(trigger="hardware")) as running:
        assert running.wait_until_connected(5)
        assert running.next(2.5) is None
        assert running.connected and not running.fault


def test_from_the_command_line(camera: GigeCamera, tmp_path: Path, invad) -> None:
    done = invad("camera", "list")
    assert done.status == 0 and "address 127.0.0.1  serial T1  Aravis Fake" in done.stdout
    words = ("--address", ADDRESS, "--trigger", "software")
    done = invad("camera", "grab", tmp_path / "one.png", *words, "--pixel-format", "RGB8")
    assert done.status == 0, done.stderr
    assert "512×512, from RGB8, brightness" in done.stdout
    assert Image.open(tmp_path / "one.png").size == (512, 512)
    done = invad("camera", "watch", "--address", ADDRESS, "--seconds", 2)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and "0 missing, 0 damaged" in lines[1] and "sharpness" in lines[1]
    assert int(lines[1].split(" frames/s")[0]) > 10
    done = invad("camera", "grab", tmp_path / "two.png", *words, "--pixel-format", "Mono12p")
    assert done.status == 2 and not (tmp_path / "two.png").exists()
    assert "has no pixel format Mono12p" in done.stderr


def test_inspect_takes_the_recipes_camera(camera: GigeCamera, tmp_path: Path, invad) -> None:
    schema = json.loads((Path(__file__).parents[1] / "invad_fast/result.schema.json").read_text())
    line = tmp_path / "line.yaml"
    held = content(cameras=[{"kind": "genicam", "address": ADDRESS, "trigger": "software"}])
    line.write_text(yaml.safe_dump(held))
    assert Recipe.load(line).cameras[0].trigger == "software"
    done = invad("camera", "grab", tmp_path / "one.png", "--recipe", line)
    assert done.status == 0, done.stderr
    done = invad("camera", "grab", tmp_path / "one.png", "--recipe", line, "--view", 1)
    assert done.status == 2 and "has 1 cameras, and no view 1" in done.stderr
    results = []
    source = CameraSource(Recipe.load(line).cameras)
    with Inspector(Recipe.load(line), tmp_path / "l.db", engine=MAKER) as inspector:
        run_source(inspector, source, 5, lambda _, result: results.append(result))
        inspector.close()
    for result in results:
        jsonschema.validate(json.loads(json.dumps(result.row())), schema)
    assert [result.verdict for result in results].count(Verdict.NOT_INSPECTED) == 0
