"""Where pictures come from: files, a folder that gets files, videos, a simulated line."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from line_recipe import MAKER, recipe
from PIL import Image
from refusals import one_line

from invad_fast.inspection import Inspector, Reason
from invad_fast.inspection.run_source import run_source
from invad_fast.inspection.sources.image_files import ImageFiles
from invad_fast.inspection.sources.simulated_line import LineOptions, SimulatedLine
from invad_fast.inspection.sources.video_file import VideoFile
from invad_fast.inspection.sources.watched_folder import WatchedFolder
from invad_fast.prediction import Verdict


def grey(value: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8, 3), value, np.uint8))


def test_image_files(tmp_path: Path) -> None:
    files = [tmp_path / f"{value}.png" for value in (10, 20, 30)]
    for file in files:
        grey(int(file.stem)).save(file)
    files.insert(1, tmp_path / "torn.png")
    files[1].write_bytes(files[0].read_bytes()[:45])
    found = list(ImageFiles(files))
    assert [p.part_id for p in found] == ["10", "torn", "20", "30"]
    assert [p.frame is None for p in found] == [False, True, False, False]
    assert found[1].reason is Reason.DAMAGED_FRAME and "torn.png" in found[1].detail
    assert (found[3].frame == 30).all() and found[3].image == str(files[3])


def drop(folder: Path) -> None:
    """Files that come in every way in which programs write them."""
    time.sleep(0.3)
    grey(60).save(folder / "at once.png")
    grey(70).save(folder / ".hidden.png")
    os.rename(folder / ".hidden.png", folder / "renamed.png")
    whole = folder.parent / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(whole)
    content = whole.read_bytes()
    with open(folder / "slow.png", "wb") as file:
        for start in range(0, len(content), 3000):
            file.write(content[start : start + 3000])
            file.flush()
            time.sleep(0.2)
    (folder / "notes.txt").write_text("no image")
    grey(80).save(folder / "old.png")  # again, under the same name


def test_a_watched_folder(tmp_path: Path) -> None:
    """A file is a picture once, when it is whole."""
    folder = tmp_path / "in"
    folder.mkdir()
    grey(50).save(folder / "old.png")
    source = WatchedFolder(folder)
    threading.Thread(target=drop, args=(folder,)).start()
    found = {}
    for picture in source:
        assert picture.frame is not None, picture.detail
        found.setdefault(picture.part_id, []).append(picture.frame)
        if sum(map(len, found.values())) == 5:
            threading.Timer(0.6, source.stop).start()
    assert {name: len(frames) for name, frames in found.items()} == {
        "old": 2, "at once": 1, "renamed": 1, "slow": 1}  # fmt: skip
    assert (found["old"][0] == 50).all() and (found["old"][1] == 80).all()
    assert found["slow"][0].shape == (64, 64, 3) and found["slow"][0][-1].std() > 50


def test_a_watched_folder_gives_up_a_torn_file(tmp_path: Path, monkeypatch) -> None:
    from invad_fast.inspection.sources import watched_folder

    monkeypatch.setattr(watched_folder, "PATIENCE", 0.5)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    source = WatchedFolder(tmp_path)
    started = time.time()
    picture = next(iter(source))
    source.stop()
    assert picture.reason is Reason.DAMAGED_FRAME and time.time() - started > 0.3
    one_line("no folder", lambda: WatchedFolder(tmp_path / "gone"))


def test_a_watched_folder_trusts_no_clock(tmp_path: Path) -> None:
    """On a share whose clock is behind, a file seems old while it is written."""
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(whole)
    content, folder = whole.read_bytes(), tmp_path / "in"
    folder.mkdir()

    def write(file: Path, offset: float) -> None:
        with open(file, "wb") as opened:
            for start in range(0, len(content), 1000):
                opened.write(content[start : start + 1000])
                opened.flush()
                # An uncompressed row more or less is an image too, for some formats.
                os.utime(file, (time.time() + offset + start / 1e3,) * 2)
                time.sleep(0.1)

    source, read = WatchedFolder(folder), []
    for offset in (-30.0, 30.0, -1e6):
        file = folder / f"{offset}.png"
        threading.Thread(target=write, args=(file, offset)).start()
    for picture in source:
        read.append(picture)
        if len(read) == 3:
            threading.Timer(0.5, source.stop).start()
    assert len(read) == 3
    assert all(p.frame is not None and p.frame.shape[:2] == (64, 64) for p in read)


def test_what_is_known_of_files_that_are_gone_is_bounded(monkeypatch) -> None:
    from invad_fast.inspection.sources import watched_folder

    monkeypatch.setattr(watched_folder, "_GONE", 2)
    done = {Path(str(number)): (number, 1) for number in range(6)}
    watched_folder._forget(done, [Path("0"), Path("5")])
    assert list(done) == [Path(name) for name in "0345"]


def test_a_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    file = tmp_path / "belt.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for value in range(0, 250, 25):
            pixels = np.full((64, 64, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    every = list(VideoFile(file))
    assert [p.part_id for p in every] == [f"belt#{n}" for n in range(10)]
    for value, picture in zip(range(0, 250, 25), every):
        assert picture.frame.shape == (64, 64, 3) and abs(picture.frame.mean() - value) < 6
    assert [p.part_id for p in VideoFile(file, step=4)] == ["belt#0", "belt#4", "belt#8"]
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(file.read_bytes()[:300])
    one_line(r"torn\.mp4 is no video", lambda: VideoFile(torn))
    one_line("no video", lambda: VideoFile(tmp_path / "gone.mp4"))


def test_a_simulated_line_is_what_its_seed_says() -> None:
    options = LineOptions(parts=40, defects=0.3, faults=0.2, seed=3)
    found, again = (list(SimulatedLine(options, 32)) for _ in range(2))
    for one, two in zip(found, again):
        assert (one.part_id, one.defect) == (two.part_id, two.defect)
        assert (one.frame is None) == (two.frame is None)
        assert one.frame is None or (one.frame == two.frame).all()
    defects = [p.defect for p in found]
    assert len(found) == 40 and 4 < sum(d != "good" for d in defects) < 22
    sound = [p for p in found if p.frame is not None and p.frame.shape == (32, 32, 3)]
    assert 24 <= len(sound) < 40
    other = list(SimulatedLine(LineOptions(parts=5, seed=4), 32))
    assert all(not any(np.array_equal(p.frame, q.frame) for q in sound) for p in other)
    one_line("no product 'cheese'", lambda: SimulatedLine(options, 32, ["cheese"]))
    one_line("rate", lambda: LineOptions(rate=0))


def test_a_simulated_line_keeps_its_pace() -> None:
    options = LineOptions(parts=60, rate=200, burst=3, jitter=0.5)
    source = SimulatedLine(options, 16, ["wood"])
    pictures = iter(source)
    next(pictures)
    started = time.monotonic()
    times = [time.monotonic() - started for _ in pictures]
    assert len(times) == 59 and times[-1] > 0.15
    close = sum(b - a < 0.002 for a, b in zip(times, times[1:]))
    assert close >= 30  # those of a burst come at once
    source.stop()


def test_a_source_through_an_inspector(tmp_path: Path) -> None:
    for value in (10, 20, 200):
        grey(value).convert("RGB").save(tmp_path / f"{value}.png")
    (tmp_path / "torn.png").write_bytes(b"torn")
    files = sorted(tmp_path.glob("*.png"))
    seen = {}
    made = recipe(tmp_path, queue={"capacity": 2})
    with Inspector(made, tmp_path / "line.db", engine=MAKER) as line:
        count = run_source(line, ImageFiles(files), None, lambda p, r: seen.update({p.image: r}))
    assert count == 4 and set(seen) == {str(f) for f in files}
    verdicts = {Path(image).stem: r.verdict for image, r in seen.items()}
    missed = Verdict.NOT_INSPECTED
    # The stub takes the green of a picture for an order: 10 and 20 are none.
    assert verdicts == {"10": Verdict.PASS, "20": Verdict.PASS, "200": Verdict.REJECT,
                        "torn": missed}  # fmt: skip
