"""Which pictures a model has seen, by their contents: what it was trained and calibrated on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def _none() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class SeenParts:
    """Hashes of pictures (`invad_fast.data.content_hash`), each once.

    A model that was made before models kept them has none: then nothing is known.

    Attributes:
        training: int64 N.
        calibration: int64 M, of the pictures that set the thresholds.
    """

    training: np.ndarray = field(default_factory=_none)
    calibration: np.ndarray = field(default_factory=_none)

    def trained_on(self, hashes: np.ndarray) -> np.ndarray:
        """N, whether the model was trained on the picture of each hash."""
        return np.isin(hashes, self.training)

    def calibrated_on(self, hashes: np.ndarray) -> np.ndarray:
        """N, whether the picture of each hash set a threshold."""
        return np.isin(hashes, self.calibration)
