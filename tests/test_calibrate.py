"""``invad-fast calibrate``: the form that sets a threshold is the form that is judged by it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from invad_fast import InputError, find_images, load_model, predict_files
from invad_fast.data import read_dataset
from invad_fast.evaluation.good_parts import calibrate_model
from invad_fast.evaluation.options import ScoringOptions


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained, tmp_path / "model.safetensors"))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_at_rate_zero_no_calibration_part_is_rejected(
    precision: str, parts: Path, model: Path, invad
) -> None:
    done = invad("calibrate", parts, "--model", model, "--false-alarm-rate", 0, "--precision",
                 precision, "--quiet")  # fmt: skip
    assert done.status == 0 and "a: threshold" in done.stdout, done.stderr
    loaded = load_model(model)
    assert loaded.thresholds.rule is not None and loaded.thresholds.rule.precision == precision
    for name in "ab":
        rows = list(predict_files(loaded, find_images([parts / name / "test/good"]), batch_size=1))
        assert [row["verdict"] for row in rows] == ["PASS"] * 4
        assert max(row["score"] for row in rows) == rows[0]["threshold"]
        assert not rows[0]["provisional"]


def test_other_classes_keep_their_thresholds(parts: Path, model: Path, invad) -> None:
    before = load_model(model).thresholds
    done = invad("calibrate", parts, "--class", "a", "--model", model, "--quiet")
    after = load_model(model).thresholds
    assert after["b"] == before["b"] and after["*"] == before["*"] and after["a"] != before["a"]
    assert after.origins["b"].provisional and not after.origins["a"].provisional
    assert "b: kept" in done.stdout and "provisional" in done.stdout
    done = invad("calibrate", parts, "--class", "a", "--model", model, "--precision", "bf16")
    assert done.status == 2 and "calibrate all classes, or with the same options" in done.stderr
    assert load_model(model).thresholds == after


def test_training_sets_provisional_thresholds_in_the_form_that_predicts(trained: Path) -> None:
    held = load_model(trained).thresholds
    assert set(held) == {"*", "a", "b"} and all(o.provisional for o in held.origins.values())
    assert held.rule == load_model(trained).optimize().score_rule
    assert load_model(trained).threshold("a") is None  # as trained it is another form


def test_a_class_on_its_own_is_taken_for_the_models_only_one(parts: Path, tmp_path: Path) -> None:
    from invad_fast.data import Dataset

    loaded = load_model_of_one_class(parts, tmp_path)
    shutil.copytree(parts / "a", tmp_path / "other name")
    dataset = read_dataset(tmp_path / "other name")
    assert isinstance(dataset, Dataset)
    with pytest.warns(UserWarning, match="'other name' are taken for the model's only class, 'a'"):
        fresh = calibrate_model(loaded, dataset, 0.0, ScoringOptions(workers=0), False)
    assert set(fresh) == {"*", "a"}


def load_model_of_one_class(parts: Path, folder: Path):
    from invad_fast import InvAD

    with pytest.warns(UserWarning, match="random weights"):
        model = InvAD("invad-lite", encoder="resnet10t", encoder_weights=None, input_size=32,
                      blocks=(1, 1, 1))  # fmt: skip
    model.fit(parts, classes=["a"], epochs=1, batch_size=4, workers=0, show_progress=False)
    return model


def test_strange_classes_and_no_good_parts_are_refused(parts: Path, model: Path, tmp_path: Path):
    shutil.copytree(parts / "a", tmp_path / "set/a2")
    shutil.copytree(parts / "b", tmp_path / "set/b")
    loaded, options = load_model(model), ScoringOptions(workers=0)
    with pytest.raises(InputError, match="no class 'a2': "):
        calibrate_model(loaded, read_dataset(tmp_path / "set"), 0.01, options, False)
    shutil.rmtree(tmp_path / "set/b/test/good")
    shutil.rmtree(tmp_path / "set/a2/test/good")
    with pytest.raises(InputError, match="no good parts among the test images"):
        calibrate_model(loaded, read_dataset(tmp_path / "set"), 0.01, options, False)


def test_scores_are_the_inference_forms(parts: Path, model: Path) -> None:
    loaded, options = load_model(model), ScoringOptions(workers=0)
    fresh = calibrate_model(loaded, read_dataset(parts), 0.0, options, False)
    rows = list(predict_files(loaded.optimize(), find_images([parts / "a/test/good"])))
    assert fresh["a"] == max(row["score"] for row in rows)
    assert np.isfinite(list(fresh.values())).all()


def test_what_a_threshold_was_set_with_is_what_predicts(parts: Path, model: Path, invad) -> None:
    """Levels, sigma and pooling too, without being asked for again."""
    chosen = ("--levels", "0:4095", "--sigma", 2, "--pooling", 3)
    done = invad("calibrate", parts, "--model", model, "--false-alarm-rate", 0, *chosen, "--quiet")
    assert done.status == 0, done.stderr
    loaded = load_model(model)
    rule = loaded.optimize().score_rule
    assert (rule.levels, rule.sigma, rule.pooling) == ((0, 4095), 2.0, 3)
    images = find_images([parts / "a/test/good"])
    rows = list(predict_files(loaded, images))
    assert [row["verdict"] for row in rows] == ["PASS"] * 4
    assert max(row["score"] for row in rows) == rows[0]["threshold"]
    for row in predict_files(loaded, images, levels=(0, 1023)):
        assert row["verdict"] == "NOT_INSPECTED" and "levels (0, 4095), not" in row["reason"]
