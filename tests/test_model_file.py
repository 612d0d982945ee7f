"""Model files: what is saved comes back; what would be refused is not saved."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_parts import OF_FEATURES, Parts, small_model

from invad_fast import InputError, InvAD, InvADConfig, RDConfig, ReverseDistillation, load_model
from invad_fast.prediction import ScoreRule


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    small_model().save(path)
    return path


def test_what_is_saved_comes_back(saved: Path) -> None:
    model, loaded = small_model(), load_model(saved)
    assert loaded.config == model.config and loaded.classes == model.classes
    assert not loaded.training and loaded.digest == model.digest
    assert loaded.thresholds == model.thresholds
    assert loaded.thresholds.rule == model.thresholds.rule
    assert loaded.thresholds.origins == model.thresholds.origins
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    # The prototypes know the classes in another order: each keeps its own.
    descriptors = model.prototypes.means
    assert loaded.prototypes.name(descriptors) == model.prototypes.name(descriptors)
    assert loaded.prototypes.name(descriptors) == ("bolt", "nut")


def test_a_loaded_model_can_be_trained_and_saved_again(saved: Path, tmp_path: Path) -> None:
    loaded = load_model(saved).train()
    features = [torch.randn(1, *shape) for shape in loaded.config.feature_shapes]
    loaded.loss(features, loaded.reconstruct(features)).backward()
    assert all(p.grad is not None for p in loaded.parameters())
    loaded.save(tmp_path / "again.safetensors")
    assert load_model(tmp_path / "again.safetensors").thresholds == loaded.thresholds


def test_rd_comes_back(tmp_path: Path) -> None:
    config = RDConfig(**{**OF_FEATURES, "blocks": (2, 1, 1)}, inner_ratio=0.5, rectified=True)
    model = ReverseDistillation(config, None)
    model.save(tmp_path / "rd.safetensors")
    loaded = load_model(tmp_path / "rd.safetensors")
    assert loaded.config == config and loaded.digest == model.digest
    with pytest.raises(InputError, match="holds a model of the method 'rd', not 'invad'"):
        InvAD.load(tmp_path / "rd.safetensors")


@pytest.mark.parametrize("encoder", ["resnet10t", "eva02_tiny_patch14_224"])
def test_an_encoder_comes_back_with_what_it_computes_itself(encoder: str, tmp_path: Path) -> None:
    """EVA's rotations are in no state dict: the layers must be made for real to have them."""
    torch.manual_seed(0)
    config = InvADConfig(
        encoder=encoder, out_indices=(0, 1), blocks=(1, 1), input_size=56, latent_channels=2
    )
    with pytest.warns(UserWarning, match="random weights"):
        model = InvAD(config, None).eval()
    model.save(tmp_path / "model.safetensors")
    images = torch.randn(1, 3, 56, 56)
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(loaded.predict(images, None).map, model.predict(images, None).map)
    assert not any(p.requires_grad for p in loaded.encoder.parameters())


def test_the_digest_is_of_tensors_and_configuration_alone(saved: Path, tmp_path: Path) -> None:
    model = load_model(saved)
    digest = model.digest
    assert len(digest) == 32 and digest == small_model().digest
    model.thresholds, model.classes, model.prototypes = {"*": 9.0}, ("x", "y"), None
    assert model.digest == digest
    assert small_model(1).digest != digest
    assert small_model(loss_weight=2.0).digest != digest
    with torch.no_grad():
        next(model.fuser.parameters()).view(-1)[0] += 1e-3
    assert model.digest != digest
    model.save(tmp_path / "other.safetensors")
    assert load_model(tmp_path / "other.safetensors").digest == model.digest


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_a_model_file_has_the_mode_of_any_new_file(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        small_model().save(tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode)
    assert mode == 0o666 & ~umask


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    model = small_model()
    (tmp_path / "folder").mkdir()
    for target, line in (
        (tmp_path / "folder", "cannot write"),
        (tmp_path / "none" / "m.safetensors", "no folder"),
    ):
        with pytest.raises(InputError, match=line) as caught:
            model.save(target)
        assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    if Path("/dev/full").exists():  # where every write finds the disk full
        (tmp_path / "full").symlink_to("/dev")
        with pytest.raises(InputError):
            model.half().save(tmp_path / "half.safetensors")
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob(".*"))


