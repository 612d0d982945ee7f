"""A small model, and its file taken apart."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from invad_fast import InputError, InvAD, InvADConfig, load_model
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


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path)
    line = str(caught.value)
    assert "\n" not in line and path.name in line and len(line) < 500 + len(str(path))
    return line
