"""What a person who knows nothing of the house may give it: one line, or right; nothing lost."""

import json
import math
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from invad_fast import InvAD
from invad_fast.benchmark.tables import take_folder as take_table_folder
from invad_fast.checked import FieldError
from invad_fast.demo import run_demo
from invad_fast.distributed import join
from invad_fast.errors import InputError
from invad_fast.evaluation.calibrate import calibrate
from invad_fast.evaluation.evaluate import evaluate_model
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.files import write_whole
from invad_fast.ops import anomaly_score
from invad_fast.prediction import MOST_SIGMA, ScoreRule, Thresholds, finite_threshold
from invad_fast.progress import track
from invad_fast.training.options import TrainingOptions


@pytest.mark.parametrize("value", [None, 3, "x", [("a", 1.0)]])
def test_thresholds_are_a_mapping(value) -> None:
    with pytest.raises(InputError, match="class name: number"):
        Thresholds(value)


def test_a_threshold_beyond_every_float_is_refused() -> None:
    with pytest.raises(InputError, match="finite number"):
        finite_threshold(10**400, "a")


def test_no_class_takes_the_name_of_all_classes(parts: Path, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(parts, tmp_path / "parts")
    (root / "a").rename(root / "*")
    model = InvAD.load(trained)
    with pytest.raises(InputError, match=r"parts: no class can be called '\*'"):
        model.fit(root, epochs=1, run=tmp_path / "run", show_progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="rename it"):
        calibrate(np.ones(2), ["*", "b"], 0.01, ScoreRule(mode="unified"))


def test_the_widest_gaussian_is_one_number() -> None:
    maps = [torch.rand(1, 8, 8)]
    anomaly_score(maps, (16, 16), MOST_SIGMA)
    with pytest.raises((InputError, RuntimeError, ValueError)):
        anomaly_score(maps, (16, 16), math.nextafter(MOST_SIGMA, math.inf))
    for options in (ScoringOptions, lambda sigma: ScoreRule(mode="unified", sigma=sigma)):
        options(sigma=MOST_SIGMA)
        with pytest.raises(FieldError, match="sigma"):
            options(sigma=MOST_SIGMA + 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("cache_gib", 1e300), ("feature_cache_gib", 1e300), ("learning_rate", 1e300)],
)
def test_numbers_that_no_machine_holds_are_refused(field: str, value: float) -> None:
    with pytest.raises(FieldError, match=field):
        TrainingOptions(**{field: value})


def test_a_bar_shows_a_name_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(track([1], 1, "[/x] \x1b[31m :smile:")) == [1]
    shown = capfd.readouterr().out
    assert "[/x] \\x1b[31m :smile:" in shown.replace("\n", "")


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(InputError, match="give a file"):
            write_whole(path, "x")
    assert pipe.is_fifo() and [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_model_without_numbers_has_no_figures(parts: Path, trained: Path, tmp_path: Path) -> None:
    model = InvAD.load(trained)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.fill_(3e38)
    with pytest.raises(InputError, match=r"class 'a': 7 of 7 images .* not a number.*0\.png"):
        evaluate_model(model, parts, output=tmp_path / "e", show_progress=False)
    assert list((tmp_path / "e").iterdir()) == []


def test_pictures_of_an_earlier_evaluation_go(parts: Path, trained: Path, tmp_path: Path) -> None:
    model, out = InvAD.load(trained), tmp_path / "e"
    alarms, misses = ({"a": v, "b": v} for v in (0.0, 1e6))
    listed = []
    for thresholds in (alarms, misses):
        model.thresholds = thresholds
        found = evaluate_model(model, parts, output=out, pictures=1, show_progress=False)
        drawn = {path for result in found.classes.values() for path in result.pictures}
        assert set(out.glob("pictures/*/*")) == drawn
        listed.append({path.name for path in drawn})
        (out / "pictures" / "mine.png").write_text("mine")
    assert listed[0] != listed[1] and (out / "pictures" / "mine.png").read_text() == "mine"


@pytest.mark.parametrize("name", ["report.html", "figures.json", "images.csv"])
def test_files_of_others_stay(parts: Path, trained: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    for write in (
        lambda: evaluate_model(InvAD.load(trained), parts, output=tmp_path),
        lambda: run_demo(tmp_path),
    ):
        with pytest.raises(InputError, match=f"holds a {name} that was not made here"):
            write()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / "results.md").write_text("mine")
    with pytest.raises(InputError, match=r"results\.md that was not made here"):
        take_table_folder(tmp_path)


def test_csv_replaces_tables_alone(invad, parts: Path, trained: Path, tmp_path: Path) -> None:
    photo = shutil.copy(parts / "a/test/good/0.png", tmp_path)
    table, mine = tmp_path / "table.csv", tmp_path / "mine.csv"
    mine.write_text("my,own\n")
    for _ in range(2):
        assert invad("predict", photo, "--model", trained, "--csv", table).status == 0
    for path in (mine, tmp_path, "/dev/null", parts / "b/test/good/0.png"):
        said = invad("predict", photo, "--model", trained, "--csv", path)
        assert said.status == 2 and said.stderr.count("\n") == 1, said.stderr
    assert mine.read_text() == "my,own\n"


def test_nothing_is_kept_in_the_data_set(parts: Path, trained: Path, tmp_path: Path) -> None:
    model = InvAD.load(trained)
    for call in (
        lambda: evaluate_model(model, parts, cache=parts / "a", show_progress=False),
        lambda: model.fit(parts, epochs=1, cache=parts, show_progress=False),
    ):
        with pytest.raises(InputError, match="lies inside the data set .* another --cache"):
            call()


def test_one_class_of_damaged_images(invad, parts: Path, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(parts, tmp_path / "parts")
    model = shutil.copy(trained, tmp_path / "model.safetensors")
    before = Path(model).read_bytes()
    words = ("--model", model, "--quiet", "--skip-damaged")
    for file in root.glob("a/test/*/*.png"):
        file.write_bytes(b"no image")
    said = invad("evaluate", root, *words, "--output", tmp_path / "e")
    assert said.status == 0 and "'a': none of its 7 images can be read" in said.stderr
    assert list(json.loads((tmp_path / "e/figures.json").read_text())["figures"]) == ["b"]
    for file in root.glob("b/test/*/*.png"):
        file.write_bytes(b"no image")
    said = invad("evaluate", root, *words, "--output", tmp_path / "e")
    assert said.status == 2 and "none of the 14 images can be read" in said.stderr
    said = invad("calibrate", root, *words)
    assert said.status == 2 and "none of the 8 good parts can be read" in said.stderr
    assert Path(model).read_bytes() == before


@pytest.mark.parametrize(
    ("variables", "match"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE must be a whole number"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE must be a whole number"),
        ({"WORLD_SIZE": "2", "RANK": "one"}, "RANK must be a whole number"),
        ({"WORLD_SIZE": "2", "RANK": "5"}, "count from 0"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "cannot meet"),
    ],
)
def test_processes_that_make_no_sense(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], match: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=match):
        join("cpu")


def test_a_full_disk_behind_the_output_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from invad_fast.cli import app

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app, "app", full)
    monkeypatch.setattr(app.warnings, "showwarning", SimpleNamespace())
    with pytest.raises(SystemExit, match="2"):
        app.main()
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"
