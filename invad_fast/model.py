"""InvAD: image ─ encoder ─> features ─ fuser ─> style ─ decoder ─> reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from invad_fast.anomaly_map import map_and_score
from invad_fast.config import InvADConfig, preset
from invad_fast.decoder import Decoder
from invad_fast.encoder import PRETRAINED, Encoder, warn_random
from invad_fast.errors import InputError
from invad_fast.fuser import Fuser

if TYPE_CHECKING:
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


class InvAD(nn.Module):
    """Learning Feature Inversion for multi-class anomaly detection (arXiv 2404.10760).

    Args:
        config: an InvADConfig, or the name of a preset: "invad" or "invad-lite".
        encoder_weights: "pretrained" for timm's hub, a file or a directory, None for random ones.
        **changes: fields of the preset to replace, for example ``encoder="resnet18"``.

    Attributes:
        config: the frozen configuration.
        classes: names of the product classes that the model was trained on.
        thresholds: class name → score above which a part is anomalous; "*" for any class.
    """

    def __init__(
        self,
        config: InvADConfig | str = "invad",
        encoder_weights: str | Path | None = PRETRAINED,
        **changes: Any,
    ) -> None:
        if isinstance(config, str):
            config = preset(config, **changes)
        elif changes:
            raise InputError("change fields with dataclasses.replace(config, …), or name a preset")
        if config.encoder is not None and encoder_weights is None:
            warn_random(config.encoder)
        self._build(config, encoder_weights)

    def _build(self, config: InvADConfig, encoder_weights: str | Path | None) -> None:
        super().__init__()
        self.config = config
        self.classes: tuple[str, ...] = ()
        self.thresholds: dict[str, float] = {}
        self.encoder = None if config.encoder is None else Encoder(config, encoder_weights)
        self.fuser = Fuser(config)
        self.decoder = Decoder(config)

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """N×3×H×W, ImageNet-normalised → (features, reconstructions), finest first."""
        features = self.encode(images)
        reconstructions = self.reconstruct(features)
        return features, reconstructions

    def encode(self, images: Tensor) -> list[Tensor]:
        """Images N×3×H×W → frozen features N×Cᵢ×Hᵢ×Wᵢ, finest first."""
        if self.encoder is None:
            raise InputError("a model with encoder=None takes features: call reconstruct(features)")
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, *self.config.input_size):
            height, width = self.config.input_size
            raise InputError(
                f"this model takes images N×3×{height}×{width}, not {tuple(images.shape)}: "
                "resize them (invad_fast.data.load_image does)"
            )
        return self.encoder(images)

    def reconstruct(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features, finest first → reconstructions of the same shapes; differentiable."""
        self._check_features(features)
        style = self.fuser(list(features))
        return self.decoder(style)

    def predict(
        self,
        images: Tensor,
        class_name: str | None = None,
        mode: str = "unified",
        sigma: float = 4.0,
    ) -> Prediction:
        """Scores and maps of images N×3×H×W, ImageNet-normalised, in eval mode.

        Args:
            class_name: the product, where each has a threshold of its own.
            mode, sigma: see :func:`anomaly_map`.
        """
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                features, reconstructions = self(images)
                maps, score = map_and_score(
                    features, reconstructions, self.config.input_size, mode, sigma
                )
        finally:
            self.train(training)
        return Prediction(score, maps, self.threshold(class_name))

    def threshold(self, class_name: str | None = None) -> float | None:
        """The threshold of a class; that of any class where it has none; None uncalibrated."""
        return self.thresholds.get(class_name or ALL_CLASSES, self.thresholds.get(ALL_CLASSES))

    def fit(self, root: str | Path | Dataset, **options: Any) -> TrainingResult:
        """Trains on the good parts below ``root``; see :func:`invad_fast.train.train`."""
        from invad_fast.train import train

        return train(self, root, **options)

    def load_reference(self, source: dict[str, Tensor] | str | Path) -> InvAD:
        """Loads an authors' checkpoint; see :func:`invad_fast.reference_checkpoint`."""
        from invad_fast.reference_checkpoint import load_reference

        load_reference(self, source)
        return self

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file, configuration, classes and thresholds in its header."""
        from invad_fast.model_file import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> InvAD:
        """Reads what :meth:`save` wrote, in eval mode; InputError names a damaged file."""
        from invad_fast.model_file import load

        return load(cls, Path(path))

    def _check_features(self, features: Sequence[Tensor]) -> None:
        height, width = self.config.grid
        coarsest = self.config.strides[-1]
        expected = [
            (channels, height * coarsest // stride, width * coarsest // stride)
            for channels, stride in zip(self.config.channels, self.config.strides)
        ]
        given = [tuple(f.shape[1:]) for f in features]
        if given != expected:
            raise InputError(f"this model takes features of shapes {expected}, not {given}")
