"""The methods by name: made new, or loaded from a model file whichever method it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invad_fast.checked import unknown_name
from invad_fast.config import PRESETS
from invad_fast.encoder import PRETRAINED
from invad_fast.errors import InputError
from invad_fast.method import Method, TrainedMethod
from invad_fast.model import InvAD
from invad_fast.model_file import read_header
from invad_fast.nearest_neighbours import NearestNeighbours
from invad_fast.reverse_distillation import ReverseDistillation

RD = ReverseDistillation.method
MEMORY = NearestNeighbours.method
TRAINED = (*PRESETS, RD)
METHODS = (*TRAINED, MEMORY)
_OTHERS: dict[str, type[Method]] = {RD: ReverseDistillation, MEMORY: NearestNeighbours}


def method_class(name: str) -> type[Method]:
    """The class of "invad", "invad-lite", "rd" or "memory"."""
    if name not in METHODS:
        raise InputError(unknown_name("method", name, METHODS))
    return _OTHERS.get(name, InvAD)


def trained_method_class(name: str) -> type[TrainedMethod]:
    """The same; InputError for one that is not trained by gradient."""
    if name not in TRAINED:
        raise InputError(unknown_name("trained method", name, TRAINED))
    return ReverseDistillation if name == RD else InvAD


def create_model(
    name: str, encoder_weights: str | Path | None = PRETRAINED, **changes: Any
) -> Method:
    """A new model: "invad", "invad-lite", "rd" or "memory", with fields of its configuration
    replaced.
    """
    if method_class(name) is NearestNeighbours:
        return NearestNeighbours(encoder_weights=encoder_weights, **changes)
    return create_trained(name, encoder_weights, **changes)


def create_trained(
    name: str, encoder_weights: str | Path | None = PRETRAINED, **changes: Any
) -> TrainedMethod:
    """The same of a method that is trained by gradient."""
    if trained_method_class(name) is ReverseDistillation:
        return ReverseDistillation(encoder_weights=encoder_weights, **changes)
    return InvAD(name, encoder_weights, **changes)


def load_model(path: str | Path) -> Method:
    """Reads a model file of any method, in eval mode; InputError names a damaged file."""
    path = Path(path)
    name = read_header(path).method
    classes: tuple[type[Method], ...] = (InvAD, *_OTHERS.values())
    for cls in classes:
        if cls.method == name:
            return cls.load(path)
    raise InputError(f"{path} holds a model of the method {name!r}, which is unknown here")
