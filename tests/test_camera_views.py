"""Several views of one part: which frames belong together, and what the part's verdict is."""

import contextlib
import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from camera_servers import gige_camera, need_aravis
from line_recipe import MAKER, content, recipe
from refusals import one_line
from stub_engine import picture

from invad_fast.inspection import Inspector, Reason, Recipe
from invad_fast.inspection.cameras.camera import CameraError, Captured
from invad_fast.inspection.cameras.capture import Capture, frames_between
from invad_fast.inspection.cameras.views import ViewGroups
from invad_fast.inspection.ledger.totals import totals
from invad_fast.inspection.recipe import CameraSettings
from invad_fast.inspection.run_source import run_source
from invad_fast.inspection.sources.camera_source import CameraSource
from invad_fast.prediction import Verdict

WINDOW, PATIENCE = 0.02, 0.5


def frame(taken: float | None, received: float) -> Captured:
    """Of camera time ``taken``, in seconds."""
    stamp = None if taken is None else round(1e9 * taken)
    return Captured(np.zeros((2, 2), np.uint8), taken_at=stamp, received_at=received)


def run(events: list[tuple[float, int, Captured]], views: int = 2) -> list[tuple[bool, ...]]:
    """Feeds frames in the order of their arrival; which views each part has."""
    groups, found = ViewGroups(views, WINDOW, PATIENCE), []
    for now, view, each in sorted(events, key=lambda event: event[0]):
        found += groups.ready(now)
        groups.add(view, each)
        found += groups.ready(now)
    found += groups.ready(now + 10)
    return [tuple(each is not None for each in part) for part in found]


def line(
    parts: int, lost: Set[tuple[int, int]] = frozenset(),
    slow: Mapping[tuple[int, int], float] = MappingProxyType({}),
    drift: float = 0.0, seed: int = 0,
) -> list[tuple[float, int, Captured]]:  # fmt: skip
    """A part each 100 ms; view 1's clock is an hour ahead, and frames arrive 1 to 9 ms later."""
    rng, events = np.random.default_rng(seed), []
    for number in range(parts):
        at = 100 + 0.1 * number
        for view in (0, 1):
            arrives = at + rng.uniform(0.001, 0.009) + slow.get((number, view), 0)
            stamp = at + view * (3600 + drift * at) + rng.normal(0, 0.0005)
            if (number, view) not in lost:
                events.append((arrives, view, frame(stamp, arrives)))
    return events


def test_clocks_that_differ_by_an_hour() -> None:
    assert run(line(50)) == [(True, True)] * 50
    assert run(line(200, drift=1e-4)) == [(True, True)] * 200  # 100 ppm


def test_views_that_are_missing() -> None:
    found = run(line(40, lost={(7, 0), (8, 1), (20, 1)}))
    wanted = [(True, True)] * 40
    wanted[7], wanted[8], wanted[20] = (False, True), (True, False), (True, False)
    assert found == wanted


def test_views_out_of_order_and_late() -> None:
    """One that comes after the next part's is its own part's; one that is too late is nobody's."""
    assert run(line(40, slow={(9, 1): 0.25, (15, 0): 0.35})) == [(True, True)] * 40
    wanted = [(True, True)] * 40
    wanted[9] = (True, False)
    assert run(line(40, slow={(9, 1): 0.8})) == wanted


def test_without_a_clock_arrival_counts() -> None:
    events = [(t, v, frame(None, t)) for n in range(9) for v, t in ((0, n), (1, n + 0.01))]
    assert run(events) == [(True, True)] * 9


def test_numbers_that_wrap() -> None:
    assert frames_between(5, 6) == 0 and frames_between(5, 9) == 3
    assert frames_between(65535, 1) == 0 and frames_between(65534, 3) == 3
    assert frames_between(9, 4) == 0  # it began anew
    assert frames_between(2**40, 2**40 + 2) == 1


class Scripted:
    """A camera that gives what it is told: a number for a frame, None for none, or an error."""

    def __init__(self, script: list) -> None:
        self.script, self.opened = list(script), 0

    def open(self) -> None:
        self.opened += 1

    def trigger(self) -> None:
        pass

    def read(self, timeout: float) -> Captured | None:
        step = self.script.pop(0) if self.script else None
        if step is None:
            time.sleep(min(timeout, 0.02))
            return None
        if isinstance(step, Exception):
            raise step
        return Captured(picture(10 + step), "RGB8", step, round(1e8 * step), time.monotonic())

    def close(self) -> None:
        pass


def numbers(capture: Capture, count: int) -> list[tuple[int | None, str | None]]:
    found = [capture.next(2) for _ in range(count)]
    return [(f.number, None if f.pixels is not None else f.reason.value) for f in found if f]


def test_each_number_that_is_missing_is_a_part() -> None:
    script = [1, 2, 5, None, CameraError("gone"), 9, 10]
    told: list[str] = []
    with Capture(Scripted(script), accounts=True, tell=told.append) as capture:
        found = numbers(capture, 7)
        assert found == [(1, None), (2, None), (None, "camera"), (None, "camera"), (5, None),
                         (9, None), (10, None)]  # fmt: skip
        assert capture.missing == 2 and capture.reconnects == 1 and capture.gaps == 2
    assert told[0] == "2 frames did not come before frame 5" and told[1] == "lost: gone"


def test_what_finds_no_room_is_told() -> None:
    for accounts in (True, False):
        with Capture(Scripted(list(range(1, 11))), accounts=accounts) as capture:
            time.sleep(0.5)
            found = numbers(capture, 10 if accounts else 4)
            assert capture.displaced == 6
        lost = [(n, "overflow") for n in range(1, 7)] if accounts else []
        assert found == [*lost, *((n, None) for n in range(7, 11))]


