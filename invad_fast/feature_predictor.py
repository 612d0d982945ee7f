"""A Predictor made of torch modules: what the trainable network and its inference form share.

image ─ encoder ─> features ─ reconstruct ─> reconstructions ─ anomaly_map ─> map ─> score
                       └ memory ─> distances to good parts' ─┘
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from invad_fast.anomaly_map import compare
from invad_fast.checked import unknown_name
from invad_fast.class_prototypes import ClassPrototypes, why_unknown
from invad_fast.data.preparation import Preparation
from invad_fast.data.region_of_interest import largest_part
from invad_fast.data.size import Size
from invad_fast.encoder import Encoder
from invad_fast.errors import InputError
from invad_fast.memory.banks import MemoryBanks
from invad_fast.memory.settings import MemorySettings
from invad_fast.metrics import image_scores
from invad_fast.metrics.region_scores import region_scores
from invad_fast.ops import anomaly_score
from invad_fast.prediction import AUTO, Array, Prediction, ScoreRule, Thresholds
from invad_fast.seen_parts import SeenParts
from invad_fast.standardization import Standardization

_NO_PROTOTYPES = (
    "the model cannot tell its classes apart (it was made before models could): give --class NAME, "
    "or train it anew"
)
_WHICH_BANK = (
    "the model cannot tell its classes apart, and each has a memory of its own: give --class NAME"
)
_EMPTY = "the model remembers no good parts yet: fit it first"
_NO_ENCODER = "a model with encoder=None takes features: call reconstruct(features)"
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16,
           np.float32, np.float64, np.float16)  # fmt: skip


class FeaturePredictor(nn.Module, ABC):
    """A network over a frozen encoder's features, as far as predictions need it.

    Attributes:
        config: the frozen configuration.
        classes: names of the product classes that the model was trained on.
        seen: which pictures it was trained and calibrated on.
        prototypes: what tells the classes apart; None for a model that was not trained.
        encoder: None for a model that is given features instead of images.
        standardization: of the encoder's features; None for a model that takes them as they are.
        memory: good parts' patches; None for a model that only reconstructs.
        reconstructs: False for a model that only remembers.
    """

    config: Any
    classes: tuple[str, ...]
    prototypes: ClassPrototypes | None
    seen: SeenParts
    encoder: Encoder | None
    standardization: Standardization | None
    memory: MemoryBanks | None
    reconstructs: bool = True
    _thresholds: Thresholds

    @property
    @abstractmethod
    def score_rule(self) -> ScoreRule:
        """How `predict` makes scores."""

    @property
    def tells_classes(self) -> bool:
        """Whether it knows which product an image shows."""
        return self.prototypes is not None or len(self.classes) == 1

    @property
    @abstractmethod
    def digest(self) -> str:
        """A hash of the source model's tensors and configuration, not of its thresholds."""

    @property
    def input_size(self) -> Size:
        """(height, width) of the images."""
        return self.config.input_size

    @property
    def preparation(self) -> Preparation:
        """The resizer, mean and deviation of its images."""
        prepared: Preparation = self.config.preparation
        return prepared

    @property
    def thresholds(self) -> Thresholds:
        """class name → score above which a part is anomalous; "*" for any class.

        What is assigned by hand holds for the model's map and score, in any form and precision.
        """
        return self._thresholds

    @thresholds.setter
    def thresholds(self, values: Thresholds | dict[str, float]) -> None:
        if not isinstance(values, Thresholds):
            rule = ScoreRule(**{**vars(self.score_rule), "form": None, "precision": None})
            values = Thresholds(values, rule)
        self._thresholds = values

    def threshold(self, class_name: str | None = None) -> float | None:
        """The threshold of a class; that of any class where it has none; None uncalibrated."""
        return self.thresholds.of(class_name, self.score_rule)

    def remember(self, banks: MemoryBanks | None) -> None:
        """Takes the banks, or forgets what it has; the configuration says how large they are."""
        self.memory = banks
        counts = () if banks is None else banks.counts
        settings = dataclasses.replace(self.config.memory or MemorySettings(), counts=counts)  # type: ignore[type-var]
        self.config = dataclasses.replace(self.config, memory=settings)

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """N×3×H×W, normalised → (features, standardised or not, reconstructions), finest first."""
        features = self.standardize(self.encode(images))
        return features, self.reconstruct(features)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Images N×3×H×W → frozen features N×Cᵢ×Hᵢ×Wᵢ, finest first."""
        self._check_images(images)
        assert self.encoder is not None  # else it was refused
        return self.encoder(images)

    def standardize(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The encoder's features as the model takes them: in deviations of their channels, or
        as they are.
        """
        return list(features) if self.standardization is None else self.standardization(features)

    def reconstruct(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features, finest first, as :meth:`standardize` gives them → reconstructions of them."""
        raise InputError(f"{type(self).__name__} reconstructs nothing: it compares with good parts")

    def predict(
        self, images: Array, class_name: str | Sequence[str | None] | None = AUTO, **changes: Any
    ) -> Prediction:
        """See :class:`invad_fast.prediction.Predictor`; tensors come back on the model's device."""
        rule = self.score_rule.but(**changes)
        with torch.inference_mode():
            given = self._normalized(images)
            maps, score, descriptor = self._run(given, rule.mode, rule.sigma, class_name)
            # What holds no numbers has no score: a maximum may step over it.
            broken = ~maps.isfinite().flatten(1).all(1)
            if rule.pooling is not None or not rule.takes_maximum:
                kept = maps.masked_fill(broken[:, None, None], 0)
                score = torch.as_tensor(self._scored(kept, rule), device=maps.device)
            score = score.masked_fill(broken, math.nan)
        names, why = self._names(class_name, descriptor)
        why = self.thresholds.why_none(rule) or why
        distances, unknown = self._unknown(names, descriptor)
        limits = tuple(
            None if why or strange else self.thresholds.of(name, rule)
            for name, strange in zip(names, unknown)
        )
        found = (score, maps, descriptor)
        if isinstance(images, np.ndarray):
            found = tuple(t.cpu().numpy() for t in found)  # type: ignore[assignment]
        why = why or "no threshold for this class"
        return Prediction(found[0], found[1], names, limits, found[2], why, distances, unknown)

    def _scored(self, maps: Tensor, rule: ScoreRule) -> np.ndarray:
        """N scores of finite maps by a rule that takes no plain maximum."""
        if rule.pooling is not None:
            return image_scores(maps, rule.pooling)
        room = math.prod(self.input_size)
        if rule.region is not None:
            room = largest_part(rule.region, self.input_size)
        if rule.least_area > room:
            raise InputError(
                f"the largest part of the region of interest has {room} pixels of the map: a "
                f"least area of {rule.least_area} does not fit into it"
            )
        return region_scores(maps.cpu().numpy(), rule.least_area, rule.inside(self.input_size))

    def _run(
        self,
        images: Tensor,
        mode: str,
        sigma: float,
        class_name: str | Sequence[str | None] | None = AUTO,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images N×3×H×W → (maps N×H×W, scores N, descriptors N×D), float32.

        Args:
            class_name: of whose memory the maps are made; without a memory it changes nothing.
        """
        encoded = self.encode(images)
        features = self.standardize(encoded)
        descriptor = descriptor_of(features)
        maps = self._compare(features, mode)
        if self.memory is not None:
            maps = self.memory.maps(encoded, self._banks_of(class_name, descriptor), maps)
        if not maps:
            raise InputError(_EMPTY)
        return *anomaly_score(maps, self.input_size, sigma), descriptor

    def _compare(self, features: list[Tensor], mode: str) -> list[Tensor]:
        """Maps of features, as :meth:`standardize` gives them, and their reconstructions."""
        if self.reconstructs:
            return compare(features, self.reconstruct(features), mode)
        if mode != "unified":
            raise InputError(f"a memory has no map of mode {mode!r}: leave the mode out")
        return []

    def _banks_of(
        self, class_name: str | Sequence[str | None] | None, descriptor: Tensor
    ) -> list[int]:
        """Of each image the index of the class whose good parts it is compared with.

        That is the class which it is said to be, else the one that it looks like.
        """
        names: Sequence[str | None] = self._names(class_name, descriptor)[0]
        if None in names and self.tells_classes:
            told = self._names(AUTO, descriptor)[0]
            names = [name or other for name, other in zip(names, told)]
        if None in names and self.tells_classes:  # not finite: nor will its map be
            names = [name or self.classes[0] for name in names]
        if None in names:
            raise InputError(_WHICH_BANK)
        return [self.classes.index(str(name)) for name in names]

    def _names(
        self, class_name: str | Sequence[str | None] | None, descriptor: Tensor
    ) -> tuple[tuple[str | None, ...], str | None]:
        """(the class of each image, why the threshold is unknown, if it is)."""
        count = len(descriptor)
        if class_name == AUTO:
            if len(self.classes) == 1:
                return self.classes * count, None
            if self.prototypes is not None:
                return self.prototypes.name(descriptor.float().cpu().numpy()), None
            own = any(name in self.thresholds for name in self.classes)
            return (None,) * count, _NO_PROTOTYPES if own else None
        names = (class_name,) * count if isinstance(class_name, str | None) else tuple(class_name)
        if len(names) != count:
            raise InputError(f"{len(names)} class names for {count} images: give one, or one each")
        strange = next((n for n in names if n is not None and n not in self.classes), None)
        if strange is not None:
            raise InputError("the model knows " + unknown_name("class", strange, self.classes))
        return names, None

    def _unknown(
        self, names: tuple[str | None, ...], descriptor: Tensor
    ) -> tuple[tuple[float | None, ...], tuple[str, ...]]:
        """(the distance of each image to its class, why it shows none of the classes)."""
        if self.prototypes is None:
            return (None,) * len(names), ("",) * len(names)
        limits = self.prototypes.limits
        distances = self.prototypes.distances_to(descriptor.float().cpu().numpy(), names)
        return distances, tuple(
            why_unknown(d, limits.get(name) if name else None, name)
            for d, name in zip(distances, names)
        )

    def _normalized(self, images: Array) -> Tensor:
        """The images as the encoder takes them, float32 N×3×H×W."""
        if self.encoder is None:
            raise InputError(_NO_ENCODER)
        height, width = self.input_size
        dtype, shape = getattr(images, "dtype", type(images)), tuple(getattr(images, "shape", ()))
        count = shape[0] if shape else 0
        as_bytes = shape == (count, height, width, 3) and dtype in (torch.uint8, np.uint8)
        as_planes = shape == (count, 3, height, width) and dtype in _FLOATS
        if count == 0 or not (as_bytes or as_planes):
            raise InputError(
                f"this model takes images as uint8 N×{height}×{width}×3, or as float32 "
                f"N×3×{height}×{width}, normalised, not {dtype} {shape}: resize them "
                "(invad_fast.data.load_image does)"
            )
        if isinstance(images, np.ndarray):
            if not images.flags.writeable or min(images.strides) < 0:
                images = images.copy(order="K")  # no tensor views such memory
            images = torch.from_numpy(images)
        if as_planes:
            return images.to(torch.float32)
        device = next(iter(self.parameters()), images).device
        planes = images.to(device).permute(0, 3, 1, 2).to(torch.float32)
        given = (self.preparation.mean, self.preparation.deviation)
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in given)
        return planes.div_(255).sub_(mean).div_(std)

    def _check_images(self, images: Tensor) -> None:
        if self.encoder is None:
            raise InputError(_NO_ENCODER)
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, *self.input_size):
            height, width = self.input_size
            raise InputError(
                f"this model takes images N×3×{height}×{width}, not {tuple(images.shape)}: "
                "resize them (invad_fast.data.load_image does)"
            )

    def _check_features(self, features: Sequence[Tensor]) -> None:
        expected = self.config.feature_shapes
        given = [tuple(f.shape[1:]) for f in features]
        if given != expected:
            raise InputError(f"this model takes features of shapes {expected}, not {given}")


def descriptor_of(features: Sequence[Tensor]) -> Tensor:
    """Features N×Cᵢ×Hᵢ×Wᵢ → N×ΣCᵢ, float32: the mean of every channel over all positions."""
    return torch.cat([f.mean((2, 3), dtype=torch.float32) for f in features], 1)
