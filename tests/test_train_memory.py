"""A whole epoch on 10,000 small images keeps none of them in memory."""

import os
import warnings
from pathlib import Path

import pytest
import sample_sets
import torch

from invad_fast import InvAD, InvADConfig
from invad_fast.progress import TrainingProgress

IMAGES, SIZE = 10_000, 32


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_an_epoch_leaks_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "parts" / "good"
    originals = [sample_sets.picture(tmp_path / f"{i}.png", i) for i in range(16)]
    folder.mkdir(parents=True)
    for i in range(IMAGES):
        os.link(originals[i % 16], folder / f"{i:05}.png")
    resident: list[float] = []
    monkeypatch.setattr(TrainingProgress, "update", lambda *_: resident.append(resident_mib()))
    torch.manual_seed(0)
    config = InvADConfig(
        encoder="resnet10t", out_indices=(1, 2), style_channels=8, latent_channels=4,
        blocks=(1, 1), input_size=SIZE,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights
        model = InvAD(config, None)
    model.fit(
        tmp_path / "parts", epochs=1, batch_size=200, workers=0, feature_cache_gib=0,
        show_progress=False,
    )  # fmt: skip
    assert len(resident) == IMAGES // 200
    # From a quarter of the epoch on, 7,500 images: as bytes they are 22 MiB, as tensors 88, as
    # features more. Allocators settle within a few.
    assert resident[-1] - resident[len(resident) // 4] < 15
