"""Model files: what is saved comes back, and every wrong file is one line, soon and cheaply."""

import json
import os
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from invad_fast import InputError, InvAD, InvADConfig, RDConfig, ReverseDistillation, load_model
from invad_fast.class_prototypes import ClassPrototypes
from invad_fast.prediction import Origin, ScoreRule, Thresholds

CHANNELS = (4, 8, 8)
OF_FEATURES = {"encoder": None, "channels": CHANNELS, "grid": (2, 2), "blocks": (1, 1, 1)}


def small_model(seed: int = 0, **changes: Any) -> InvAD:
    """A calibrated model of two classes, with prototypes."""
    torch.manual_seed(seed)
    sizes = {"style_channels": 4, "latent_channels": 2}
    model = InvAD(InvADConfig(**{**OF_FEATURES, **sizes, **changes}), None)
    model.classes = ("nut", "bolt")
    rng = np.random.default_rng(seed)
    width = sum(model.config.channels)
    means = rng.normal(size=(2, width)).astype(np.float32)
    deviation = np.ones(width, np.float32)
    model.prototypes = ClassPrototypes(("bolt", "nut"), means, deviation)
    rule = ScoreRule(mode="unified", form="folded", pooling=3)
    origin = Origin(source="held-out parts", parts=40, false_alarm_rate=0.05, date="2026-01-01")
    model.thresholds = Thresholds({"*": 0.25, "nut": 0.5}, rule, {"nut": origin})
    return model


