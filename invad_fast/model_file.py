"""The model file: one safetensors file, everything but the tensors as JSON in its header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from invad_fast.errors import InputError

if TYPE_CHECKING:
    from invad_fast.method import Method

Some = TypeVar("Some", bound="Method")

_HEADER = "invad_fast"
_VERSION = 1


def save(model: Method, path: Path) -> None:
    """Writes the model atomically: a crash leaves the old file or the new one, never half."""
    header = {
        "version": _VERSION,
        "method": model.method,
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


def load(cls: type[Some], path: Path) -> Some:
    """Builds the model that the header describes and fills it.

    Raises:
        InputError: where the file is damaged, is not ours, or holds a model of another method.
    """
    header, tensors = _read(path)
    # Files from before there was a second method do not name theirs.
    if header.get("method", "invad") != cls.method:
        raise InputError(
            f"{path} holds a model of the method {header['method']!r}, not {cls.method!r}: "
            "invad_fast.load_model takes either"
        )
    model = cls.__new__(cls)
    model._build(cls.config_type(**header["config"]), encoder_weights=None)
    model.classes = tuple(header["classes"])
    model.thresholds = dict(header["thresholds"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:300]
        raise InputError(f"{path} does not fit its own configuration: {line}") from None
    return model.eval()


def holds_model(path: Path) -> bool:
    """Whether the file is a model that :func:`save` wrote, and not weights alone."""
    try:
        _read_header(path)
    except InputError:
        return False
    return True


def read_method(path: Path) -> str:
    """The name of the method whose model the file holds."""
    return _read_header(path).get("method", "invad")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header = _read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"no model file {path}: `invad-fast train` writes one")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "null"))
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None
    if header is None:
        raise InputError(
            f"{path} was not saved by invad_fast: it has no configuration in its header; "
            "an authors' checkpoint is loaded with load_reference"
        )
    if header["version"] > _VERSION:
        raise InputError(f"{path} was saved by a newer invad_fast: update this one")
    return header
