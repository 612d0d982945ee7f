"""A stopped training goes on to the same bits; with anything else than before it is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_sets
import torch
from PIL import Image
from tiny_training import EPOCHS, STEPS, contents, fit, tiny

from invad_fast import InputError, InputWarning, InvAD, ReverseDistillation
from invad_fast.progress import TrainingProgress
from invad_fast.training import make_ready
from invad_fast.training.features import ComputedFeatures
from invad_fast.training.run_folder import RunFolder


class Stopped(BaseException):
    """As Ctrl-C or a kill: nothing catches it."""


def assert_same_model(one: Path, other: Path) -> None:
    ours, theirs = (InvAD.load(run / "model.safetensors") for run in (one, other))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    assert ours.thresholds == theirs.thresholds and ours.classes == theirs.classes


def raise_at(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, call: int) -> None:
    """Lets a function be stopped when it is called for the ``call``-th time."""
    kept, calls = getattr(where, name), []

    def stopping(*args: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == call:
            raise Stopped
        return kept(*args, **options)

    monkeypatch.setattr(where, name, stopping)


@pytest.mark.parametrize(
    ("where", "name", "call", "left"),
    [
        (ComputedFeatures, "encode", 1, 8),  # while encoding: nothing is there yet
        (TrainingProgress, "update", 2, 7),  # after two steps, one of them in a checkpoint
        (TrainingProgress, "update", 5, 4),  # in the middle of an epoch
        (os, "fsync", 7, 6),  # while the checkpoint of the third step is written
        (os, "replace", 9, 5),  # and of the fourth
        (make_ready, "good_parts", 1, 0),  # while the thresholds are made
        (RunFolder, "draw_curves", 1, 0),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    where: Any, name: str, call: int, left: int, training_set: Path, whole_run: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    options = {"run": run, "epochs": EPOCHS, "checkpoint_seconds": 0}
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        raise_at(patched, where, name, call)
        fit(tiny(), training_set, **options)
    assert not (run / "model.safetensors").exists()
    assert not list(run.glob("*.partial")) and not list(run.glob(".*.partial"))
    # Other weights to begin with: what the checkpoint does not bring back would show. A run that
    # has none yet begins anew, as the same command does.
    seed = 1 if (run / "checkpoint.pt").exists() else 0
    result = fit(tiny(seed), training_set, resume=True, **options)
    assert result.steps == left, "it did not go on where it was stopped"
    assert_same_model(run, whole_run)


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from tiny_training import fit, tiny
torch.set_num_threads(int(sys.argv[3]))
replace, left = os.replace, [6]
def killing(source, target):
    left[0] -= str(target).endswith("checkpoint.pt")
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = killing
fit(tiny(), Path(sys.argv[1]), run=sys.argv[2], epochs=4, checkpoint_seconds=0)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills itself")
def test_a_killed_process_leaves_no_lock_and_no_half_file(
    training_set: Path, whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, training_set, run, torch.get_num_threads()]
    killed = subprocess.run([*map(str, command)], cwd=Path(__file__).parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(run.glob(".*.partial"))) == 1  # the checkpoint that it was writing
    result = fit(tiny(seed=1), training_set, run=run, epochs=EPOCHS, resume=True)
    assert result.steps == 4
    assert_same_model(run, whole_run)
    assert not list(run.glob(".*.partial"))


def test_a_finished_run_keeps_its_model_and_its_thresholds(
    training_set: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = InvAD.load(run / "model.safetensors")
    calibrated.thresholds = {"*": 9.0, "nut": 3.0}
    calibrated.save(run / "model.safetensors")
    before = contents(run)
    raise_at(monkeypatch, ComputedFeatures, "encode", 1)  # nothing is encoded for it
    model = tiny(seed=1)
    result = fit(model, training_set, run=run, epochs=EPOCHS, resume=True)
    assert result.steps == 0 and len(result.losses) == EPOCHS
    assert contents(run) == before
    assert model.digest == calibrated.digest and model.thresholds == {"*": 9.0, "nut": 3.0}
    assert model.classes == ("bolt", "nut") and model.tells_classes


@pytest.mark.parametrize("damage", [None, b"", b"no model"])
def test_a_finished_run_without_its_model_makes_it_again(
    damage: bytes | None, training_set: Path, run: Path, whole_run: Path
) -> None:
    (run / "model.safetensors").unlink()
    if damage is not None:
        (run / "model.safetensors").write_bytes(damage)
    assert fit(tiny(seed=1), training_set, run=run, resume=True).steps == 0
    assert_same_model(run, whole_run)


def other_encoder() -> InvAD:
    model = tiny()
    with torch.no_grad():
        next(model.encoder.parameters()).view(-1)[0] += 1e-3
    return model


def other_method() -> ReverseDistillation:
    with pytest.warns(UserWarning, match="random weights"):
        return ReverseDistillation(encoder="resnet10t", encoder_weights=None, input_size=64)


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (other_encoder, {}, r"encoder weights [0-9a-f]{32}, not [0-9a-f]{32}"),
        (other_method, {}, r"method invad, not rd; .*input_size \[32, 32\], not \[64, 64\]"),
        (lambda: tiny(blocks=(1, 2)), {}, r"blocks \[1, 1\], not \[1, 2\]"),
        (lambda: tiny(loss_weight=5.0), {}, "loss_weight 1.0, not 5.0"),
        (tiny, {"learning_rate": 0.1}, "learning_rate 0.0005, not 0.1"),
        (tiny, {"seed": 3, "batch_size": 2}, "batch_size 4, not 2; .*seed 0, not 3"),
        (tiny, {"precision": "bf16"}, "precision fp32, not bf16"),
        (tiny, {"levels": (0, 4095)}, r"levels None, not \[0, 4095\]"),
        (tiny, {"epochs": 3}, "4 epochs done or begun, which --epochs 3 would undo"),
        (tiny, {"classes": ["nut"]}, r"of 8 images 4 gone \(bolt/train/good/0.png, …\); data "),
    ],
)
def test_another_model_or_other_options_are_refused(
    make: Any, options: dict, told: str, training_set: Path, run: Path
) -> None:
    before = contents(run)
    with pytest.raises(InputError, match=f"{told}.*choose another --run"):
        fit(make(), training_set, run=run, resume=True, **options)
    assert contents(run) == before


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("change", ["pixel", "gone", "new", "renamed", "damaged"])
def test_other_images_are_refused(
    change: str, known: bool, training_set: Path, run: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(training_set, tmp_path / "set"))
    image = data / "nut" / "train" / "good" / "1.png"
    told = {
        "pixel": r"of 8 images 1 changed \(nut/train/good/1.png\)",
        "gone": r"1 gone \(nut/train/good/1.png\)",
        "new": r"1 new \(nut/train/good/9.png\)",
        "renamed": r"1 gone \(nut/train/good/1.png\), 1 new \(nut/train/good/9.png\)",
        "damaged": r"1 changed \(nut/train/good/1.png\)",
    }[change]
    if change == "pixel":
        stat, pixels = image.stat(), np.array(Image.open(image))
        pixels[3, 4, 1] ^= 1
        Image.fromarray(pixels).save(image)
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a tool may do
    elif change == "damaged":
        image.write_bytes(b"no image")
    elif change == "new":
        sample_sets.picture(image.with_name("9.png"))
    elif change == "renamed":
        image.rename(image.with_name("9.png"))
    else:
        image.unlink()
    if not known:  # the list only says which ones: the checkpoint knows that they differ
        (run / "images.json").write_text("[[1, 2], null]")
        told = "was trained on other images: data "
    before = contents(run)
    with pytest.raises(InputError, match=f"{told}.*, not [0-9a-f]{{32}}: resume it with the same"):
        fit(tiny(), data, run=run, resume=True)
    assert contents(run) == before


def test_the_same_data_elsewhere_go_on(training_set: Path, run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "set"
    shutil.copytree(training_set, moved, copy_function=shutil.copyfile)  # new times
    sample_sets.picture(moved / "nut" / "test" / "good" / "7.png")  # which training does not use
    before = contents(run)
    assert fit(tiny(), moved, run=run, resume=True).steps == 0
    assert contents(run)["model.safetensors"] == before["model.safetensors"]


def test_a_class_on_its_own_keeps_its_name(tmp_path: Path) -> None:
    parts, run = tmp_path / "gear", tmp_path / "run"
    for i in range(4):
        sample_sets.picture(parts / "good" / f"{i}.png", i)
    fit(tiny(), parts, run=run, epochs=1)
    parts.rename(tmp_path / "wheel")
    model = tiny()
    with pytest.warns(InputWarning, match="the class keeps the name 'gear'"):
        assert fit(model, tmp_path / "wheel", run=run, epochs=2, resume=True).steps == 1
    assert model.classes == ("gear",) and set(model.thresholds) == {"*", "gear"}


def test_epochs_may_be_raised_and_the_rest_is_as_it_was(training_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(tiny(), training_set, run=run, epochs=4, schedule="paper")
    with pytest.warns(InputWarning, match="on to 10 epochs instead of 4, 4 are done; .*epoch 8,"):
        result = fit(tiny(seed=1), training_set, run=run, epochs=10, resume=True, batch_size=None)
    assert result.steps == 6 * STEPS and len(result.losses) == 10
    rows = (run / "history.csv").read_text().splitlines()[1:]
    rates = [float(row.split(",")[2]) for row in rows]
    # The first run of four had its last epoch at a tenth already.
    assert rates == pytest.approx([5e-4] * 4 + [5e-4] * 4 + [5e-5] * 2)
    assert json.loads((run / "config.json").read_text())["training"]["epochs"] == 10
    kept = contents(run)
    assert (
        fit(tiny(), training_set, run=run, resume=True).steps == 0
    )  # no epochs given: the run's own
    assert contents(run) == kept
