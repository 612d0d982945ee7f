"""descriptor ─> class name: which product a picture shows, by the nearest class mean.

A picture's descriptor is the mean of every feature channel over all positions: a defect, small
beside the part, hardly moves it. Channels count by how little they vary within a class (linear
discriminant analysis with one diagonal covariance for all classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from invad_fast.errors import InputError
from invad_fast.prediction import Thresholds, exceeds

_LEAST_SHARE = 0.1  # of the mean channel's deviation


@dataclass(frozen=True)
class ClassPrototypes:
    """The mean descriptor of every class, of its good training parts.

    Attributes:
        names: K class names.
        means: K×D, float32.
        deviation: D, the standard deviation within classes, float32; above 0.
        limits: class name → the distance from its mean beyond which a part is of none of the
            classes (`invad_fast.evaluation.unknown_products`); a class without one takes all.

    Raises:
        InputError: for arrays of other shapes, numbers that are not finite, no deviation.
    """

    names: tuple[str, ...]
    means: np.ndarray
    deviation: np.ndarray
    limits: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        count, width = len(self.names), self.deviation.size
        shapes = self.means.shape, self.deviation.shape
        if shapes != ((count, width), (width,)):
            raise InputError(
                f"prototypes of {count} classes have means {count}×D and a deviation D, not "
                f"{' and '.join('×'.join(map(str, shape)) or 'one number' for shape in shapes)}"
            )
        if not np.isfinite(self.means).all() or not np.isfinite(self.deviation).all():
            raise InputError("the class prototypes have numbers that are not finite")
        if (self.deviation <= 0).any():
            raise InputError("the class prototypes have a deviation that is not above 0")

    def of(self, names: Sequence[str]) -> ClassPrototypes:
        """The same prototypes in the order of ``names``.

        Raises:
            InputError: where these are other classes.
        """
        if sorted(names) != sorted(self.names):
            raise InputError(
                f"the model tells {', '.join(self.names)} apart, but its classes are "
                f"{', '.join(names) or 'none'}: train it anew, or set its prototypes to None"
            )
        rows = [self.names.index(name) for name in names]
        return ClassPrototypes(tuple(names), self.means[rows], self.deviation, self.limits)

    def distances(self, descriptors: np.ndarray) -> np.ndarray:
        """N×D → N×K root mean square differences, in deviations within a class."""
        means = (self.means / self.deviation).astype(np.float64)
        scaled = (np.asarray(descriptors, np.float64) / self.deviation)[:, None]
        return np.sqrt(((scaled - means) ** 2).mean(2))

    def limited(self, limits: Thresholds) -> ClassPrototypes:
        """The same prototypes with other limits."""
        return replace(self, limits=limits)

    def distances_to(
        self, descriptors: np.ndarray, class_names: Sequence[str | None]
    ) -> tuple[float | None, ...]:
        """The distance of each of N descriptors (N×D) to the mean of its class; None of none."""
        distances = self.distances(descriptors)
        return tuple(
            float(row[self.names.index(name)]) if name in self.names else None
            for row, name in zip(distances, class_names)
        )

    def name(self, descriptors: np.ndarray) -> tuple[str | None, ...]:
        """N×D → the nearest class of each; None where a descriptor is not finite."""
        distances = self.distances(descriptors)
        known = np.isfinite(distances).all(1)
        nearest = np.where(known[:, None], distances, 0).argmin(1)
        return tuple(self.names[i] if ok else None for i, ok in zip(nearest, known))


def class_prototypes(descriptors: np.ndarray, class_names: Sequence[str]) -> ClassPrototypes:
    """The prototypes of the classes in ``class_names``.

    Args:
        descriptors: N×D of good parts.
        class_names: N.
    """
    names = tuple(sorted(set(class_names)))
    owners = np.array([names.index(name) for name in class_names])
    values = np.asarray(descriptors, np.float64)
    means = np.stack([values[owners == k].mean(0) for k in range(len(names))])
    # One part a class has no spread of its own: a hundredth of the channel's size stands for it.
    # A channel that is silent in every good part has neither, and nothing to tell classes by: with
    # a deviation next to 0 it would, once it speaks, be all that is heard.
    within = np.sqrt(((values - means[owners]) ** 2).mean(0))
    size = np.sqrt((values**2).mean(0))
    deviation = np.maximum(within, 0.01 * size)
    deviation = np.maximum(deviation, _LEAST_SHARE * deviation.mean() or 1.0)
    return ClassPrototypes(names, means.astype(np.float32), deviation.astype(np.float32))


def why_unknown(distance: float | None, limit: float | None, class_name: str | None) -> str:
    """Why a part at this distance from its class is none of it, in words; empty where it may be."""
    if distance is None or limit is None or not exceeds(distance, limit):
        return ""
    return (
        f"unlike the parts of {class_name!r}, the class it was taken for: {distance:.3g} "
        f"deviations from their mean, where {limit:.3g} is the limit"
    )