class Parts:
    """A model file taken apart: what is changed in it is written by `write`."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + length])
        self.said = json.loads(header["__metadata__"]["invad_fast"])
        self.config = self.said["config"]
        self.tensors = load_file(path)
        self.text: str | None = None

    def write(self, path: Path) -> Path:
        text = json.dumps(self.said) if self.text is None else self.text
        save_file(self.tensors, path, metadata={"invad_fast": text})
        return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    small_model().save(path)
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path)
    line = str(caught.value)
    assert "\n" not in line and path.name in line and len(line) < 500 + len(str(path))
    return line


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


HEADERS: dict[str, tuple[str, Callable[[Parts], Any]]] = {
    "a newer version": ("newer invad_fast", lambda p: p.said.update(version=3, config=None)),
    "no version": ("no version", lambda p: p.said.pop("version")),
    "version true": ("version", lambda p: p.said.update(version=True)),
    "version 0": ("version", lambda p: p.said.update(version=0)),
    "version in words": ("version", lambda p: p.said.update(version="2")),
    "another method": (
        "'patchcore', which is unknown",
        lambda p: p.said.update(method="patchcore"),
    ),
    "no method": ("method", lambda p: p.said.update(method="")),
    "method a list": ("method", lambda p: p.said.update(method=["invad"])),
    "classes twice": ("'nut' stands there twice", lambda p: p.said.update(classes=["nut", "nut"])),
    "class empty": ("classes.0", lambda p: p.said.update(classes=["", "nut"])),
    "class a number": ("classes.1", lambda p: p.said.update(classes=["nut", 5])),
    "classes a word": ("classes", lambda p: p.said.update(classes="nut")),
    "classes fewer": ("prototypes", lambda p: p.said.update(classes=["nut"])),
    "threshold of no class": ("'pin', which is no", lambda p: p.said["thresholds"].update(pin=1)),
    "threshold true": ("thresholds", lambda p: p.said["thresholds"].update(nut=True)),
    "threshold infinite": ("thresholds", lambda p: p.said["thresholds"].update(nut=np.inf)),
    "threshold null": ("thresholds", lambda p: p.said["thresholds"].update(nut=None)),
    "rule a word": ("score_rule", lambda p: p.said.update(score_rule="unified")),
    "rule of no mode": ("score_rule", lambda p: p.said["score_rule"].update(mode="mean")),
    "rule pooling 0": ("score_rule", lambda p: p.said["score_rule"].update(pooling=0)),
    "rule sigma NaN": ("score_rule", lambda p: p.said["score_rule"].update(sigma=np.nan)),
    "rule sigma text": ("score_rule", lambda p: p.said["score_rule"].update(sigma="4")),
    "origin of nothing": ("'bolt', which has no", lambda p: p.said["origins"].update(bolt={})),
    "origin unknown": ("origins", lambda p: p.said["origins"]["nut"].update(source="a guess")),
    "origin parts -1": ("origins", lambda p: p.said["origins"]["nut"].update(parts=-1)),
    "origins a list": ("origins", lambda p: p.said.update(origins=[])),
    "no digest": ("no digest", lambda p: p.said.pop("digest")),
    "another digest": ("not those that were saved", lambda p: p.said.update(digest="0" * 32)),
    "config a list": ("config", lambda p: p.said.update(config=[])),
    "no config": ("no config", lambda p: p.said.pop("config")),
    "config of RD": ("no option 'rectified'", lambda p: p.config.update(rectified=True)),
    "method rd": ("no option 'style_channels'", lambda p: p.said.update(method="rd")),
    "a width changed": ("not those that were saved", lambda p: p.config.update(latent_channels=3)),
    "a width in text": ("latent_channels", lambda p: p.config.update(latent_channels="2")),
    "a width true": ("latent_channels", lambda p: p.config.update(latent_channels=True)),
    "a width NaN": ("latent_channels", lambda p: p.config.update(latent_channels=np.nan)),
    "a weight infinite": ("loss_weight", lambda p: p.config.update(loss_weight=np.inf)),
    "a million blocks": ("blocks", lambda p: p.config.update(blocks=[10**6, 1, 1])),
    "many blocks": ("blocks", lambda p: p.config.update(blocks=[290, 1, 1])),
    "more blocks": ("at most", lambda p: p.config.update(blocks=[290, 290, 1])),
    "ten thousand scales": ("channels", lambda p: p.config.update(channels=[8] * 10000)),
    "an input of 64,000": ("input_size", lambda p: p.config.update(input_size=[64000] * 2)),
    "a grid of 16,000": ("grid", lambda p: p.config.update(grid=[16000] * 2)),
    "strange strides": ("strides", lambda p: p.config.update(strides=[4, 7, 16])),
    "strange indices": ("out_indices", lambda p: p.config.update(out_indices=[1e9])),
    "no indices": ("out_indices", lambda p: p.config.update(out_indices=[])),
    "an encoder of no weights": ("", lambda p: p.config.update(encoder="resnet18")),
    "a giant encoder": ("", lambda p: p.config.update(encoder="vit_giant_patch14_dinov2")),
    "an encoder unknown": ("", lambda p: p.config.update(encoder="resnet19", channels=[])),
    "an encoder elsewhere": ("", lambda p: p.config.update(encoder="hf-hub:a/b", channels=[])),
    "text, no JSON": ("header is damaged", lambda p: setattr(p, "text", "{nut")),
    "a list": ("header is damaged", lambda p: setattr(p, "text", "[]")),
    "null": ("header is damaged", lambda p: setattr(p, "text", "null")),
    "nothing": ("header is damaged", lambda p: setattr(p, "text", "")),
    "deep": ("header is damaged", lambda p: setattr(p, "text", "[" * 100000)),
    "deep and right": (
        "header is damaged",
        lambda p: setattr(p, "text", '{"version":2,"config":' + '{"a":' * 5000 + "1" + "}" * 5001),
    ),
    "a number of 5,000 digits": (
        "header is damaged",
        lambda p: setattr(p, "text", '{"version":' + "9" * 5000 + "}"),
    ),
    "a broken letter": ("header is damaged", lambda p: setattr(p, "text", '{"version":"\\ud800"}')),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_wrong_header_is_one_line(name: str, saved: Path, tmp_path: Path) -> None:
    said, change = HEADERS[name]
    parts = Parts(saved)
    change(parts)
    assert said in refused(parts.write(tmp_path / "wrong.safetensors"))


def _without(name: str) -> Callable[[Parts], Any]:
    return lambda p: p.tensors.pop(name)


def _instead(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Parts], Any]:
    return lambda p: p.tensors.update({name: change(p.tensors[name]).contiguous()})


def _with_value(name: str, value: float) -> Callable[[Parts], Any]:
    return lambda p: p.tensors[name].view(-1)[-1].fill_(value)


TENSORS: dict[str, tuple[str, Callable[[Parts], Any]]] = {
    "one missing": ("lacks decoder.constant", _without("decoder.constant")),
    "one more": ("has extra", lambda p: p.tensors.update(extra=torch.zeros(1))),
    "none": ("does not fit", lambda p: setattr(p, "tensors", {})),
    "another shape": ("decoder.constant", _instead("decoder.constant", lambda t: t[..., :1])),
    "float16": ("decoder.constant is F16", _instead("decoder.constant", torch.Tensor.half)),
    "float64": ("decoder.constant is F64", _instead("decoder.constant", torch.Tensor.double)),
    "complex": ("decoder.constant", _instead("decoder.constant", lambda t: t + 0j)),
    "integers": ("decoder.constant", _instead("decoder.constant", torch.Tensor.long)),
    "truth values": ("decoder.constant is BOOL", _instead("decoder.constant", torch.Tensor.bool)),
    "NaN": ("fuser.merge.conv.weight has numbers", _with_value("fuser.merge.conv.weight", np.nan)),
    "infinity": ("decoder.constant has numbers", _with_value("decoder.constant", -np.inf)),
    "prototypes NaN": ("prototypes.means has numbers", _with_value("prototypes.means", np.nan)),
    "no deviation": ("deviation", _with_value("prototypes.deviation", 0)),
    "negative deviation": ("deviation", _with_value("prototypes.deviation", -1)),
    "half of the prototypes": ("prototypes are not whole", _without("prototypes.means")),
    "prototypes of more": ("", _instead("prototypes.means", lambda t: torch.cat([t, t]))),
    "prototypes flat": ("", _instead("prototypes.means", torch.Tensor.flatten)),
    "narrow prototypes": ("not whole", _instead("prototypes.deviation", lambda t: t[1:])),
}


@pytest.mark.parametrize("signed", [True, False], ids=["", "first version"])
@pytest.mark.parametrize("name", TENSORS)
def test_wrong_tensors_are_one_line(name: str, signed: bool, saved: Path, tmp_path: Path) -> None:
    """Also where no digest tells: each fault is found for what it is."""
    said, change = TENSORS[name]
    parts = Parts(saved)
    change(parts)
    if not signed:
        parts.said.update(version=1, prototypes_digest="")
    line = refused(parts.write(tmp_path / "wrong.safetensors"))
    assert said in line or (signed and "not those that were saved" in line)


def test_huge_weights_that_are_finite_are_no_damage(tmp_path: Path) -> None:
    """Their sum overflows."""
    model = small_model()
    model.decoder.constant.data.fill_(3e38)
    model.save(tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").decoder.constant.max() == 3e38


def test_a_flipped_bit_is_found(saved: Path, tmp_path: Path) -> None:
    raw = bytearray(saved.read_bytes())
    raw[-5] ^= 4
    (tmp_path / "flipped.safetensors").write_bytes(raw)
    assert "damaged" in refused(tmp_path / "flipped.safetensors")


# Sizes that only the tensors tell, in a file without a digest: nothing so large is ever made.
SIZES = {
    "widths": {"channels": [60000] * 3},
    "styles": {"style_channels": 60000, "channels": [60000] * 3, "latent_channels": 60000},
    "grid": {"grid": [16384] * 2, "strides": [1, 1, 1], "input_size": [16384] * 2},
    "blocks": {"blocks": [100, 100, 100]},
    "latent": {"latent_channels": 60000},
    "aggregation": {
        "channels": [4096] * 15, "strides": [2**i for i in range(15)], "blocks": [1] * 15,
        "grid": [1, 1], "input_size": [16384] * 2,
    },
    "an encoder": {"encoder": "vit_giant_patch14_dinov2", "channels": [1536] * 3,
                   "strides": [14] * 3, "grid": [1000] * 2, "input_size": [14000] * 2},
    "an encoder of other widths": {"encoder": "resnet18", "channels": [4, 8, 8]},
    "an encoder unknown": {"encoder": "resnet19"},
}  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="no fork, no limits on memory")
def test_no_header_takes_gigabytes(saved: Path, tmp_path: Path) -> None:
    """Each in a process that may have 300 MB more than it has."""
    import resource

    faults = []
    for name, fields in SIZES.items():
        parts = Parts(saved)
        parts.said.update(version=1)
        parts.config.update(fields)
        path = parts.write(tmp_path / "wrong.safetensors")
        child = os.fork()
        if child == 0:
            status = Path("/proc/self/statm").read_text().split()[0]
            limit = int(status) * os.sysconf("SC_PAGE_SIZE") + 300 * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            try:
                refused(path)
                os._exit(0)
            except BaseException as error:
                os.write(2, f"{name}: {type(error).__name__} {error}\n".encode())
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            faults.append(name)
    assert not faults


def test_files_that_are_no_model(saved: Path, tmp_path: Path) -> None:
    raw = saved.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    wrong = tmp_path / "wrong.safetensors"
    for content in (
        b"", b"abc", b"not a model at all", raw[:8], raw[:100], raw[: 8 + length], raw[:-1],
        raw + b"\0", struct.pack("<Q", 2**63) + raw[8:], struct.pack("<Q", 50 * 2**20) + raw[8:],
        struct.pack("<Q", 0) + raw[8:], raw[:8] + b"[" * length + raw[8 + length :],
        raw[:8] + b"\xff" * length + raw[8 + length :], b"PK\x03\x04" + bytes(100),
        raw[:8] + raw[8:].replace(b'"F32"', b'"Q32"'),
    ):  # fmt: skip
        wrong.write_bytes(content)
        assert "not a readable safetensors" in refused(wrong)
    # A sparse file: a header of a gigabyte, none of which may be read.
    with open(wrong, "wb") as file:
        file.write(struct.pack("<Q", 2**30))
        file.truncate(2**30 + 8)
    assert "its header takes 1,073,741,824 bytes" in refused(wrong)
    save_file({"x": torch.zeros(2)}, wrong)
    assert "not saved by invad_fast" in refused(wrong)
    assert "is a folder" in refused(tmp_path)
    assert "no model file" in refused(tmp_path / "none.safetensors")
    assert "cannot read" in refused(tmp_path / ("long" * 100))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot read" in refused(tmp_path / "loop")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "a pipe" in refused(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot read"):
        load_model("a\0b")


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