def test_a_late_picture_is_never_the_next_parts() -> None:
    camera = Scripted([1, None, 2, 3])
    with Capture(camera, software=True, timeout=0.05) as capture:
        assert capture.wait_until_connected(2)
        assert capture.grab().number == 1
        late = capture.grab()
        assert late.pixels is None and late.reason is Reason.CAMERA and late.detail
        assert capture.wait_until_connected(3)
        time.sleep(0.3)
        assert camera.opened == 2 and capture.grab().number == 2


def test_the_parts_verdict(tmp_path: Path) -> None:
    """REJECT if any view rejects, else NOT_INSPECTED if one is missing."""
    cameras = [CameraSettings(kind=kind, trigger="software", timeout_ms=200) for kind in "ab"]
    first, second = [1, 2, 3], [1, 240, CameraError("gone"), None, None]
    made = {"a": Scripted(first), "b": Scripted(second)}
    source = CameraSource(cameras, make=lambda given: made[given.kind])
    results = []
    with Inspector(recipe(tmp_path), tmp_path / "l.db", in_process=True, engine=MAKER) as inspector:
        run_source(inspector, source, 3, lambda _, result: results.append(result))
        inspector.close()
    assert [r.verdict for r in results] == [Verdict.PASS, Verdict.REJECT, Verdict.NOT_INSPECTED]
    assert [view.verdict for view in results[1].views] == [Verdict.PASS, Verdict.REJECT]
    assert results[2].reason is Reason.CAMERA and results[2].views[0].verdict is Verdict.PASS
    assert results[2].detail == "gone"


class Watching(Scripted):
    """A camera that looks into the ledger when it is triggered."""

    def __init__(self, script: list, ledger: Path, then: Callable[[], None] = lambda: None) -> None:
        super().__init__(script)
        self.ledger, self.then = ledger, then
        self.open_rows: list[int] = []

    def trigger(self) -> None:
        self.open_rows.append(totals(self.ledger).open)
        self.then()


def test_a_part_is_on_record_before_its_picture_is_taken(tmp_path: Path) -> None:
    """So one of which no picture comes is counted, and so is one that is stopped amid it."""
    ledger, results = tmp_path / "l.db", []
    settings = CameraSettings(kind="a", trigger="software", timeout_ms=100)
    answers = Watching([1, 2, None, None], ledger)
    with Inspector(recipe(tmp_path), ledger, in_process=True, engine=MAKER) as inspector:
        source = CameraSource([settings], make=lambda _: answers)
        assert run_source(inspector, source, 3, lambda _, r: results.append(r)) == 3
        inspector.wait_for_room(1, 10)
        stopping = Watching([], ledger, lambda: source.stop())
        source = CameraSource([settings], make=lambda _: stopping)
        assert run_source(inspector, source, None, lambda _, r: results.append(r)) == 1
        inspector.close()
        assert inspector.accounts.close and inspector.accounts.triggered == 4
    assert answers.open_rows == [1] * 3 and stopping.open_rows == [1]
    assert [result.reason for result in results] == [None, None, Reason.CAMERA, Reason.STOPPED]
    assert results[2].detail.startswith("no picture within 100 ms")
    assert totals(ledger).not_inspected == 2 and totals(ledger).open == 0


def test_recipes_of_several_cameras(tmp_path: Path) -> None:
    two = [{"kind": "genicam"}, {"kind": "genicam", "trigger": "software"}]
    one_line("all views of a part have the same trigger",
             lambda: recipe(tmp_path, cameras=two))  # fmt: skip
    one_line("cameras.0: no field 'exposure': did you mean 'exposure_us'",
             lambda: recipe(tmp_path, cameras=[{"kind": "usb", "exposure": 3}]))  # fmt: skip
    held = Recipe.of(content(cameras=[{"kind": "usb", "address": "0"}]), tmp_path / "l.yaml")
    assert held.cameras[0].trigger == "free"


@pytest.mark.parametrize("trigger", ["software", "free"])
def test_two_simulated_cameras(tmp_path: Path, trigger: str) -> None:
    need_aravis()
    names = {"L": "127.0.0.1", "R": "127.0.0.2"}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(gige_camera(s, address=a)) for s, a in names.items()]
        if any(server.ended for server in servers):
            pytest.skip(
                "the loopback interface has no second address: ip address add 127.0.0.2/8 dev lo"
            )
        cameras = [CameraSettings(kind="genicam", address=a, trigger=trigger, timeout_ms=500)
                   for a in names.values()]  # fmt: skip
        source = CameraSource(cameras, window=0.021)
        results, without = [], []
        held = recipe(tmp_path, deadline_ms=60_000)
        with Inspector(held, tmp_path / "l.db", in_process=True, engine=MAKER) as inspector:
            run_source(inspector, source, 20, lambda _, result: results.append(result))
            alone = CameraSource(cameras[:1])  # while the first source is there, and has let go
            assert run_source(inspector, alone, 3) == 3
            servers[1].unplug()
            if trigger == "software":
                run_source(
                    inspector, CameraSource(cameras, rate=5), 4, lambda _, r: without.append(r)
                )
            inspector.close()
            assert inspector.accounts.close
    for result in without:
        assert [view.reason for view in result.views] == [None, Reason.CAMERA]
        assert "127.0.0.2" in result.detail and result.verdict is not Verdict.PASS
    whole = [result for result in results if result.reason is None]
    assert all(len(result.views) == 2 for result in results)
    assert len(whole) >= (20 if trigger == "software" else 17)
