"""A benchmark's configuration: YAML whose every mistake is one line that names the key."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from invad_fast.anomaly_map import MODES
from invad_fast.benchmark.checks import (
    Invalid,
    checked,
    counts,
    flag,
    folder_name,
    list_of,
    number,
    one_of,
    optional,
    text,
    whole,
)
from invad_fast.benchmark.published import published_sets
from invad_fast.errors import InputError
from invad_fast.methods import METHODS
from invad_fast.metrics.evaluate import PROTOCOLS


@dataclass(frozen=True)
class ModelSettings:
    """One line of the table: a method, its encoder, how it is trained and scored.

    None stands for the method's own: its encoder, its published recipe, its anomaly map.

    Attributes:
        method: "invad", "invad-lite" or "rd".
        name: in tables and folders; the method where it is not given.
        encoder, encoder_weights, out_indices, blocks: see :class:`invad_fast.config.FeatureConfig`
            and :mod:`invad_fast.encoder_weights`.
        size: side of the square images.
        per_class: a model for each class instead of one for all.
        classes: only these; all where None.
        checkpoint: instead of training, an authors' ``net.pth`` or a model file of ours;
            ``{data}``, ``{class}`` and ``{seed}`` in it stand for the run's.
        epochs … cache_gib: see :class:`invad_fast.train.TrainingOptions`.
        protocol, pooling, mode: see :func:`invad_fast.evaluate.evaluate_model`.
    """

    method: str
    name: str
    encoder: str | None = None
    encoder_weights: str = "pretrained"
    out_indices: tuple[int, ...] | None = None
    blocks: tuple[int, ...] | None = None
    size: int = 256
    per_class: bool = False
    classes: tuple[str, ...] | None = None
    checkpoint: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    precision: str = "fp32"
    workers: int = 2
    device: str = "auto"
    feature_cache_gib: float = 4.0
    cache: str | None = None
    cache_gib: float = 20.0
    protocol: str = "paper"
    pooling: int | None = None
    mode: str | None = None


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is compared on what.

    Attributes:
        name: title of the tables.
        data: data sets by name; each is trained and scored on its own, the figure is their mean.
        published: whose published figures stand beside ours: "mvtec_ad", "visa", "coco_ad".
        seeds: every model is trained once with each.
        models: the lines of the table.
    """

    name: str
    data: dict[str, Path]
    models: tuple[ModelSettings, ...]
    published: str | None = None
    seeds: tuple[int, ...] = (0,)


def shipped_configurations() -> tuple[str, ...]:
    """Names of the configurations that come with the package."""
    folder = files("invad_fast.benchmark") / "configs"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir()))


def read_configuration(source: str | Path) -> BenchmarkConfig:
    """Reads a YAML file, or a shipped configuration by its name.

    Raises:
        InputError: a line that names the file and the key, and says what may stand there.
    """
    path = Path(source)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a readable text file ({error})") from None
    elif str(source) in shipped_configurations():
        text = (files("invad_fast.benchmark") / "configs" / f"{source}.yaml").read_text("utf-8")
    else:
        names = ", ".join(shipped_configurations())
        raise InputError(f"no configuration file {source}, and none shipped by that name ({names})")
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{source}: not readable as YAML: {_yaml_line(error)}") from None
    try:
        return _configuration(content, path.stem)
    except Invalid as error:
        raise InputError(f"{source}: {error}") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; plain YAML would silently take the last."""


def _mapping_once(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.MarkedYAMLError(
                problem=f"{key!r} stands twice", problem_mark=node.start_mark
            )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_once)


def _yaml_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    return where + " ".join(str(getattr(error, "problem", None) or error).split())


def _configuration(content: Any, stem: str) -> BenchmarkConfig:
    if not isinstance(content, dict):
        raise Invalid("needed are the keys data and models")
    top = ("name", "data", "published", "seeds", "models")
    unknown = [key for key in content if key not in (*top, *_MODEL_KEYS)]
    if unknown:
        raise Invalid(f"unknown key {unknown[0]!r}; known are {', '.join((*top, *_MODEL_KEYS))}")
    for key in ("data", "models"):
        if not content.get(key):
            raise Invalid(f"{key}: missing")
    shared = {k: v for k, v in content.items() if k in _MODEL_KEYS and k != "name"}
    models = content["models"]
    if not isinstance(models, list):
        raise Invalid("models: must be a list, each with a method")
    return BenchmarkConfig(
        name=checked("name", text, content.get("name", stem)),
        data=_data(content["data"]),
        models=_models(models, shared),
        published=checked("published", optional(one_of(published_sets())),
                           content.get("published")),
        seeds=checked("seeds", list_of(whole(0)), content.get("seeds", [0])),
    )  # fmt: skip


def _data(value: Any) -> dict[str, Path]:
    if isinstance(value, str):
        # Not resolved: a link's own name, wherever it leads.
        return {os.path.basename(os.path.abspath(value)) or "data": Path(value)}
    if not isinstance(value, dict):
        raise Invalid("data: must be a folder, or several by name (name: folder)")
    return {
        checked(f"data.{name}", folder_name, str(name)): Path(checked(f"data.{name}", text, p))
        for name, p in value.items()
    }


def _models(entries: list[Any], shared: dict[str, Any]) -> tuple[ModelSettings, ...]:
    models: list[ModelSettings] = []
    for index, entry in enumerate(entries):
        where = f"models[{index}]"
        if not isinstance(entry, dict):
            raise Invalid(f"{where}: must hold keys such as method and encoder, not {entry!r}")
        unknown = [key for key in entry if key not in _MODEL_KEYS]
        if unknown:
            known = ", ".join(_MODEL_KEYS)
            raise Invalid(f"{where}: unknown key {unknown[0]!r}; known are {known}")
        given = {**shared, **entry}
        if "method" not in given:
            raise Invalid(f"{where}.method: missing")
        given.setdefault("name", given["method"])
        values = {
            # A fault in a shared setting is told where it stands.
            key: checked(f"{where}.{key}" if key in entry else key, _MODEL_KEYS[key], value)
            for key, value in given.items()
        }
        taken = [i for i, m in enumerate(models) if m.name == values["name"]]
        if taken:
            raise Invalid(f"{where}.name: {values['name']!r} is models[{taken[0]}]'s already")
        models.append(ModelSettings(**values))
    return tuple(models)


_MODEL_KEYS: dict[str, Callable[[Any], Any]] = {
    "method": one_of(METHODS),
    "name": folder_name,
    "encoder": optional(text),
    "encoder_weights": text,
    "out_indices": optional(list_of(whole(0))),
    "blocks": optional(counts),
    "size": whole(1),
    "per_class": flag,
    "classes": optional(list_of(text)),
    "checkpoint": optional(text),
    "epochs": optional(whole(1)),
    "batch_size": optional(whole(1)),
    "learning_rate": optional(number(0, exclusive=True)),
    "precision": one_of(("fp32", "bf16", "auto")),
    "workers": whole(0),
    "device": text,
    "feature_cache_gib": number(0),
    "cache": optional(text),
    "cache_gib": number(0),
    "protocol": one_of(PROTOCOLS),
    "pooling": optional(whole(1)),
    "mode": optional(one_of(MODES)),
}
assert set(_MODEL_KEYS) == {field.name for field in dataclasses.fields(ModelSettings)}
