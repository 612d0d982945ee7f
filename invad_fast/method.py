"""What InvAD and its yardsticks share: they reconstruct a frozen encoder's features.

    image ─ encoder ─> features ─ reconstruct ─> reconstructions ─ anomaly_map ─> map ─> score

A method says how it reconstructs, with which loss, and by which recipe it is trained; training,
evaluation, calibration and the model file are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from invad_fast.anomaly_map import map_and_score
from invad_fast.config import FeatureConfig
from invad_fast.encoder import Encoder, warn_random
from invad_fast.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

    from invad_fast.data import Dataset
    from invad_fast.train import TrainingResult

ALL_CLASSES = "*"


@dataclass(frozen=True)
class Prediction:
    """What the model finds in N images.

    Attributes:
        score: N, the maximum of each map; higher is more anomalous.
        map: N×H×W at the model's input size.
        threshold: scores above it are anomalous; None for a model that was not calibrated.
        anomalous: N verdicts, or None without a threshold.
    """

    score: Tensor
    map: Tensor
    threshold: float | None = None

    @property
    def anomalous(self) -> Tensor | None:
        return None if self.threshold is None else self.score > self.threshold


@dataclass(frozen=True)
class Recipe:
    """How a method was trained where it was published; Adam without weight decay throughout.

    Attributes:
        epochs, batch_size: defaults, as is the learning rate.
        learning_rate: of Adam.
        rate_batch: batch size that the learning rate is for, others scale it linearly; None for
            one learning rate whatever the batch.
        betas: Adam's.
        clip: the gradient's norm is scaled down to this; None for no limit.
        drop_after: share of the epochs after which the learning rate falls to a tenth; None: never.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    rate_batch: int | None
    betas: tuple[float, float]
    clip: float | None = None
    drop_after: float | None = None

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, with the recipe's epochs, batch size and learning rate where not given."""
        given = {name: value for name, value in options.items() if value is not None}
        filled = {"epochs": self.epochs, "batch_size": self.batch_size, **given}
        scale = filled["batch_size"] / self.rate_batch if self.rate_batch else 1.0
        return {"learning_rate": self.learning_rate * scale, **filled}


class Predictor(nn.Module, ABC):
    """A network over a frozen encoder's features, as far as predictions need it.

    Attributes:
        config: the frozen configuration.
        classes: names of the product classes that the model was trained on.
        thresholds: class name → score above which a part is anomalous; "*" for any class.
    """

    map_mode: str  # the anomaly map it was published with
    config: Any
    classes: tuple[str, ...]
    thresholds: dict[str, float]
    encoder: Encoder | None

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """N×3×H×W, ImageNet-normalised → (features, reconstructions), finest first."""
        features = self.encode(images)
        reconstructions = self.reconstruct(features)
        return features, reconstructions

    def encode(self, images: Tensor) -> list[Tensor]:
        """Images N×3×H×W → frozen features N×Cᵢ×Hᵢ×Wᵢ, finest first."""
        self._check_images(images)
        assert self.encoder is not None  # else it was refused
        return self.encoder(images)

    @abstractmethod
    def reconstruct(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features, finest first → reconstructions of the same shapes."""

    def predict(
        self,
        images: Tensor,
        class_name: str | None = None,
        mode: str | None = None,
        sigma: float = 4.0,
    ) -> Prediction:
        """Scores and maps of images N×3×H×W, ImageNet-normalised, in eval mode.

        Args:
            class_name: the product, where each has a threshold of its own.
            mode, sigma: see :func:`anomaly_map`; None for the method's own mode.
        """
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                maps, score = self._map_and_score(images, mode or self.map_mode, sigma)
        finally:
            self.train(training)
        return Prediction(score, maps, self.threshold(class_name))

    def _map_and_score(self, images: Tensor, mode: str, sigma: float) -> tuple[Tensor, Tensor]:
        features, reconstructions = self(images)
        return map_and_score(features, reconstructions, self.config.input_size, mode, sigma)

    def threshold(self, class_name: str | None = None) -> float | None:
        """The threshold of a class; that of any class where it has none; None uncalibrated."""
        return self.thresholds.get(class_name or ALL_CLASSES, self.thresholds.get(ALL_CLASSES))

    def _check_images(self, images: Tensor) -> None:
        if self.encoder is None:
            raise InputError("a model with encoder=None takes features: call reconstruct(features)")
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, *self.config.input_size):
            height, width = self.config.input_size
            raise InputError(
                f"this model takes images N×3×{height}×{width}, not {tuple(images.shape)}: "
                "resize them (invad_fast.data.load_image does)"
            )

    def _check_features(self, features: Sequence[Tensor]) -> None:
        expected = self.config.feature_shapes
        given = [tuple(f.shape[1:]) for f in features]
        if given != expected:
            raise InputError(f"this model takes features of shapes {expected}, not {given}")


class Method(Predictor):
    """A network that is trained, saved and loaded; subclasses reconstruct the features."""

    method: ClassVar[str]  # its name in model files and on the command line
    recipe: ClassVar[Recipe]
    config_type: ClassVar[type[FeatureConfig]]

    def __init__(self, config: FeatureConfig, encoder_weights: str | Path | None) -> None:
        if config.encoder is not None and encoder_weights is None:
            warn_random(config.encoder)
        self._build(config, encoder_weights)

    def _build(self, config: Any, encoder_weights: str | Path | None) -> None:
        """Makes all layers; subclasses add their own after the encoder."""
        super().__init__()
        self.config = config
        self.classes = ()
        self.thresholds = {}
        self.encoder = None if config.encoder is None else Encoder(config, encoder_weights)

    @abstractmethod
    def loss(self, features: Sequence[Tensor], reconstructions: Sequence[Tensor]) -> Tensor:
        """What training lowers: a scalar in float32."""

    def trained_parts(self) -> dict[str, nn.Module]:
        """The parts that training changes, by name: all but the encoder."""
        return {name: part for name, part in self.named_children() if name != "encoder"}

    def fit(self, root: str | Path | Dataset, **options: Any) -> TrainingResult:
        """Trains on the good parts below ``root``; see :func:`invad_fast.train.train`."""
        from invad_fast.train import train

        return train(self, root, **options)

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file, configuration, classes and thresholds in its header."""
        from invad_fast.model_file import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what :meth:`save` wrote, in eval mode; InputError names a damaged file.

        A file of another method is refused: :func:`invad_fast.load_model` takes any.
        """
        from invad_fast.model_file import load

        return load(cls, Path(path))
