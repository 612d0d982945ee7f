"""features, reconstructions ─ anomaly_map ─> map ─> score (method.md §2)."""

from __future__ import annotations

from torch import Tensor

from invad_fast.errors import InputError
from invad_fast.ops import anomaly_score, cosine_map

MODES = ("unified", "per_scale")


def anomaly_map(
    features: list[Tensor],
    reconstructions: list[Tensor],
    size: tuple[int, int],
    mode: str = "unified",
    sigma: float = 4.0,
) -> Tensor:
    """Where the reconstruction differs from the features (paper §3.4; method.md §2): N×H×W.

    0 where they agree, up to 2 where they are opposed. See :func:`map_and_score`.
    """
    return map_and_score(features, reconstructions, size, mode, sigma)[0]


def map_and_score(
    features: list[Tensor],
    reconstructions: list[Tensor],
    size: tuple[int, int],
    mode: str = "unified",
    sigma: float = 4.0,
) -> tuple[Tensor, Tensor]:
    """The anomaly map and the image score, the maximum of the map.

    ``unified``: every feature vector is L2-normalised, all scales are resized to the finest grid
    and concatenated, map = 1 − cosine. ``per_scale``: 1 − cosine at each scale, resized and
    averaged. Then a resize to ``size`` and a Gaussian filter with mirrored edges.

    Args:
        features, reconstructions: N×Cᵢ×Hᵢ×Wᵢ each, finest first.
        size: (H, W) of the image.
        mode: "unified" (the paper's setting) or "per_scale".
        sigma: standard deviation of the Gaussian in pixels; 0 for none.

    Returns:
        (map N×H×W, score N), float32.
    """
    return anomaly_score(compare(features, reconstructions, mode), size, sigma)


def compare(features: list[Tensor], reconstructions: list[Tensor], mode: str) -> list[Tensor]:
    """The maps on the features' grids, whose mean is the anomaly map once they are resized."""
    if mode not in MODES:
        raise InputError(f"no anomaly map mode {mode!r}: choose {' or '.join(MODES)}")
    return cosine_map(features, reconstructions, unified=mode == "unified")
