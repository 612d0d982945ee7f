"""Commands killed at random moments, often while they write: every file is the old one or the
new one, and the same command again ends as if nothing had been."""

import csv
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sample_sets
import torch
from PIL import Image

from invad_fast import InvAD, load_model
from soak.rounds import Rounds
from soak.tiny_command import Commands

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")


def kill(
    commands: Commands, rng: random.Random, seconds: float, folders: list[Path],
    may: Callable[[], bool], *words: object,
) -> str:  # fmt: skip
    """Starts the command and kills it; when.

    Two in five at any moment of its ``seconds``, else while a file is being written in one
    of the folders, which is a short time and the one that matters.

    Args:
        may: whether the command has come so far that it may be killed.
    """
    writing, after = rng.random() < 0.6, rng.uniform(0, 1.1)
    skipped, delay = rng.choice((0, 0, 1, 2, 4)), rng.choice((0.0, 0.001, 0.01, 0.05))
    seen, before = set(), set(partials(folders))
    process = commands.start(*words)
    moment = time.monotonic() + after * seconds
    while process.is_alive():
        if writing:
            seen |= set(partials(folders)) - before
            if len(seen) > skipped:
                time.sleep(delay)
                break
        elif time.monotonic() > moment and may():
            break
        time.sleep(0.0005)
    at_work = process.is_alive()
    process.kill()
    process.join()
    return "killed while it wrote" if at_work and writing else "killed" if at_work else "too late"


def partials(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from folder.glob(".*.partial")


def check_whole(folder: Path) -> int:
    """Reads every file that is not hidden to its end; how many hidden ones were left over."""
    left = 0
    for file in sorted(folder.rglob("*")):
        if file.name.startswith("."):
            # From 0.8 on safetensors writes under a name of its own beside the one it was given.
            half = file.suffix == ".partial" or file.name.startswith(".tmp")
            assert file.name == ".lock" or half, file
            left += half
        elif file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".csv":
            rows = list(csv.reader(file.open(newline="")))
            assert rows and len({len(row) for row in rows}) == 1 and file.read_bytes()[-1:] == b"\n"
        elif file.suffix == ".png":
            with Image.open(file) as image:
                image.load()
        elif file.suffix == ".html":
            assert file.read_text().rstrip().endswith("</html>")
        elif file.suffix == ".pt":
            torch.load(file, map_location="cpu", weights_only=True)
        elif file.suffix == ".safetensors":
            load_model(file)
        else:
            assert file.is_dir(), file
    return left


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_sets.mvtec(tmp_path_factory.mktemp("data") / "set")


def training(root: Path, into: Path) -> list[object]:
    return ["train", root, "--run", into, "--epochs", 3, "--batch-size", 4, "--workers", 0,
            "--checkpoint-seconds", 0, "--device", "cpu", "--quiet"]  # fmt: skip


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with pytest.MonkeyPatch.context() as patch:
        # For the fork server's own imports: not every Python hands it the path.
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        yield Commands(tmp_path_factory.mktemp("printed") / "printed.txt")


@pytest.fixture(scope="module")
def undisturbed(
    commands: Commands, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, float]:
    """(The folder of a training that nothing stopped, its seconds)."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    commands.run(*training(root, folder))  # and all imports, once
    shutil.rmtree(folder)
    return folder, commands.run(*training(root, folder))


def losses(folder: Path) -> list[list[str]]:
    """Epochs, losses and rates; not the seconds."""
    return [row[:3] for row in csv.reader((folder / "history.csv").open(newline=""))]


def assert_same_model(one: Path, other: Path) -> None:
    ours, theirs = InvAD.load(one), InvAD.load(other)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    assert ours.thresholds == theirs.thresholds and ours.classes == theirs.classes


@pytest.mark.soak("train: killed up to 3 times, then resumed to the same bits", weight=8)
def test_killed_trainings(
    rounds: Rounds, commands: Commands, root: Path, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    whole, seconds = undisturbed
    for rng in rounds:
        folder = tmp_path / "run"
        for number in range(rng.randint(1, 3)):
            resume = ["--resume"] if number else []
            # Before its folder is there it has only read: half of the kills come after that.
            after = folder.exists if rng.random() < 0.5 else lambda: True
            rounds.came(
                kill(commands, rng, seconds, [folder], after, *training(root, folder), *resume)
            )
            if folder.exists():
                check_whole(folder)
        commands.run(*training(root, folder), "--resume")
        assert check_whole(folder) == 0
        assert {p.name for p in folder.iterdir()} == {p.name for p in whole.iterdir()}
        assert (folder / "config.json").read_text() == (whole / "config.json").read_text()
        assert losses(folder) == losses(whole)
        assert_same_model(folder / "model.safetensors", whole / "model.safetensors")
        rounds.came("resumed to the same bits")
        shutil.rmtree(folder)


@pytest.mark.soak("calibrate, evaluate and predict: killed, then run again", weight=6)
def test_killed_commands(
    rounds: Rounds, commands: Commands, root: Path, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    trained = undisturbed[0] / "model.safetensors"
    held, model = tmp_path / "model", tmp_path / "model" / "model.safetensors"
    held.mkdir()
    shutil.copy(trained, model)
    common = ["--model", model, "--workers", 0, "--device", "cpu"]
    calibrate = ["calibrate", root, *common, "--false-alarm-rate", 0, "--quiet"]
    seconds = commands.run(*calibrate)
    calibrated, old = shutil.copy(model, tmp_path / "calibrated"), trained.read_bytes()
    good = root / "bolt/test/good"
    inputs = {path: path.read_bytes() for path in root.rglob("*.png")}
    for rng in rounds:
        shutil.copy(trained, model)
        out, table = tmp_path / "out", tmp_path / "out" / "rows.csv"
        command = rng.choice(("calibrate", "evaluate", "predict"))
        words: list[object] = {
            "calibrate": calibrate,
            "evaluate": ["evaluate", root, *common, "--output", out, "--quiet"],
            "predict": ["predict", good, *common, "--output", out / "maps", "--csv", table,
                        "--class", "bolt"],
        }[command]  # fmt: skip
        out.mkdir()
        if rng.random() < 0.5 and command != "calibrate":  # results of another run are there
            commands.run(*words)
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        folders = [held] if command == "calibrate" else [out, out / "maps", out / "pictures"]
        rounds.came(f"{command} {kill(commands, rng, seconds, folders, lambda: True, *words)}")
        if model.read_bytes() != old:
            assert command == "calibrate"
            assert_same_model(model, calibrated)  # all but the date in it
        left = check_whole(out) + check_whole(held)
        for path in before:  # an old result is there, or a whole new one
            assert path.exists(), path
        if command == "predict":  # pictures of another run are never touched
            pictures = [p for p in before if p != table]
            assert all(p.read_bytes() == before[p] for p in pictures)
        commands.run(*words)
        assert check_whole(out) + check_whole(held) == left
        assert_same_model(model, calibrated if command == "calibrate" else trained)
        assert {path: path.read_bytes() for path in inputs} == inputs
        rounds.came("ran again as if nothing had been")
        rounds.came("hidden .partial files left beside the results", left)
        shutil.rmtree(out)
        for partial in held.glob(".*.partial"):
            partial.unlink()
