"""The model file: one safetensors file, everything but the tensors as JSON in its header.

It knows no method: a method makes the header and takes the tensors. A file is believed only as
far as it is checked: the header by its schema, the sizes before anything is made, every number,
and the digest over tensors and configuration.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from typing_extensions import Self

from invad_fast.checked import one_line
from invad_fast.class_prototypes import ClassPrototypes
from invad_fast.config import FeatureConfig
from invad_fast.encoder_weights import check_finite
from invad_fast.errors import InputError
from invad_fast.files import check_file, written_whole
from invad_fast.frame_figures import FrameLimits
from invad_fast.prediction import ALL_CLASSES, Origin, ScoreRule, Thresholds
from invad_fast.seen_parts import SeenParts

C = TypeVar("C", bound=FeatureConfig)

_HEADER = "invad_fast"
_VERSION = 2
_UNSIGNED = 1  # the version that knew no digest, rule or origin
_LONGEST_HEADER = 16 * 2**20  # of safetensors; ten thousand classes take two
_MEANS, _DEVIATION = "prototypes.means", "prototypes.deviation"
_TRAINED, _CALIBRATED = "seen.training", "seen.calibration"
_TYPES = {"F32": torch.float32, "I64": torch.int64}  # weights; counts of training steps

_Name = Annotated[StrictStr, Field(min_length=1)]


class Header(BaseModel):
    """What a model file says of its model.

    Attributes:
        version: of this header; a file of a newer one is refused.
        method: the method's name.
        config: the fields of its configuration.
        classes: names of the product classes.
        thresholds: class name or "*" → threshold, for scores made by ``score_rule``.
        origins: the same names → where each threshold comes from.
        digest: of tensors and configuration, see :func:`model_digest`.
        prototypes_digest: of the class prototypes, where there are any.
        frame_limits: class name → within which its good pictures' figures lie.
        distance_limits: class name → limit of a part's distance from its prototype.
        distance_origins: the same names → where each limit comes from.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="ignore")

    version: Annotated[int, Field(ge=1)]
    method: _Name = "invad"  # files from before there was a second method do not name theirs
    config: dict[str, Any]
    classes: tuple[_Name, ...]
    thresholds: dict[_Name, float]
    score_rule: ScoreRule | None = None
    origins: dict[_Name, Origin] = {}
    digest: StrictStr = ""
    prototypes_digest: StrictStr = ""
    frame_limits: dict[_Name, FrameLimits] = {}
    distance_limits: dict[_Name, float] = {}
    distance_origins: dict[_Name, Origin] = {}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise InputError(f"the class {twice!r} stands there twice")
        # A model whose classes are not known, an authors' checkpoint, may be calibrated for any.
        known = {ALL_CLASSES, *(self.classes or self.thresholds)}
        for name in self.thresholds:
            if name not in known:
                raise InputError(f"there is a threshold of {name!r}, which is no class")
        for name in self.origins:
            if name not in self.thresholds:
                raise InputError(f"there is an origin of {name!r}, which has no threshold")
        for name in self.distance_limits:
            if name not in self.classes:
                raise InputError(f"there is a limit of {name!r}, which is no class")
        if self.version > _UNSIGNED and not self.digest:
            raise InputError("it has no digest")
        return self


class _Versioned(BaseModel):
    """What is read of a header first: another version's may have other fields."""

    version: Annotated[int, Field(ge=1)]


def new_header(**fields: Any) -> Header:
    """A header of this version; InputError where the fields do not agree."""
    try:
        return Header(version=_VERSION, **fields)
    except ValidationError as error:
        raise InputError(one_line(error, "this model cannot be saved")) from None


