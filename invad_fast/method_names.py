"""The methods by name: made new, or loaded from a model file whichever method it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invad_fast.checked import unknown_name
from invad_fast.config import PRESETS
from invad_fast.encoder import PRETRAINED
from invad_fast.errors import InputError
from invad_fast.method import Method
from invad_fast.model import InvAD
from invad_fast.model_file import read_header
from invad_fast.reverse_distillation import ReverseDistillation

RD = ReverseDistillation.method
METHODS = (*PRESETS, RD)


def method_class(name: str) -> type[Method]:
    """The class of "invad", "invad-lite" or "rd"."""
    if name not in METHODS:
        raise InputError(unknown_name("method", name, METHODS))
    return ReverseDistillation if name == RD else InvAD


def create_model(
    name: str, encoder_weights: str | Path | None = PRETRAINED, **changes: Any
) -> Method:
    """A new model: "invad", "invad-lite" or "rd", with fields of its configuration replaced."""
    if method_class(name) is ReverseDistillation:
        return ReverseDistillation(encoder_weights=encoder_weights, **changes)
    return InvAD(name, encoder_weights, **changes)


def load_model(path: str | Path) -> Method:
    """Reads a model file of any method, in eval mode; InputError names a damaged file."""
    path = Path(path)
    name = read_header(path).method
    for cls in (InvAD, ReverseDistillation):
        if cls.method == name:
            return cls.load(path)
    raise InputError(f"{path} holds a model of the method {name!r}, which is unknown here")
