"""How pixels become what an encoder was made for: the resizer, the mean and the deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Interpolation = Literal["bilinear", "bicubic"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preparation:
    """RGB pixels are resized and scaled to 0..1, ``mean`` taken out, ``deviation`` divided by.

    Attributes:
        interpolation: PIL's filter of this name, antialiased.
    """

    mean: Triple = (0.485, 0.456, 0.406)
    deviation: Triple = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bilinear"


IMAGENET = Preparation()
_HALF = Preparation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")

# Encoders whose weights were trained otherwise than with ImageNet's mean and deviation; timm's.
_OTHERS = {f"tf_efficientnet_lite{size}": _HALF for size in range(3)}


def preparation_for(encoder: str | None) -> Preparation:
    """What timm's network of this name, with or without a tag, was trained with."""
    return _OTHERS.get((encoder or "").partition(".")[0], IMAGENET)


def preparation_of(predictor: Any) -> Preparation:
    """What a Predictor takes; one that does not say takes ImageNet's."""
    found = getattr(predictor, "preparation", IMAGENET)
    assert isinstance(found, Preparation)
    return found
