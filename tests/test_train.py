"""Training: the schedule, what a run leaves, and how it keeps the features."""

import json
from pathlib import Path

import pytest
import sample_sets
from tiny_training import fit, tiny

from invad_fast import InputError, InvAD
from invad_fast.reverse_distillation import ReverseDistillation
from invad_fast.training.options import TrainingOptions
from invad_fast.training.train import make_optimizer


def test_fit_leaves_a_run_folder_and_a_provisionally_calibrated_model(tmp_path: Path) -> None:
    root = sample_sets.mvtec(tmp_path / "set")
    model = tiny()
    frozen = {n: p.clone() for n, p in model.encoder.named_parameters()}
    result = fit(model, root, run=tmp_path / "run", epochs=5, schedule="paper")
    assert result.losses[-1] < result.losses[0] and result.steps == 10
    assert all(p.equal(frozen[n]) for n, p in model.encoder.named_parameters())
    assert model.classes == ("bolt", "nut") and set(model.thresholds) == {"*", "bolt", "nut"}
    assert all(origin.provisional for origin in model.thresholds.origins.values())
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {".lock", "config.json", "images.json", "checkpoint.pt", "history.csv",
                     "loss.png", "model.safetensors"}  # fmt: skip
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["learning_rate"] == 0.0005
    assert config["data"]["images"] == 8 and config["method"] == "invad"
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(rows) == 6 and float(rows[-1].split(",")[2]) == pytest.approx(0.00005)


def test_the_parts_that_set_a_threshold_do_not_exceed_it(tmp_path: Path) -> None:
    """The thresholds are made in the form that predictions take, of the parts as they are."""
    from invad_fast.data import load_tensor

    root = sample_sets.mvtec(tmp_path / "set")
    model = tiny()
    fit(model, root, epochs=2, false_alarm_rate=0.0)
    form = model.for_inference()
    for name in ("bolt", "nut"):
        parts = sorted((root / name / "train" / "good").iterdir())
        found = [form.predict(load_tensor(part, (32, 32))[None], name) for part in parts]
        scores = [float(one.score[0]) for one in found]
        assert max(scores) == pytest.approx(model.thresholds[name], rel=1e-5)
        assert model.threshold(name) is None  # of the form that trains there is none
        assert all(t is not None for one in found for t in one.thresholds)


def test_cached_features_train_like_computed_ones(tmp_path: Path) -> None:
    root = sample_sets.mvtec(tmp_path)
    # Adam with beta1 = 0 makes whole steps of rounding noise: small ones keep the two comparable.
    options = {"epochs": 2, "learning_rate": 1e-5}
    cached = fit(tiny(), root, **options)
    computed = fit(tiny(), root, feature_cache_gib=0, **options)
    assert cached.losses == pytest.approx(computed.losses, rel=2e-3)  # half precision


def test_what_is_not_chosen_is_the_schedules() -> None:
    schedule = InvAD.schedule("paper")
    chosen = TrainingOptions(schedule="paper").completed(InvAD, 10)
    assert (chosen.epochs, chosen.batch_size, chosen.learning_rate) == (300, 32, 0.004)
    own = TrainingOptions(schedule="paper", batch_size=8).completed(InvAD, 10)
    assert own.learning_rate == 0.001
    own = TrainingOptions(schedule="paper", epochs=2, learning_rate=0.5).completed(InvAD, 10)
    assert (own.epochs, own.batch_size, own.learning_rate) == (2, 32, 0.5)
    chosen = TrainingOptions().completed(InvAD, 3629)
    assert (chosen.schedule, chosen.epochs, chosen.batch_size) == ("fast", 30, 16)
    assert TrainingOptions().completed(InvAD, 100).epochs == 200  # 20,000 images
    assert TrainingOptions(epochs=3).completed(InvAD, 100).epochs == 3
    assert TrainingOptions(batch_size=8).completed(InvAD, 100).learning_rate == 0.001
    assert TrainingOptions().completed(ReverseDistillation, 10).schedule == "paper"
    optimizer = make_optimizer(tiny(), schedule, 0.004)
    assert optimizer.defaults["betas"] == (0.0, 0.99) and optimizer.defaults["weight_decay"] == 0
    with pytest.raises(InputError, match=r"no schedule 'papper': did you mean 'paper'\?"):
        InvAD.schedule("papper")
