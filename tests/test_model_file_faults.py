"""Wrong model files: headers, tensors and bytes, each one line, none of them large."""

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_parts import Parts, refused, small_model
from safetensors.torch import save_file

from invad_fast import InputError, load_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    small_model().save(path)
    return path


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
