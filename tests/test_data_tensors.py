"""Tensors, batches decoded ahead in threads, and the cache of resized images."""

import gc
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import sample_sets
import torch
from refusals import one_line
from without_torch import run_without_torch

from invad_fast import data
from invad_fast.data import (
    ImageLoader,
    ImageTensors,
    Record,
    ResizedCache,
    build_cache,
    find_unreadable,
    load_image,
    load_mask,
    load_tensor,
    read_dataset,
    unreadable_error,
)
from invad_fast.data.tensors import BATCHES_AHEAD

SIZE = (24, 16)


def records(folder: Path, count: int = 6) -> list[Record]:
    paths = [sample_sets.picture(folder / f"{i}.png", i) for i in range(count)]
    return [Record(path, "a", "train", "good", False) for path in paths]


def test_items_are_what_torchvision_would_give(tmp_path: Path) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    expected = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images = ImageTensors(records(tmp_path), SIZE)
    assert len(images) == 6
    for i, (image, index) in enumerate(images):
        assert index == i and images.path(i) == tmp_path / f"{i}.png"
        assert image.dtype == torch.float32 and image.is_contiguous()
        pixels = transforms.ToTensor()(load_image(tmp_path / f"{i}.png", SIZE))
        assert torch.equal(image, expected(pixels))
        assert torch.equal(image, load_tensor(tmp_path / f"{i}.png", SIZE))
    with pytest.raises(IndexError):
        images[6]


def test_names_of_any_kind(tmp_path: Path) -> None:
    name = os.fsdecode("größe 7 µm\udce9.png".encode("utf-8", "surrogateescape"))
    image = sample_sets.picture(tmp_path / "plain.png")
    image.rename(tmp_path / name)
    record = Record(tmp_path / name, "a", "train", "good", False)
    assert ImageTensors([record], SIZE).path(0) == tmp_path / name
    assert ImageTensors([record], SIZE)[0][0].shape == (3, *SIZE)


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_batches_come_in_order_whatever_decodes_them(tmp_path: Path, workers: int) -> None:
    images = ImageTensors(records(tmp_path), SIZE)
    batches = list(ImageLoader(images, 4, workers))
    assert [batch.indices for batch in batches] == [[0, 1, 2, 3], [4, 5]]
    assert torch.equal(batches[1].images, torch.stack([images[4][0], images[5][0]]))
    assert (batches[0].pixels[3] == load_image(images.path(3), SIZE)).all()
    assert batches[0].masks is None and not batches[0].unreadable
    order = [[5, 0], [2]] * 20
    batches = list(ImageLoader(images, iter(order), workers))
    assert [batch.indices for batch in batches] == order
    for batch in batches:
        assert all(torch.equal(x, images[i][0]) for i, x in zip(batch.indices, batch.images))
    assert list(ImageLoader(ImageTensors([], SIZE), 4, workers)) == []