def model_digest(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """A hash of what fixes a model's outputs: its configuration and tensors, in hexadecimal.

    Not of its classes, prototypes and thresholds: they judge maps and scores, and change neither.
    """
    # Half of SHA-256, which processors compute themselves: twice as fast as BLAKE2b.
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def write_model(
    path: Path,
    header: Header,
    tensors: Mapping[str, Tensor],
    prototypes: ClassPrototypes | None,
    seen: SeenParts,
) -> None:
    """Writes the model whole, with the mode of any new file.

    Raises:
        InputError: where it cannot be written, or would be refused when it is read.
    """
    if not path.parent.is_dir():
        raise InputError(f"no folder {path.parent} to save the model in: make it first")
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES.values():
            raise InputError(f"model files hold float32, and {name} is {tensor.dtype}: .float() it")
    check_finite("this model", tensors)
    stored = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    if prototypes is not None:
        held = prototypes.of(header.classes)
        told = {_MEANS: torch.from_numpy(held.means), _DEVIATION: torch.from_numpy(held.deviation)}
        stored |= told
        header = header.model_copy(
            update={
                "prototypes_digest": model_digest({}, told),
                "distance_limits": dict(held.limits),
                "distance_origins": held.limits.origins,
            }
        )
    for name, hashes in ((_TRAINED, seen.training), (_CALIBRATED, seen.calibration)):
        if len(hashes):
            stored[name] = torch.from_numpy(hashes)
    with written_whole(path) as partial:
        try:
            save_file(stored, partial, metadata={_HEADER: header.model_dump_json()})
        except SafetensorError as error:  # a full disk
            raise InputError(f"cannot write {path}: {error}") from None


def read_header(path: Path) -> Header:
    """What the file says of its model.

    Raises:
        InputError: where the file is damaged, is not ours, or is a newer version's.
    """
    check_file(path, "no model file {}: `invad-fast train` writes one")
    _check_length(path)
    with _opened(path) as file:
        content = (file.metadata() or {}).get(_HEADER)
    if content is None:
        raise InputError(
            f"{path} was not saved by invad_fast: it has no configuration in its header; "
            "an authors' checkpoint is loaded with load_reference"
        )
    try:
        if _Versioned.model_validate_json(content, strict=True).version > _VERSION:
            raise InputError(f"{path} was saved by a newer invad_fast: update this one")
        return Header.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise InputError(one_line(error, f"{path}: its header is damaged")) from None


def checked_config(path: Path, header: Header, config_type: type[C]) -> C:
    """The configuration that the header describes; InputError where it is none."""
    try:
        return config_type.from_dict(header.config)
    except InputError as error:
        raise InputError(f"{path}: its header is damaged: {error}") from None


def read_tensors(
    path: Path, header: Header, config: FeatureConfig
) -> tuple[dict[str, Tensor], ClassPrototypes | None, SeenParts]:
    """(the network's tensors, the class prototypes, what the model has seen) of the file.

    Raises:
        InputError: where they are fewer than the configuration has blocks, of other types, not
            finite, or not those that were saved.
    """
    with _opened(path) as file:
        names = list(file.keys())
        if len(names) < config.block_count:
            raise InputError(
                f"{path} does not fit its own configuration: it has {len(names)} tensors, and "
                f"its {config.block_count} blocks have more"
            )
        for name in names:
            stored = file.get_slice(name).get_dtype()
            if stored not in _TYPES:
                raise InputError(f"{path} is damaged: {name} is {stored}, not {'/'.join(_TYPES)}")
        tensors = {name: file.get_tensor(name) for name in names}
    check_finite(str(path), tensors)
    told = {name: tensors.pop(name) for name in (_MEANS, _DEVIATION) if name in tensors}
    hashes = {
        name: tensors.pop(name).numpy() for name in (_TRAINED, _CALIBRATED) if name in tensors
    }
    if any(held.dtype != np.int64 or held.ndim != 1 for held in hashes.values()):
        raise InputError(f"{path} is damaged: what it says of the parts it has seen is no list")
    seen = SeenParts(*(hashes.get(name, np.zeros(0, np.int64)) for name in (_TRAINED, _CALIBRATED)))
    if header.version > _UNSIGNED and model_digest(header.config, tensors) != header.digest:
        raise InputError(
            f"{path} is damaged: its weights or its configuration are not those that were saved"
        )
    if not told and not header.prototypes_digest:
        return tensors, None, seen
    if len(told) < 2 or told[_DEVIATION].shape != (sum(config.channels),):
        raise InputError(f"{path} is damaged: its class prototypes are not whole")
    if header.version > _UNSIGNED and model_digest({}, told) != header.prototypes_digest:
        raise InputError(f"{path} is damaged: its class prototypes are not those that were saved")
    try:
        means, deviation = told[_MEANS].numpy(), told[_DEVIATION].numpy()
        limits = Thresholds(header.distance_limits, None, header.distance_origins)
        return tensors, ClassPrototypes(header.classes, means, deviation, limits), seen
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def check_tensors(path: Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """InputError where the tensors are not those of ``model``, which needs no memory for them."""
    expected = model.state_dict()
    said = f"{path} does not fit its own configuration: "
    for name, wanted in expected.items():
        if name not in tensors:
            raise InputError(f"{said}it lacks {name}")
        given = tensors[name]
        if given.shape != wanted.shape or given.dtype != wanted.dtype:
            raise InputError(
                f"{said}{name} is {tuple(given.shape)} {given.dtype}, not {tuple(wanted.shape)} "
                f"{wanted.dtype}"
            )
    extra = next((name for name in tensors if name not in expected), None)
    if extra is not None:
        raise InputError(f"{said}it has {extra}, which the model lacks")


def holds_model(path: Path) -> bool:
    """Whether the file is a model of ours, and not weights alone."""
    try:
        read_header(path)
    except InputError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None


def _check_length(path: Path) -> None:
    """Refuses a header that takes more memory than it is worth, before it is parsed."""
    with open(path, "rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else math.inf
    if length > os.path.getsize(path) - 8:
        raise InputError(f"{path} is not a readable safetensors file: it is cut short, or another")
    if length > _LONGEST_HEADER:
        raise InputError(
            f"{path} is not a readable safetensors file: its header takes {length:,} bytes"
        )
