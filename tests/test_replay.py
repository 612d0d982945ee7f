"""Kept pictures scored again: the same to the last bit, or what would have changed."""

import csv
import shutil
from pathlib import Path

import pytest
import stub_engine as stub
from line_recipe import MAKER, content, recipe
from refusals import one_line

from invad_fast import load_model
from invad_fast.data import read_dataset
from invad_fast.evaluation.good_parts import calibrate_model
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.inspection import Inspector, Recipe
from invad_fast.inspection.replay import Outcome, Replayed, count_kept, replay
from invad_fast.model_engine import make_recipe
from invad_fast.reports.replay_report import replay_figures

RGB = {"pixel_format": "RGB8"}


def rescored(ledger: Path, made: Recipe | None = None) -> list[Replayed]:
    def recipe_of(name: str, held: dict | None) -> Recipe:
        assert held is not None and held["name"] == name
        return made or Recipe.of(held, ledger.parent / "recipe")

    return list(replay(ledger, recipe_of, in_process=True, engine=MAKER))


def kept_line(folder: Path) -> Path:
    """A ledger of six pictures under one threshold, and of two under another."""
    pictures = {"folder": "kept", "sample": 1}
    first = recipe(folder, pictures=pictures)
    second = recipe(folder, pictures=pictures, engine_timeout_ms=9999)
    with Inspector(first, folder / "line.db", engine=MAKER, in_process=True) as line:
        for red in (10, 100, 120, 140, 200, 250):
            line.inspect(stub.picture(red), f"p{red}", **RGB)
        line.change_recipe(second)
        line.inspect(stub.picture(33), "p33", **RGB)
        line.inspect(stub.picture(99, stub.NAN), "p99", **RGB)
    return folder / "line.db"


def test_the_same_recipes_give_the_same(tmp_path: Path) -> None:
    ledger = kept_line(tmp_path)
    found = rescored(ledger)
    assert len(found) == 8 == count_kept(ledger)
    outcomes = {each.part_id: each.outcome for each in found}
    assert outcomes.pop("p99") is Outcome.NOT_SCORED_THEN
    assert set(outcomes.values()) == {Outcome.IDENTICAL}
    assert replay_figures(found, tmp_path).all_identical


def test_another_threshold_says_what_would_change(tmp_path: Path) -> None:
    ledger = kept_line(tmp_path)
    held = content()
    held["thresholds"]["values"] = {"a": {"value": 0.45}, "b": {"value": 0.5}}
    found = rescored(ledger, Recipe.of(held, tmp_path / "recipe"))
    changed = [each for each in found if each.outcome is Outcome.OTHER_VERDICT]
    assert [each.part_id for each in changed] == ["p120"]  # 120 / 255 is 0.47
    figures = replay_figures(found, tmp_path)
    assert dict(figures.changes) == {("a", "PASS", "REJECT"): 1} and not figures.all_identical
    assert figures.outcomes == figures.sample  # all were kept as the sample
    assert figures.shown[0]["picture"].startswith("data:image/jpeg;base64,")
    # The threshold of the others is another one too, and so is not the same.
    assert figures.outcomes[Outcome.OTHER_SCORE] == 6


def test_pictures_that_are_gone(tmp_path: Path) -> None:
    ledger = kept_line(tmp_path)
    files = sorted((tmp_path / "kept").glob("*/*"))
    files[0].unlink()
    files[1].write_bytes(b"no picture")
    outcomes = [each.outcome for each in rescored(ledger)]
    assert outcomes.count(Outcome.GONE) == 2 and outcomes.count(Outcome.IDENTICAL) == 5
    shutil.rmtree(tmp_path / "kept")
    assert {each.outcome for each in rescored(ledger)} == {Outcome.GONE}


def test_a_ledger_without_pictures(tmp_path: Path) -> None:
    with Inspector(recipe(tmp_path), tmp_path / "line.db", engine=MAKER, in_process=True) as line:
        line.inspect(stub.picture(), **RGB)
    one_line("has no kept pictures", lambda: rescored(tmp_path / "line.db"))


@pytest.fixture(scope="module")
def line(trained: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its recipe, and the ledger of a line that kept all pictures."""
    from invad_fast import find_images
    from invad_fast.data.images import load_image

    folder = tmp_path_factory.mktemp("replayed")
    model = load_model(trained)
    calibrate_model(model, read_dataset(parts), 0.2, ScoringOptions(workers=0), False)
    model.save(folder / "model.safetensors")
    made = make_recipe(folder / "model.safetensors", folder / "line.yaml")
    held = made.content | {"deadline_ms": 60_000, "pictures": {"folder": "kept", "sample": 1}}
    made = Recipe.of(held, folder / "line.yaml")
    made.save(folder / "line.yaml")
    with Inspector(made, folder / "line.db") as inspector:
        for image in find_images([parts / "a/test/good", parts / "a/test/hole"]):
            inspector.inspect(load_image(image, None), image.stem, **RGB)
    return folder


@pytest.mark.parametrize("words", [(), ("--in-process",)], ids=["process", "thread"])
def test_a_model_scores_the_same_to_the_last_bit(
    words: tuple, line: Path, tmp_path: Path, invad
) -> None:
    done = invad("replay", line / "line.db", "--output", tmp_path, *words, "--quiet")
    assert done.status == 0, done.stderr
    assert "7 kept pictures: 7 identical" in done.stdout
    with open(tmp_path / "replay.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7 and all(row["score then"] == row["score now"] for row in rows)
    assert "No verdict would have changed" in (tmp_path / "replay.html").read_text()


def test_another_model_and_another_recipe(line: Path, tmp_path: Path, invad) -> None:
    model = load_model(line / "model.safetensors")
    model.thresholds = type(model.thresholds)({"a": 1e-6, "b": 1.0}, model.thresholds.rule)
    model.save(tmp_path / "strict.safetensors")
    words = ("--model", tmp_path / "strict.safetensors", "--language", "de", "--quiet")
    done = invad("replay", line / "line.db", "--output", tmp_path / "r", *words)
    assert done.status == 0, done.stderr
    text = (tmp_path / "r/replay.html").read_text()
    assert (
        "other verdict" in done.stdout and "gut → Ausschuss" in text and "data:image/jpeg" in text
    )
    held = Recipe.load(line / "line.yaml")
    done = invad("replay", line / "line.db", "--output", tmp_path / "s", "--recipe",
                 line / "line.yaml", "--quiet")  # fmt: skip
    assert done.status == 0 and "7 identical" in done.stdout and held.pictures is not None


def test_mistakes_are_one_line(line: Path, tmp_path: Path, invad) -> None:
    shutil.copytree(line, tmp_path / "moved")
    (tmp_path / "moved/model.safetensors").unlink()
    (tmp_path / "file").write_text("x")
    for words, told in {
        (tmp_path / "no.db", "--output", tmp_path / "o"): "no ledger",
        (line / "line.db", "--output", tmp_path / "file"): "is a file: name a folder",
        (line / "line.db", "--output", tmp_path / "o", "--recipe", tmp_path / "x"): "no recipe",
        (tmp_path / "moved/line.db", "--output", tmp_path / "o"): "no model file",
    }.items():
        done = invad("replay", *words, "--quiet", "--in-process")
        assert done.status == 2 and told in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "o/replay.html").exists()