def test_paths_are_as_good_as_records(tmp_path: Path) -> None:
    parts = records(tmp_path, 3)
    images = ImageTensors([parts[0].image, str(parts[1].image), parts[2]], SIZE)
    (batch,) = ImageLoader(images, 8)
    assert batch.indices == [0, 1, 2]
    assert (batch.pixels == [load_image(part.image, SIZE) for part in parts]).all()
    with pytest.raises(ValueError, match="a plain path has no mask"):
        ImageTensors([parts[0].image], SIZE, with_masks=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_masks_are_decoded_beside_their_images(tmp_path: Path, workers: int) -> None:
    tests = read_dataset(sample_sets.mvtec(tmp_path / "set")).test
    batches = list(ImageLoader(ImageTensors(tests, SIZE, with_masks=True), 3, workers))
    masks = np.concatenate([batch.masks for batch in batches])
    assert masks.dtype == np.uint8 and (masks == [load_mask(r, SIZE) for r in tests]).all()
    assert masks.any() and not masks.all()
    damaged = next(i for i, record in enumerate(tests) if record.anomalous)
    tests[damaged].mask.write_bytes(b"no image")
    loader = ImageLoader(ImageTensors(tests, SIZE, with_masks=True), 3, workers, "collect")
    assert sum(len(batch.masks) for batch in loader) == len(tests) - 1
    (fault,) = loader.unreadable
    assert fault.index == damaged and "_mask.png: not a readable image" in fault.line


@pytest.mark.parametrize("workers", [0, 2])
def test_one_bad_image_does_not_stop_the_rest(tmp_path: Path, workers: int) -> None:
    images = ImageTensors(records(tmp_path), SIZE)
    for i in (1, 4, 5):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    one_line(r"1\.png: not a readable image", lambda: list(ImageLoader(images, 4, workers)))

    loader = ImageLoader(images, 2, workers, damaged="collect")
    for _ in range(2):  # a second pass begins anew
        batches = list(loader)
        assert [batch.indices for batch in batches] == [[0], [2, 3], []]
        assert batches[2].images.shape == (0, 3, *SIZE)
        assert torch.equal(batches[0].images[0], images[0][0])
        assert [[u.index for u in batch.unreadable] for batch in batches] == [[1], [], [4, 5]]
        assert [u.path.name for u in loader.unreadable] == ["1.png", "4.png", "5.png"]
    assert find_unreadable(images, workers) == loader.unreadable
    error = unreadable_error(loader.unreadable, len(images))
    assert re.match(r"3 of 6 images cannot be read: .*1\.png: .*4\.png: .*5\.png: ", str(error))
    assert "\n" not in str(error)


def test_mistakes_of_the_caller_and_faults_of_the_program_are_told(tmp_path: Path, monkeypatch):
    images = ImageTensors(records(tmp_path, 2), SIZE)
    one_line("workers must be 0 or more threads", lambda: ImageLoader(images, 1, -1))
    one_line("a batch must have 1 image or more", lambda: ImageLoader(images, 0))
    with pytest.raises(ValueError, match="'raise' or 'collect'"):
        ImageLoader(images, 1, damaged="skip")
    with pytest.raises(IndexError):
        list(ImageLoader(images, [[2]]))
    monkeypatch.setattr(ImageTensors, "pixels", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(ImageLoader(images, 2, damaged="collect"))


def test_no_thread_is_left_when_the_consumer_stops_early(tmp_path: Path) -> None:
    images = ImageTensors(records(tmp_path), SIZE)
    before = set(threading.enumerate())
    taken = iter(ImageLoader(images, [[i % 6] for i in range(1000)], 3))
    assert next(taken).indices == [0]
    assert set(threading.enumerate()) - before
    taken.close()
    assert not set(threading.enumerate()) - before


def test_no_more_is_decoded_ahead_than_a_few_batches(tmp_path: Path, monkeypatch) -> None:
    images = ImageTensors(records(tmp_path), SIZE)
    taken = []
    batches = (taken.append(i) or [i % 6, (i + 1) % 6] for i in range(100))
    loader = iter(ImageLoader(images, batches, 2))
    for done in range(1, 50):
        next(loader)
        assert len(taken) <= done + BATCHES_AHEAD


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_plain_script_needs_no_guard(tmp_path: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    parts = records(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(f"""
import multiprocessing
multiprocessing.set_start_method({method!r})
from pathlib import Path
from invad_fast.data import ImageLoader, ImageTensors
files = sorted(Path({str(tmp_path)!r}).glob("*.png"))
print(sum(len(batch.images) for batch in ImageLoader(ImageTensors(files, (8, 8)), 2, workers=2)))
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout.strip() == str(len(parts)), done.stderr


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_10000_images_leak_no_memory(tmp_path: Path) -> None:
    one = records(tmp_path, 4)
    images = ImageTensors([one[i % 4] for i in range(10_000)], (32, 32))
    for i in range(1000):
        images[i]
    before = resident_mib()
    for i in range(10_000):
        images[i]
    # a leak of one image each, decoded or as a tensor, would be 30 MiB or more
    assert resident_mib() - before < 10


def test_cache_gives_the_same_tensors(tmp_path: Path) -> None:
    parts = records(tmp_path)
    seen: list[tuple[int, int]] = []
    cache = build_cache(parts, SIZE, tmp_path / "cache", progress=lambda *at: seen.append(at))
    assert seen == [(i, 6) for i in range(1, 7)]
    assert (len(cache), cache.cached) == (6, 6)
    plain, cached = ImageTensors(parts, SIZE), ImageTensors(parts, SIZE, cache)
    for part in parts:
        part.image.unlink()  # nothing is decoded any more
    sample_sets.picture(parts[0].image, 0)
    assert torch.equal(plain[0][0], cached[0][0])
    assert [i for _, i in cached] == list(range(6))
    for images in (cached, pickle.loads(pickle.dumps(cached))):
        batch = next(iter(ImageLoader(images, 6, 1)))
        assert torch.equal(batch.images[3], cached[3][0])
    with pytest.raises(ValueError, match="another size"):
        ImageTensors(parts, (8, 8), cache)


def untouched(file: Path) -> int:
    return file.stat().st_ino


def test_cache_is_kept_until_an_image_changes(tmp_path: Path) -> None:
    parts = records(tmp_path)
    folder = tmp_path / "cache"
    first = build_cache(parts, SIZE, folder)
    inode = untouched(first.file)
    again = build_cache(parts, SIZE, folder)
    assert again.file == first.file and untouched(again.file) == inode

    os.utime(parts[2].image, ns=(1, 1))  # copied about: another time, the same content
    sample_sets.picture(parts[4].image, 99)  # another image
    parts[0].image.write_bytes(parts[0].image.read_bytes() + b"\0")  # same picture, other bytes
    third = build_cache(parts, SIZE, folder)
    assert third.file == first.file and untouched(third.file) != inode
    for i, part in enumerate(parts):
        assert np.array_equal(third.get(i), load_image(part.image, SIZE))
    assert list(folder.iterdir()) == [third.file]

    assert build_cache(parts, (8, 8), folder).file != first.file
    assert build_cache(parts[:5], SIZE, folder).file != first.file


def test_a_change_that_keeps_size_and_time_is_found_by_verifying(tmp_path: Path) -> None:
    parts = records(tmp_path, 2)
    build_cache(parts, SIZE, tmp_path / "cache")
    about = parts[0].image.stat()
    data = bytearray(parts[0].image.read_bytes())
    other = sample_sets.picture(tmp_path / "other.png", 7).read_bytes()
    data[:] = other[: len(data)].ljust(len(data), b"\0")
    parts[0].image.write_bytes(data)
    os.utime(parts[0].image, ns=(about.st_atime_ns, about.st_mtime_ns))
    expected = load_image(parts[0].image, SIZE)
    trusted = build_cache(parts, SIZE, tmp_path / "cache")
    assert not np.array_equal(trusted.get(0), expected)
    verified = build_cache(parts, SIZE, tmp_path / "cache", verify=True)
    assert np.array_equal(verified.get(0), expected)


def test_cache_is_bounded(tmp_path: Path) -> None:
    parts = records(tmp_path)
    bound = 4 * 24 * 16 * 3 + 4 * (12 * len(str(parts[0].image)) + 128)
    cache = build_cache(parts, SIZE, tmp_path / "cache", max_bytes=bound)
    assert cache.cached == 4 and cache.file.stat().st_size <= bound
    assert cache.get(4) is None
    images = ImageTensors(parts, SIZE, cache)
    assert torch.equal(images[5][0], load_tensor(parts[5].image, SIZE))
    whole = build_cache(parts, SIZE, tmp_path / "cache")
    assert whole.cached == 6 and whole.file == cache.file

    # caches of other sizes make room, the longest unused first
    for height in (8, 12, 16):
        file = build_cache(parts, (height, 16), tmp_path / "cache").file
        os.utime(file, (height, height))
    kept = {12: True, 16: True}
    room = sum(build_cache(parts, (h, 16), tmp_path / "cache").file.stat().st_size for h in kept)
    newest = build_cache(parts, (16, 16), tmp_path / "cache", max_bytes=room)
    left = {file.stat().st_size for file in (tmp_path / "cache").iterdir()}
    assert len(left) == 2 and newest.file.exists() and sum(left) <= room
    assert build_cache([], SIZE, tmp_path / "cache").cached == 0


def test_cache_damaged_or_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = records(tmp_path)
    folder = tmp_path / "cache"
    file = build_cache(parts, SIZE, folder).file
    whole = file.read_bytes()
    for damage in (b"", whole[:-1], whole[: len(whole) // 2], whole[:-9] + b"}" + whole[-8:]):
        file.write_bytes(damage)
        again = build_cache(parts, SIZE, folder)
        assert np.array_equal(again.get(5), load_image(parts[5].image, SIZE))
    before = file.read_bytes()
    sample_sets.picture(parts[1].image, 50)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        build_cache(parts, SIZE, folder)
    assert file.read_bytes() == before and list(folder.iterdir()) == [file]


def test_cache_names_what_it_cannot_read_or_write(tmp_path: Path) -> None:
    parts = records(tmp_path)
    parts[3].image.write_bytes(b"no image")
    one_line(
        r"3\.png: not a readable image", lambda: build_cache(parts, SIZE, tmp_path / "c", workers=2)
    )
    assert not list((tmp_path / "c").iterdir())
    parts[3].image.unlink()
    one_line(r"3\.png: no such image", lambda: build_cache(parts, SIZE, tmp_path / "c"))
    parts[5].image.write_bytes(b"no image")
    one_line(
        r"2 of 6 images cannot be read: .*3\.png: no such image file; .*5\.png: not a readable",
        lambda: build_cache(parts, SIZE, tmp_path / "c"),
    )
    blocked = tmp_path / "0.png"  # a file where the folder should be
    one_line("the cache cannot be written", lambda: build_cache(parts[:1], SIZE, blocked))
    large = (10**6, 10**6)
    one_line(
        "needs .* GiB, but only",
        lambda: build_cache(parts[:1], large, tmp_path / "c", max_bytes=10**15),
    )


def test_a_cache_goes_without_what_it_cannot_read(tmp_path: Path) -> None:
    parts = records(tmp_path)
    whole = parts[3].image.read_bytes()
    parts[3].image.write_bytes(b"no image")
    parts[5].image.unlink()
    seen: list[tuple[int, int]] = []
    for _ in range(2):  # made, and brought up to date
        cache = build_cache(
            parts, SIZE, tmp_path / "c", progress=lambda *at: seen.append(at), damaged="collect"
        )
        assert seen[-1] == (6, 6)
        assert [cache.get(i) is None for i in range(6)] == [i in (3, 5) for i in range(6)]
        loader = ImageLoader(ImageTensors(parts, SIZE, cache), 6, 0, "collect")
        (batch,) = loader
        assert batch.indices == [0, 1, 2, 4]
        assert [bad.index for bad in loader.unreadable] == [3, 5]
    one_line("2 of 6 images cannot", lambda: build_cache(parts, SIZE, tmp_path / "c"))
    parts[3].image.write_bytes(whole)
    sample_sets.picture(parts[5].image, 5)
    cache = build_cache(parts, SIZE, tmp_path / "c")
    assert np.array_equal(cache.get(3), load_image(parts[3].image, SIZE))
    assert pickle.loads(pickle.dumps(cache)).get(5) is not None


def test_a_pickled_cache_opens_its_file_anew(tmp_path: Path) -> None:
    cache = build_cache(records(tmp_path), SIZE, tmp_path / "cache")
    cache.get(0)
    data = pickle.dumps(cache)
    assert len(data) < 1000
    copy: ResizedCache = pickle.loads(data)
    assert np.array_equal(copy.get(5), cache.get(5))


def test_real_images_through_the_cache(shared: Path, tmp_path: Path) -> None:
    cookies = read_dataset(shared / "data" / "defects").only(["cookie"]).train
    cache = build_cache(cookies, (64, 64), tmp_path)
    plain, cached = ImageTensors(cookies, (64, 64)), ImageTensors(cookies, (64, 64), cache)
    assert all(torch.equal(plain[i][0], cached[i][0]) for i in range(len(cookies)))


def test_reading_images_and_data_sets_waits_for_no_torch(tmp_path: Path) -> None:
    sample_sets.mvtec(tmp_path / "set")
    script = f"""
import sys
from invad_fast.data import Record, load_image, read_dataset
dataset = read_dataset({str(tmp_path / "set")!r})
load_image(dataset.train[0].image, (8, 8))
print("torch" in sys.modules)
"""
    assert run_without_torch(script) == "False"


def test_every_public_name_is_found_and_no_other() -> None:
    assert set(data.__all__) <= set(dir(data))
    assert all(getattr(data, name) is not None for name in data.__all__)
    with pytest.raises(AttributeError, match="attribute read_datasets"):
        data.read_datasets  # noqa: B018
