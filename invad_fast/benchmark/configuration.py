"""A benchmark's configuration: YAML whose every mistake is one line that names the key."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field

from invad_fast.benchmark.published import published_sets
from invad_fast.checked import FieldError, checked, unknown_name
from invad_fast.errors import InputError
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.method_names import TRAINED
from invad_fast.metrics.evaluate import PROTOCOLS
from invad_fast.training.options import TrainingOptions


def _one_of(*choices: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return AfterValidator(check)


def _folder_name(value: str) -> str:
    if not re.fullmatch(r"[\w+-][\w+. -]*", value):
        raise ValueError("must be a name that a folder can have (letters, digits, + - . _)")
    return value


def _each_once(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("must be a list without repetitions")
    return values


FolderName = Annotated[str, AfterValidator(_folder_name)]
Index = Annotated[int, Field(ge=0)]
Blocks = Annotated[int, Field(ge=1)]
SEVERAL = Field(min_length=1)
ONCE = AfterValidator(_each_once)
TRAINING = TrainingOptions(schedule="paper")  # what published figures are held against
# The figures do not depend on the precision that a model file was calibrated in.
SCORING = ScoringOptions(precision="fp32")


@checked
class ModelSettings:
    """One line of the table: a method, its encoder, how it is trained and scored.

    None stands for the method's own: its encoder, its published schedule, its anomaly map.

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
        protocol: see :func:`invad_fast.evaluation.evaluate.evaluate_model`.
        training: how it is trained; the seed is each run's own.
        scoring: how its test images are scored.
    """

    method: Annotated[str, _one_of(*TRAINED)]
    name: FolderName
    encoder: str | None = None
    encoder_weights: str = "pretrained"
    out_indices: Annotated[tuple[Index, ...], SEVERAL, ONCE] | None = None
    blocks: Annotated[tuple[Blocks, ...], SEVERAL] | None = None
    size: Annotated[int, Field(ge=1)] = 256
    per_class: bool = False
    classes: Annotated[tuple[str, ...], SEVERAL, ONCE] | None = None
    checkpoint: str | None = None
    protocol: Annotated[str, _one_of(*PROTOCOLS)] = "paper"
    training: TrainingOptions = TRAINING
    scoring: ScoringOptions = SCORING

    def as_keys(self) -> dict[str, Any]:
        """The settings under the keys that a file gives them by."""
        parts = {"": self, "training": self.training, "scoring": self.scoring}
        return {
            key: getattr(parts[part], name)
            for key, homes in MODEL_KEYS.items()
            for part, name in homes
        }


def _model_keys() -> dict[str, list[tuple[str, str]]]:
    """key → (the object of a model's settings, its field), one or two, that it stands for."""

    def names(part: Any) -> list[str]:
        return [field.name for field in dataclasses.fields(part)]

    keys = {n: [("", n)] for n in names(ModelSettings) if n not in ("training", "scoring")}
    for name in names(TrainingOptions):
        if name != "seed":  # the benchmark's seeds
            keys[name] = [("training", name)]
    for name in names(ScoringOptions):
        # Training's own have another meaning than scoring's.
        key = f"scoring_{name}" if name in ("batch_size", "precision") else name
        keys.setdefault(key, []).append(("scoring", name))
    return keys


MODEL_KEYS = _model_keys()


@checked
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
    data: dict[FolderName, Path]
    models: tuple[ModelSettings, ...]
    published: Annotated[str, _one_of(*published_sets())] | None = None
    seeds: Annotated[tuple[Index, ...], SEVERAL, ONCE] = (0,)


_TOP_KEYS = [field.name for field in dataclasses.fields(BenchmarkConfig)]  # type: ignore[arg-type]


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
    except InputError as error:
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
        raise InputError("needed are the keys data and models")
    _check_keys("", content, (*_TOP_KEYS, *MODEL_KEYS))
    for key in ("data", "models"):
        if not content.get(key):
            raise InputError(f"{key}: missing")
    if not isinstance(content["models"], list):
        raise InputError("models: must be a list, each with a method")
    shared = {k: v for k, v in content.items() if k in MODEL_KEYS and k != "name"}
    given = {k: v for k, v in content.items() if k in _TOP_KEYS}
    given |= {"data": _data(content["data"]), "models": _models(content["models"], shared)}
    return BenchmarkConfig(**{"name": stem, **given})


def _check_keys(where: str, content: dict[Any, Any], known: Iterable[str]) -> None:
    """Refuses keys that are not known, and text that is blank."""
    for key, value in content.items():
        if key not in known:
            raise InputError(where + unknown_name("key", key, known))
        if isinstance(value, str) and not value.strip():
            raise InputError(f"{where}{key}: must not be blank")


def _data(value: Any) -> Any:
    """name → folder; a folder alone is named after itself."""
    if isinstance(value, str):
        # Not resolved: a link's own name, wherever it leads.
        return {os.path.basename(os.path.abspath(value)) or "data": value}
    if not isinstance(value, dict):
        raise InputError("data: must be a folder, or several by name (name: folder)")
    # YAML reads a name of digits as a number.
    folders = {str(name): folder for name, folder in value.items()}
    _check_keys("data.", folders, folders)
    return folders


def _models(entries: list[Any], shared: dict[str, Any]) -> list[ModelSettings]:
    models: list[ModelSettings] = []
    for index, entry in enumerate(entries):
        where = f"models[{index}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: must hold keys such as method and encoder, not {entry!r}")
        _check_keys(f"{where}: ", entry, MODEL_KEYS)
        given = {**shared, **entry}
        if "method" not in given:
            raise InputError(f"{where}.method: missing")
        model = _model({"name": given["method"], **given}, {key: f"{where}.{key}" for key in entry})
        taken = [i for i, m in enumerate(models) if m.name == model.name]
        if taken:
            raise InputError(f"{where}.name: {model.name!r} is models[{taken[0]}]'s already")
        models.append(model)
    return models


def _model(given: dict[str, Any], places: dict[str, str]) -> ModelSettings:
    """The settings of keys; ``places`` says where a key stands that is no shared one."""
    parts: dict[str, dict[str, Any]] = {"": {}, "training": {}, "scoring": {}}
    for key, value in given.items():
        for part, name in MODEL_KEYS[key]:
            parts[part][name] = value
    try:
        parts[""]["training"] = dataclasses.replace(TRAINING, **parts[(part := "training")])
        parts[""]["scoring"] = dataclasses.replace(SCORING, **parts[(part := "scoring")])
        part = ""
        return ModelSettings(**parts[part])
    except FieldError as error:
        fault = (part, error.field)
        key = next(key for key, homes in MODEL_KEYS.items() if fault in homes)
        raise FieldError(places.get(key, key), error.fault) from None
