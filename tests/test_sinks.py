"""Sinks: what is delivered, what is lost and told, and that none of them delays a result."""

import functools
import json
import os
import resource
import threading
import time
import warnings
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import stub_engine as stub
from line_recipe import MAKER, recipe
from PIL import Image
from refusals import one_line
from sink_servers import (
    NEVER,
    Broker,
    Receiver,
    ids,
    lines,
    results,
    run,
    sample,
    subscribed,
    wait_until,
)

from invad_fast.errors import InputWarning
from invad_fast.inspection import Inspector
from invad_fast.inspection.pictures import Pictured
from invad_fast.serve.sinks.json_lines import JsonLines
from invad_fast.serve.sinks.outlet import Undelivered
from invad_fast.serve.sinks.overlays import Overlays, rejects
from invad_fast.serve.sinks.sink import Sink
from invad_fast.serve.sinks.sinks import Sinks
from invad_fast.serve.sinks.webhook import SECRET
from invad_fast.serve.subscription import Subscription

SCHEMA = json.loads((files("invad_fast") / "result.schema.json").read_text())


def test_a_folder_that_goes_is_counted_and_told_once(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    outlet = JsonLines(tmp_path / "there" / "results.jsonl")
    (tmp_path / "there").rename(tmp_path / "gone")
    queue = Subscription(100)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sink = Sink(outlet, queue)
        for each in results(5):
            queue.offer(each)
        wait_until(lambda: sink.state.lost == 5)
        assert "No such file" in sink.state.fault
        (tmp_path / "gone").rename(tmp_path / "there")
        queue.offer(sample())
        wait_until(lambda: sink.state.delivered == 1)
        assert sink.state.fault == ""
        state = sink.close()
    assert (state.delivered, state.lost, state.waiting) == (1, 5, 0)
    assert [str(each.message) for each in told if each.category is InputWarning] == [
        f"JSON lines {outlet.where}: {lost} lost: cannot write {outlet.where}: "
        "No such file or directory"
        for lost in ("1 result", "5 results")
    ]


def test_the_queue_is_bounded() -> None:
    queue = Subscription(3)
    for each in results(10):
        queue.offer(each)
    assert (queue.waiting, queue.lost) == (3, 7)
    assert [queue.get(0).id for _ in range(3)] == [1, 2, 3] and queue.get(0) is None
    queue.close()
    queue.offer(sample())
    assert queue.get(60) is None and queue.lost == 7


# ---- JSON lines


def test_json_lines_of_a_line(tmp_path: Path) -> None:
    queue = Subscription(100)
    sink = Sink(JsonLines(tmp_path / "results.jsonl"), queue)
    made = recipe(tmp_path)
    with Inspector(
        made, tmp_path / "line.db", engine=MAKER, in_process=True, on_result=queue.offer
    ) as line:
        given = [
            line.inspect(stub.picture(red, does), pixel_format="RGB8")
            for red, does in ((100, 0), (200, 0), (100, stub.NAN), (100, stub.IS_B))
        ]
    state = sink.close()
    assert (state.delivered, state.lost, state.waiting, state.fault) == (4, 0, 0, "")
    rows = lines(tmp_path / "results.jsonl")
    assert rows == json.loads(json.dumps([each.row() for each in given]))
    for row in rows:
        jsonschema.validate(row, SCHEMA)


def test_json_lines_go_on_and_are_rotated(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    size = len(json.dumps(sample().row())) + 1
    given = results(25)
    for some in (given[:7], given[7:]):
        assert run(JsonLines(path, largest=5 * (size + 10), files=3), some).lost == 0
    kept = [
        *lines(tmp_path / "results.jsonl.2"),
        *lines(tmp_path / "results.jsonl.1"),
        *lines(path),
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "results.jsonl", "results.jsonl.1", "results.jsonl.2"
    ]  # fmt: skip
    ids = [row["id"] for row in kept]
    assert ids == list(range(ids[0], 26)) and len(ids) > 10
    for each in tmp_path.iterdir():
        assert each.stat().st_size <= 5 * (size + 10)
    assert run(JsonLines(path, largest=size, files=1), given).delivered == 25
    assert len(lines(path)) == 1


def test_json_lines_of_a_full_disk(tmp_path: Path) -> None:
    """No half a line stays, and it goes on when there is room."""
    outlet = JsonLines(tmp_path / "results.jsonl")
    first, second, third = results(3)
    outlet.send(first, NEVER)
    held = (tmp_path / "results.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (held + 50, before[1]))
    try:
        with pytest.raises(Undelivered, match="File too large"):
            outlet.send(second, NEVER)
        assert (tmp_path / "results.jsonl").stat().st_size == held
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    outlet.send(third, NEVER)
    outlet.close(0)
    assert [row["id"] for row in lines(tmp_path / "results.jsonl")] == [1, 3]


def test_json_lines_of_a_process_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    one, two = (json.dumps(each.row()) for each in results(2))
    path.write_text(f"{one}\n{two[:30]}")
    run(JsonLines(path), results(3)[2:])
    assert [row["id"] for row in lines(path)] == [1, 3]
    path.write_text(one[:30])
    run(JsonLines(path), results(1))
    assert [row["id"] for row in lines(path)] == [1]


def test_json_lines_that_are_moved_away(tmp_path: Path) -> None:
    """As logrotate does."""
    path = tmp_path / "results.jsonl"
    outlet = JsonLines(path)
    first, second, third = results(3)
    outlet.send(first, NEVER)
    path.rename(tmp_path / "moved")
    outlet.send(second, NEVER)
    path.unlink()
    outlet.send(third, NEVER)
    outlet.close(0)
    assert [row["id"] for row in (*lines(tmp_path / "moved"), *lines(path))] == [1, 3]


def test_json_lines_are_written_into_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "line.yaml").write_text("recipe_version: 1\n")
    (tmp_path / "half").write_text("no line's end")
    (tmp_path / "other.jsonl").write_text('{"level": "info"}\n')
    for name in ("line.yaml", "half", "other.jsonl"):
        before = (tmp_path / name).read_text()
        one_line("something else", functools.partial(JsonLines, tmp_path / name))
        assert (tmp_path / name).read_text() == before
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        one_line("a folder, a device or a pipe", functools.partial(JsonLines, other))
    one_line("cannot write", lambda: JsonLines(tmp_path / "no" / "folder"))


# ---- overlay pictures


def overlaid(folder: Path, parts: int, gib: float = 1.0, side: int = 40, **changes):
    """What became of so many rejects, and as many passes, on frames twice as wide as high."""
    queue: Subscription[Pictured] = Subscription(16)
    sink = Sink(Overlays(folder / "overlays", gib), queue)
    offered = []

    def offer(pictured: Pictured) -> None:
        if rejects(pictured):
            offered.append(pictured.result)
            queue.offer(pictured)

    with Inspector(
        recipe(folder, **changes), folder / "line.db", engine=MAKER, in_process=True,
        on_pictured=offer,
    ) as line:  # fmt: skip
        for _ in range(parts):
            for red in (100, 200):
                frame = np.full((side, 2 * side, 3), (red, 0, 0), np.uint8)
                line.inspect(frame, pixel_format="RGB8")
            wait_until(lambda: not queue.waiting)
    return offered, sink.close()


def test_overlays(tmp_path: Path) -> None:
    offered, state = overlaid(tmp_path, 3)
    assert (state.delivered, state.lost, state.fault) == (3, 0, "")
    found = sorted((tmp_path / "overlays").rglob("*.*"))
    day = time.strftime("%Y-%m-%d", time.gmtime(offered[0].decided_at / 1e6))
    assert [each.relative_to(tmp_path / "overlays").as_posix() for each in found] == [
        f"{day}/{each.id:010d}-0.jpg" for each in offered
    ]
    with Image.open(found[0]) as picture:
        assert picture.size == (80, 40)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert abs(pixels[20, 40] - (200, 0, 0)).max() > 40  # the map lies over it


def test_overlays_of_large_frames(tmp_path: Path) -> None:
    overlaid(tmp_path, 1, side=1000)
    with Image.open(next((tmp_path / "overlays").rglob("*.jpg"))) as picture:
        assert picture.size == (1280, 640)


def test_overlays_have_a_quota(tmp_path: Path) -> None:
    first, _ = overlaid(tmp_path, 4)
    folder = tmp_path / "overlays"
    size = max(each.stat().st_size for each in folder.rglob("*.jpg"))
    old = folder / "2020-01-01"
    old.mkdir()
    (old / "0000000001-0.jpg").write_bytes(bytes(size))
    (folder / "notes.jpg").write_text("mine")
    (old / "holiday.jpg").write_text("mine")
    last, state = overlaid(tmp_path, 3, gib=4.5 * size / 2**30)
    assert state.delivered == 3 and state.lost == 0
    left = sorted(each.name for each in folder.rglob("*.jpg"))
    expected = [f"{each.id:010d}-0.jpg" for each in (*first, *last)[-4:]]
    assert left == sorted([*expected, "notes.jpg", "holiday.jpg"])


def test_overlays_of_a_full_disk(tmp_path: Path) -> None:
    """A folder whose name is taken by a file: nothing can be written, no result is delayed."""
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / time.strftime("%Y-%m-%d", time.gmtime())).write_text("a file")
    with pytest.warns(InputWarning, match="overlay pictures .* lost"):
        offered, state = overlaid(tmp_path, 2)
    assert (state.delivered, state.lost) == (0, 2) and len(offered) == 2
    one_line(
        "is a file", lambda: Overlays(tmp_path / "overlays" / os.listdir(tmp_path / "overlays")[0])
    )


# ---- all of a station


def test_all_of_a_station(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    with subscribed(broker.port) as came:
        with (
            Sinks(
                "station", json_lines=tmp_path / "results.jsonl",
                mqtt=f"mqtt://127.0.0.1:{broker.port}/plant/line", webhook=receiver.url,
                overlays=tmp_path / "overlays",
            ) as sinks,
            Inspector(
                recipe(tmp_path), tmp_path / "line.db", engine=MAKER, in_process=True,
                on_result=sinks.offer, on_pictured=sinks.offer_pictured,
            ) as line,
        ):  # fmt: skip
            assert sinks.want_pictures
            for red in (100, 200, 100):
                line.inspect(stub.picture(red), pixel_format="RGB8")
        wait_until(lambda: len(ids(came)) == 3)
    assert [(each.kind, each.delivered, each.lost, each.waiting) for each in sinks.states] == [
        ("JSON lines", 3, 0, 0), ("webhook", 3, 0, 0), ("overlay pictures", 1, 0, 0),
        ("MQTT", 3, 0, 0),
    ]  # fmt: skip
    assert sinks.faults == []
    rows = lines(tmp_path / "results.jsonl")
    assert rows == receiver.taken and [row["id"] for row in rows] == ids(came)
    assert len(list((tmp_path / "overlays").rglob("*.jpg"))) == 1


def test_one_that_cannot_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    before = threading.active_count()
    one_line(
        "is signed",
        lambda: Sinks("s", json_lines=tmp_path / "results.jsonl", webhook="https://host/"),
    )
    assert threading.active_count() == before
    with Sinks("none") as none:
        none.offer(sample())
        assert none.states == [] and not none.want_pictures


def test_what_a_station_says_of_its_sinks(tmp_path: Path) -> None:
    with Sinks("s", json_lines=tmp_path / "results.jsonl") as sinks:
        (tmp_path / "results.jsonl").unlink()
        (tmp_path / "results.jsonl").mkdir()
        with pytest.warns(InputWarning):
            sinks.offer(sample())
            wait_until(lambda: sinks.faults)
        assert sinks.faults == [
            f"JSON lines {tmp_path / 'results.jsonl'}: cannot write {tmp_path / 'results.jsonl'}: "
            "Is a directory; 1 lost"
        ]
