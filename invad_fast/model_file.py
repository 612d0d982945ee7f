"""The model file: one safetensors file, everything but the tensors as JSON in its header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from invad_fast.config import InvADConfig
from invad_fast.errors import InputError

if TYPE_CHECKING:
    from invad_fast.model import InvAD

_HEADER = "invad_fast"
_VERSION = 1


def save(model: InvAD, path: Path) -> None:
    """Writes the model atomically: a crash leaves the old file or the new one, never half."""
    header = {
        "version": _VERSION,
        "config": model.config.to_dict(),
        "classes": list(model.classes),
        "thresholds": model.thresholds,
        "input_size": model.config.input_size,
    }
    if not path.parent.is_dir():
        raise InputError(f"no folder {path.parent} to save the model in: make it first")
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, metadata={_HEADER: json.dumps(header)})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(cls: type[InvAD], path: Path) -> InvAD:
    """Builds the model that the header describes and fills it."""
    if not path.is_file():
        raise InputError(f"no model file {path}: `invad-fast train` writes one")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None
    if header is None:
        raise InputError(
            f"{path} was not saved by invad_fast: it has no configuration in its header; "
            "an authors' checkpoint is loaded with load_reference"
        )
    if header["version"] > _VERSION:
        raise InputError(f"{path} was saved by a newer invad_fast: update this one")
    model = cls.__new__(cls)
    config = InvADConfig(**header["config"])
    model._build(config, encoder_weights=None)
    model.classes = tuple(header["classes"])
    model.thresholds = dict(header["thresholds"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:300]
        raise InputError(f"{path} does not fit its own configuration: {line}") from None
    return model.eval()
