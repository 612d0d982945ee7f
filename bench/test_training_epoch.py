"""An epoch of training: everything anew, from resized images, and from kept features.

InvAD-lite with random weights: what it costs does not depend on them.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from invad_fast import InvAD
from invad_fast.data import Dataset, Record
from invad_fast.device import choose_precision
from invad_fast.distributed import ALONE
from invad_fast.training.features import open_features
from invad_fast.training.options import TrainingOptions
from invad_fast.training.train import _Trainer

COUNT, BATCH = 16, 8
SIZES = (128, 256)
KEPT = {
    "everything anew": {"feature_cache_gib": 0.0},
    "resized images": {"feature_cache_gib": 0.0, "cache": "images"},
    "features on disk": {"cache": "features"},
    "features in memory": {},
}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """900 x 900 PNG files, as MVTec AD's are."""
    folder = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(0)
    records = []
    for i in range(COUNT):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize((900, 900), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i}.png")
        records.append(Record(folder / f"{i}.png", "a", "train", "good", False))
    return Dataset(folder, "folder", tuple(records))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kept", KEPT)
def test_epoch(benchmark, dataset: Dataset, kept: str, size: int, tmp_path: Path) -> None:
    settings = dict(KEPT[kept])
    if "cache" in settings:
        settings["cache"] = str(tmp_path / settings["cache"])
    device = torch.device("cpu")
    precision = choose_precision("auto", device)
    options = TrainingOptions(
        schedule="paper", epochs=3, batch_size=BATCH, workers=0, precision=precision, **settings
    ).completed(InvAD, COUNT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InvAD("invad-lite", encoder_weights=None, input_size=size)
    schedule = InvAD.schedule(options.schedule)
    trainer = _Trainer(model, schedule, options, COUNT, {}, None, ALONE, device)
    features = open_features(model, dataset.train, options, device, False, ALONE)
    model.train()

    def epoch() -> None:
        for batch in features.batches(trainer._order()):
            trainer._step(batch)

    benchmark.group = f"{COUNT} images of 900x900 at {size}x{size}, {options.precision}"
    benchmark.pedantic(epoch, rounds=2, warmup_rounds=1)
    benchmark.extra_info["images_per_s"] = COUNT / benchmark.stats.stats.min
