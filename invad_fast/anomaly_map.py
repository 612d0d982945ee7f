"""features, reconstructions ─ anomaly_map ─> map ─> score (SPEC §2)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from invad_fast.errors import InputError

MODES = ("unified", "per_scale")


def anomaly_map(
    features: list[Tensor],
    reconstructions: list[Tensor],
    size: tuple[int, int],
    mode: str = "unified",
    sigma: float = 4.0,
) -> Tensor:
    """Where the reconstruction differs from the features (paper §3.4; SPEC §2).

    ``unified``: every feature vector is L2-normalised, all scales are resized to the finest grid
    and concatenated, map = 1 − cosine. ``per_scale``: 1 − cosine at each scale, resized and
    averaged. Then a resize to ``size`` and a Gaussian filter with mirrored edges.

    Args:
        features, reconstructions: N×Cᵢ×Hᵢ×Wᵢ each, finest first.
        size: (H, W) of the image.
        mode: "unified" (the paper's setting) or "per_scale".
        sigma: standard deviation of the Gaussian in pixels; 0 for none.

    Returns:
        N×H×W, float32: 0 where they agree, up to 2 where they are opposed.
    """
    if mode not in MODES:
        raise InputError(f"no anomaly map mode {mode!r}: choose {' or '.join(MODES)}")
    if mode == "unified":
        distance = _unified(features, reconstructions)
        return _resize_and_filter(distance, size, sigma)
    maps = [
        _resize_and_filter(1 - F.cosine_similarity(f.float(), r.float(), dim=1), size, sigma)
        for f, r in zip(features, reconstructions)
    ]
    return torch.stack(maps).mean(0)


def image_score(maps: Tensor) -> Tensor:
    """Image score: the maximum of the filtered map, N×H×W → N."""
    return maps.amax(dim=(1, 2))


def _unified(features: list[Tensor], reconstructions: list[Tensor]) -> Tensor:
    finest = features[0].shape[-2:]

    def concatenated(maps: list[Tensor]) -> Tensor:
        unit = [F.normalize(m.float(), dim=1) for m in maps]
        return torch.cat(
            [F.interpolate(u, size=finest, mode="bilinear", align_corners=True) for u in unit], 1
        )

    return 1 - F.cosine_similarity(concatenated(features), concatenated(reconstructions), dim=1)


def _resize_and_filter(maps: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Resize and Gaussian are both linear and separable: one matrix for each side of the map."""
    rows = _resize_filter_matrix(maps.shape[1], size[0], sigma).to(maps)
    columns = _resize_filter_matrix(maps.shape[2], size[1], sigma).to(maps)
    return rows @ maps @ columns.T


@functools.lru_cache(maxsize=64)
def _resize_filter_matrix(source: int, target: int, sigma: float) -> Tensor:
    """target×source: bilinear resize (align_corners=True), then the Gaussian."""
    resize = F.interpolate(
        torch.eye(source, dtype=torch.float64)[None],
        size=target,
        mode="linear",
        align_corners=True,
    )[0].T
    return _gaussian_matrix(target, sigma) @ resize


def _gaussian_matrix(length: int, sigma: float) -> Tensor:
    """length×length, truncated at 4σ; edges mirrored including the edge (scipy's ``reflect``)."""
    if sigma <= 0:
        return torch.eye(length, dtype=torch.float64)
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    position = torch.arange(length)[:, None] + offsets.long()
    position = position % (2 * length)
    position = torch.where(position < length, position, 2 * length - 1 - position)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, position, weights.expand(length, -1))
