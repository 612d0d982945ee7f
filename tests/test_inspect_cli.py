"""From a calibrated model to a recipe, a line and its ledger, as an engineer types it."""

import json
import os
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

from invad_fast import find_images, load_model, predict_files
from invad_fast.inspection import Recipe
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.inspection.ledger.totals import totals

SCHEMA = json.loads((files("invad_fast") / "result.schema.json").read_text())


@pytest.fixture(scope="module")
def line(trained: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a calibrated model and its recipe."""
    from invad_fast.data import read_dataset
    from invad_fast.evaluation.good_parts import calibrate_model
    from invad_fast.evaluation.options import ScoringOptions
    from invad_fast.model_engine import make_recipe

    folder = tmp_path_factory.mktemp("line")
    model = load_model(trained)
    calibrate_model(model, read_dataset(parts), 0.2, ScoringOptions(workers=0), False)
    model.save(folder / "model.safetensors")
    recipe = make_recipe(folder / "model.safetensors", folder / "line.yaml")
    held = recipe.content | {"deadline_ms": 60_000}
    Recipe.of(held, folder / "line.yaml").save(folder / "line.yaml")
    return folder


def rows_of(text: str) -> list[dict]:
    rows = [json.loads(row) for row in text.splitlines()]
    for row in rows:
        jsonschema.validate(row, SCHEMA)
    return rows


def test_a_line_judges_as_predict_does(line: Path, parts: Path, tmp_path: Path, invad) -> None:
    """The same pictures, the same scores and verdicts, and each is on record."""
    source, ledger = parts / "a/test/hole", tmp_path / "l.db"
    words = ("--source", source, "--ledger", ledger, "--headless", "--in-process")
    done = invad("inspect", line / "line.yaml", *words)
    assert done.status == 0, done.stderr
    assert "3  parts triggered" in done.stderr and "trigger to verdict" in done.stderr
    rows = rows_of(done.stdout)
    images = find_images([source])
    predicted = list(predict_files(load_model(line / "model.safetensors"), images, batch_size=1))
    for row, other in zip(sorted(rows, key=lambda r: r["part_id"]), predicted):
        assert (row["image"], row["class_name"]) == (other["image"], other["class_name"])
        assert row["score"] == pytest.approx(other["score"], rel=1e-6)
        assert (row["verdict"], row["threshold"]) == (other["verdict"], other["threshold"])
        assert [r["box"] for r in row["regions"]] == [r["box"] for r in other["regions"]]
    found = totals(ledger)
    assert found.triggered == 3 == found.passed + found.rejected
    assert {row["recipe"] for row in part_rows(ledger)} == {"line"}


def test_a_simulated_line_with_faults(line: Path, tmp_path: Path, invad) -> None:
    ledger = tmp_path / "l.db"
    words = ("--source", "simulated", "--ledger", ledger, "--parts", 20, "--faults", 0.4)
    done = invad("inspect", line / "line.yaml", *words, "--seed", 3, "--headless", "--in-process")
    assert done.status == 0, done.stderr
    rows = rows_of(done.stdout)
    assert len(rows) == 20 == totals(ledger).triggered
    reasons = {row["reason"] for row in rows} - {None}
    assert reasons and reasons <= {"camera", "damaged frame", "wrong size"}


def test_the_view(line: Path, parts: Path, tmp_path: Path, invad) -> None:
    words = ("--source", parts / "a/test/good", "--ledger", tmp_path / "l.db", "--in-process")
    done = invad("inspect", line / "line.yaml", *words)
    assert done.status == 0 and not done.stdout
    for words in ("line · ", "parts triggered", "not inspected", "threshold", "longest"):
        assert words in done.stderr


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_what_is_in_the_queue(
    line: Path, tmp_path: Path, kind: signal.Signals
) -> None:
    """It reaches the engine's process too: a terminal sends it to the whole group."""
    ledger = tmp_path / "l.db"
    words = ["inspect", line / "line.yaml", "--source", "simulated", "--rate", "20", "--ledger",
             ledger, "--headless"]  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "invad_fast", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    first = [running.stdout.readline() for _ in range(3)]
    os.killpg(running.pid, kind)
    out, told = running.communicate(timeout=60)
    assert running.returncode == 0, told
    rows = rows_of("".join(first) + out)
    found = totals(ledger)
    assert found.triggered == len(rows) and found.open == 0
    assert "engine failed" not in {row["reason"] for row in rows}
    assert "parts triggered" in told and "Traceback" not in told


def test_recipes_are_made_and_updated(line: Path, trained: Path, tmp_path: Path, invad) -> None:
    made = tmp_path / "made.yaml"
    done = invad("recipe", line / "model.safetensors", "--output", made, "--station", "7")
    assert done.status == 0 and "a: threshold" in done.stdout and "expected" in done.stdout
    assert Recipe.load(made).station == "7" and Recipe.load(made).name == "made"
    assert "give --update" in invad("recipe", line / "model.safetensors", "--output", made).stderr
    held = yaml.safe_load(made.read_text())
    held["deadline_ms"], held["queue"]["capacity"] = 77, 5
    made.write_text(yaml.safe_dump(held))
    done = invad("recipe", trained, "--output", made, "--update")
    assert done.status == 0 and "provisional" in done.stderr
    updated = Recipe.load(made)
    assert (updated.deadline_ms, updated.queue.capacity, updated.station) == (77, 5, "7")
    assert (
        updated.limits["a"] == load_model(trained).thresholds["a"] != held["thresholds"]["values"]
    )
    # A person changes the rule: the thresholds are void, and nothing runs.
    held["score"]["sigma"] = 1.0
    made.write_text(yaml.safe_dump(held))
    done = invad("inspect", made, "--source", "simulated", "--ledger", tmp_path / "l.db")
    assert done.status == 2 and "calibrate anew" in done.stderr
    assert not (tmp_path / "l.db").exists()


@pytest.mark.parametrize("op, kernel", [("cosine_map", "cuda"), ("convolution", "AVX-1024")])
def test_other_kernels_are_refused(op: str, kernel: str, line: Path, tmp_path: Path, invad) -> None:
    held = yaml.safe_load((line / "line.yaml").read_text())
    held["model"]["file"] = str(line / "model.safetensors")
    assert op in held["model"]["kernels"]
    held["model"]["kernels"] |= {op: kernel}
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(held))
    words = ("--source", "simulated", "--ledger", tmp_path / "l.db", "--parts", 1, "--in-process")
    done = invad("inspect", tmp_path / "line.yaml", *words)
    assert done.status == 2 and f"set with the {kernel} kernel of {op}" in done.stderr


