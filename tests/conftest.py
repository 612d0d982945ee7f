"""What every test shares: the sample material beside the checkout, which may be absent."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import emulated_cuda
import numpy as np
import pytest
import sample_sets
import sink_servers
import torch
from PIL import Image
from tiny_training import EPOCHS, fit, tiny

from invad_fast import InvAD
from invad_fast.cli.app import main

# On a GPU float32 is compared with float64, and runs with each other: no TF32, one algorithm.
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.deterministic = True

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def environment_is_left_alone() -> Iterator[None]:
    """What one test sets would decide what a later one sees."""
    before = dict(os.environ)
    yield
    theirs = ("PYTEST_", "_TORCHINDUCTOR_")  # pytest and torch tell themselves so what they do
    changed = {name for name, _ in before.items() ^ os.environ.items()}
    changed = {name for name in changed if not name.startswith(theirs)}
    assert not changed, f"the test left other environment variables than it found: {changed}"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers, weights and sample images; none of it is in the repository."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout: its golden numbers and images are not here")
    return SHARED


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder for a data set."""
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """csrc/cuda for the CPU, with the mistakes that it must find."""
    if emulated_cuda.compiler() is None:
        pytest.skip("no C++ compiler is here to build the emulation with")
    return emulated_cuda.build(tmp_path_factory.mktemp("cuda_emulation"))


@pytest.fixture(scope="session")
def having(library: Path) -> list[str]:
    """The ops that csrc/cuda has."""
    return emulated_cuda.load(library)


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """Writes H×W×3 uint8 below folders that are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products, "a" dark and "b" bright: 6 good parts to train, 4 to test, 3 with a hole."""
    root, random = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    for name, level in (("a", 90), ("b", 170)):
        for folder, count in (("train/good", 6), ("test/good", 4), ("test/hole", 3)):
            for index in range(count):
                pixels = random.integers(level - 15, level + 15, (48, 64, 3), dtype=np.uint8)
                if folder == "test/hole":
                    pixels[16:32, 20:40] = 0
                    mask = np.zeros((48, 64), np.uint8)
                    mask[16:32, 20:40] = 255
                    write_image(root / name / f"ground_truth/hole/{index}_mask.png", mask)
                write_image(root / name / folder / f"{index}.png", pixels)
    return root


@pytest.fixture(scope="session")
def trained(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny InvAD's model file, trained on both products for an epoch or two."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InvAD("invad-lite", encoder="resnet10t", encoder_weights=None, input_size=64,
                      blocks=(1, 1, 1), style_channels=8, latent_channels=4)  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    model.fit(parts, epochs=2, batch_size=4, workers=0, show_progress=False)
    model.save(path)
    return path


@dataclass
class Answer:
    """What a command line printed, and its exit status."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def invad(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """The command line in this process: ``invad("predict", path, "--model", model)``."""

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["invad-fast", *map(str, words)])
        monkeypatch.setenv("GOMP_SPINCOUNT", "10000")  # which main sets for its process
        capfd.readouterr()
        status = 0
        with warnings.catch_warnings():
            try:
                main()
            except SystemExit as stop:
                status = int(stop.code or 0)
        printed = capfd.readouterr()
        return Answer(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products of four good parts each."""
    return sample_sets.mvtec(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="session")
def whole_run(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped: four epochs of two steps."""
    run = tmp_path_factory.mktemp("whole") / "run"
    fit(tiny(), training_set, run=run, epochs=EPOCHS)
    return run


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be damaged."""
    return Path(shutil.copytree(whole_run, tmp_path / "run"))


@pytest.fixture
def port() -> int:
    """Of the loopback interface, which nobody listens on."""
    return sink_servers.free_port()


@pytest.fixture
def broker(port: int, tmp_path: Path) -> Iterator[sink_servers.Broker]:
    """An MQTT broker that takes anybody."""
    made = sink_servers.Broker(port, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[sink_servers.Receiver]:
    """A server that takes what is signed with the key, which this process has."""
    pytest.importorskip("standardwebhooks", reason="pip install standardwebhooks")
    monkeypatch.setenv("INVAD_FAST_WEBHOOK_SECRET", sink_servers.KEY)
    with sink_servers.listening() as server:
        yield server
