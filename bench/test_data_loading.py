"""An epoch of 256 x 256 tensors: our loader, with and without the cache, beside torchvision's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from invad_fast.data import ImageLoader, ImageTensors, Record, build_cache

SIZE = (256, 256)
COUNT = 128
# (height, width) and file type of COCO's images and of MVTec AD's
KINDS = {"480x640 JPEG": ((480, 640), "jpg"), "900x900 PNG": ((900, 900), "png")}


class TorchvisionImages(Dataset):
    """What a page of PyTorch's tutorials would write."""

    def __init__(self, records: list[Record]) -> None:
        transforms = pytest.importorskip("torchvision.transforms")
        self.records = records
        self.transform = transforms.Compose(
            [
                transforms.Resize(SIZE),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.records[index].image) as image:
            return self.transform(image.convert("RGB")), index


@pytest.fixture(scope="session", params=KINDS)
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Smooth structure with a little noise: files about as large as photographs' are."""
    folder = tmp_path_factory.mktemp("images")
    (height, width), suffix = KINDS[request.param]
    rng = np.random.default_rng(0)
    made = []
    for i in range(COUNT):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        pixels = np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / f"{i}.{suffix}"
        Image.fromarray(pixels).save(path, quality=92)
        made.append(Record(path, "a", "train", "good", False))
    return request.param, made


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["torchvision", "decoding", "cached"])
def test_epoch(benchmark, records, name: str, workers: int, tmp_path: Path) -> None:
    kind, parts = records
    images = ImageTensors(parts, SIZE)
    if name == "cached":
        images = ImageTensors(parts, SIZE, build_cache(parts, SIZE, tmp_path))
    if name == "torchvision":
        loader = DataLoader(TorchvisionImages(parts), batch_size=32, num_workers=workers)
    else:
        loader = ImageLoader(images, 32, workers)
        expected = TorchvisionImages(parts)
        assert all(torch.equal(images[i][0], expected[i][0]) for i in range(0, COUNT, 16))

    def epoch() -> int:
        return sum(len(batch[1] if name == "torchvision" else batch.indices) for batch in loader)

    benchmark.group = f"{COUNT} images of {kind}, {workers} workers"
    assert benchmark.pedantic(epoch, rounds=5, warmup_rounds=1) == COUNT
    benchmark.extra_info["images_per_s"] = COUNT / benchmark.stats.stats.min


@pytest.mark.parametrize("verify", [False, True], ids=["trusting", "verifying"])
def test_opening_a_cache(benchmark, records, verify: bool, tmp_path: Path) -> None:
    kind, parts = records
    build_cache(parts, SIZE, tmp_path)
    benchmark.group = f"opening the cache of {COUNT} images of {kind}"
    benchmark(build_cache, parts, SIZE, tmp_path, verify=verify)
