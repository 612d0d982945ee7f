"""Tensors, loading with worker processes, and the cache of resized images."""

import gc
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import layouts
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from invad_fast import InputError
from invad_fast.data import (
    ImageLoader,
    ImageTensors,
    Record,
    ResizedCache,
    build_cache,
    load_image,
    load_tensor,
    read_dataset,
)

SIZE = (24, 16)


def records(folder: Path, count: int = 6) -> list[Record]:
    paths = [layouts.picture(folder / f"{i}.png", i) for i in range(count)]
    return [Record(path, "a", "train", "good", False) for path in paths]


def one_line(match: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


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
    image = layouts.picture(tmp_path / "plain.png")
    image.rename(tmp_path / name)
    record = Record(tmp_path / name, "a", "train", "good", False)
    assert ImageTensors([record], SIZE).path(0) == tmp_path / name
    assert ImageTensors([record], SIZE)[0][0].shape == (3, *SIZE)


@pytest.mark.parametrize("workers", [0, 2])
def test_loader(tmp_path: Path, workers: int) -> None:
    images = ImageTensors(records(tmp_path), SIZE)
    loader = ImageLoader(images, batch_size=4, num_workers=workers)
    batches = list(loader)
    assert [indices.tolist() for _, indices in batches] == [[0, 1, 2, 3], [4, 5]]
    assert torch.equal(batches[1][0], torch.stack([images[4][0], images[5][0]]))
    assert len(loader) == 2
    order = [[5, 0], [2]]
    batches = list(ImageLoader(images, batch_sampler=order, num_workers=workers))
    assert [indices.tolist() for _, indices in batches] == order


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_one_line_from_workers_too(tmp_path: Path, workers: int) -> None:
    images = ImageTensors(records(tmp_path), SIZE)
    (tmp_path / "5.png").write_bytes(b"no image")
    loader = ImageLoader(images, batch_size=4, num_workers=workers)
    one_line(r"5\.png: not a readable image", lambda: list(loader))
    # a plain DataLoader keeps the kind of the error and the line, among torch's own
    with pytest.raises(InputError, match=r"5\.png: not a readable image"):
        list(DataLoader(images, num_workers=workers))


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
    layouts.picture(parts[0].image, 0)
    assert torch.equal(plain[0][0], cached[0][0])
    assert [i for _, i in cached] == list(range(6))
    for images in (cached, pickle.loads(pickle.dumps(cached))):  # as spawned workers get it
        batch, _ = next(iter(ImageLoader(images, batch_size=6, num_workers=1)))
        assert torch.equal(batch[3], cached[3][0])
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
    layouts.picture(parts[4].image, 99)  # another image
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
    other = layouts.picture(tmp_path / "other.png", 7).read_bytes()
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
    layouts.picture(parts[1].image, 50)
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
    blocked = tmp_path / "0.png"  # a file where the folder should be
    one_line("the cache cannot be written", lambda: build_cache(parts[:1], SIZE, blocked))
    large = (10**6, 10**6)
    one_line(
        "needs .* GiB, but only",
        lambda: build_cache(parts[:1], large, tmp_path / "c", max_bytes=10**15),
    )


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
