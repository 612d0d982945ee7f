"""images ─> verdicts: rows, what cannot be judged, classes, files that are written."""

import csv
import json
import shutil
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from conftest import write_image
from PIL import Image

from invad_fast import InputError, InvAD, find_images, load_model, predict_files

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((files("invad_fast") / "result.schema.json").read_text())
)


def rows_of(*arguments, **options) -> list[dict]:
    rows = [json.loads(json.dumps(row, allow_nan=False)) for row in predict_files(
        *arguments, workers=0, **options)]  # fmt: skip
    for row in rows:
        SCHEMA.validate(row)
    return rows


def test_rows_are_by_the_schema_and_in_order(parts: Path, trained: Path) -> None:
    images = find_images([parts / "a/test/good", parts / "b/test/hole"])
    rows = rows_of(load_model(trained), images, batch_size=3)
    assert [row["image"] for row in rows] == [str(path) for path in images]
    assert [row["part_id"] for row in rows] == [path.stem for path in images]
    for row in rows:
        assert row["anomalous"] == (row["score"] > row["threshold"])
        assert row["verdict"] == ("REJECT" if row["anomalous"] else "PASS")
        assert row["model"] == load_model(trained).digest and row["provisional"]
        assert bool(row["regions"]) == row["anomalous"]


def test_each_image_has_its_products_threshold(parts: Path, trained: Path) -> None:
    model = load_model(trained)
    for rows, name in ((rows_of(model, find_images([parts / f"{n}/test/{k}"])), n)
                       for n in "ab" for k in ("good", "hole")):  # fmt: skip
        assert {row["class_name"] for row in rows} == {name}
        assert {row["threshold"] for row in rows} == {model.thresholds[name]}


def test_scores_do_not_depend_on_the_batch(parts: Path, trained: Path) -> None:
    """Else a part that set the threshold could itself be rejected."""
    images, form = find_images([parts / "a/test/good"]), load_model(trained).optimize()
    scores = [[r["score"] for r in rows_of(form, images, batch_size=n)] for n in (1, 3, 4)]
    assert scores[0] == scores[1] == scores[2]


def test_a_model_that_cannot_tell_refuses_to_guess(parts: Path, trained: Path) -> None:
    model, images = load_model(trained), find_images([parts / "a/test/good"])
    model.prototypes = None
    with pytest.raises(InputError, match=r"--class 'a', say"):
        predict_files(model, images)
    assert {row["class_name"] for row in rows_of(model, images, class_name="b")} == {"b"}
    assert {row["threshold"] for row in rows_of(model, images, threshold=0.5)} == {0.5}
    with pytest.raises(InputError, match="knows no class 'c': choose a, b"):
        predict_files(model, images, class_name="c")


def test_one_bad_image_does_not_stop_the_rest(
    parts: Path, trained: Path, tmp_path: Path, invad
) -> None:
    for name in ("0.png", "1.png", "2.png"):
        shutil.copy(parts / "a/test/good" / name, tmp_path)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:900])
    done = invad("predict", tmp_path, "--model", trained, "--csv", tmp_path / "rows.csv")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["verdict"] for row in rows] != ["NOT_INSPECTED"] * 3 and done.status == 1
    assert rows[1]["verdict"] == "NOT_INSPECTED" and "1.png" in rows[1]["reason"]
    assert "score" not in rows[1] and rows[1]["anomalous"] is None
    assert "1 of 3 not inspected: damaged frame" in done.stderr
    table = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert [line["verdict"] for line in table] == [row["verdict"] for row in rows]
    assert table[1]["score"] == "" and float(table[0]["score"]) == rows[0]["score"]


def test_a_score_that_is_no_number_is_no_verdict(parts: Path, trained: Path, invad) -> None:
    model = load_model(trained)
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(float("nan"))
    for row in rows_of(model, find_images([parts / "a/test/hole"])):
        assert row["verdict"] == "NOT_INSPECTED" and row["anomalous"] is None
        assert "score" not in row and row["reason"] == "the score is not a number"


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": 3},
        {"sigma": 2},
        {"mode": "per_scale"},
        {"levels": "0:4095"},
        {"precision": "bf16"},
    ],
)
def test_another_rule_has_no_threshold(change: dict, parts: Path, trained: Path) -> None:
    for row in rows_of(load_model(trained), find_images([parts / "a/test/hole"]), **change):
        assert row["verdict"] == "NOT_INSPECTED" and row["threshold"] is None
        assert np.isfinite(row["score"]) and next(iter(change)) in row["reason"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_threshold_is_a_number(value: float, parts: Path, trained: Path) -> None:
    with pytest.raises(InputError, match="must be a finite number"):
        predict_files(load_model(trained), find_images([parts / "a/test/hole"]), threshold=value)


def test_pictures_overwrite_nothing(parts: Path, trained: Path, tmp_path: Path) -> None:
    pixels = np.array(Image.open(parts / "a/test/hole/0.png"))
    names = ("one/x.png", "two/x.png", "two/x.bmp", "two/X.png", "two/=1+2.png", "two/零件.png")
    images = [write_image(tmp_path / name, pixels) for name in names]
    model, out = load_model(trained), tmp_path / "out"
    first = rows_of(model, images, output=out)
    again = rows_of(model, images, output=out)
    named = [row[kind] for row in first + again for kind in ("map", "overlay")]
    assert len({name.lower() for name in named}) == 4 * len(images)
    assert {Path(name) for name in named} == set(out.iterdir())
    for row in first:
        assert Image.open(row["overlay"]).size == (64, 48)  # the photo's own


def test_the_output_is_no_folder_of_inputs(parts: Path, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    shutil.copytree(parts / "a/test/good", folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    for output in (folder, tmp_path / "link", tmp_path / "parts/../parts"):
        with pytest.raises(InputError, match="choose another --output"):
            predict_files(load_model(trained), find_images([folder]), output=output)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file: give a folder"):
        predict_files(load_model(trained), find_images([folder]), output=tmp_path / "file")


def test_a_form_has_one_precision(trained: Path, parts: Path) -> None:
    form = load_model(trained).optimize("bf16")
    with pytest.raises(InputError, match="computes in bf16"):
        predict_files(form, find_images([parts / "a/test/hole"]), precision="fp32")


def test_regions_are_in_the_photos_pixels(parts: Path, trained: Path) -> None:
    row = rows_of(load_model(trained), [parts / "a/test/hole/0.png"], threshold=0.0)[0]
    assert row["regions"][0]["box"] == [0, 0, 64, 48]  # everything exceeds 0
    assert row["regions"][0]["area"] == pytest.approx(64 * 48)
    assert row["regions"][0]["peak"] == pytest.approx(row["score"])


def test_a_part_that_passes_has_no_regions(parts: Path, trained: Path) -> None:
    """As on a line: a pooled score lies below pixels that exceed the threshold by themselves."""
    model, image = load_model(trained), [parts / "a/test/hole/0.png"]
    peak, mean = (rows_of(model, image, pooling=k)[0]["score"] for k in (1, 64))
    assert mean < peak
    limit = (mean + peak) / 2
    row, other = (rows_of(model, image, pooling=k, threshold=limit)[0] for k in (64, 1))
    assert (row["verdict"], row["regions"]) == ("PASS", [])
    assert other["verdict"] == "REJECT" and other["regions"]


def test_a_fresh_model_is_never_calibrated(parts: Path) -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="random weights"):
        model = InvAD("invad-lite", encoder="resnet10t", encoder_weights=None, input_size=32)
    row = rows_of(model.eval(), [parts / "a/test/hole/0.png"])[0]
    assert row["threshold"] is None and "never calibrated" in row["reason"]
