"""``invad-fast calibrate``: the form that sets a threshold is the form that is judged by it; the
parts that set it are known again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from invad_fast import InputError, InputWarning, find_images, load_model, predict_files
from invad_fast.data import read_dataset
from invad_fast.evaluation.good_parts import calibrate_model
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.evaluation.precision import disagreement
from invad_fast.prediction import Thresholds

LOWEST = 0.2  # that four good parts of a class allow


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained, tmp_path / "model.safetensors"))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_at_the_lowest_rate_no_calibration_part_is_rejected(
    precision: str, parts: Path, model: Path, invad
) -> None:
    done = invad("calibrate", parts, "--model", model, "--false-alarm-rate", LOWEST, "--precision",
                 precision, "--quiet")  # fmt: skip
    assert done.status == 0 and "a: threshold" in done.stdout, done.stderr
    loaded = load_model(model)
    assert loaded.thresholds.rule is not None
    assert loaded.thresholds.rule.precision in (precision, f"{precision}-rounded")
    for name in "ab":
        rows = list(predict_files(loaded, find_images([parts / name / "test/good"]), batch_size=1))
        assert [row["verdict"] for row in rows] == ["PASS"] * 4
        assert max(row["score"] for row in rows) == rows[0]["threshold"]
        assert not rows[0]["provisional"]


def test_other_classes_keep_their_thresholds(parts: Path, model: Path, invad) -> None:
    before = load_model(model).thresholds
    words = ("calibrate", parts, "--class", "a", "--model", model, "--false-alarm-rate", LOWEST)
    done = invad(*words, "--quiet")
    after = load_model(model).thresholds
    assert after["b"] == before["b"] and after["*"] == before["*"] and after["a"] != before["a"]
    assert after.origins["b"].provisional and not after.origins["a"].provisional
    assert "b: kept" in done.stdout and "provisional" in done.stdout
    done = invad(*words, "--precision", "bf16")
    assert done.status == 2 and "calibrate all classes, or with the same options" in done.stderr
    assert load_model(model).thresholds == after


def test_auto_takes_the_faster_precision_where_it_judges_as_fp32_does(
    parts: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settled(share: float, unit: bool = True) -> str:
        monkeypatch.setattr("invad_fast.evaluation.precision.MOST", share)
        monkeypatch.setattr("invad_fast.evaluation.good_parts.has_unit", lambda *_: unit)
        model = load_model(trained)
        fresh = calibrate_model(
            model, read_dataset(parts), LOWEST, ScoringOptions(workers=0), False
        )
        assert model.thresholds.rule == fresh.rule == model.optimize().score_rule
        again = calibrate_model(
            model, read_dataset(parts).only(["a"]), LOWEST, ScoringOptions(workers=0), False
        )  # those of b stay, and so does what they were set in
        assert again.rule == fresh.rule
        return fresh.rule.precision

    assert settled(share=1e6) in ("bf16", "bf16-rounded")
    assert settled(share=1e6, unit=False) == "fp32"
    with pytest.warns(InputWarning, match="precision fp32, not bf16: scores of .* differ by up to"):
        assert settled(share=0) == "fp32"


def test_another_precision_stands_for_fp32_only_where_verdicts_and_scores_do() -> None:
    names, exact = ["a"] * 5, np.array([1.0, 1.1, 1.2, 1.3, 2.0])
    held, others = Thresholds({"a": 1.3}), Thresholds({"a": 1.302})
    assert disagreement(exact, held, exact + 0.0009, others, names) is None
    assert "differ by up to 0.0011" in str(disagreement(exact, held, exact + 0.0011, others, names))
    flipped = np.array([1.0, 1.1, 1.2, 1.303, 2.0])
    assert "1 of 5 verdicts on a" in str(disagreement(exact, held, flipped, others, names))
    nan = np.array([np.nan, 1.1, 1.2, 1.3, 2.0])
    assert disagreement(exact, held, nan, others, names) is not None


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
        fresh = calibrate_model(loaded, dataset, LOWEST, ScoringOptions(workers=0), False)
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
    with pytest.raises(InputError, match="no good parts to calibrate on"):
        calibrate_model(loaded, read_dataset(tmp_path / "set"), 0.01, options, False)


def test_scores_are_the_inference_forms(parts: Path, model: Path) -> None:
    loaded, options = load_model(model), ScoringOptions(workers=0)
    fresh = calibrate_model(loaded, read_dataset(parts), LOWEST, options, False)
    rows = list(predict_files(loaded.optimize(), find_images([parts / "a/test/good"])))
    assert fresh["a"] == max(row["score"] for row in rows)
    assert np.isfinite(list(fresh.values())).all()


def test_what_a_threshold_was_set_with_is_what_predicts(parts: Path, model: Path, invad) -> None:
    """Levels, sigma and pooling too, without being asked for again."""
    chosen = ("--levels", "0:4095", "--sigma", 2, "--pooling", 3)
    done = invad(
        "calibrate", parts, "--model", model, "--false-alarm-rate", LOWEST, *chosen, "--quiet"
    )
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


def test_too_few_parts_are_refused_with_what_to_do(parts: Path, model: Path, invad) -> None:
    before = model.read_bytes()
    done = invad("calibrate", parts, "--model", model)
    assert done.status == 2 and model.read_bytes() == before
    line = "a: 4 good parts are too few for a false-alarm rate of 0.01 (99 are needed)"
    assert line in done.stderr and "--false-alarm-rate 0.2" in done.stderr
    done = invad("calibrate", parts, "--model", model, "--bound", "--false-alarm-rate", 0.1)
    assert "with 95 % confidence (29 are needed)" in done.stderr
    option = done.stderr.split("allow is ")[1].split(": ")[1].split()
    done = invad("calibrate", parts, "--model", model, "--quiet", *option)
    assert done.status == 0 and "with 95 % confidence at most 52.7 %" in done.stdout
    assert "made and pictured as these were" in done.stdout


def validation_set(parts: Path, folder: Path) -> Path:
    """The same, with the good test parts of "a" as validation parts."""
    shutil.copytree(parts, folder)
    (folder / "a/validation").mkdir()
    (folder / "a/test/good").rename(folder / "a/validation/good")
    shutil.rmtree(folder / "b")
    return folder


def test_validation_parts_come_first_and_test_parts_are_marked(
    parts: Path, model: Path, tmp_path: Path, invad
) -> None:
    words = ("--model", model, "--false-alarm-rate", LOWEST, "--quiet")
    done = invad("calibrate", parts, *words)
    assert "4 test parts" in done.stdout and "marked from now on" in done.stderr
    done = invad("evaluate", parts, "--model", model, "--output", tmp_path / "marked")
    verdicts = json.loads((tmp_path / "marked/figures.json").read_text())["verdicts"]
    assert verdicts["a"]["set_on_these_parts"] == 4
    assert "4 of these very test parts set it" in verdicts["a"]["threshold_origin"]
    held_out = validation_set(parts, tmp_path / "set")
    done = invad("calibrate", held_out, "--class", "a", *words)
    assert done.status == 0 and "4 held-out parts" in done.stdout, done.stderr
    # The same pictures, under other names, are known again.
    (held_out / "a/validation/good").rename(held_out / "a/test/good")
    for file in (held_out / "a/test/good").iterdir():
        file.rename(file.with_name(f"renamed {file.name}"))
    invad("evaluate", held_out, "--model", model, "--output", tmp_path / "again")
    verdicts = json.loads((tmp_path / "again/figures.json").read_text())["verdicts"]
    assert verdicts["a"]["set_on_these_parts"] == 4


def test_parts_that_were_trained_on_are_refused(
    parts: Path, model: Path, tmp_path: Path, invad
) -> None:
    held_out = validation_set(parts, tmp_path / "set")
    known = next((parts / "a/train/good").iterdir())
    shutil.copy(known, held_out / f"a/validation/good/new name{known.suffix}")
    words = ("--model", model, "--class", "a", "--false-alarm-rate", LOWEST)
    done = invad("calibrate", held_out, *words)
    assert done.status == 2 and "was trained on 1 of the 5 good parts" in done.stderr
    assert "new name" in done.stderr


def test_several_pictures_of_a_part_are_one(
    parts: Path, model: Path, tmp_path: Path, invad
) -> None:
    held_out = validation_set(parts, tmp_path / "set")
    files = sorted((held_out / "a/validation/good").iterdir())
    for number, file in enumerate(files):
        file.rename(file.with_name(f"part{number // 2}_view{number % 2}{file.suffix}"))
    words = ("calibrate", held_out, "--model", model, "--class", "a", "--quiet")
    rate = ("--false-alarm-rate", 0.34)
    done = invad(*words, *rate, "--part", r"(part\d+)_")
    assert done.status == 0 and "2 held-out parts" in done.stdout, done.stderr
    rows = list(predict_files(load_model(model), find_images([files[0].parent])))
    assert load_model(model).thresholds["a"] == max(row["score"] for row in rows)
    assert "no regular expression" in invad(*words, "--part", "(").stderr
    assert "has no group" in invad(*words, "--part", "part").stderr
    assert "is not in its name" in invad(*words, "--part", r"(x\d)").stderr


def test_copies_count_once(parts: Path, model: Path, tmp_path: Path, invad) -> None:
    held_out = validation_set(parts, tmp_path / "set")
    for file in list((held_out / "a/validation/good").iterdir()):
        shutil.copy(file, file.with_name(f"copy of {file.name}"))
    words = ("--model", model, "--class", "a", "--false-alarm-rate", LOWEST, "--quiet")
    done = invad("calibrate", held_out, *words)
    assert "4 held-out parts" in done.stdout and "4 pictures are copies" in done.stderr


def test_a_folder_of_good_pictures(parts: Path, model: Path, invad) -> None:
    folder = parts / "b/test/good"
    words = ("calibrate", folder, "--good", "--model", model, "--false-alarm-rate", LOWEST)
    assert "name it with --class" in invad(*words).stderr
    done = invad(*words, "--class", "b", "--quiet")
    assert done.status == 0 and "b: threshold" in done.stdout, done.stderr
    assert "no class" in invad(*words, "--class", "c").stderr


def test_a_set_of_held_out_parts_alone(parts: Path, model: Path, tmp_path: Path, invad) -> None:
    for name in "ab":
        shutil.copytree(parts / name / "test/good", tmp_path / "set" / name / "validation/good")
    words = ("--model", model, "--false-alarm-rate", LOWEST, "--quiet")
    done = invad("calibrate", tmp_path / "set", *words)
    assert done.status == 0 and "b: threshold" in done.stdout, done.stderr
    assert "4 held-out parts" in done.stdout and "the test set" not in done.stderr
    done = invad("calibrate", tmp_path / "set" / "a", *words)  # one class on its own
    assert done.status == 0 and "a: threshold" in done.stdout, done.stderr
    done = invad("evaluate", tmp_path / "set", "--model", model)
    assert done.status == 2 and "no test images" in done.stderr
    with pytest.raises(InputError, match="no normal training images for class 'a', 'b'"):
        read_dataset(tmp_path / "set").train  # noqa: B018