def test_mistakes_are_one_line(line: Path, tmp_path: Path, invad) -> None:
    recipe, ledger = line / "line.yaml", tmp_path / "l.db"
    for words, told in {
        (tmp_path / "no.yaml", "--source", "simulated", "--ledger", ledger): "no recipe",
        (recipe, "--source", tmp_path / "gone", "--ledger", ledger): "no source",
        (recipe, "--source", "simulated", "--ledger", tmp_path, "--in-process"): "is a folder",
        (recipe, "--source", "simulated", "--ledger", ledger, "--defects", 2): "defects: must be",
        (recipe, "--source", tmp_path, "--ledger", ledger, "--in-process"): "no images directly",
    }.items():
        done = invad("inspect", *words)
        assert done.status == 2 and told in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("source", "words", "told"),
    [
        ("parts", ["--rate", 5], "--rate is for the simulated line, and this source is a folder"),
        ("parts", ["--step", 2], "--step is for a video file, and this source is a folder"),
        ("simulated", ["--watch"], "--watch is for a watched folder, and this source is the sim"),
        ("parts/one.png", ["--watch"], "--watch is for a watched folder, and this source is an im"),
    ],
)
def test_an_option_of_another_source(
    line: Path, tmp_path: Path, invad, source: str, words: list, told: str
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/one.png").write_bytes(b"not looked at")
    given = source if source == "simulated" else tmp_path / source
    ledger = tmp_path / "l.db"
    done = invad("inspect", line / "line.yaml", "--source", given, "--ledger", ledger, *words)
    assert done.status == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1
    assert not ledger.exists()


def test_places_where_nothing_can_be_written(line: Path, tmp_path: Path, invad) -> None:
    done = invad("recipe", line / "model.safetensors", "--output", tmp_path)
    assert done.status == 2 and done.stderr.startswith(f"error: {tmp_path} is a folder: name a")
    words = ("--source", "simulated", "--parts", 1, "--ledger", "/proc/l.db", "--in-process")
    done = invad("inspect", line / "line.yaml", *words)
    assert done.status == 2 and done.stderr.startswith("error: cannot write /proc/l.db")