def test_what_would_be_refused_is_not_saved(tmp_path: Path) -> None:
    def fails(match: str, change: Callable[[InvAD], None]) -> None:
        model = small_model()
        change(model)
        with pytest.raises(InputError, match=match):
            model.save(tmp_path / "model.safetensors")

    fails("'nut' stands there twice", lambda m: setattr(m, "classes", ("nut", "nut")))
    fails("classes", lambda m: setattr(m, "classes", ("nut", "")))
    fails("threshold of 'nut', which is no", lambda m: setattr(m, "classes", ("bolt", "pin")))
    fails("float16", lambda m: m.half())
    fails("decoder.constant has numbers that", lambda m: m.decoder.constant.data.fill_(np.nan))

    def rename(model: InvAD) -> None:
        model.thresholds, model.classes = {"*": 1.0}, ("screw", "nut")

    fails("tells bolt, nut apart, but its classes are screw, nut", rename)
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_first_version_loads(saved: Path, tmp_path: Path) -> None:
    """It has no digest, rule, origins or prototypes, and may not name its method."""
    parts = Parts(saved)
    kept = ("config", "classes", "thresholds")
    parts.said = {"version": 1, "input_size": [8, 8], **{k: parts.said[k] for k in kept}}
    parts.tensors = {n: t for n, t in parts.tensors.items() if not n.startswith("prototypes.")}
    loaded = load_model(parts.write(tmp_path / "first.safetensors"))
    assert dict(loaded.thresholds) == {"*": 0.25, "nut": 0.5} and loaded.prototypes is None
    assert {o.source for o in loaded.thresholds.origins.values()} == {"an earlier version"}
    assert loaded.thresholds.rule == ScoreRule(mode="unified", form=None, precision=None)
    assert loaded.threshold("nut") == 0.5  # whichever form runs
    loaded.save(tmp_path / "now.safetensors")
    assert load_model(tmp_path / "now.safetensors").thresholds == loaded.thresholds


def test_huge_weights_that_are_finite_are_no_damage(tmp_path: Path) -> None:
    """Their sum overflows."""
    model = small_model()
    model.decoder.constant.data.fill_(3e38)
    model.save(tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").decoder.constant.max() == 3e38


GARBAGE: dict[str, Any] = {
    "encoder": [5, [], "", "x" * 1000, b"resnet18", True],
    "channels": [5, "abc", ["a"], [True], [0], [-1], [2**70], [1.5], [np.nan], {1: 2}, [8] * 99],
    "strides": [5, [0, 0, 0], [4, 8], [4, 8, 32], ["4", "8", "16"]],
    "out_indices": [5, [], [1.5], ["1"], [10**9], None],
    "grid": [0, -1, 2.5, "2", (1, 2, 3), (2, None), (True, True), 10**6, np.zeros((2, 2))],
    "blocks": [2, [0, 1, 1], [10**9] * 3, [999] * 3, None, [[1], [1], [1]]],
    "input_size": [0, 33, 64000, "32", (32, float("inf")), object()],
    "style_channels": [0, -4, "x", None, 10**9, 1.5, True, 10**5000],
    "latent_channels": [0, [], "16", 10**9],
    "loss_weight": [0, -1, float("nan"), float("inf"), "1", None, True, 1j],
    "evil": [1],
}  # fmt: skip


RD_GARBAGE: dict[str, Any] = {
    "embedding_blocks": [0, -1, 10**9, "2", True, [1]],
    "inner_ratio": [-1, float("nan"), 10**9, "0.5", True],
    "rectified": [1, "yes", []],
    "style_channels": [4],
}


@pytest.mark.parametrize("method", ["invad", "rd"])
def test_a_configuration_of_garbage_is_one_line(method: str) -> None:
    kind = InvADConfig if method == "invad" else RDConfig
    for field, values in {**GARBAGE, **(RD_GARBAGE if method == "rd" else {})}.items():
        for value in values:
            with pytest.raises(InputError) as caught:
                kind(**{**OF_FEATURES, field: value})
            assert "\n" not in str(caught.value), (field, value)
    with pytest.raises(InputError, match="by name"):
        kind("resnet18")


@pytest.mark.parametrize("kind", [InvAD, ReverseDistillation])
def test_a_model_that_no_machine_holds_is_one_line(kind: type) -> None:
    for fields in (
        {"channels": (60000,) * 3},
        {"channels": (4096,) * 3, "blocks": (30,) * 3},
        {"channels": (65536,) * 15, "strides": (1,) * 7 + tuple(2**i for i in range(8)),
         "blocks": (1,) * 15},
    ):  # fmt: skip
        with pytest.raises(InputError, match="at most|larger than any machine"):
            kind(kind.config_type(**{**OF_FEATURES, **fields}), None)
    for garbage in (5, [], {"encoder": None}):
        with pytest.raises(InputError, match="takes an"):
            kind(garbage, None)
