"""configuration ─ plan ─> runs: model × data set × class × seed, checked before any trains."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invad_fast.benchmark.configuration import BenchmarkConfig, ModelSettings
from invad_fast.config import ReconstructionConfig, preset
from invad_fast.data import Dataset, read_dataset
from invad_fast.device import choose_device
from invad_fast.encoder_weights import find_weights
from invad_fast.errors import InputError
from invad_fast.method import TrainedMethod
from invad_fast.method_names import RD, create_trained, trained_method_class
from invad_fast.prediction import check_class_names
from invad_fast.reverse_distillation import RDConfig
from invad_fast.training.options import CompleteOptions

# What the schedule fills in where the options do not say it.
SCHEDULED = ("epochs", "batch_size", "learning_rate")
RANDOM = "none"  # encoder_weights: random ones


@dataclass(frozen=True)
class Run:
    """One model to train and score.

    Attributes:
        model: its settings.
        data_name: name of the data set in the configuration.
        dataset: the classes that it trains and is scored on.
        class_name: the class, of a model for one class.
        seed: of the weights and the order of images.
        folder: where the run keeps its checkpoints, pictures and figures.
    """

    model: ModelSettings
    data_name: str
    dataset: Dataset
    class_name: str | None
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        """model, data set, class and seed in a few words."""
        parts = (self.model.name, self.data_name, self.class_name or "", f"seed {self.seed}")
        return ", ".join(part for part in parts if part)

    @property
    def checkpoint(self) -> Path | None:
        """The file that takes the place of training."""
        if self.model.checkpoint is None:
            return None
        path = self.model.checkpoint
        names = (("data", self.data_name), ("class", self.class_name or ""), ("seed", self.seed))
        for name, value in names:
            path = path.replace(f"{{{name}}}", str(value))
        return Path(path)

    @property
    def training(self) -> CompleteOptions:
        """The options of its training, the method's schedule filled in."""
        options = dataclasses.replace(self.model.training, seed=self.seed)
        return options.completed(trained_method_class(self.model.method), len(self.dataset.train))

    @property
    def config(self) -> ReconstructionConfig:
        """The configuration of the model that is trained."""
        schedule = trained_method_class(self.model.method).schedule(self.training.schedule)
        return dataclasses.replace(model_config(self.model), **schedule.config)

    @property
    def images_seen(self) -> int:
        """Training images in all epochs; incomplete batches are dropped."""
        batch, epochs = self.training.batch_size, self.training.epochs
        return len(self.dataset.train) // batch * batch * epochs

    def new_model(self, random_encoder: bool = False) -> TrainedMethod:
        """The untrained model; the caller has seeded torch."""
        weights = None if random_encoder else encoder_weights(self.model)
        return create_trained(self.model.method, weights, **_config_changes(self.model))


def encoder_weights(model: ModelSettings) -> str | None:
    """As the models take them: None for random ones."""
    return None if model.encoder_weights.lower() == RANDOM else model.encoder_weights


def make_plan(config: BenchmarkConfig, output: Path, data_root: Path | None = None) -> list[Run]:
    """All runs, in the order in which they are done: the first seed of everything first.

    Args:
        output: folder of the benchmark; every run gets one below it.
        data_root: where relative data folders start; the current folder where None.

    Raises:
        InputError: one line that names the key, where a data set, a class, an encoder, a weight
            file or a size is not what the runs need.
    """
    datasets = {
        name: _read(f"data.{name}", (data_root / path) if data_root else path)
        for name, path in config.data.items()
    }
    for index, model in enumerate(config.models):
        _check_model(f"models[{index}] ({model.name})", model)
    runs = [
        run
        for seed in config.seeds
        for index, model in enumerate(config.models)
        for name, dataset in datasets.items()
        for run in _runs(f"models[{index}]", model, name, dataset, seed, output)
    ]
    for run in runs:
        _check_run(run)
    return runs


def _read(key: str, path: Path) -> Dataset:
    try:
        dataset = read_dataset(path)
        check_class_names(dataset.classes, f"{path}: ")
        return dataset
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def _runs(
    where: str, model: ModelSettings, data_name: str, dataset: Dataset, seed: int, output: Path
) -> list[Run]:
    if model.classes:
        try:
            dataset = dataset.only(model.classes)
        except InputError as error:
            raise InputError(f"{where}.classes: {error}") from None
    base = output / model.name / data_name
    if not model.per_class:
        return [Run(model, data_name, dataset, None, seed, base / f"seed{seed}")]
    return [
        Run(model, data_name, dataset.only([c]), c, seed, base / c / f"seed{seed}")
        for c in dataset.classes
    ]


def _check_model(where: str, model: ModelSettings) -> None:
    try:
        choose_device(model.training.device)
        trained_method_class(model.method).schedule(model.training.schedule)
        config = model_config(model)
        weights = encoder_weights(model)
        if weights is not None and model.checkpoint is None:
            assert config.encoder is not None
            find_weights(weights, config.encoder)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_run(run: Run) -> None:
    checkpoint = run.checkpoint
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise InputError(f"{run.title}: checkpoint: no file {checkpoint}")
    elif len(run.dataset.train) < run.training.batch_size:
        raise InputError(
            f"{run.title}: batch_size: {run.training.batch_size} is more than its "
            f"{len(run.dataset.train)} training images"
        )
    if not run.dataset.test:
        raise InputError(f"{run.title}: there are no test images")


@functools.cache
def model_config(model: ModelSettings) -> ReconstructionConfig:
    """The configuration that the model will have; building it checks encoder and size."""
    changes = _config_changes(model)
    return RDConfig(**changes) if model.method == RD else preset(model.method, **changes)


def _config_changes(model: ModelSettings) -> dict[str, Any]:
    names = ("encoder", "out_indices", "blocks")
    given = {name: getattr(model, name) for name in names}
    return {k: v for k, v in given.items() if v is not None} | {"input_size": model.size}


# They change no figure.
_FREE = ("name", "workers", "device", "feature_cache_gib", "cache", "cache_gib",
         "checkpoint_seconds", "false_alarm_rate", "scoring_batch_size")  # fmt: skip


def described(run: Run) -> dict[str, Any]:
    """What a finished run was made from, JSON-ready; another description is another run."""
    settings = _settings(run.model)
    if run.checkpoint is None:
        settings |= {key: getattr(run.training, key) for key in SCHEDULED}
    images = {"train": len(run.dataset.train), "test": len(run.dataset.test)}
    return {**settings, "images": images, "data": run.data_name, "seed": run.seed,
            "class": run.class_name}  # fmt: skip


def difference(run: Run, made_from: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """The first key in which ``run`` is another than that described, with both values.

    A key that the description lacks is newer than it: it stood for today's default.
    """
    before = _settings(ModelSettings(method=run.model.method, name="any")) | made_from
    now = described(run)
    keys = [key for key in before if before[key] != now.get(key)]
    return (keys[0], before[keys[0]], now.get(keys[0])) if keys else None


def _settings(model: ModelSettings) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in model.as_keys().items()
        if key not in _FREE
    }
