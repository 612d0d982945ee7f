"""Model files with damaged bytes, headers and tensors: one line, or the model that was saved."""

import functools
import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from invad_fast import InvAD, InvADConfig, load_model
from invad_fast.class_prototypes import ClassPrototypes
from invad_fast.model_file import model_digest
from invad_fast.prediction import Origin, ScoreRule, Thresholds
from soak.bounded import Bounded
from soak.damage import any_value, damaged, nested_deeply, with_odd_values
from soak.rounds import Rounds

MEBIBYTES = 200  # the file has a tenth of one; layers without memory are made, and JSON is parsed


def save_sound(path: Path) -> Path:
    """A model of features, of two classes, calibrated."""
    torch.manual_seed(0)
    model = InvAD(InvADConfig(encoder=None, channels=(4, 8), grid=(2, 2), blocks=(1, 1),
                              style_channels=4, latent_channels=2), None)  # fmt: skip
    rng, width = np.random.default_rng(0), sum(model.config.channels)
    model.classes = ("bolt", "nut")
    means, deviation = rng.normal(size=(2, width)).astype(np.float32), np.ones(width, np.float32)
    model.prototypes = ClassPrototypes(model.classes, means, deviation)
    origin = Origin(source="held-out parts", parts=40, false_alarm_rate=0.05, date="2026-01-01")
    rule = ScoreRule(mode="unified", form="folded", pooling=3)
    model.thresholds = Thresholds({"*": 0.25, "nut": 0.5}, rule, {"nut": origin})
    model.save(path)
    return path


def rebuilt(raw: bytes, change: Any) -> bytes:
    """The file with its header as ``change`` makes it of the one there is."""
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.dumps(change(json.loads(raw[8 : 8 + length]))).encode()
    return struct.pack("<Q", len(header)) + header + raw[8 + length :]


def wrong_file(sound: Path, path: Path, rng: random.Random) -> str:
    """Writes a damaged copy; what was damaged."""
    raw, kind = sound.read_bytes(), rng.choice(("bytes", "layout", "fields", "weights"))
    if kind == "bytes":
        path.write_bytes(damaged(raw, rng))
        return kind
    if kind == "layout":  # which tensor is where
        path.write_bytes(rebuilt(raw, lambda header: with_odd_values(header, rng)))
        return kind
    tensors = load_file(sound)
    (length,) = struct.unpack("<Q", raw[:8])
    said = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["invad_fast"])
    if kind == "fields":
        said = with_odd_values(said, rng)
        if rng.random() < 0.5 and isinstance(said, dict) and isinstance(said.get("config"), dict):
            if said["config"] and rng.random() < 0.5:
                said["config"][rng.choice(list(said["config"]))] = any_value(rng)
            # As its own maker would sign it: only the fields' bounds stand against it.
            weights = {name: t for name, t in tensors.items() if "prototypes" not in name}
            said["digest"] = model_digest(said["config"], weights)
    else:
        name = rng.choice(list(tensors))
        flat = tensors[name].reshape(-1)
        at = rng.randrange(len(flat))
        if flat.dtype == torch.float32:
            flat.view(torch.int32)[at] ^= 1 << rng.randrange(31)
        else:
            flat[at] += 1
        if rng.random() < 0.2:
            tensors[name] = tensors[name].to(rng.choice((torch.float16, torch.float64)))
        if rng.random() < 0.2:
            tensors[rng.choice(("more", "prototypes.means"))] = torch.zeros(rng.randrange(3))
    text = json.dumps(said).replace("\\ud800", "?")  # which the library does not write
    if kind == "fields" and rng.random() < 0.1:
        text = nested_deeply(text, rng)
    save_file(tensors, path, metadata={"invad_fast": text})
    return kind


@functools.cache
def original(sound: str) -> InvAD:
    return InvAD.load(sound)


def load(path: str, sound: str) -> bool:
    """Called in the other process. What is loaded is what was saved, and can be saved again."""
    loaded, saved = load_model(path), original(sound)
    assert isinstance(loaded, InvAD)
    weights = saved.state_dict()
    assert loaded.state_dict().keys() == weights.keys()
    assert all(torch.equal(t, weights[name]) for name, t in loaded.state_dict().items())
    features = [torch.ones(1, *shape) for shape in saved.config.feature_shapes]
    if loaded.config == saved.config:
        for ours, theirs in zip(loaded.reconstruct(features), saved.reconstruct(features)):
            assert torch.equal(ours, theirs)
    loaded.save(path)
    again = load_model(path)
    assert again.config == loaded.config and again.classes == loaded.classes
    assert again.thresholds == loaded.thresholds
    assert again.thresholds.rule == loaded.thresholds.rule
    return True


@pytest.mark.soak("model files with damaged bytes, header fields and weights", weight=4)
def test_damaged_models(rounds: Rounds, bounded: Bounded, tmp_path: Path) -> None:
    sound, path = save_sound(tmp_path / "sound.safetensors"), tmp_path / "model.safetensors"
    bounded.call(10_000, load, str(sound), str(sound))  # torch is there, before memory is counted
    for rng in rounds:
        kind = wrong_file(sound, path, rng)
        answer = bounded.call(MEBIBYTES, load, str(path), str(sound))
        assert not (kind == "weights" and answer.value), "other weights were taken for the model's"
        came = "loaded with the same weights" if answer.value else "refused in one line"
        rounds.came(f"({kind}) {came}")
