"""The command line end to end on a tiny set, as a user types it."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import sample_sets
from typer.testing import CliRunner

from invad_fast.cli.app import app

PROGRAM = sys.executable, "-c", "from invad_fast.cli.app import main; main()"


def invad(*words: object, status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [*PROGRAM, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,  # not the checkout: what is installed is tested
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cli")
    root = sample_sets.mvtec(folder / "set")
    done = invad("train", root, "--run", folder / "run", "--encoder", "resnet10t",
                 "--encoder-weights", "none", "--size", 32, "--epochs", 2, "--batch-size", 4,
                 "--quiet")  # fmt: skip
    assert "trained in" in done.stdout and "random weights" in done.stderr
    return root, folder / "run" / "model.safetensors"


def test_evaluate(trained: tuple[Path, Path], tmp_path: Path) -> None:
    root, model = trained
    done = invad("evaluate", root, "--model", model, "--output", tmp_path / "e", "--quiet")
    for word in ("bolt", "nut", "mean", "P-AUROC"):
        assert word in done.stdout
    described = json.loads((tmp_path / "e" / "figures.json").read_text())
    assert set(described["figures"]) == {"bolt", "nut"}
    assert 0 <= described["mean"]["image_auroc"] <= 1
    assert len((tmp_path / "e" / "figures.csv").read_text().splitlines()) == 4
    assert len(list((tmp_path / "e" / "pictures" / "bolt").glob("cut_*.png"))) == 2
    report = (tmp_path / "e" / "report.html").read_text()
    assert "data:image/png;base64," in report and 'src="http' not in report


def test_predict_and_calibrate(trained: tuple[Path, Path], tmp_path: Path) -> None:
    root, model = trained
    folder = root / "bolt" / "test" / "cut"
    done = invad("predict", folder, "--model", model, "--output", tmp_path, "--class", "bolt")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["image"]).name for row in rows] == ["0.png", "1.png"]
    for row in rows:
        assert row["anomalous"] == (row["score"] > row["threshold"])
        assert Path(row["map"]).is_file() and Path(row["overlay"]).is_file()
    done = invad("predict", folder / "0.png", "--model", model, "--threshold", 0)
    assert json.loads(done.stdout)["anomalous"] is True
    words = ("--model", model, "--quiet", "--false-alarm-rate", 0.34)  # two good parts of each
    assert "bolt: threshold" in invad("calibrate", root, *words).stdout


@pytest.mark.parametrize(
    "words, message",
    [
        (("train", "nowhere", "--run", "r"), "no folder nowhere"),
        (("evaluate", ".", "--model", "gone.safetensors"), "no model file gone.safetensors"),
        (("predict", "gone.png", "--model", "m"), "no image gone.png"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], message: str) -> None:
    done = invad(*words, status=2)
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_unreachable_weights_say_what_to_fetch(tmp_path: Path) -> None:
    root = sample_sets.mvtec(tmp_path / "set")
    done = invad("train", root, "--run", tmp_path / "r", "--encoder-weights", tmp_path, status=2)
    assert f"no weights of resnet34 in {tmp_path}: expected resnet34.safetensors" in done.stderr
    done = invad("train", root, "--run", tmp_path / "r", "--encoder", "resnet99", status=2)
    assert "timm has no model named 'resnet99'" in done.stderr


def test_coco_ad(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="pip install 'invad-fast[coco]'")
    mini, built = shared / "data" / "coco_mini", tmp_path / "built"
    text = invad("coco-ad", mini, "--split", 2, "--output", built, "--quiet").stdout
    assert "split 2: 35 training images, 60 test images (30 anomalous)" in text
    assert len(list((built / "split2" / "masks").glob("*.png"))) == 30
    assert len((built / "classes.csv").read_text().splitlines()) == 81
    assert "not '7'" in invad("coco-ad", mini, "--split", 7, "--output", built, status=2).stderr
    wrong = invad("coco-ad", mini, "--masks", "gif", "--output", built, status=2)
    assert "masks are written as png or none, not 'gif'" in wrong.stderr


def test_doctor_and_datasets() -> None:
    text = invad("doctor").stdout
    assert "bias_leaky_relu" in text and "cuda:" in text
    assert "visa" in invad("datasets").stdout


@pytest.mark.parametrize("words", [("--version",), ("datasets",)])
@pytest.mark.parametrize(
    ("output", "told"), [("&-", "Bad file descriptor"), ("/dev/full", "No space left on device")]
)
def test_results_that_nobody_gets_are_a_failure(
    output: str, told: str, words: tuple[str, ...]
) -> None:
    script = f'exec "$@" >{output}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *PROGRAM, *words],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 2
    assert told in done.stderr and done.stderr.count("\n") == 1


def test_a_file_never_gets_the_number_of_a_closed_stream() -> None:
    opens = (
        "from invad_fast.cli.app import stand_in_for_closed_streams; stand_in_for_closed_streams();"
        "print(open('/dev/zero').fileno())"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, "-c", opens],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    assert int(done.stdout) > 2


def test_a_checkout_runs_as_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("invad_fast.version.version", missing)
    assert "not installed" in CliRunner().invoke(app, ["--version"]).output
