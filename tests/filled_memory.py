"""A memory that is filled without a training."""

from collections.abc import Sequence

import numpy as np
import torch

from invad_fast.memory.building import Candidates
from invad_fast.method import Method


def remember(model: Method, images: np.ndarray, owners: Sequence[str], seed: int = 0) -> None:
    """Gives ``model`` the memory of N×3×H×W images, normalised, of its classes."""
    indices = [model.classes.index(name) for name in owners]
    candidates = Candidates(model.config.memory, model.config.channels, indices, seed)
    with torch.inference_mode():
        candidates.take(model.encode(torch.from_numpy(images)))
        banks = candidates.banks()
    banks.vectors = banks.vectors.clone()
    model.remember(banks)
