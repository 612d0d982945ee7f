"""What a training cannot be made of is one line, before any work."""

from pathlib import Path

import pytest
import sample_sets
import torch
from tiny_training import fit, tiny
from typer.testing import CliRunner

from invad_fast import InputError, InputWarning, InvAD, ReverseDistillation
from invad_fast.cli.app import app
from invad_fast.training.batch_check import check_batch


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_sets.mvtec(tmp_path_factory.mktemp("data") / "set")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": None}, "8 good training images are fewer than one batch of 16: choose"),
        ({"batch_size": 0}, "batch_size: must be greater than or equal to 1, not 0"),
        ({"epochs": 0}, "epochs: must be greater than or equal to 1, not 0"),
        ({"workers": -1}, "workers: must be greater than or equal to 0, not -1"),
        ({"workers": 10**6}, "workers: must be less than or equal to 1024"),
        ({"seed": -1}, "seed: must be greater than or equal to 0, not -1"),
        ({"seed": 10**30}, "seed: must be less than 4294967296, not 10*$"),
        ({"learning_rate": float("nan")}, "learning_rate: must be a finite number, not nan"),
        ({"learning_rate": float("inf")}, "learning_rate: must be a finite number, not inf"),
        ({"learning_rate": -1e-3}, "learning_rate: must be greater than 0, not -0.001"),
        ({"learning_rate": "fast"}, "learning_rate: must be a valid number.*, not 'fast'"),
        ({"precision": "fp8"}, "precision: must be 'fp32', 'bf16' or 'auto', not 'fp8'"),
        ({"schedule": "papr"}, r"no schedule 'papr': did you mean 'paper'\?"),
        ({"lerning_rate": 1}, r"no option 'lerning_rate': did you mean 'learning_rate'"),
        ({"false_alarm_rate": 1.5}, "false_alarm_rate: must be less than 1, not 1.5"),
        ({"cache_gib": -1.0}, "cache_gib: must be greater than or equal to 0, not -1.0"),
        ({"feature_cache_gib": float("nan")}, "feature_cache_gib: must be a finite number"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds: must be greater than or equal to 0"),
        ({"levels": (9, 3)}, "levels must rise within 0 to 65535, not from 9 to 3"),
        ({"cache": __file__}, "test_train_mistakes.py is a file: give a folder"),
        ({"classes": ["nutt"]}, r"no class 'nutt': did you mean 'nut'\?"),
        ({"device": "cpuu"}, "no device 'cpuu': choose auto, cpu or cuda"),
        ({"device": "meta"}, "no device 'meta': choose auto, cpu or cuda"),
        ({"device": "cpu:3"}, "no device 'cpu:3'"),
        ({"device": "cuda:99"}, "CUDA device"),
    ],
)
def test_options_out_of_range_are_one_line(
    options: dict, told: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        fit(tiny(), root, run=tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists(), "it was refused before any work"


@pytest.mark.parametrize(("size", "batch"), [(32, 1), (32, 2), (64, 1), (64, 2), (128, 1)])
@pytest.mark.parametrize("method", [InvAD, ReverseDistillation])
def test_batches_too_small_for_batch_norm_are_found_without_work(
    method: type, size: int, batch: int
) -> None:
    """The answer is that of a real step."""
    fields = {"encoder": "resnet10t", "encoder_weights": None, "input_size": size}
    with pytest.warns(UserWarning, match="random weights"):
        model = InvAD("invad-lite", **fields) if method is InvAD else method(**fields)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    told = None
    try:
        check_batch(model, batch)
    except InputError as error:
        told = str(error)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    fault = None
    try:
        model.train().reconstruct(
            [torch.randn(batch, *shape) for shape in model.config.feature_shapes]
        )
    except ValueError as error:
        fault = str(error)
    assert (told is None) == (fault is None)
    assert (method is ReverseDistillation and size == 32 and batch == 1) == (told is not None)
    if told is not None:
        assert "choose --batch-size 2 or more, or a larger --size" in told and "\n" not in told


def spoil(data: Path) -> list[str]:
    """Three damaged images of eight; their names."""
    good = data / "nut" / "train" / "good"
    (good / "0.png").write_bytes(b"no image")
    (good / "3.png").write_bytes((good / "3.png").read_bytes()[:60])
    (data / "bolt" / "train" / "good" / "2.png").write_bytes(b"")
    return ["bolt/train/good/2.png", "nut/train/good/0.png", "nut/train/good/3.png"]


@pytest.mark.parametrize("kept", ["memory", "computed", "features on disk", "images on disk"])
def test_all_damaged_images_are_named_in_one_line(kept: str, tmp_path: Path) -> None:
    names = spoil(sample_sets.mvtec(tmp_path / "set"))
    options = {
        "memory": {},
        "computed": {"feature_cache_gib": 0},
        "features on disk": {"cache": tmp_path / "cache"},
        "images on disk": {"cache": tmp_path / "cache", "feature_cache_gib": 0},
    }[kept]
    with pytest.raises(InputError, match="3 of 8 images cannot be read: ") as caught:
        fit(tiny(), tmp_path / "set", run=tmp_path / "run", epochs=1, workers=2, **options)
    assert "\n" not in str(caught.value)
    assert all(str(caught.value).count(f"{tmp_path}/set/{name}: ") == 1 for name in names)


def test_damaged_images_are_left_out_and_counted(tmp_path: Path) -> None:
    root, run = sample_sets.mvtec(tmp_path / "set"), tmp_path / "run"
    spoil(root)
    told = r"3 of 8 training images cannot be read and are left out, the first .*bolt/train/good/2"
    with pytest.warns(InputWarning, match=told):
        result = fit(tiny(), root, run=run, epochs=1, batch_size=5, skip_damaged=True)
    assert result.steps == 1
    model = InvAD.load(run / "model.safetensors")
    assert [model.thresholds.origins[name].parts for name in ("*", "bolt", "nut")] == [5, 3, 2]
    config = (run / "config.json").read_text()
    assert '"left_out": [' in config and '"nut/train/good/3.png"' in config
    with pytest.warns(InputWarning, match=told):  # the same are left out: it is the same run
        assert fit(tiny(), root, run=run, resume=True, batch_size=5, skip_damaged=True).steps == 0
    sample_sets.picture(root / "nut" / "train" / "good" / "3.png", 103)  # mended: another run
    with pytest.raises(InputError, match=r"1 new \(nut/train/good/3.png\)"):
        fit(tiny(), root, run=run, resume=True, batch_size=5, skip_damaged=True)


def test_a_class_of_damaged_images_is_refused(tmp_path: Path) -> None:
    root = sample_sets.mvtec(tmp_path / "set")
    for image in (root / "nut" / "train" / "good").iterdir():
        image.write_bytes(b"no image")
    with pytest.raises(InputError, match="no training image of class 'nut' can be read"):
        fit(tiny(), root, skip_damaged=True)


def test_a_model_without_an_encoder_is_refused(root: Path) -> None:
    model = tiny(encoder=None, encoder_weights=None, channels=(8, 16))
    with pytest.raises(InputError, match="with encoder=None is given features: it has no images"):
        fit(model, root, epochs=1)


def test_a_mended_image_lets_the_same_folder_serve(tmp_path: Path) -> None:
    root = sample_sets.mvtec(tmp_path / "set")
    options = {"run": tmp_path / "run", "epochs": 1}
    (root / "nut" / "train" / "good" / "2.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1 of 8 images cannot be read: .*nut/train/good/2\.png"):
        fit(tiny(), root, **options)
    (root / "nut" / "train" / "good" / "2.png").unlink()
    assert fit(tiny(), root, **options).steps == 1


def test_ctrl_c_says_how_to_go_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop itself is tried at every moment in test_train_resume.py."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(InvAD, "teach", staticmethod(stopped))
    run = tmp_path / "a [bold] run"
    words = ["train", root, "--run", run, "--encoder", "resnet10t", "--encoder-weights", "none",
             "--size", 32]  # fmt: skip
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 130
    assert f"stopped; the same command with --resume goes on with {run}\n" in result.output
