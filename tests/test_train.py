"""Training: the recipe, kill and resume to the same bits, and the mistakes it answers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import layouts
import pytest
import torch

from invad_fast import InputError, InvAD, InvADConfig
from invad_fast.run_folder import Checkpoint, RunFolder
from invad_fast.train import TrainingOptions, make_optimizer

# A real timm encoder with random weights and few blocks: seconds instead of minutes.
SCRIPT = """
import sys, torch, warnings
warnings.simplefilter("ignore")
from invad_fast import InvAD, InvADConfig
torch.manual_seed(0)
model = InvAD(InvADConfig(encoder="resnet10t", blocks=(1, 1, 1), input_size=32), None)
model.fit(sys.argv[1], run=sys.argv[2], resume=True, epochs=6, batch_size=4, workers=0,
          checkpoint_seconds=0.0, show_progress=False)
"""


def tiny(encoder: str | None = "resnet10t") -> InvAD:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="random weights"):
        return InvAD(InvADConfig(encoder=encoder, blocks=(1, 1, 1), input_size=32), None)


def start(root: Path, run: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(root), str(run)]
    return subprocess.Popen(command, cwd=Path(__file__).parent)


def test_killed_runs_resume_to_the_same_bits(tmp_path: Path) -> None:
    root = layouts.mvtec(tmp_path / "set", train=8)
    assert start(root, tmp_path / "whole").wait() == 0
    interrupted, kills = tmp_path / "interrupted", 0
    checkpoint = interrupted / "checkpoint.pt"
    for wanted in ((0, 2), (3, 1)):  # epoch and step at which the process is killed
        process = start(root, interrupted)
        while process.poll() is None:
            if checkpoint.exists():
                state = torch.load(checkpoint, weights_only=True)
                if (state["epoch"], state["step"]) >= wanted:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
                    break
            time.sleep(0.002)
        process.wait()
    assert start(root, interrupted).wait() == 0
    assert kills >= 1
    whole = InvAD.load(tmp_path / "whole" / "model.safetensors")
    resumed = InvAD.load(interrupted / "model.safetensors")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert whole.thresholds == resumed.thresholds
    assert not list(interrupted.glob(".*partial"))


def test_fit_leaves_a_run_folder_and_a_calibrated_model(tmp_path: Path) -> None:
    root = layouts.mvtec(tmp_path / "set")
    model = tiny()
    frozen = {n: p.clone() for n, p in model.encoder.named_parameters()}
    result = model.fit(
        root, run=tmp_path / "run", epochs=5, batch_size=4, workers=0, show_progress=False
    )
    assert result.losses[-1] < result.losses[0]
    assert all(torch.equal(p, frozen[n]) for n, p in model.encoder.named_parameters())
    assert model.classes == ("bolt", "nut") and set(model.thresholds) == {"*", "bolt", "nut"}
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"config.json", "checkpoint.pt", "history.csv", "loss.png", "model.safetensors"}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["learning_rate"] == 0.0005
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(rows) == 6 and float(rows[-1].split(",")[2]) == pytest.approx(0.00005)


def test_cached_features_train_like_computed_ones(tmp_path: Path) -> None:
    root = layouts.mvtec(tmp_path)
    options = {"epochs": 2, "batch_size": 4, "workers": 0, "show_progress": False}
    # Adam with beta1 = 0 makes whole steps of rounding noise: small ones keep the two comparable.
    options["learning_rate"] = 1e-5
    cached = tiny().fit(root, **options)
    computed = tiny().fit(root, feature_cache_gib=0, **options)
    assert cached.losses == pytest.approx(computed.losses, rel=2e-3)  # half precision


def test_recipe_defaults() -> None:
    options = TrainingOptions()
    assert (options.epochs, options.batch_size, options.learning_rate) == (300, 32, 0.004)
    optimizer = make_optimizer(tiny(), 0.004)
    assert optimizer.defaults["betas"] == (0.0, 0.99) and optimizer.defaults["weight_decay"] == 0


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    root = layouts.mvtec(tmp_path / "set")
    model = tiny()
    config = model.config

    def fails(match: str, **options) -> None:
        with pytest.raises(InputError, match=match) as caught:
            model.fit(root, show_progress=False, workers=0, **options)
        assert "\n" not in str(caught.value)

    fails("8 good training images are fewer than one batch of 32")
    fails("no training precision 'fp8'", precision="fp8")
    fails("no class 'x'", classes=["x"])
    fails("a false-alarm rate lies in", batch_size=4, false_alarm_rate=1.5)
    folder = RunFolder.open(tmp_path / "run", config, TrainingOptions(batch_size=4), resume=False)
    folder.write_checkpoint(Checkpoint({}, {}, 0, 0, 0.0, []))
    fails("already holds a run", run=tmp_path / "run", batch_size=4)
    fails("was trained with epochs=300, not 9", run=tmp_path / "run", batch_size=4, epochs=9,
          resume=True)  # fmt: skip
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    fails("not empty and holds no run", run=tmp_path / "full", batch_size=4)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_a_damaged_training_image_is_named(tmp_path: Path) -> None:
    root = layouts.mvtec(tmp_path / "set")
    (root / "nut" / "train" / "good" / "2.png").write_bytes(b"no image")
    options = {"run": tmp_path / "run", "batch_size": 4, "epochs": 1, "show_progress": False}
    with pytest.raises(InputError, match=r"nut/train/good/2\.png: not a readable image") as caught:
        tiny().fit(root, workers=2, **options)
    assert "\n" not in str(caught.value)
    (root / "nut" / "train" / "good" / "2.png").unlink()
    tiny().fit(root, workers=0, **options)  # mended: the same folder serves
